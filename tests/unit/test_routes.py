import importlib
import re
from pathlib import Path
from uuid import UUID

import aiohttp
import functions_framework.aio
import pytest
from pydantic import ValidationError, create_model
from starlette.applications import Starlette
from starlette.requests import Request
from yarl import URL

from lib import errors, routes
from lib.fields.models import Body
from lib.http import binding
from lib.mcp import tools
from tests.unit.conftest import serving

FUNCTIONS = Path(__file__).parents[2] / "functions"


def app(function: str) -> Starlette:
    source = str(FUNCTIONS / function / "main.py")
    loaded = functions_framework.aio.create_asgi_app(function, source, "http")  # type: ignore[no-untyped-call]
    assert isinstance(loaded, Starlette)
    return loaded


def test_names_and_addresses_are_unique() -> None:
    assert len({route.name for route in routes.ROUTES}) == len(routes.ROUTES)
    assert len({(route.method, route.path) for route in routes.ROUTES}) == len(routes.ROUTES)


def test_the_functions_of_the_table_are_the_folders() -> None:
    folders = {entry.parent.name for entry in FUNCTIONS.glob("*/main.py")}
    assert folders == set(routes.FUNCTIONS)


def test_only_routes_at_a_space_ask_it_for_its_origins() -> None:
    by_path = {route.path: route.origins for route in routes.ROUTES}
    assert by_path["/space/{space_id}/register"] == "space"
    assert by_path["/landing/{app_id}/register"] == "space"
    assert by_path["/turns/{turn_id}/stream"] == "any"
    assert by_path["/worker"] == "none"
    assert by_path["/webhooks/{provider}"] == "none"


@pytest.mark.parametrize("function", routes.FUNCTIONS)
def test_an_id_that_is_none_has_the_code_of_an_unknown_one(function: str) -> None:
    for bound in importlib.import_module(f"functions.{function}.main")._serve.bindings:
        for taken in bound.parameters:
            if taken.source == "path" and taken.type is UUID:
                request = Request({"type": "http", "path_params": {taken.name: "x"}})
                with pytest.raises(errors.NotFound) as refused:
                    binding.path_id(request, taken.name)
                assert refused.value.code in errors.TITLES


def test_a_boolean_of_a_body_is_true_or_false_and_nothing_else() -> None:
    mains = [importlib.import_module(f"functions.{name}.main") for name in routes.FUNCTIONS]
    taken = [parameter for main in mains for bound in main._serve.bindings for parameter in bound.parameters]
    queries = tuple(parameter.type for parameter in taken if parameter.source == "query")
    assert issubclass(tools.ResolveContact, Body), "those of tools, too"
    kinds: list[type[Body]] = [Body]
    for kind in kinds:
        kinds += kind.__subclasses__()
    # "main" is a function that another test has loaded as it is deployed: the same classes once more.
    own = {kind for kind in kinds if kind.__module__ != "main"}
    for kind in {kind for kind in own if not any(issubclass(query, kind) for query in queries)}:
        for name, field in kind.model_fields.items():
            if "bool" in str(field.annotation):
                alone = create_model("Alone", given=(field.annotation or bool, field))
                for value in (0, 1, "true", "on"):
                    with pytest.raises(ValidationError):
                        assert not alone.model_validate({field.alias or "given": value}), (kind, name)


@pytest.mark.parametrize("function", routes.FUNCTIONS)
async def test_a_function_loads_as_deployed_is_healthy_and_refuses_other_methods(function: str) -> None:
    async with serving(app(function)) as origin, aiohttp.ClientSession(origin) as session:
        for path in ("/healthz", "/api/healthz"):
            async with session.get(path) as answer:
                assert (answer.status, await answer.json()) == (200, {"status": "ok", "function": function})
        async with session.get(URL("/x%0Ay", encoded=True)) as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (404, "not_found")
        for route in routes.of(function):
            path = re.sub(r"\{\w+\}", "x", route.path)
            own = sorted(other.method for other in routes.of(function) if other.path == route.path)
            other = next(method for method in ("DELETE", "PATCH", "PUT") if method not in own)
            for method in (other, "OPTIONS"):
                async with session.request(method, path) as answer:
                    assert (answer.status, answer.headers["allow"]) == (405, ", ".join(own))
                    assert (await answer.json(content_type=None))["code"] == "method_not_allowed"
