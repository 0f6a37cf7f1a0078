"""The one way out: every call to a server that is not ours goes through `post`.

Whoever may configure a persona chooses where we call, so the address is untrusted. `post` speaks http and
https only, takes no proxy from the environment, keeps no cookies, follows no redirect, and connects only to
public addresses or to the networks that the workspace allows. The address is judged three times: as written
in the URL, as resolved, and when the socket is made, which is the address that is really used, so a name
that changes its mind in between (DNS rebinding) gains nothing. `lib/outbound/wire` has the connections.

Errors:

    OutboundError
        UrlError          misconfigured    not an absolute http(s) URL, or one with credentials in it
        AddressError      address_refused  a private, local, metadata or otherwise special address
        UnreachableError  unreachable      no such name, no connection, bad certificate, hung up at once
        LateError         timeout          no first byte, silence, or too long altogether
        AnswerError       bad_answer       not HTTP, or a body that is not encoded as announced
        SizeError         too_large        more bytes than we take, counted after decompression
        CutOffError       cut_off          hung up in the middle of the answer
"""

from __future__ import annotations

import asyncio
import errno
import functools
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from json import JSONEncoder
from typing import ClassVar, NamedTuple
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from pydantic_core import Url
from starlette.datastructures import Headers

from lib.outbound import wire
from lib.outbound.addresses import Networks, host_permitted, parse, permitted
from lib.outbound.pool import Pool
from lib.outbound.wire import AddressInfo, Origin

MAX_URL_LENGTH = 2_048

# Below the 5 s after which Node.js, and so n8n, closes an idle connection: a POST is never sent twice.
_KEEP_ALIVE_SECONDS = 4.0
_MOST_IDLE = 64
# How exact the clock of uvloop is.
_CLOCK_SECONDS = 0.001
_TOO_LONG = "the answer took too long"
# Workspaces with networks of their own get their own connections, since a kept one is not judged again.
_MAX_POOLS = 256
# How much may come in a row that brings nothing of a body: its head, what is written between its parts and behind it.
_MAX_EMPTY_BYTES = 64 * 1024
# How much of an answer waits to be read, at most, and how much of one is decompressed at a time.
_MAX_UNREAD_BYTES = 256 * 1024
_UNPACKED_BYTES = 64 * 1024

_HEADERS = {
    "user-agent": wire.USER_AGENT,
    "accept": "*/*",
    # A stream must not wait in a compressor. Who compresses all the same is decoded in bounded steps.
    "accept-encoding": "identity",
    "content-type": "application/json",
}
_encode = JSONEncoder(separators=(",", ":")).encode
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)


class OutboundError(Exception):
    """A call that brought no answer. `detail` is for members and the audit, never for the stream's reader."""

    code: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UrlError(OutboundError):
    """The configured address is not an absolute http(s) URL, or carries credentials."""

    code = "misconfigured"


class AddressError(OutboundError):
    """The host is, or resolves only to, addresses that nobody allowed."""

    code = "address_refused"


class UnreachableError(OutboundError):
    """Nothing answered: no such name, no connection, a bad certificate, or hung up before the answer."""

    code = "unreachable"
    retryable = True


class LateError(OutboundError):
    """The first byte, the next byte or the end did not come in time."""

    code = "timeout"
    retryable = True


class AnswerError(OutboundError):
    """What came is not HTTP, or not encoded as its headers say."""

    code = "bad_answer"


class SizeError(OutboundError):
    """The answer has more bytes than `Limits.max_bytes`."""

    code = "too_large"


