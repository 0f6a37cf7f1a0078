"""HTTP to PostgREST: POSTs over connections that are kept between calls.

A client of its own because a call's price is mostly its client's, and a cold start's too (docs/measurements.md): it
does what a call needs and no more. httptools (llhttp) reads the answers; aiohappyeyeballs chooses among a
name's addresses. No proxy, no redirect, no cookie, no compression.

Nothing is ever sent twice here. A kept connection that the peer has closed, or on which something has come
unasked, is found out before the first byte goes out, and another one is used. From the first byte on nobody
knows what was done, and `Lost` says so.
"""

import asyncio
import functools
import socket
import ssl
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import aiohappyeyeballs
import httptools

from lib.pool import Pool, silent

KEEP_ALIVE_SECONDS = 15
"""Below PostgREST's own 30 s, so that we never send on a connection that it is about to close."""

MOST_IDLE = 64
"""How many unused connections are kept; more are open while more calls are under way."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""With its headers. Several times what the largest answer holds: ten claimed jobs with a delivery of 1 MiB each."""

_NEXT_ADDRESS_SECONDS = 0.25  # what RFC 8305 recommends

Headers = Sequence[tuple[str, str]]


class Lost(Exception):  # noqa: N818 (it is what became of the call)
    """A call without an answer. ``sent``: some of it went out, so that it may have been done."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that came whole: its HTTP status and its JSON."""

    status: int
    content: bytes | str


@dataclass(frozen=True, slots=True)
class _Origin:
    host: str
    port: int
    tls: bool
    authority: str
    path: str


async def post(url: str, path: str, headers: Headers, body: bytes, *, connect_seconds: float, seconds: float) -> Answer:
    """POST a body to a path below an http or https URL and read the answer, whatever its status.

    ``connect_seconds`` is for name, connection and TLS, ``seconds`` for all of it. Raises Lost. A call that is
    cancelled hangs up.
    """
    origin = _origin(url)
    message = _message(origin, path, headers, body)
    pool = _pool(origin)
    sent = False
    try:
        async with asyncio.timeout(seconds):
            connection = pool.take()
            if connection is None:
                async with asyncio.timeout(connect_seconds):
                    connection = await _connect(origin)
            try:
                # Nothing is awaited between finding the connection good and writing to it.
                coming = connection.send(message)
                sent = True
                answer = await coming
            except BaseException:
                connection.hang_up()
                raise
    except OSError as failure:
        raise Lost(type(failure).__name__, sent=sent) from failure
    if connection.reusable:
        pool.keep(connection)
    else:
        connection.hang_up()
    return answer


async def close() -> None:
    """Close this event loop's unused connections. Only a process that outlives its loop needs it."""
    for pool in _pools.pop(asyncio.get_running_loop(), {}).values():
        pool.empty()
    await asyncio.sleep(0)  # a transport closes in the loop's next round


class _Connection(asyncio.Protocol):
    """One connection, one call at a time."""

    def __init__(self) -> None:
        self.reusable = False
        self._answer: asyncio.Future[Answer] | None = None

    def send(self, message: bytes) -> "asyncio.Future[Answer]":
        """Write a request; the answer, or Lost, is in the future. Raises Lost when the peer has hung up before."""
        if self._transport.is_closing():
            raise Lost("HungUp", sent=False)
        self.reusable = False
        self._size = 0
        self._content: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._answer = answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return answer

    def quiet(self) -> bool:
        """Whether nothing has come since the last answer, not even the end."""
        return silent(self._transport)

    def hang_up(self) -> None:
        """Close the connection, whatever is under way."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            # Nobody has asked, or nobody waits any more: what this is part of must not answer the next call.
            self.reusable = False
            self._transport.abort()
            return
        self._size += len(data)
        if self._size > MAX_ANSWER_BYTES:
            self._lose("TooLarge")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.reusable = False
            self._lose("NotHttp")

    def eof_received(self) -> None:
        # Also the end of an answer that does not say how long it is: nobody could tell that it came whole.
        self.reusable = False
        self._lose("HungUp")

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        self._lose(type(error).__name__ if error else "HungUp")

    def on_message_begin(self) -> None:
        """Called by the parser; a message after the answer is one that nobody asked for."""
        self.reusable = False

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._content.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser, for what comes before the answer (100, 103) too."""
        status = self._parser.get_status_code()
        if status < 200 or self._answer is None or self._answer.done():
            return
        # What has not gone out by now, the peer does not want: it would be taken for the next request.
        self.reusable = self._parser.should_keep_alive() and not self._transport.get_write_buffer_size()
        self._answer.set_result(Answer(status, b"".join(self._content)))

    def _lose(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Lost(reason, sent=True))
            self._answer.exception()  # where the caller is cancelled in this very moment, nobody else looks at it


_Pools = dict[_Origin, Pool[_Connection]]
_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pools] = weakref.WeakKeyDictionary()


def _pool(origin: _Origin) -> Pool[_Connection]:
    """One pool for each event loop, which is one for each process of a deployed function."""
    pools = _pools.setdefault(asyncio.get_running_loop(), {})
    if (pool := pools.get(origin)) is None:
        pool = pools[origin] = Pool(MOST_IDLE, KEEP_ALIVE_SECONDS)
    return pool


async def _connect(origin: _Origin) -> _Connection:
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    # Not the loop's own create_connection: uvloop's knows no happy_eyeballs_delay.
    connected: socket.socket | None = None
    try:
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, loop=loop
        )
        _, connection = await loop.create_connection(
            _Connection,
            sock=connected,
            ssl=_tls() if origin.tls else None,
            server_hostname=origin.host if origin.tls else None,
        )
        connected = None  # the transport's from now on
    except RuntimeError as failure:  # what uvloop raises at times where a connection fails, says aiohappyeyeballs
        raise OSError(str(failure)) from failure
    finally:
        if connected is not None:
            connected.close()
    return connection


def _message(origin: _Origin, path: str, headers: Headers, body: bytes) -> bytes:
    """A request as it goes out. Raises ValueError for what would break out of its line."""
    head = f"{path}{''.join(value for _, value in headers)}"
    if not (head.isascii() and head.isprintable()):
        raise ValueError("a header that cannot be sent")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    start = (
        f"POST {origin.path}{path} HTTP/1.1\r\nHost: {origin.authority}\r\nUser-Agent: switchboard\r\n"
        f"{lines}Content-Length: {len(body)}\r\n\r\n"
    )
    return start.encode("ascii") + body


@functools.lru_cache(maxsize=8)
def _origin(url: str) -> _Origin:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    host = parts.hostname or ""
    return _Origin(
        host=host,
        port=parts.port or (443 if tls else 80),
        tls=tls,
        authority=parts.netloc.rpartition("@")[2],
        path=parts.path.rstrip("/"),
    )


@functools.cache
def _tls() -> ssl.SSLContext:
    """Verifies names and certificates by the system's authorities (or SSL_CERT_FILE). Made at the first https call."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
