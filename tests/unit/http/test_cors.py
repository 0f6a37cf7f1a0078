from typing import Any
from uuid import UUID, uuid4

import pytest

from lib import errors, routes
from lib.http import cors
from tests.unit.sql_functions import SqlFunctions, raised

SPACE_ROUTE, TURN_ROUTE, CRON_ROUTE = (
    next(route for route in routes.ROUTES if route.origins == origins) for origins in ("space", "any", "none")
)
PAGE, EVIL = "https://shop.example", "https://evil.example"
HINT = {"Vary": "Origin"}
"""The hint for caches, which every answer of a space has."""


@pytest.fixture
def space(sql: SqlFunctions) -> UUID:
    """A space that lists the page."""
    sql.functions["space_origins"] = lambda _: {"origins": ["https://Shop.example/", "https://other.example"]}
    return uuid4()


async def allowed(route: routes.Route, space: UUID | None, page: str) -> Any:
    """The page that may read the answer."""
    return (await cors.headers(route, space, page)).get("Access-Control-Allow-Origin")


async def test_only_a_listed_page_may_call_and_the_space_is_asked_once(space: UUID, sql: SqlFunctions) -> None:
    assert (await cors.headers(SPACE_ROUTE, space, PAGE))["Vary"] == "Origin"
    assert await allowed(SPACE_ROUTE, space, PAGE) == PAGE
    for page in (EVIL, "null", "https://shop.example.evil.example"):
        assert await cors.headers(SPACE_ROUTE, space, page) == HINT
        with pytest.raises(errors.OriginNotAllowed):
            await cors.preflight(SPACE_ROUTE, space, page)
    assert [call.arguments for call in sql.calls] == [{"space_id": str(space)}]


async def test_a_space_open_to_all_allows_any_page(space: UUID, sql: SqlFunctions) -> None:
    sql.functions["space_origins"] = lambda _: {"origins": ["*"]}
    assert await allowed(SPACE_ROUTE, space, PAGE) == "*"


async def test_an_unknown_space_allows_no_page(sql: SqlFunctions) -> None:
    sql.functions["space_origins"] = lambda _: raised("PT404", "space_not_found")
    assert await cors.headers(SPACE_ROUTE, uuid4(), PAGE) == HINT
    assert await cors.headers(SPACE_ROUTE, None, PAGE) == HINT


async def test_the_last_list_counts_while_the_database_is_away(
    space: UUID, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cors.headers(SPACE_ROUTE, space, PAGE)
    monkeypatch.setattr(cors, "_spaces", {space: cors._Known(cors._spaces[space].origins, until=0)})
    sql.functions["space_origins"] = lambda _: raised("57P03", "no")
    assert await allowed(SPACE_ROUTE, space, PAGE) == PAGE
    assert await allowed(SPACE_ROUTE, uuid4(), PAGE) is None


async def test_a_route_with_a_token_allows_any_page_and_one_of_the_database_none() -> None:
    assert await allowed(TURN_ROUTE, None, PAGE) == "*"
    assert await cors.headers(CRON_ROUTE, None, PAGE) == {}
    with pytest.raises(errors.OriginNotAllowed):
        await cors.preflight(CRON_ROUTE, None, PAGE)