class CutOffError(OutboundError):
    """The connection broke in the middle of the answer."""

    code = "cut_off"
    retryable = True


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, in seconds, and how much to take, in bytes of the body as it comes and as it is decoded."""

    connect_seconds: float = 5.0
    first_byte_seconds: float = 60.0
    idle_seconds: float = 60.0
    total_seconds: float = 120.0
    max_bytes: int = 4 * 1024 * 1024


class _Target(NamedTuple):
    """A URL, taken apart: where to connect, and what to ask for there."""

    origin: Origin
    path: str


@functools.lru_cache(maxsize=1_024)
def checked_url(text: str, allowed: Networks = ()) -> _Target:
    """The URL, when it may be called as far as one can tell without resolving its host.

    It is read as browsers read it (url.spec.whatwg.org), so a host that they would take for an address is one; and
    it must name its host where RFC 3986 has it. Raises UrlError or AddressError.
    """
    if len(text) > MAX_URL_LENGTH or any(ord(character) <= 0x20 or character == "\\" for character in text):
        raise UrlError("the address is too long or contains spaces, backslashes or control characters")
    try:
        written = urlsplit(text)
        if written.scheme not in {"http", "https"} or not written.hostname:
            raise UrlError("the address must be an absolute http or https URL")
        if not host_permitted(written.hostname, allowed):
            raise AddressError(f"{written.hostname} is an address outside the allowed networks")
        url = Url(text)
    except ValueError as error:
        raise UrlError("the address is not a URL") from error
    if not url.host or not url.port:
        raise UrlError("the address must be an absolute http or https URL")
    if "@" in written.netloc or url.username is not None or url.password is not None:
        raise UrlError("the address must not contain credentials")
    host = url.host.strip("[]")
    if not host_permitted(host, allowed):
        raise AddressError(f"{host} is an address outside the allowed networks")
    tls = url.scheme == "https"
    authority = url.host if url.port == (443 if tls else 80) else f"{url.host}:{url.port}"
    path = url.path or "/"
    return _Target(Origin(host, url.port, tls, authority), path if url.query is None else f"{path}?{url.query}")


class _Head(NamedTuple):
    """The beginning of an answer."""

    status: int
    headers: Headers


class _Connection(wire.Connection):
    """Gives the head of an answer as soon as it is there, and the body as it comes."""

    def ask(self, message: bytes) -> asyncio.Future[_Head]:
        """Write a request; the head of the answer, or an OutboundError, is in the future."""
        self._empty_bytes = 0
        self._fields: list[tuple[bytes, bytes]] = []
        self._until_the_end = False
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._paused = False
        self._failure: OutboundError | None = None
        self._waiting: asyncio.Future[None] | None = None
        self.send(message)
        self._head: asyncio.Future[_Head] = asyncio.get_running_loop().create_future()
        return self._head

    async def read(self) -> bytes:
        """What has come of the body since the last time, as soon as there is something; nothing at its end.

        Raises OutboundError.
        """
        while not self._unread:
            if self._failure is not None:
                raise self._failure
            if not self.under_way:
                return b""
            self._waiting = waiting = asyncio.get_running_loop().create_future()
            await waiting
        body = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        self._unread_bytes = 0
        self._go_on()
        return body

    def fail(self, failure: OutboundError) -> None:
        """Give the answer up, and whoever reads it this reason."""
        self.reusable = self.under_way = False
        self._failure = failure
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self.under_way:
            if self._empty_bytes > _MAX_EMPTY_BYTES:
                self.lose("NotHttp")
                return
            self._empty_bytes += len(data)
        super().data_received(data)

    def eof_received(self) -> None:
        if self.under_way and self._until_the_end:
            self.under_way = False
            self._wake()
        super().eof_received()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser, for what comes behind the body too."""
        if not self._head.done():
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Called by the parser, for what comes before the answer (100, 103) too."""
        status = self._parser.get_status_code()
        if status < 200 or self._head.done():
            self._fields = []
            return
        headers = Headers(raw=self._fields)
        codings = ",".join(headers.getlist("transfer-encoding")).strip().lower()
        if codings not in {"", "chunked"}:
            self.lose("NotHttp")
            return
        self._until_the_end = not codings and "content-length" not in headers
        self._head.set_result(_Head(status, headers))

    def on_body(self, data: bytes) -> None:
        if not self.under_way:
            return
        if not self._head.done():
            self.lose("NotHttp")
            return
        self._empty_bytes = 0
        self._unread.append(data)
        self._unread_bytes += len(data)
        if self._unread_bytes > _MAX_UNREAD_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if self._waiting is not None:
            self._wake()

    def on_answer(self, status: int) -> None:
        self._go_on()
        self._wake()

    def on_lost(self, reason: str) -> None:
        if self._head.done():
            self._failure = CutOffError("the connection broke in the middle of the answer")
            self._wake()
            return
        if reason == "NotHttp":
            self._head.set_exception(AnswerError("what answered does not speak HTTP"))
        else:
            self._head.set_exception(UnreachableError("the server hung up before answering"))
        self._head.exception()  # where the caller is cancelled in this very moment, nobody else looks at it

    def _go_on(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._transport.resume_reading()
        self._paused = False

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
        self._waiting = None


_Pools = dict[tuple[Networks, Origin], Pool[_Connection]]
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pools] = WeakKeyDictionary()


def _pool(allowed: Networks, origin: Origin) -> Pool[_Connection]:
    """The running loop's connections to this origin, as far as these networks allow them."""
    pools = _pools.setdefault(asyncio.get_running_loop(), {})
    if (pool := pools.get((allowed, origin))) is None:
        if len(pools) >= _MAX_POOLS:
            for key in [key for key, other in pools.items() if other.size == 0]:
                del pools[key]
        pool = Pool(_MOST_IDLE, _KEEP_ALIVE_SECONDS)
        if len(pools) < _MAX_POOLS:
            pools[allowed, origin] = pool
    return pool


