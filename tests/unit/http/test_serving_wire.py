"""The server's protocol at the wire: nothing is lost, late or out of order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn_worker import UvicornWorker

from lib import routes
from lib.http import app as http
from lib.http.serving import Gathering, Protocol
from tests.unit.conftest import serving

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


class Writes(asyncio.Transport):
    """A transport that remembers what is written and done."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Any] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.done.append(bytes(data))

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")

    def is_closing(self) -> bool:
        return "close" in self.done or "abort" in self.done

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.done.append(protocol)


async def test_writes_of_one_round_are_one_and_precede_a_close_or_another_protocol() -> None:
    transport = Writes()
    gathering, protocol = Gathering(transport), asyncio.Protocol()
    for piece in (b"head", bytearray(b" and "), memoryview(b"body")):
        gathering.write(piece)
    assert transport.done == []
    await asyncio.sleep(0)
    gathering.write(b"to the old one")
    gathering.set_protocol(protocol)
    gathering.write(b"farewell")
    gathering.close()
    gathering.write(b"too late")
    await asyncio.sleep(0)
    assert transport.done == [b"head and body", b"to the old one", protocol, b"farewell", "close"]


async def test_an_abort_writes_nothing_more() -> None:
    transport = Writes()
    gathering = Gathering(transport)
    gathering.write(b"unsaid")
    gathering.abort()
    await asyncio.sleep(0)
    assert transport.done == ["abort"]


@contextlib.asynccontextmanager
async def connected(app: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with serving(app) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        try:
            yield reader, writer
        finally:
            writer.close()


async def test_a_slow_reader_is_waited_for_and_gets_everything() -> None:
    piece, count, sent = b"x" * 65_536, 300, 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(HEAD)
        for _ in range(count):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent += 1
        await send({"type": "http.response.body", "body": b""})

    async with connected(app) as (reader, writer), asyncio.timeout(20):
        writer.write(REQUEST)
        heard = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        assert sent < count
        while not heard.endswith(b"\r\n0\r\n\r\n"):
            heard += await reader.read(2**20)
    assert heard.count(piece) == count


async def test_requests_on_one_connection_are_answered_in_turn() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(HEAD)
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async with connected(app) as (reader, writer), asyncio.timeout(20):
        writer.write(b"".join(REQUEST.replace(b"/ ", b"/%d " % number) for number in range(5)))
        for number in range(5):
            assert b"/%d" % number in await reader.readuntil(b"0\r\n\r\n")


@pytest.mark.parametrize("said", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
async def test_an_invalid_request_is_refused_and_its_connection_closed(said: bytes) -> None:
    async with connected(no_app) as (reader, writer):
        writer.write(said)
        assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 400 ")


def test_it_serves_on_the_loop_of_production_and_under_functions_framework() -> None:
    uvloop.run(test_a_slow_reader_is_waited_for_and_gets_everything())
    uvloop.run(test_requests_on_one_connection_are_answered_in_turn())
    http.function("worker", {route.name: uncalled for route in routes.of("worker")})
    config = uvicorn.Config(no_app, interface="asgi3", http=UvicornWorker.CONFIG_KWARGS["http"])
    config.load()
    assert config.http_protocol_class is Protocol


async def uncalled(_: Any) -> Any:
    raise AssertionError


async def no_app(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError
