"""A connection that sends its head slowly is closed; a slow body, a slow answer and a second request are not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState
from uvicorn_worker import UvicornWorker

from lib.http.header_timeout import HEADER_SECONDS, HeaderTimeoutProtocol

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"
SECONDS = 0.4


class Quick(HeaderTimeoutProtocol):
    """The protocol with a limit that a test can wait for."""

    header_seconds = SECONDS


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await asyncio.sleep(2 * SECONDS)
    await Response(body)(scope, receive, send)


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    """The port of a server with the quick limit."""
    config = uvicorn.Config(answer, ws="none", lifespan="off", log_level="error")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: Quick(config, state, {}), "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("before", [b"", HEAD + b"ok"])
async def test_a_head_that_comes_slowly_ends_the_connection(port: int, before: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        if before:
            writer.write(before)
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200")
        writer.write(HEAD[:1])
        for byte in HEAD[1:]:
            # A byte now and then is not progress.
            if reader.at_eof():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(SECONDS / 8)
        with contextlib.suppress(ConnectionResetError):  # a byte arrived after the end
            assert await reader.read() == b""
    writer.close()


async def test_a_body_and_an_answer_may_take_longer(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        for part in (HEAD, b"o", b"k"):
            writer.write(part)
            await asyncio.sleep(1.5 * SECONDS)
        assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200")
    writer.close()


def test_the_functions_are_served_with_the_limit() -> None:
    import functions.worker.main  # noqa: F401, PLC0415

    assert UvicornWorker.CONFIG_KWARGS["http"] is HeaderTimeoutProtocol
    assert HEADER_SECONDS == 20
