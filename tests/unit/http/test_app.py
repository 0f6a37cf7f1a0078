import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio
from pydantic import BaseModel
from starlette.requests import Request

from lib import errors, routes
from lib.fields import models, types
from lib.http import app
from lib.http.binding import Handler
from tests.unit.conftest import app_of, serving
from tests.unit.sql_functions import SqlFunctions

# Not a new one: it is part of the names of tests, which every process must give alike.
SHOP = "https://shop.example"
SPACE = UUID("5f0c3f7e-93a1-4be5-8a55-0c1b7f0f3f5d")


class Said(models.Body):
    message: types.Message


class Answer(BaseModel):
    message: str
    nothing: str | None = None


async def stream_chat(space_id: UUID, said: Said) -> app.Created[Answer]:
    """Stands for the handler that a test puts in its place."""
    match said.message:
        case "not found":
            raise errors.NotFound("persona")
        case "too many":
            raise errors.Refused(429, "rate_limited", retry_after=3)
        case "break":
            raise RuntimeError("the secret of the house")
        case _:
            return app.Created(Answer(message=said.message))


async def look(request: Request) -> Answer:
    """Answers a model."""
    return Answer(message=request.path_params["space_id"].lower())


HANDLERS: dict[str, Handler] = {route.name: look for route in routes.of("chat")} | {"stream_chat": stream_chat}


@pytest_asyncio.fixture
async def client(sql: SqlFunctions) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a chat function with the handlers above, over a real socket."""
    sql.functions["space_origins"] = lambda _: {"origins": [SHOP]}
    function = app.function("chat", HANDLERS)
    async with serving(app_of(function)) as origin, aiohttp.ClientSession(origin) as session:
        yield session


PATH = f"/space/{SPACE}/chat/stream"


async def code_of(answer: aiohttp.ClientResponse) -> str:
    """The code of a problem document."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(await answer.read())
    assert (document["status"], document["type"]) == (answer.status, "about:blank")
    assert document["title"]
    assert "secret" not in json.dumps(document)
    return str(document["code"])


async def test_a_model_is_answered_without_empty_members_also_under_api(client: aiohttp.ClientSession) -> None:
    async with client.get(f"/api/space/{str(SPACE).upper()}/look") as answer:
        assert (answer.status, await answer.json()) == (200, {"message": str(SPACE)})


@pytest.mark.parametrize(
    "path",
    [
        "/", "/space", f"/space/{SPACE}/chat/stream/", "/api/api" + PATH, "/space//chat/stream",
        *(f"/space/{no_id}/chat/stream" for no_id in (
            "x", "1", str(SPACE)[:-1], f"{{{SPACE}}}", f"urn:uuid:{SPACE}", SPACE.hex, "%00", "..%2f..", "é",
        )),
    ],
)  # fmt: skip
async def test_an_unknown_path_or_id_is_not_found(client: aiohttp.ClientSession, path: str) -> None:
    async with client.post(path, json={"message": "hello"}) as answer:
        assert answer.status == 404
        assert await code_of(answer) in ("space_not_found", "not_found")


@pytest.mark.parametrize(
    ("message", "status", "code", "retry_after"),
    [
        ("not found", 404, "persona_not_found", None),
        ("too many", 429, "rate_limited", "3"),
        ("break", 500, "internal_error", None),
    ],
)
async def test_an_error_of_a_handler_is_a_problem_and_only_an_unexpected_one_is_logged(
    client: aiohttp.ClientSession, log_lines: list[Any], message: str, status: int, code: str, retry_after: str | None
) -> None:
    async with client.post(PATH, json={"message": message}) as answer:
        assert (answer.status, await code_of(answer)) == (status, code)
        assert answer.headers.get("retry-after") == retry_after
    unexpected = [line["traceback"] for line in log_lines if line["event"] == "unexpected_error"]
    assert ["RuntimeError" in traceback for traceback in unexpected] == [True] * (message == "break")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", app.PROBLEM_TYPE), ("text/event-stream", app.PROBLEM_TYPE), ("application/json", "application/json"),
        ("Application/JSON, text/plain, */*", "application/json"),
        ("application/problem+json, application/json", app.PROBLEM_TYPE),
    ],
)  # fmt: skip
async def test_a_problem_has_the_type_that_its_caller_parses(
    client: aiohttp.ClientSession, accept: str, media_type: str
) -> None:
    async with client.post(PATH, json={"message": "not found"}, headers={"Accept": accept}) as answer:
        assert (answer.status, answer.headers["content-type"]) == (404, media_type)
        assert (await answer.json(content_type=None))["code"] == "persona_not_found"


