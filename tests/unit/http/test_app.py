import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from lib import errors, routes
from lib.fields import models, types
from lib.http import app, request_body
from tests.unit.conftest import app_of, serving
from tests.unit.sql_functions import SqlFunctions

# Not a new one: it is part of the names of tests, which every process must give alike.
SPACE = UUID("5f0c3f7e-93a1-4be5-8a55-0c1b7f0f3f5d")


class Said(models.Body):
    message: types.Message


class Answer(BaseModel):
    message: str
    nothing: str | None = None


async def stream(request: Request) -> Response:
    """Stands for the handler that a test puts in its place."""
    app.path_id(request, "space_id")
    said = await request_body.read(request, Said)
    match said.message:
        case "not found":
            raise errors.NotFound("persona")
        case "too many":
            raise errors.Refused(429, "rate_limited", retry_after=3)
        case "break":
            raise RuntimeError("the secret of the house")
        case _:
            return app.created(Answer(message=said.message))


async def resume(request: Request) -> Answer:
    """Answers a model."""
    return Answer(message=str(app.path_id(request, "turn_id")))


HANDLERS: dict[str, app.Handler] = {route.name: resume for route in routes.of("chat")} | {"stream": stream}


@pytest_asyncio.fixture
async def client(sql: SqlFunctions) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a chat function with the handlers above, over a real socket."""
    sql.functions["space_origins"] = lambda _: {"origins": ["https://shop.example"]}
    function = app.function("chat", HANDLERS)
    async with serving(app_of(function)) as origin, aiohttp.ClientSession(origin) as session:
        yield session


PATH = f"/space/{SPACE}/chat/stream"


async def problem(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(await answer.read())
    assert document["status"] == answer.status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert isinstance(document, dict)
    return document


async def test_a_model_is_answered_without_what_it_lacks(client: aiohttp.ClientSession) -> None:
    turn = uuid4()
    async with client.get(f"/turns/{turn}/stream") as answer:
        assert answer.status == 200
        assert await answer.json() == {"message": str(turn)}


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_a_route_answers_with_and_without_the_prefix(client: aiohttp.ClientSession, prefix: str) -> None:
    async with client.post(prefix + PATH, json={"message": "hello"}) as answer:
        assert answer.status == 201
        assert await answer.json() == {"message": "hello"}


@pytest.mark.parametrize(
    "path", ["/", "/space", f"/space/{SPACE}/chat/stream/", "/api/api" + PATH, "/space//chat/stream"]
)
async def test_an_unknown_address_is_not_found(client: aiohttp.ClientSession, path: str) -> None:
    async with client.post(path) as answer:
        assert answer.status == 404
        assert (await problem(answer))["code"] == "not_found"


@pytest.mark.parametrize(
    "space_id", ["x", "1", str(SPACE)[:-1], f"{{{SPACE}}}", f"urn:uuid:{SPACE}", SPACE.hex, "%00", "..%2f..", "é"]
)
async def test_what_is_no_id_is_a_space_that_does_not_exist(client: aiohttp.ClientSession, space_id: str) -> None:
    async with client.post(f"/space/{space_id}/chat/stream", json={"message": "hello"}) as answer:
        assert answer.status == 404
        assert (await problem(answer))["code"] in ("space_not_found", "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_a_wrong_method_is_refused_with_the_right_one(client: aiohttp.ClientSession, method: str) -> None:
    async with client.request(method, PATH) as answer:
        assert answer.status == 405
        assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("message", "status", "code"), [("not found", 404, "persona_not_found"), ("too many", 429, "rate_limited")]
)
async def test_what_a_handler_raises_is_a_problem(
    client: aiohttp.ClientSession, message: str, status: int, code: str
) -> None:
    async with client.post(PATH, json={"message": message}) as answer:
        assert answer.status == status
        assert (await problem(answer))["code"] == code
        assert answer.headers.get("retry-after") == ("3" if status == 429 else None)


async def test_what_nobody_expected_is_logged_and_not_shown(
    client: aiohttp.ClientSession, log_lines: list[dict[str, Any]]
) -> None:
    async with client.post(PATH, json={"message": "break"}, headers={"x-request-id": "request-17"}) as answer:
        assert answer.status == 500
        document = await problem(answer)
    assert document["code"] == "internal_error"
    assert "secret" not in json.dumps(document)
    logged = next(line for line in log_lines if line["event"] == "unexpected_error")
    assert "RuntimeError" in logged["traceback"]


async def test_every_answer_names_its_request(client: aiohttp.ClientSession) -> None:
    async with client.post(PATH, json={"message": "a"}, headers={"x-request-id": "request-17"}) as answer:
        assert answer.headers["x-request-id"] == "request-17"
    async with client.post("/nowhere", headers={"x-request-id": "bad id"}) as answer:
        assert len(answer.headers["x-request-id"]) == 16


async def test_a_request_is_logged_without_what_it_says(
    client: aiohttp.ClientSession, log_lines: list[dict[str, Any]]
) -> None:
    async with client.post(
        PATH, json={"message": "my password is hunter2"}, headers={"authorization": "Bearer hunter3"}
    ):
        pass
    line = next(line for line in log_lines if line["event"] == "request")
    assert (line["function"], line["route"], line["method"], line["status"]) == ("chat", "stream", "POST", 201)
    assert line["milliseconds"] >= 0
    assert "hunter" not in json.dumps(log_lines)


async def test_a_page_of_the_space_may_read_answers_and_errors(client: aiohttp.ClientSession) -> None:
    for message in ("hello", "not found", "break"):
        async with client.post(PATH, json={"message": message}, headers={"origin": "https://shop.example"}) as answer:
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"
            assert answer.headers["vary"] == "Origin"


async def test_another_page_may_read_nothing(client: aiohttp.ClientSession) -> None:
    async with client.post(PATH, json={"message": "a"}, headers={"origin": "https://evil.example"}) as answer:
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "status"), [("https://shop.example", 204), ("https://evil.example", 403), ("null", 403)]
)
async def test_a_preflight_is_answered_by_the_spaces_list(
    client: aiohttp.ClientSession, origin: str, status: int
) -> None:
    headers = {"origin": origin, "access-control-request-method": "POST"}
    async with client.options(PATH, headers=headers) as answer:
        assert answer.status == status
        allowed = answer.headers.get("access-control-allow-origin")
        assert allowed == (origin if status == 204 else None)


async def test_a_preflight_for_a_method_that_is_not_there_is_refused(client: aiohttp.ClientSession) -> None:
    headers = {"origin": "https://shop.example", "access-control-request-method": "DELETE"}
    async with client.options(PATH, headers=headers) as answer:
        assert answer.status == 405


async def raw(client: aiohttp.ClientSession, head: str, *body: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes as they are and read the answer, as no proper client would."""
    base = client._base_url
    assert base is not None
    reader, writer = await asyncio.open_connection(base.host, base.port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
    for piece in body:
        writer.write(piece)
    await writer.drain()
    status = int((await reader.readline()).split()[1])
    headers = {}
    while (line := (await reader.readline()).decode().strip()) != "":
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    content = await reader.readexactly(int(headers["content-length"]))
    writer.close()
    return status, json.loads(content)


JSON_HEAD = "Content-Type: application/json\r\n"


async def test_a_chunked_body_is_read(client: aiohttp.ClientSession) -> None:
    status, document = await raw(
        client,
        JSON_HEAD + "Transfer-Encoding: chunked",
        b'5\r\n{"mes\r\n',
        b'e\r\nsage": "hello"\r\n',
        b"2\r\n} \r\n0\r\n\r\n",
    )
    assert (status, document) == (201, {"message": "hello"})


async def test_a_chunked_body_without_end_is_cut_off_at_the_limit(client: aiohttp.ClientSession) -> None:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    status, document = await raw(client, JSON_HEAD + "Transfer-Encoding: chunked", *[chunk] * 17)
    assert (status, document["code"]) == (413, "body_too_large")


async def test_a_huge_declared_body_is_refused_before_it_is_sent(client: aiohttp.ClientSession) -> None:
    status, document = await raw(client, JSON_HEAD + f"Content-Length: {10**12}")
    assert (status, document["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("declared", [True, False])
async def test_who_writes_much_before_reading_is_told_that_it_is_too_much(
    client: aiohttp.ClientSession, declared: bool
) -> None:
    """As Node's fetch and Python's http.client do: of a connection that is reset they would read nothing."""
    port = client._base_url.port  # type: ignore[union-attr]

    def post() -> tuple[int, Any]:
        with contextlib.closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            body: Any = b" " * 5_000_000 if declared else iter([b" " * 50_000] * 100)
            connection.request("POST", PATH, body, {"Content-Type": "application/json"}, encode_chunked=not declared)
            answer = connection.getresponse()
            refusal = answer.status, json.loads(answer.read())["code"]
            # Nothing of it was left over.
            connection.request("POST", PATH, '{"message": "hello"}', {"Content-Type": "application/json"})
            return connection.getresponse().status, refusal

    assert await asyncio.to_thread(post) == (201, (413, "body_too_large"))


async def test_who_asks_before_sending_too_much_need_not_send_it(client: aiohttp.ClientSession) -> None:
    status, document = await raw(client, JSON_HEAD + "Content-Length: 5000000\r\nExpect: 100-continue")
    assert (status, document["code"]) == (413, "body_too_large")


async def test_no_length_is_an_empty_body(client: aiohttp.ClientSession) -> None:
    status, document = await raw(client, JSON_HEAD + "Connection: close")
    assert (status, document["code"]) == (400, "invalid_json")


async def test_a_sender_who_breaks_off_harms_nobody(client: aiohttp.ClientSession) -> None:
    base = client._base_url
    assert base is not None
    _, writer = await asyncio.open_connection(base.host, base.port)
    writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{JSON_HEAD}Content-Length: 100\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()
    async with client.post(PATH, json={"message": "hello"}) as answer:
        assert answer.status == 201


def test_handlers_and_table_must_agree() -> None:
    with pytest.raises(ValueError, match="chat"):
        app.function("chat", {"stream": stream})


def test_a_function_does_not_start_without_its_settings(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRON_SECRET")
    configure()
    with pytest.raises(errors.ConfigError, match="CRON_SECRET"):
        app.function("chat", HANDLERS)


def test_an_id_is_read_from_the_path() -> None:
    turn = UUID(int=7)
    request = Request({"type": "http", "path_params": {"turn_id": str(turn).upper()}})
    assert app.path_id(request, "turn_id") == turn
