"""The OpenAPI description: made of the route table, the signatures of the handlers, their models and the error codes.

`make openapi` writes it to docs/openapi.json, and the tables of fields in docs/api.md from it (local/api_tables.py). A
test fails while they differ from what the code says.
"""

import ast
import functools
import importlib
import inspect
import itertools
import json
import os
import re
import textwrap
import types
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema
from starlette.responses import Response

from lib import errors
from lib.auth.callers import COOKIE
from lib.chat import whole_answer
from lib.fields.models import PartialUpdate
from lib.http.app import PROBLEM_TYPE, Ok
from lib.http.binding import Binding
from lib.http.streaming import Stream
from lib.routes import FUNCTIONS, CallerKind, Credential
from local.paths import REPOSITORY

FILE = REPOSITORY / "docs" / "openapi.json"
VERSION = "0.1.0"
"""Of the API."""

JSON, EVENTS = "application/json", "text/event-stream"
REF = "#/components/schemas/"

INTRODUCTION = """\
Functions that link every contact to every chat session.

Bodies are JSON in UTF-8. Names are snake_case; camelCase is accepted in bodies and queries; unknown names are refused.
Ids are UUIDs, times RFC 3339 in UTC. Members without a value are absent from responses. Every response has an
`X-Request-Id`. Errors are `application/problem+json` (RFC 9457) with a stable `code`; a caller that accepts only
`application/json` gets the same document as that."""

_BEARER: JsonSchemaValue = {"type": "http", "scheme": "bearer"}
_SCHEMES: Mapping[str, JsonSchemaValue] = {
    "contact_token": _BEARER | {"bearerFormat": "JWT", "description": "From registering, or from a chat's `turn`."},
    "user_token": _BEARER | {"bearerFormat": "JWT", "description": "The access token of a user of Supabase Auth."},
    "api_key": _BEARER | {"bearerFormat": "swb_…", "description": "A machine's key, with the rights of a member."},
    "cron_secret": _BEARER | {"description": "The secret of the database's schedules, `CRON_SECRET`."},
    "stream_ticket": {
        "type": "apiKey",
        "in": "query",
        "name": COOKIE,
        "description": "For EventSource: docs/streams.md.",
    },
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "docs/streams.md"},
}
_ACCEPTED: Mapping[CallerKind | Credential, tuple[str, ...]] = {
    "contact": ("contact_token",),
    "user": ("user_token", "api_key"),
    "cron": ("cron_secret",),
    "ticket": ("stream_ticket",),
    "cookie": ("cookie",),
}
"""The security schemes by what a route accepts; a route for anyone needs none, and a provider has one of its own."""

_REFUSALS = {
    "supabase/schemas/*.sql": (
        re.compile(r"sqlstate 'PT(?P<status>\d{3})' using message = '(?P<code>\w+)'"),
        re.compile(r"""['"]status['"][,:] *(?P<status>\d{3}), *['"]code['"][,:] *['"](?P<code>\w+)"""),
    ),
    "lib/**/*.py": (re.compile(r"errors\.Refused\(\s*(?P<status>\d{3}),\s*\"(?P<code>\w+)\""),),
}
"""How refusals are written."""


def document() -> dict[str, Any]:
    """The description."""
    bindings = [bound for name in FUNCTIONS for bound in _functions(name)]
    schemas = _Models(bindings)
    paths: dict[str, dict[str, Any]] = {}
    for bound in bindings:
        paths.setdefault(bound.route.path, {})[bound.route.method.lower()] = _operation(bound, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Switchboard",
            "version": VERSION,
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": _purpose(name)} for name in FUNCTIONS],
        "paths": paths,
        "components": {
            "schemas": dict(sorted({**schemas.definitions, "Problem": _PROBLEM}.items())),
            "responses": {_name(status): _problem(status, found) for status, found in codes_by_status().items()},
            "securitySchemes": dict(_SCHEMES),
        },
    }


def text(described: Mapping[str, Any]) -> str:
    """A description as it is committed."""
    return json.dumps(described, indent=1, ensure_ascii=False) + "\n"


