from uuid import UUID, uuid4

import pytest

from lib import errors, routes
from lib.http import cors
from tests.unit.sql_functions import SqlFunctions, raised

SPACE_ROUTE = next(route for route in routes.ROUTES if route.origins == "space")
TURN_ROUTE = next(route for route in routes.ROUTES if route.origins == "any")
CRON_ROUTE = next(route for route in routes.ROUTES if route.origins == "none")
PAGE = "https://shop.example"


@pytest.fixture
def space(sql: SqlFunctions) -> UUID:
    """A space that lists the page."""
    sql.functions["space_origins"] = lambda _: {"origins": ["https://Shop.example/", "https://other.example"]}
    return uuid4()


async def test_a_listed_origin_is_answered_with_itself(space: UUID) -> None:
    headers = await cors.headers(SPACE_ROUTE, space, PAGE)
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert headers["Vary"] == "Origin"


async def test_another_origin_gets_nothing_but_the_hint_for_caches(space: UUID) -> None:
    assert await cors.headers(SPACE_ROUTE, space, "https://evil.example") == {"Vary": "Origin"}
    assert await cors.headers(SPACE_ROUTE, space, "null") == {"Vary": "Origin"}
    assert await cors.headers(SPACE_ROUTE, space, "https://shop.example.evil.example") == {"Vary": "Origin"}


async def test_a_preflight_names_the_method_and_the_headers(space: UUID) -> None:
    headers = await cors.preflight(SPACE_ROUTE, space, PAGE)
    assert headers["Access-Control-Allow-Methods"] == "POST"
    assert "authorization" in headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in headers
    with pytest.raises(errors.OriginNotAllowed):
        await cors.preflight(SPACE_ROUTE, space, "https://evil.example")


async def test_a_space_open_to_all_says_so(space: UUID, sql: SqlFunctions) -> None:
    sql.functions["space_origins"] = lambda _: {"origins": ["*"]}
    assert (await cors.headers(SPACE_ROUTE, space, PAGE))["Access-Control-Allow-Origin"] == "*"


async def test_a_space_is_asked_once_a_minute(space: UUID, sql: SqlFunctions) -> None:
    for origin in (PAGE, PAGE, "https://evil.example"):
        await cors.headers(SPACE_ROUTE, space, origin)
    assert sql.names() == ["space_origins"]
    assert sql.calls[0].arguments == {"space_id": str(space)}


async def test_an_unknown_space_allows_nobody(sql: SqlFunctions) -> None:
    sql.functions["space_origins"] = lambda _: raised("PT404", "space_not_found")
    assert await cors.headers(SPACE_ROUTE, uuid4(), PAGE) == {"Vary": "Origin"}
    assert await cors.headers(SPACE_ROUTE, None, PAGE) == {"Vary": "Origin"}


async def test_the_old_list_stands_while_the_database_is_away(
    space: UUID, sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cors.headers(SPACE_ROUTE, space, PAGE)
    monkeypatch.setattr(cors, "_spaces", {space: cors._Known(cors._spaces[space].origins, until=0)})
    sql.functions["space_origins"] = lambda _: raised("57P03", "no schema cache")
    assert (await cors.headers(SPACE_ROUTE, space, PAGE))["Access-Control-Allow-Origin"] == PAGE
    assert await cors.headers(SPACE_ROUTE, uuid4(), PAGE) == {"Vary": "Origin"}


async def test_where_a_token_decides_any_page_may_call() -> None:
    assert (await cors.headers(TURN_ROUTE, None, PAGE))["Access-Control-Allow-Origin"] == "*"


async def test_what_the_database_calls_is_for_no_page() -> None:
    assert await cors.headers(CRON_ROUTE, None, PAGE) == {}
    with pytest.raises(errors.OriginNotAllowed):
        await cors.preflight(CRON_ROUTE, None, PAGE)
