"""aiohttp's connector, limited to permitted addresses, and its connection, with the limits that aiohttp lacks."""

from __future__ import annotations

import errno
import functools
import select
import socket
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage
from aiohttp.streams import StreamReader

from lib.outbound.addresses import Networks, parse, permitted

# Node.js, and so n8n, closes a connection after 5 idle seconds.
KEEP_ALIVE_SECONDS = 4.0
# The limit on consecutive bytes that carry no body: heads, interim answers (1xx), chunk extensions, trailers.
MAX_EMPTY_BYTES = 64 * 1024


class Connector(aiohttp.TCPConnector):
    """Opens and keeps connections to public addresses and to the allowed networks.

    A kept connection is not checked again, so callers with different networks need different connectors. A refused
    address raises ClientConnectorError with a PermissionError as its `os_error`.
    """

    def __init__(self, allowed: Networks) -> None:
        super().__init__(
            resolver=_Resolver(allowed),
            socket_factory=functools.partial(_make_socket, allowed),
            use_dns_cache=False,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            limit=0,  # a turn that waits for a connection would look like a slow persona
        )
        connection: Callable[..., ResponseHandler] = _Connection
        self._factory = functools.partial(connection, loop=self._loop)


class _Resolver(aiohttp.ThreadedResolver):
    """The system's resolver, without the addresses that are not permitted."""

    def __init__(self, allowed: Networks) -> None:
        super().__init__()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            found = await super().resolve(host, port, family)
        except UnicodeError as error:  # an empty or overlong label
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        kept = [result for result in found if permitted(parse(result["host"]), self._allowed)]
        if not kept:
            raise PermissionError(errno.EACCES, f"{host} resolves to an address outside the allowed networks")
        return kept


def _make_socket(allowed: Networks, info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket for the address that is connected to next, whatever the resolver returned. Raises PermissionError."""
    family, kind, protocol, _, address = info
    if not permitted(parse(str(address[0])), allowed):
        raise PermissionError(errno.EACCES, f"{address[0]} is outside the allowed networks")
    return socket.socket(family, kind, protocol)


class _Connection(ResponseHandler):
    """A connection that is reused only when it is certainly idle, and that bounds bytes which carry no body."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__(loop)
        self._body: StreamReader | None = None
        self._body_bytes = 0
        self._empty_bytes = 0
        self._head_timer: TimerHandle | None = None

    def is_connected(self) -> bool:
        """Whether a request may be sent.

        Asks the system whether the peer has closed the connection, because the event loop may not have read that yet.
        """
        if self.transport is None or self.transport.is_closing():
            return False
        if self._body is not None and self._parser is not None and self._parser.feed_eof() is not None:
            return False  # another answer began behind the one that was read
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def set_response_params(self, *, read_timeout: float | None = None, **params: Any) -> None:
        """Called before each request. `read_timeout` limits the time until the answer's head is complete."""
        self._body, self._body_bytes, self._empty_bytes = None, 0, 0
        super().set_response_params(**params)
        if read_timeout is not None:
            late = aiohttp.SocketTimeoutError("the head did not arrive in time")
            self._head_timer = self._loop.call_later(read_timeout, self.set_exception, late)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Called with each head and the reader of its body."""
        head, body = data
        if head.code < 200 and ("Content-Length" in head.headers or "Transfer-Encoding" in head.headers):
            self._fail("an interim answer has a body")  # aiohttp would skip it
        if self.exception() is not None:
            return
        if head.code >= 200 and self._body is None:
            self._body = body
            self._stop_timer()
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop, and by aiohttp without data to continue parsing."""
        if data and self._body is not None and self._body.is_eof():
            self.abort()  # belongs to no request, and must not answer the next
            return
        super().data_received(data)
        if self._body is not None and self._body.total_bytes > self._body_bytes:
            self._body_bytes, self._empty_bytes = self._body.total_bytes, 0
            return
        self._empty_bytes += len(data)
        if self._empty_bytes > MAX_EMPTY_BYTES:
            self._fail("too many bytes without a body")

    def connection_lost(self, exc: BaseException | None) -> None:
        """Called by the event loop."""
        self._stop_timer()
        if exc is not None:
            self._cut_off(exc)  # aiohttp reads a reset as the end of a body without a length
        super().connection_lost(exc)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        """Called when the answer does not come or cannot be parsed; aiohttp itself informs only the head's reader."""
        self._cut_off(exc)
        super().set_exception(exc, *cause)

    def _fail(self, reason: str) -> None:
        self.set_exception(HttpProcessingError(message=reason))
        if self.transport is not None:
            self.transport.abort()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()

    def _cut_off(self, error: BaseException) -> None:
        if self._body is not None and not self._body.is_eof():
            self._body.set_exception(error)


def unread(body: StreamReader) -> bytes:
    """What arrived before the body failed; aiohttp's own methods raise the failure first."""
    failure, body._exception = body._exception, None
    try:
        return body.read_nowait()
    finally:
        body._exception = failure