def codes_by_status() -> dict[int, set[str]]:
    """The codes of problems by their status: those of lib/errors.py, and those with which SQL and our code refuse."""
    own = [kind for kind in _problems(errors.Problem) if "code" in vars(kind)]
    found = [(errors.Problem.status, errors.Problem.code), *((kind.status, kind.code) for kind in own)]
    found += [(404, code) for code in errors.TITLES if code.endswith("_not_found")]
    found += [(whole_answer.status_of(code), code) for code in errors.FAILURES]
    for files, patterns in _REFUSALS.items():
        for source in [file.read_text() for file in REPOSITORY.glob(files)]:
            refusals = [refusal for pattern in patterns for refusal in pattern.finditer(source)]
            found += [(int(refusal["status"]), refusal["code"]) for refusal in refusals]
    shown = {*errors.TITLES, *errors.FAILURES, *(kind.code for kind in own)}
    by_status: dict[int, set[str]] = {}
    for status, code in sorted(found):
        if code in shown:
            by_status.setdefault(status, set()).add(code)
    return by_status


def _functions(name: str) -> tuple[Binding, ...]:
    # A function reads its settings when it is loaded; none of them shows in the description.
    for setting in ("SUPABASE_URL", "SUPABASE_ANON_KEY", "SUPABASE_JWT_SECRET", "CRON_SECRET"):
        os.environ.setdefault(setting, "http://127.0.0.1:9/of-the-description")
    os.environ.setdefault("SWITCHBOARD_DATABASE_URL", "postgresql://x:x@127.0.0.1:9/x")
    bindings: tuple[Binding, ...] = importlib.import_module(f"functions.{name}.main")._serve.bindings
    return bindings


def _purpose(name: str) -> str:
    purpose = (importlib.import_module(f"functions.{name}.main").__doc__ or "").partition(": ")[2].strip()
    return purpose[0].upper() + purpose[1:]


def _problems(of: type[errors.Problem]) -> Iterator[type[errors.Problem]]:
    for kind in of.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from _problems(kind)


# Operations.


def _operation(bound: Binding, models: "_Models") -> dict[str, Any]:
    summary, _, description = _prose(bound.handler.__doc__).partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": bound.route.name,
        "tags": [bound.route.function],
        "summary": " ".join(summary.split()).removesuffix("."),
        **({"description": description} if description else {}),
        "security": [*_security(bound)],
        "parameters": [*_path_parameters(bound, models), *_other_parameters(bound, models)],
    }
    if (body := _body(bound, models)) is not None:
        operation["requestBody"] = body
    answers = _answers(bound, models)
    problems = {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in _refusals(bound)}
    return {**operation, "responses": dict(sorted({**problems, **answers}.items()))}


def _security(bound: Binding) -> Iterator[JsonSchemaValue]:
    # A route for anyone whose handler takes the caller answers the holder of a token differently.
    holders: tuple[CallerKind, ...] = (
        ("contact", "user") if "anyone" in bound.route.callers and bound.identifies else ()
    )
    for accepted in dict.fromkeys((*bound.route.callers, *holders, *bound.route.credentials)):
        if accepted in _ACCEPTED:
            yield from ({name: []} for name in _ACCEPTED[accepted])
        else:
            yield {}


def _path_parameters(bound: Binding, models: "_Models") -> Iterator[JsonSchemaValue]:
    known: dict[str, JsonSchemaValue] = {}
    for taken in bound.parameters:
        if taken.source == "path" and taken.type in (UUID, str):
            known[taken.name] = {"type": "string", **({"format": "uuid"} if taken.type is UUID else {"minLength": 1})}
        elif taken.source == "path":
            known |= models.inline(taken.type)["properties"]
    for name in re.findall(r"{(\w+)}", bound.route.path):
        yield {"name": name, "in": "path", "required": True, **_with_description(known.get(name, {"type": "string"}))}


