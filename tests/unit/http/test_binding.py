"""A handler gets what its signature declares, and a request that does not fit is refused in a fixed order."""

from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from pydantic import Field
from starlette.requests import Request

from lib import errors
from lib.auth.callers import Caller, Contact, System, User
from lib.fields.models import Body
from lib.http import binding
from lib.http.binding import OPTIONAL, Header, Query, ReadBy
from lib.routes import CallerKind, Route
from tests.unit.auth.test_callers import contact_claims, hs256, user_claims
from tests.unit.conftest import CRON_SECRET
from tests.unit.http import test_request_body

SPACE = uuid4()


class Given(Body):
    number: int = 7
    several: tuple[int, ...] = ()


class Named(Body):
    tag: str = Field(max_length=3)


async def text(request: Request, _: Caller) -> str:
    return (await request.body()).decode()


def asked(body: bytes = b"", query: str = "", path: dict[str, str] | None = None, **headers: str) -> Request:
    if body:
        headers = {"content-type": "application/json", "content-length": str(len(body))} | headers
    request = test_request_body.request([body], headers)
    request.scope.update(
        {"query_string": query.encode(), "path_params": path or {"space_id": str(SPACE), "tag": "vip"}}
    )
    return request


async def answer(handler: Any, request: Request, method: str = "POST", *kinds: CallerKind) -> Any:
    """What the handler returns, or the code of the refusal."""
    route = Route("chat", "x", method, "/x/{space_id}/{tag}", kinds or ("anyone",))
    bound = binding.bind(route, handler)
    try:
        return await bound.call(request, await bound.caller(request))
    except errors.Problem as problem:
        return problem.code


async def takes(request: Request, caller: Caller, space_id: UUID, tag: str, given: Given) -> Any:
    return request.method, type(caller).__name__, space_id, tag, given.number


async def takes_all(
    given: Given, query: Annotated[Given, Query()], last_event_id: Annotated[str | None, Header()], named: Named
) -> Any:
    return given.number, query.number, query.several, last_event_id, named.tag


async def may_take(given: Given = OPTIONAL) -> int:
    return given.number


async def takes_nothing() -> int:
    return 0


async def reads_text(said: Annotated[str, ReadBy(text)]) -> str:
    return said


@pytest.mark.parametrize(
    ("handler", "method", "request_of", "returned"),
    [
        (takes, "POST", {"body": b'{"number": 1}'}, ("POST", "Anonymous", SPACE, "vip", 1)),
        (takes, "GET", {"query": "number=2"}, ("POST", "Anonymous", SPACE, "vip", 2)),
        (takes, "POST", {"path": {"space_id": "x", "tag": "vip"}}, "space_not_found"),
        (takes, "POST", {}, "unsupported_media_type"),
        (takes_all, "PUT", {"body": b"{}", "query": "number=1&several=1&number=2&several=2", "last-event-id": "9"},
         (7, 2, (1, 2), "9", "vip")),
        (takes_all, "PUT", {"body": b"{", "query": "number=x"}, "invalid_body"),
        (takes_all, "PUT", {"body": b"{", "path": {"tag": "long"}}, "invalid_body"),
        (takes_all, "PUT", {"body": b"{"}, "invalid_json"),
        (may_take, "POST", {}, 7),
        (may_take, "POST", {"body": b'{"number": 8}'}, 8),
        (takes_nothing, "POST", {}, 0),
        (takes_nothing, "POST", {"body": b"{}"}, 0),
        (takes_nothing, "POST", {"body": b'{"number": 8}'}, "invalid_body"),
        (takes_nothing, "DELETE", {"body": b'{"number": 8}'}, 0),
        (reads_text, "POST", {"body": b"hello"}, "hello"),
    ],
)  # fmt: skip
async def test_a_parameter_has_its_part_of_the_request(
    handler: Any, method: str, request_of: dict[str, Any], returned: Any
) -> None:
    assert await answer(handler, asked(**request_of), method) == returned


async def for_users(caller: Contact | User | System, space_id: UUID, given: Given) -> str:
    return type(caller).__name__


@pytest.mark.parametrize(
    ("kinds", "token", "returned"),
    [
        (("user",), None, "token_missing"),
        (("user",), "nonsense", "token_invalid"),
        (("user",), "contact", "forbidden"),
        (("user",), "cron", "token_invalid"),
        (("user",), "user", "space_not_found"),
        (("contact",), "user", "forbidden"),
        (("contact", "user"), "contact", "space_not_found"),
        (("user", "cron"), "cron", "space_not_found"),
        (("user", "cron"), "contact", "forbidden"),
        (("cron",), "user", "secret_invalid"),
        (("cron",), None, "secret_invalid"),
    ],
)
async def test_the_route_tables_callers_are_refused_before_ids_and_bodies(
    kinds: tuple[CallerKind, ...], token: str | None, returned: str
) -> None:
    user, contact = hs256(user_claims()), hs256(contact_claims())
    known = {"user": user, "contact": contact, "cron": CRON_SECRET, "nonsense": "x"}
    headers = {} if token is None else {"authorization": f"Bearer {known[token]}"}
    request = asked(b"{", path={"space_id": "x"}, **headers)
    assert await answer(for_users, request, "POST", *kinds) == returned


async def test_a_route_for_anyone_that_takes_no_caller_reads_no_token() -> None:
    assert await answer(takes_nothing, asked(authorization="Bearer x")) == 0


async def unclear(count: int) -> None: ...


async def too_narrow(user: User) -> None: ...


@pytest.mark.parametrize("handler", [unclear, too_narrow])
async def test_a_signature_that_does_not_fit_its_route_is_refused_at_the_start(handler: Any) -> None:
    with pytest.raises(TypeError, match="x"):
        await answer(handler, asked(), "POST", "contact", "user")
