"""The HTTP clients that bench/clients.py compares, each making the same call; run by it in a process of its own.

    echo '{"candidate": "aiohttp", …}' | python -m bench.candidates

Each candidate is an async context manager that yields a function of a body: it POSTs the body to the URL, reads the
answer and returns its size. All keep their connections and none decodes the JSON, which costs every client the same.
"""

# ruff: noqa: PLC0415, S101 (each candidate imports its own client only, and an assertion is the cheapest check)
# mypy: disable-error-code="import-not-found, import-untyped"

import asyncio
import contextlib
import io
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

Call = Callable[[bytes], Awaitable[int]]
Headers = Mapping[str, str]
Candidate = Callable[[str, Headers, int], AbstractAsyncContextManager[Call]]


@contextlib.asynccontextmanager
async def _switchboard(url: str, headers: Headers, _most: int) -> AsyncIterator[Call]:
    from lib.database import postgrest

    base, slash, path = url.rpartition("/rpc/")

    async def call(body: bytes) -> int:
        answer = await postgrest.post(base, slash + path, list(headers.items()), body, connect_seconds=3, seconds=12)
        assert answer.status == 200
        return len(answer.content)

    yield call
    await postgrest.close()


@contextlib.asynccontextmanager
async def _h11(url: str, headers: Headers, _most: int) -> AsyncIterator[Call]:
    """As lean as a client over h11 can be: no timeout, no check, nothing that goes wrong is dealt with."""
    import h11

    parts = urlsplit(url)
    loop = asyncio.get_running_loop()

    class Connection(asyncio.Protocol):
        def __init__(self) -> None:
            self.http = h11.Connection(h11.CLIENT)

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport

        def send(self, body: bytes) -> asyncio.Future[int]:
            self.size = 0
            self.answer: asyncio.Future[int] = loop.create_future()
            lines = [("Host", parts.netloc), *headers.items(), ("Content-Length", str(len(body)))]
            events = (h11.Request(method="POST", target=parts.path, headers=lines), h11.Data(body), h11.EndOfMessage())
            self.transport.write(b"".join(filter(None, map(self.http.send, events))))
            return self.answer

        def data_received(self, data: bytes) -> None:
            self.http.receive_data(data)
            while (event := self.http.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Data):
                    self.size += len(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    self.http.start_next_cycle()
                    self.answer.set_result(self.size)
                    return

    idle: list[Connection] = []

    async def call(body: bytes) -> int:
        if idle:
            connection = idle.pop()
        else:
            _, connection = await loop.create_connection(Connection, parts.hostname or "", parts.port or 80)
        size = await connection.send(body)
        idle.append(connection)
        return size

    yield call
    for connection in idle:
        connection.transport.abort()


@contextlib.asynccontextmanager
async def _aiohttp(url: str, headers: Headers, _most: int) -> AsyncIterator[Call]:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
    timeout = aiohttp.ClientTimeout(total=12, sock_connect=3)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def call(body: bytes) -> int:
            async with session.post(url, data=body, headers=headers, timeout=timeout) as answer:
                assert answer.status == 200
                return len(await answer.read())

        yield call


def _httpx_like(over_aiohttp: bool) -> Candidate:
    @contextlib.asynccontextmanager
    async def candidate(url: str, headers: Headers, most: int) -> AsyncIterator[Call]:
        import httpx

        transport: Any = None
        if over_aiohttp:
            import httpx_aiohttp

            transport = httpx_aiohttp.AiohttpTransport()
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
        async with httpx.AsyncClient(timeout=12, limits=limits, transport=transport, trust_env=False) as client:

            async def call(body: bytes) -> int:
                answer = await client.post(url, content=body, headers=headers)
                assert answer.status_code == 200
                return len(answer.content)

            yield call

    return candidate


@contextlib.asynccontextmanager
async def _httpcore(url: str, headers: Headers, most: int) -> AsyncIterator[Call]:
    import httpcore

    timeouts = {"timeout": {"connect": 3, "read": 12, "write": 12, "pool": 12}}
    async with httpcore.AsyncConnectionPool(max_connections=most, max_keepalive_connections=most) as pool:

        async def call(body: bytes) -> int:
            answer = await pool.request("POST", url, headers=list(headers.items()), content=body, extensions=timeouts)
            assert answer.status == 200
            return len(answer.content)

        yield call


@contextlib.asynccontextmanager
async def _postgrest_py(url: str, headers: Headers, _most: int) -> AsyncIterator[Call]:
    """Takes arguments and gives a document, so JSON both ways is in its price."""
    from postgrest import AsyncPostgrestClient

    base, _, name = url.rpartition("/rpc/")
    async with AsyncPostgrestClient(base, headers=dict(headers)) as client:

        async def call(body: bytes) -> int:
            answer = await client.rpc(name, json.loads(body)).execute()
            return len(str(answer.data))

        yield call


@contextlib.asynccontextmanager
async def _urllib3(url: str, headers: Headers, most: int) -> AsyncIterator[Call]:
    import urllib3

    pool = urllib3.PoolManager(maxsize=most, timeout=12, retries=False)
    loop = asyncio.get_running_loop()

    def send(body: bytes) -> int:
        answer = pool.request("POST", url, body=body, headers=dict(headers))
        assert answer.status == 200
        return len(answer.data)

    with ThreadPoolExecutor(most) as threads:

        async def call(body: bytes) -> int:
            return await loop.run_in_executor(threads, send, body)

        yield call


@contextlib.asynccontextmanager
async def _niquests(url: str, headers: Headers, most: int) -> AsyncIterator[Call]:
    import niquests

    async with niquests.AsyncSession(pool_maxsize=most, disable_http2=True, disable_http3=True) as session:

        async def call(body: bytes) -> int:
            answer = await session.post(url, data=body, headers=dict(headers), timeout=12)
            assert answer.status_code == 200
            return len(answer.content or b"")

        yield call


@contextlib.asynccontextmanager
async def _pycurl(url: str, headers: Headers, most: int) -> AsyncIterator[Call]:
    import pycurl

    lines = [f"{name}: {value}" for name, value in headers.items()]
    free: list[Any] = [pycurl.Curl() for _ in range(most)]
    loop = asyncio.get_running_loop()

    def send(curl: Any, body: bytes) -> int:
        content = io.BytesIO()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.HTTPHEADER, lines)
        curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.TIMEOUT, 12)
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.WRITEDATA, content)
        curl.perform()
        assert curl.getinfo(pycurl.RESPONSE_CODE) == 200
        return len(content.getvalue())

    with ThreadPoolExecutor(most) as threads:

        async def call(body: bytes) -> int:
            curl = free.pop()
            try:
                return await loop.run_in_executor(threads, send, curl, body)
            finally:
                free.append(curl)

        yield call