async def test_every_answer_has_the_id_of_its_request(client: aiohttp.ClientSession) -> None:
    async with client.post(PATH, json={"message": "a"}, headers={"x-request-id": "request-17"}) as answer:
        assert answer.headers["x-request-id"] == "request-17"


async def test_a_request_is_logged_without_its_content(
    client: aiohttp.ClientSession, log_lines: list[dict[str, Any]]
) -> None:
    headers = {"authorization": "Bearer hunter3"}
    async with client.post(PATH, json={"message": "my password is hunter2"}, headers=headers):
        pass
    line = next(line for line in log_lines if line["event"] == "request")
    assert (line["function"], line["route"], line["method"], line["status"]) == ("chat", "stream_chat", "POST", 201)
    assert line["milliseconds"] >= 0
    assert "hunter" not in json.dumps(log_lines)


@pytest.mark.parametrize(
    ("page", "message", "allowed"),
    [
        *((SHOP, message, SHOP) for message in ("hello", "not found", "break")),
        ("https://evil.example", "hello", None),
        ("null", "hello", None),
    ],
)
async def test_only_a_page_of_the_space_may_call_and_read_answers_and_errors(
    client: aiohttp.ClientSession, page: str, message: str, allowed: str | None
) -> None:
    async with client.post(PATH, json={"message": message}, headers={"origin": page}) as answer:
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.headers["vary"] == "Origin"
    for method, status, shown in (("POST", 204 if allowed else 403, allowed), ("DELETE", 405, None)):
        preflight = {"origin": page, "access-control-request-method": method}
        async with client.options(PATH, headers=preflight) as answer:
            assert (answer.status, answer.headers.get("access-control-allow-origin")) == (status, shown)


async def raw(client: aiohttp.ClientSession, head: str, *body: bytes) -> tuple[int, Any]:
    """Send bytes as they are: the status and the document, or its code."""
    base = client._base_url
    assert base is not None
    reader, writer = await asyncio.open_connection(base.host, base.port)
    with contextlib.closing(writer):
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}\r\n\r\n".encode())
        writer.writelines(body)
        await writer.drain()
        answer_head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer_head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        document = json.loads(await reader.readexactly(length))
    return int(answer_head.split()[1]), document.get("code", document)


CHUNKED = "Transfer-Encoding: chunked"
SPACES = b"4000\r\n" + b" " * 0x4000 + b"\r\n"


@pytest.mark.parametrize(
    ("head", "body", "answer"),
    [
        (
            CHUNKED,
            [b'5\r\n{"mes\r\n', b'e\r\nsage": "hello"\r\n', b"2\r\n} \r\n0\r\n\r\n"],
            (201, {"message": "hello"}),
        ),
        (CHUNKED, [SPACES] * 17, (413, "body_too_large")),
        (f"Content-Length: {10**12}", [], (413, "body_too_large")),
        ("Content-Length: 5000000\r\nExpect: 100-continue", [], (413, "body_too_large")),
        ("Connection: close", [], (400, "invalid_json")),
    ],
    ids=["chunked", "chunked without end", "a huge length", "asks before sending", "no length"],
)
async def test_a_body_is_read_up_to_its_limit(
    client: aiohttp.ClientSession, head: str, body: list[bytes], answer: Any
) -> None:
    assert await raw(client, head, *body) == answer


@pytest.mark.parametrize("declared", [True, False])
async def test_a_sender_that_does_not_read_yet_learns_that_its_body_is_too_large(
    client: aiohttp.ClientSession, declared: bool
) -> None:
    """As Node's fetch and Python's http.client send: from a connection that is reset they would read nothing."""
    port = client._base_url.port  # type: ignore[union-attr]

    def post() -> tuple[int, Any]:
        with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            body: Any = b" " * 5_000_000 if declared else iter([b" " * 50_000] * 100)
            connection.request("POST", PATH, body, {"Content-Type": "application/json"}, encode_chunked=not declared)
            answer = connection.getresponse()
            refusal = answer.status, json.loads(answer.read())["code"]
            # Nothing of it is left over.
            connection.request("POST", PATH, '{"message": "hello"}', {"Content-Type": "application/json"})
            return connection.getresponse().status, refusal

    assert await asyncio.to_thread(post) == (201, (413, "body_too_large"))


def test_handlers_and_table_must_agree() -> None:
    with pytest.raises(ValueError, match="chat"):
        app.function("chat", {"stream_chat": stream_chat})


def test_a_function_does_not_start_without_its_settings(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRON_SECRET")
    configure()
    with pytest.raises(errors.ConfigError, match="CRON_SECRET"):
        app.function("chat", HANDLERS)