def _other_parameters(bound: Binding, models: "_Models") -> Iterator[JsonSchemaValue]:
    for taken in bound.parameters:
        if taken.source == "header":
            name = "-".join(part.capitalize() for part in taken.name.split("_")).replace("-Id", "-ID")
            yield {"name": name, "in": "header", "schema": {"type": "string"}}
        elif taken.source == "query":
            model = models.inline(taken.type)
            for name, field in model.get("properties", {}).items():
                required = {"required": True} if name in model.get("required", ()) else {}
                yield {"name": name, "in": "query", **required, **_with_description(field)}


def _with_description(field: JsonSchemaValue) -> JsonSchemaValue:
    """A field as a parameter: a query and a path have no null."""
    schema = _without_null({name: value for name, value in field.items() if name not in ("description", "title")})
    return {**({"description": field["description"]} if "description" in field else {}), "schema": schema}


def _body(bound: Binding, models: "_Models") -> JsonSchemaValue | None:
    taken = next((taken for taken in bound.parameters if taken.source == "body"), None)
    if taken is None:
        return None
    if not _is(taken.type, BaseModel):
        return {"required": True, "content": {"*/*": {}}}
    return {"required": not taken.optional, "content": {JSON: {"schema": models.reference(taken.type, "validation")}}}


def _answers(bound: Binding, models: "_Models") -> dict[str, JsonSchemaValue]:
    """The successful responses by their status."""
    found: dict[str, JsonSchemaValue] = {}
    for kind in _parts(bound.returns):
        status, content = "200", {}
        if kind is type(None):
            status = "204"
        elif get_origin(kind) is Annotated and _is(get_args(kind)[0], Stream):
            content = {EVENTS: {"schema": models.events(get_args(kind)[1:])}}
        elif _is(kind, Ok):
            status = str((get_origin(kind) or kind).status)
            content = {JSON: {"schema": models.reference(get_args(kind)[0], "serialization")}}
        elif get_origin(kind) is Annotated:
            content = {get_args(kind)[1]: {}}
            found |= {str(int(other)): {"description": other.phrase} for other in get_args(kind)[2:]}
        elif _is(kind, Response):
            content = {"*/*": {}}
        else:
            content = {JSON: {"schema": models.reference(kind, "serialization")}}
        known = found.setdefault(status, {"description": HTTPStatus(int(status)).phrase})
        if content:
            known.setdefault("content", {}).update(content)
    return found


def _refusals(bound: Binding) -> set[int]:
    """The statuses with which a request may be refused, by what the route takes."""
    route, sources = bound.route, {taken.source for taken in bound.parameters}
    found = {500, 503}
    if sources & {"caller"} or "anyone" not in route.callers:
        found |= {401, 403, 429}
    if "{" in route.path:
        found |= {404}
    if sources & {"query", "header"} or "{tag}" in route.path:
        found |= {404, 422}
    if "body" in sources or bound.refuses_body:
        found |= {400, 404, 408, 413, 415, 422}
    if route.method != "GET":
        found |= {409}
    if route.method == "GET" and "{contact_id}" in route.path:
        found |= {307}
    if route.method == "GET" and "provider" in route.callers:
        found |= {405}
    if any(_is(kind, Ok) and get_args(kind)[0] is whole_answer.Answer for kind in _parts(bound.returns)):
        found |= {401, 404, 502, 503, 504}
    return found


def _parts(returns: Any) -> tuple[Any, ...]:
    """The alternatives of a return type."""
    if returns is None:
        return (type(None),)
    return get_args(returns) if get_origin(returns) in (Union, types.UnionType) else (returns,)


def _is(kind: Any, wanted: type) -> bool:
    found = get_origin(kind) or kind
    return isinstance(found, type) and issubclass(found, wanted)


# Problems.

_PROBLEM: JsonSchemaValue = {
    "type": "object",
    "description": "A refusal or failure (RFC 9457). Some codes have further members.",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string", "description": "What the code means."},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable: programs decide by it."},
        "detail": {"type": "string"},
        "retry_after": {"type": "integer", "description": "Seconds, as in Retry-After."},
        "errors": {
            "type": "array",
            "description": "The invalid fields.",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {
                    "field": {"type": "string"},
                    "message": {"type": "string"},
                    "code": {"type": "string", "description": "Stable, for common reasons (docs/api.md, Errors)."},
                    "limit": {"type": "number", "description": "Of too_short, too_long, too_small and too_large."},
                },
            },
        },
    },
}