async def close() -> None:
    """Close the running loop's idle connections; a later call opens new ones."""
    for pool in _pools.pop(asyncio.get_running_loop(), {}).values():
        pool.empty()
    await asyncio.sleep(0)  # a transport closes in the loop's next round


class Answer:
    """What came back: the status and headers at once, the body as it arrives."""

    def __init__(self, connection: _Connection, head: _Head, limits: Limits, deadline: float) -> None:
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        content_type = head.headers.get("content-type", "")
        self.content_type = content_type.partition(";")[0].strip().lower()
        charset = _CHARSET.search(content_type)
        self.charset = charset[1] if charset else "utf-8"
        self._connection = connection
        self._limits = limits
        self._deadline = deadline
        self._reading_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.call_at(min(self._loop.time() + limits.idle_seconds, deadline), self._look)

    def close(self) -> None:
        """Stop looking at the clock."""
        self._clock.cancel()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in the pieces in which it comes in, decompressed. Raises OutboundError."""
        taken = 0
        async for chunk in self._decoded():
            taken += len(chunk)
            self._bound(taken)
            yield chunk

    def _bound(self, taken: int) -> None:
        if taken > self._limits.max_bytes:
            raise SizeError(f"the answer is larger than {self._limits.max_bytes} bytes")

    async def excerpt(self, max_bytes: int) -> bytes:
        """The body's first bytes for a message about a failure; whatever goes wrong ends it."""
        start = bytearray()
        with suppress(OutboundError):
            async for chunk in self.chunks():
                start += chunk
                if len(start) >= max_bytes:
                    break
        return bytes(start[:max_bytes])

    async def _decoded(self) -> AsyncIterator[bytes]:
        encoding = self.headers.get("content-encoding", "").strip().lower()
        if encoding in {"", "identity"}:
            while chunk := await self._next():
                yield chunk
            return
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            raise AnswerError("the answer is encoded in a way that was not asked for")
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # finds out itself which of the two it is
        taken = 0
        while packed := await self._next():
            taken += len(packed)
            self._bound(taken)
            for chunk in _unpacked(unpacker, packed):
                yield chunk
        if taken and not unpacker.eof:
            raise AnswerError("the answer is not encoded as its headers say")

    async def _next(self) -> bytes:
        if self._clock.cancelled():
            raise RuntimeError("the answer was closed, and its connection may serve another call")
        self._reading_since = self._loop.time()
        if self._reading_since >= self._deadline:
            raise LateError(_TOO_LONG)
        try:
            return await self._connection.read()
        finally:
            self._reading_since = None

    def _look(self) -> None:
        """End a read that waits for too long; looks now and then, as a clock for each costs as much as the read."""
        now, since = self._loop.time(), self._reading_since
        if since is None and now >= self._deadline:
            return  # the next read says so itself
        due = min((now if since is None else since) + self._limits.idle_seconds, self._deadline)
        if since is not None and due - now < _CLOCK_SECONDS:
            late = LateError(_TOO_LONG if due == self._deadline else "the answer stopped coming")
            self._connection.fail(late)
        else:
            self._clock = self._loop.call_later(max(due - now, _CLOCK_SECONDS), self._look)