CANDIDATES: Mapping[str, tuple[Candidate, str]] = {
    "switchboard": (_switchboard, "lib.database.postgrest"),
    "h11": (_h11, "h11"),
    "aiohttp": (_aiohttp, "aiohttp"),
    "pycurl": (_pycurl, "pycurl"),
    "urllib3": (_urllib3, "urllib3"),
    "niquests": (_niquests, "niquests"),
    "httpcore": (_httpcore, "httpcore"),
    "httpx-aiohttp": (_httpx_like(True), "httpx, httpx_aiohttp"),
    "httpx": (_httpx_like(False), "httpx"),
    "postgrest-py": (_postgrest_py, "postgrest"),
}
"""Each with what it imports. pycurl and urllib3 work in threads, one for each call in flight."""


async def _measure(asked: Mapping[str, Any]) -> list[dict[str, float]]:
    """For each number of calls in flight: CPU seconds of this process per call, and calls per second."""
    candidate, _ = CANDIDATES[asked["candidate"]]
    body = asked["body"].encode()
    found = []
    for in_flight, count in asked["levels"]:
        async with candidate(asked["url"], asked["headers"], in_flight) as call:
            left = 0

            async def work(call: Call = call) -> None:
                nonlocal left
                while left > 0:
                    left -= 1
                    assert await call(body) >= asked["size"]

            left = 2 * in_flight + 20
            await asyncio.gather(*(work() for _ in range(in_flight)))
            left = count
            cpu, wall = time.process_time(), time.perf_counter()
            await asyncio.gather(*(work() for _ in range(in_flight)))
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        found.append({"cpu": cpu / count, "rate": count / wall})
    return found


def main() -> None:
    """Measure what standard input asks for; the figures go to standard output."""
    import uvloop

    print(json.dumps(uvloop.run(_measure(json.load(sys.stdin)))))


if __name__ == "__main__":
    main()
