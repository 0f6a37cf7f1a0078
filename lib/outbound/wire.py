"""The HTTP/1.1 client of lib/database/postgrest: POST, and an answer, over connections that are kept between calls.

httptools (llhttp) reads the answers; aiohappyeyeballs chooses among a name's addresses. No proxies, no redirects.

Nothing is ever sent twice here. A kept connection that the peer has closed, or on which something has come
unasked, is found out before the first byte goes out, and another one is used. From the first byte on nobody
knows what was done, and `Lost` says so.
"""

import asyncio
import functools
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import aiohappyeyeballs
import httptools

from lib.outbound.pool import silent

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]
"""As socket.getaddrinfo gives them."""

Headers = Iterable[tuple[str, str]]

USER_AGENT = "switchboard"

_NEXT_ADDRESS_SECONDS = 0.25  # what RFC 8305 recommends
_SURELY_OUT_BYTES = 64 * 1024  # what the system takes at once of a request over TLS, so that the loop holds none of it


class Lost(Exception):  # noqa: N818 (it is what became of the call)
    """A call without an answer. ``sent``: some of it went out, so that it may have been done."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection goes: ``host`` is a name or address as the system takes it, ``authority`` the Host header."""

    host: str
    port: int
    tls: bool
    authority: str


class Connection(asyncio.Protocol, ABC):
    """One connection, one call at a time. What is done with an answer is the subclass's to say.

    A subclass has also ``on_header(name, value)`` and ``on_headers_complete()`` if the parser is to call them.
    """

    def __init__(self) -> None:
        self.connected = False
        self.reusable = False
        """Whether the last answer came whole and another call may follow."""
        self.under_way = False
        """Whether an answer is awaited, or still coming."""

    @abstractmethod
    def on_body(self, data: bytes) -> None:
        """Called by the parser, also for what comes behind the answer, when nothing is ``under_way``.

        What comes before an answer (100, 103) has no body: a subclass is to ``lose`` such an answer.
        """

    @abstractmethod
    def on_answer(self, status: int) -> None:
        """The answer is whole."""

    @abstractmethod
    def on_lost(self, reason: str) -> None:
        """The answer does not come, or not to its end: HungUp, NotHttp, TooLarge, or an error's name."""

    def send(self, message: bytes) -> None:
        """Write a request. Raises Lost when the peer has hung up before."""
        if self._transport.is_closing():
            raise Lost("HungUp", sent=False)
        self.reusable = False
        self.under_way = True
        self._parser = httptools.HttpResponseParser(self)
        self._surely_out = not self._tls or len(message) <= _SURELY_OUT_BYTES
        self._transport.write(message)

    def quiet(self) -> bool:
        """Whether nothing has come since the last answer, not even the end."""
        return silent(self._transport)

    def hang_up(self) -> None:
        """Close the connection, whatever is under way."""
        self._transport.abort()

    def lose(self, reason: str) -> None:
        """Give the answer up."""
        if self.under_way:
            self.under_way = False
            self.on_lost(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)
        self._tls = transport.get_extra_info("ssl_object") is not None
        self.connected = True

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if not self.under_way:
            # Nobody has asked, or nobody waits any more: what this is part of must not answer the next call.
            self.reusable = False
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.reusable = False
            self.lose("NotHttp")

    def eof_received(self) -> None:
        """Called by the event loop."""
        # Also the end of an answer that does not say how long it is: nobody could tell that it came whole.
        self.reusable = False
        self.lose("HungUp")

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        self.reusable = False
        self.lose(type(error).__name__ if error else "HungUp")

    def on_message_begin(self) -> None:
        """Called by the parser; a message after the answer is one that nobody asked for."""
        self.reusable = False

    def on_message_complete(self) -> None:
        """Called by the parser, for what comes before the answer (100, 103) too."""
        status = self._parser.get_status_code()
        if status < 200 or not self.under_way:
            return
        # What has not gone out by now, the peer does not want, and the next request would wait behind it.
        out = self._surely_out and not self._transport.get_write_buffer_size()
        self.reusable = self._parser.should_keep_alive() and out
        self.under_way = False
        self.on_answer(status)


Connected = TypeVar("Connected", bound=Connection)


async def resolve(origin: Origin) -> Sequence[AddressInfo]:
    """The addresses of an origin's host. Raises OSError where there is no such host."""
    try:
        return await asyncio.get_running_loop().getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except UnicodeError as failure:  # an empty or overlong label
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from failure


async def connect(
    connection: Callable[[], Connected],
    origin: Origin,
    addresses: Sequence[AddressInfo],
) -> Connected:
    """A connection to one of the addresses, the first that answers. Raises OSError."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if not addresses:
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    made = connection()
    cancels = task.cancelling() if task else 0
    # Not the loop's own create_connection: uvloop's knows no happy_eyeballs_delay.
    connected: socket.socket | None = None
    try:
        connected = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, loop=loop
        )
        if task and task.cancelling() > cancels:
            raise asyncio.CancelledError
        await loop.create_connection(
            lambda: made,
            sock=connected,
            ssl=_tls() if origin.tls else None,
            server_hostname=origin.host.rstrip(".") if origin.tls else None,
        )
        connected = None  # the transport's from now on
    except (RuntimeError, UnicodeError) as failure:
        # What uvloop raises at times where a connection fails, says aiohappyeyeballs; or a host that cannot be a name.
        raise OSError(str(failure)) from failure
    finally:
        if connected is not None:
            if made.connected:
                made.hang_up()
            connected.close()
    return made


def request(authority: str, path: str, headers: Headers, body: bytes) -> bytes:
    """A POST as it goes out. Raises ValueError for what would break out of its line."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append(f"Content-Length: {len(body)}")
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise ValueError("a header that cannot be sent")
    return "\r\n".join((*lines, "", "")).encode("ascii") + body


@functools.cache
def _tls() -> ssl.SSLContext:
    """Verifies names and certificates by the system's authorities (or SSL_CERT_FILE). Made at the first https call."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