def _unpacked(unpacker: zlib._Decompress, packed: bytes) -> Iterator[bytes]:
    """What the bytes hold, a bounded piece at a time. Raises AnswerError."""
    chunk = b""
    while packed or len(chunk) == _UNPACKED_BYTES:
        try:
            chunk = unpacker.decompress(packed, _UNPACKED_BYTES)
        except zlib.error as error:
            raise AnswerError("the answer is not encoded as its headers say") from error
        if unpacker.unused_data:
            raise AnswerError("the answer goes on behind the end of what is packed")
        packed = unpacker.unconsumed_tail
        if chunk:
            yield chunk


@asynccontextmanager
async def post(
    url: str,
    *,
    json: object,
    headers: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    allowed: Networks = (),
) -> AsyncIterator[Answer]:
    """POST a JSON document once and yield the answer as soon as its headers are there, whatever its status.

    A redirect is an answer like any other and not followed. Leaving the block before the answer has come whole hangs
    up. Raises OutboundError.
    """
    limits = limits or Limits()
    target = checked_url(url, allowed)
    all_headers = _HEADERS | {name.lower(): value for name, value in (headers or {}).items()}
    message = wire.request(target.origin.authority, target.path, all_headers.items(), _encode(json).encode())
    deadline = asyncio.get_running_loop().time() + limits.total_seconds
    pool = _pool(allowed, target.origin)
    connection, head = await _ask(pool, target.origin, message, limits, deadline, allowed)
    answer = Answer(connection, head, limits, deadline)
    try:
        yield answer
    finally:
        answer.close()
        if connection.reusable:
            pool.keep(connection)
        else:
            connection.hang_up()


async def _ask(
    pool: Pool[_Connection], origin: Origin, message: bytes, limits: Limits, deadline: float, allowed: Networks
) -> tuple[_Connection, _Head]:
    """Send a request, and wait for the beginning of its answer."""
    host = origin.host
    try:
        async with asyncio.timeout_at(deadline) as clock:
            if (connection := pool.take()) is None:
                connection = await _connect(origin, limits, allowed)
            try:
                coming = connection.ask(message)
                now = asyncio.get_running_loop().time()
                clock.reschedule(min(now + limits.first_byte_seconds, deadline))
                return connection, await coming
            except BaseException:
                connection.hang_up()
                raise
    except TimeoutError as error:
        raise LateError(f"{host} did not begin to answer in time") from error
    except wire.Lost as error:
        raise UnreachableError(f"{host} hung up before anything was asked") from error


async def _connect(origin: Origin, limits: Limits, allowed: Networks) -> _Connection:
    """A new connection to an address that may be called. Raises OutboundError."""
    host, refused = origin.host, set[str]()

    def make_socket(info: AddressInfo) -> socket.socket:
        """The last word: `info` is the address that is about to be connected to."""
        family, kind, protocol, _, target = info
        if not permitted(parse(str(target[0])), allowed):
            refused.add(str(target[0]))
            raise PermissionError(errno.EACCES, "outside the allowed networks")
        return socket.socket(family, kind, protocol)

    try:
        async with asyncio.timeout(limits.connect_seconds):
            addresses = await _permitted_addresses(origin, allowed)
            return await wire.connect(_Connection, origin, addresses, make_socket)
    except TimeoutError as error:
        raise UnreachableError(f"no connection to {host} in time") from error
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(f"the certificate of {host} is not valid") from error
    except socket.gaierror as error:
        raise UnreachableError(f"there is no host {host}") from error
    except OSError as error:
        if refused:
            raise AddressError(f"{', '.join(refused)} is outside the allowed networks") from error
        raise UnreachableError(f"{host} refused the connection") from error


async def _permitted_addresses(origin: Origin, allowed: Networks) -> Sequence[AddressInfo]:
    """What the host's name resolves to, less the addresses that may not be called. Raises AddressError."""
    found = await wire.resolve(origin)
    kept = [info for info in found if permitted(parse(str(info[4][0])), allowed)]
    if found and not kept:
        raise AddressError(f"{origin.host} resolves to an address outside the allowed networks")
    return kept