def _problem(status: int, codes: set[str]) -> JsonSchemaValue:
    known = sorted(codes)
    schema = {"allOf": [{"$ref": f"{REF}Problem"}, {"properties": {"code": {"enum": known}}}]}
    return {
        "description": ", ".join(f"`{code}`" for code in known),
        "content": {kind: {"schema": schema} for kind in (PROBLEM_TYPE, JSON)},
    }


def _name(status: int) -> str:
    return f"Problem{status}"


# Models.


_MODES: tuple[JsonSchemaMode, ...] = ("validation", "serialization")


class _Schemas(GenerateJsonSchema):
    """Schemas with the docstrings of fields as their descriptions; a response has no null: such a member is absent."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        if self.mode == "serialization":
            return self.generate_inner(schema["schema"])
        return super().nullable_schema(schema)

    def field_is_required(
        self, field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField, total: bool
    ) -> bool:
        is_answer = self.mode == "serialization" and field["type"] == "model-field"
        return super().field_is_required(field, total) and not (is_answer and _is_nullable(field["schema"]))

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found, model = super().model_schema(schema), schema["cls"]
        found.pop("title", None)
        found["description"] = _prose(model.__doc__)
        described = _field_docs(model)
        for name, field in found.get("properties", {}).items():
            field.pop("title", None)
            if field.get("default", ...) is None:
                del field["default"]
            if name in described:
                field["description"] = described[name]
            if issubclass(model, PartialUpdate) and name not in model.nullable:
                found["properties"][name] = _without_null(field)
        return _under_their_aliases(found, model)


class _EventSchemas(_Schemas):
    """Schemas of the data of events, in which members without a value are null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return GenerateJsonSchema.nullable_schema(self, schema)

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        found = super().typed_dict_schema(schema)
        found["description"] = _prose(found.get("description"))
        for field in found["properties"].values():
            field.pop("title", None)
        return found


class _Models:
    """The schemas of all models that the handlers take and return."""

    def __init__(self, bindings: list[Binding]) -> None:
        taken = {taken.type for bound in bindings for taken in bound.parameters if taken.source == "body"}
        taken = {kind for kind in taken if _is(kind, BaseModel)}
        returned = {kind for bound in bindings for kind in _returned(bound.returns)}
        events = {kind for bound in bindings for kind in _event_data(bound.returns)}
        self.definitions: dict[str, JsonSchemaValue] = {}
        self._references: dict[tuple[Any, JsonSchemaMode], JsonSchemaValue] = {}
        self._add(_Schemas, validation=taken, serialization=returned)
        self._add(_EventSchemas, serialization=events)

    def _add(self, generator: type[_Schemas], **models: set[Any]) -> None:
        modes: Mapping[JsonSchemaMode, set[Any]] = {mode: models.get(mode, set()) for mode in _MODES}
        inputs = [((kind, mode), mode, TypeAdapter(kind).core_schema) for mode in modes for kind in modes[mode]]
        found, definitions = generator(by_alias=False, ref_template=REF + "{model}").generate_definitions(inputs)
        names = _names(definitions)
        self.definitions |= _renamed({names[name]: schema for name, schema in definitions.items()}, names)
        self._references |= {key: _renamed(schema, names) for (key, _), schema in found.items()}

    def reference(self, kind: Any, mode: JsonSchemaMode) -> JsonSchemaValue:
        """The reference to a model's schema."""
        return self._references[kind, mode]

    def events(self, encoders: Iterable[Any]) -> JsonSchemaValue:
        """A stream of server-sent events, as OpenAPI 3.2 describes them: each with its name, id and data."""
        kinds = [self._event(name, kind) for encoder in encoders for name, kind in encoder.events.items()]
        return {"description": "\n\n".join(_prose(encoder.__doc__) for encoder in encoders), "oneOf": kinds}

    def _event(self, name: str | None, kind: Any) -> JsonSchemaValue:
        """An event; one without a name is a `message`."""
        data = {"contentMediaType": JSON, "contentSchema": self.reference(kind, "serialization")} if kind else {}
        return {
            "type": "object",
            "required": ["event", "data"] if name else ["data"],
            "properties": {
                "event": {"const": name or "message"},
                "id": {"type": "string"},
                "data": {"type": "string", **data},
            },
        }

    def inline(self, model: type[BaseModel]) -> JsonSchemaValue:
        """A model's schema itself, for parameters."""
        return _Schemas(by_alias=False).generate(TypeAdapter(model).core_schema, mode="validation")


def _returned(returns: Any) -> Iterator[Any]:
    """The models that a handler returns."""
    for kind in _parts(returns):
        if _is(kind, Ok):
            yield get_args(kind)[0]
        elif get_origin(kind) is not Annotated and kind is not type(None) and not _is(kind, Response):
            yield kind


def _event_data(returns: Any) -> Iterator[Any]:
    """The data of the events that a handler streams."""
    for kind in _parts(returns):
        if get_origin(kind) is Annotated and _is(get_args(kind)[0], Stream):
            yield from (data for encoder in get_args(kind)[1:] for data in encoder.events.values() if data)


def _prose(docstring: str | None) -> str:
    """A docstring as Markdown."""
    return inspect.cleandoc(docstring or "").replace("``", "`")


def _names(definitions: Iterable[str]) -> dict[str, str]:
    """Short names: ``SessionPage`` for ``Page[Session]``, and no module where the class is the only one of its name."""
    found: dict[str, str] = {}
    for name in sorted(definitions, key=lambda name: (len(name), name)):
        short = re.sub(r"^(?:\w+__)?Page_(?:\w+__)?_?(\w+?)_$", r"\1Page", name).removesuffix("-Output")
        short = re.sub(r"^\w+__(\w+)__(\w+?)$", r"\2", short).replace("-Input", "Input").lstrip("_")
        if short in found.values():
            module = name.split("__")[-2] if "__" in name else "other"
            short = f"{module.title().replace('_', '')}{short}"
        found[name] = short
    return found


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, dict):
        return {
            key: REF + names[value.removeprefix(REF)] if key == "$ref" else _renamed(value, names)
            for key, value in schema.items()
        }
    return [_renamed(value, names) for value in schema] if isinstance(schema, list) else schema


def _without_null(field: JsonSchemaValue) -> JsonSchemaValue:
    """A schema without null, which the server refuses there, and without a default of null."""
    kept = {name: value for name, value in field.items() if name != "anyOf"}
    options = [option for option in field.get("anyOf", []) if option != {"type": "null"}]
    return {**kept, **(options[0] if len(options) == 1 else {"anyOf": options})} if options else kept


def _under_their_aliases(schema: JsonSchemaValue, model: type[BaseModel]) -> JsonSchemaValue:
    """The schema of a model with the names of fields that have one of their own, such as `from`."""
    own = {name: field.alias for name, field in model.model_fields.items() if field.alias not in (None, to_camel(name))}
    for part, value in schema.items():
        if part == "properties":
            schema[part] = {own.get(name) or name: field for name, field in value.items()}
        elif part == "required":
            schema[part] = [own.get(name) or name for name in value]
    return schema


def _is_nullable(schema: Mapping[str, Any]) -> bool:
    while schema["type"] != "nullable":
        if "schema" not in schema:
            return False
        schema = schema["schema"]
    return True


def _field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings below the fields of a model and its bases."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls is BaseModel or "[" in cls.__name__:
            continue
        found |= _own_field_docs(cls)
    return found


@functools.cache
def _own_field_docs(cls: type[BaseModel]) -> Mapping[str, str]:
    """Those of one class. Many models share bases, and a class's source takes long to find."""
    found: dict[str, str] = {}
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    for field, doc in itertools.pairwise(declared.body if isinstance(declared, ast.ClassDef) else ()):
        match field, doc:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(_prose(text).split())
    return found
