"""Calls to addresses that a workspace configures: a POST of JSON or a GET, and its answer as it arrives.

The address is untrusted. A call accepts http and https only, ignores the environment's proxies, keeps no cookies,
follows no redirects, and connects only to public addresses and to the workspace's allowed networks. It checks an
address three times: as written in the URL, as resolved, and when the socket is created. The last check decides, so a
name that resolves differently in between (DNS rebinding) gains nothing.

A request is sent once. A kept connection is reused only while the peer has certainly left it open.

Errors:

    OutboundError
        UrlError          misconfigured    not an absolute http(s) URL, or one that contains credentials
        AddressError      address_refused  a private, local, metadata or otherwise special address
        UnreachableError  unreachable      unknown host, no connection, invalid certificate
            ClosedError                    closed without an answer: the request may have arrived
        LateError         timeout          no first byte, no next byte, or no end in time
        AnswerError       bad_answer       not HTTP, or a body that is not encoded as announced
        SizeError         too_large        more bytes than the limit, before or after decompression
        CutOffError       cut_off          closed in the middle of the answer
"""

from __future__ import annotations

import asyncio
import functools
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from json import JSONEncoder
from typing import ClassVar
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http import HttpProcessingError
from pydantic_core import Url
from yarl import URL

from lib.outbound.addresses import Networks, host_permitted
from lib.outbound.connector import Connector, unread

MAX_URL_LENGTH = 2_048

# Each distinct tuple of allowed networks keeps a session, up to this number per event loop.
_MAX_SESSIONS = 256
_UNPACKED_BYTES = 64 * 1024
# The resolution of uvloop's clock.
_CLOCK_SECONDS = 0.001
_TOO_LONG = "the answer took too long"

_HEADERS = {
    "User-Agent": "switchboard",
    "Accept": "*/*",
    # A compressor would delay a stream.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
_encode = JSONEncoder(separators=(",", ":")).encode
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)


class OutboundError(Exception):
    """A call without a usable answer. `detail` is for members and the audit log, never for the contact."""

    code: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class UrlError(OutboundError):
    """The configured address is not an absolute http(s) URL, or contains credentials."""

    code = "misconfigured"


class AddressError(OutboundError):
    """The host is, or resolves only to, addresses outside the allowed networks."""

    code = "address_refused"


class UnreachableError(OutboundError):
    """Unknown host, no connection, invalid certificate, or a connection closed without an answer."""

    code = "unreachable"
    retryable = True


class ClosedError(UnreachableError):
    """The connection was closed without an answer, so it is not known whether the request arrived."""


class LateError(OutboundError):
    """The first byte, the next byte or the end did not arrive in time."""

    code = "timeout"
    retryable = True


class AnswerError(OutboundError):
    """The answer is not HTTP, or not encoded as its headers say."""

    code = "bad_answer"


class SizeError(OutboundError):
    """The answer has more than `Limits.max_bytes`."""

    code = "too_large"


class CutOffError(OutboundError):
    """The connection closed in the middle of the answer."""

    code = "cut_off"
    retryable = True


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits in seconds, and the maximum size of a body in bytes, both as received and as decoded."""

    connect_seconds: float = 5.0
    first_byte_seconds: float = 60.0
    idle_seconds: float = 60.0
    total_seconds: float = 120.0
    max_bytes: int = 4 * 1024 * 1024


@functools.lru_cache(maxsize=1_024)
def checked_url(text: str, allowed: Networks = ()) -> URL:
    """The normalized URL, if it may be called as far as that is known before its host is resolved.

    It is parsed as browsers parse it (url.spec.whatwg.org), so that a host which they read as an address is checked
    as that address. RFC 3986 must find a host in the same place. Raises UrlError or AddressError.
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
    return URL(str(url).partition("#")[0], encoded=True)


class Answer:
    """The status and headers of an answer, and its body as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse, limits: Limits, deadline: float) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        content_type = response.headers.get("Content-Type", "")
        self.content_type = content_type.partition(";")[0].strip().lower()
        charset = _CHARSET.search(content_type)
        self.charset = charset[1] if charset else "utf-8"
        self._response = response
        self._body = response.content
        self._limits = limits
        self._deadline = deadline
        self._waiting_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_at(min(self._loop.time() + limits.idle_seconds, deadline), self._check_time)

    def close(self) -> None:
        """Close the connection, unless the answer has arrived completely; then it is already kept for the next call."""
        self._timer.cancel()
        self._response.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, decompressed, in the pieces in which it arrives. Raises OutboundError."""
        taken = 0
        async for chunk in self._decoded():
            taken += len(chunk)
            self._limit(taken)
            yield chunk

    async def excerpt(self, max_bytes: int) -> bytes:
        """The body's first bytes, for an error message; an error ends them."""
        start = bytearray()
        with suppress(OutboundError):
            async for chunk in self.chunks():
                start += chunk
                if len(start) >= max_bytes:
                    break
        return bytes(start[:max_bytes])

    def _limit(self, taken: int) -> None:
        if taken > self._limits.max_bytes:
            raise SizeError(f"the answer is larger than {self._limits.max_bytes} bytes")

    async def _decoded(self) -> AsyncIterator[bytes]:
        encoding = self.headers.get("Content-Encoding", "").strip().lower()
        if encoding in {"", "identity"}:
            while chunk := await self._read():
                yield chunk
            return
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            raise AnswerError("the answer has a content encoding that was not requested")
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # detects which of the two it is
        taken = 0
        while packed := await self._read():
            taken += len(packed)
            self._limit(taken)
            for chunk in _unpacked(unpacker, packed):
                yield chunk
        if taken and not unpacker.eof:
            raise AnswerError("the answer is not encoded as its headers say")

    async def _read(self) -> bytes:
        if self._body.exception() is not None and (rest := unread(self._body)):
            return rest
        self._waiting_since = self._loop.time()
        if self._waiting_since >= self._deadline:
            raise LateError(_TOO_LONG)
        try:
            return await self._body.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise CutOffError("the connection broke in the middle of the answer") from error
        finally:
            self._waiting_since = None

    def _check_time(self) -> None:
        """End a read that waits too long. One timer for all reads: a timer for each costs as much as the read."""
        now, since = self._loop.time(), self._waiting_since
        if since is None and now >= self._deadline:
            return  # the next read raises
        due = min((now if since is None else since) + self._limits.idle_seconds, self._deadline)
        if since is not None and due - now < _CLOCK_SECONDS:
            self._body.set_exception(LateError(_TOO_LONG if due == self._deadline else "the answer stopped coming"))
        else:
            self._timer = self._loop.call_later(max(due - now, _CLOCK_SECONDS), self._check_time)


def _unpacked(unpacker: zlib._Decompress, packed: bytes) -> Iterator[bytes]:
    """The decompressed bytes, in pieces of limited size. Raises AnswerError."""
    chunk = b""
    while packed or len(chunk) == _UNPACKED_BYTES:
        try:
            chunk = unpacker.decompress(packed, _UNPACKED_BYTES)
        except zlib.error as error:
            raise AnswerError("the answer is not encoded as its headers say") from error
        if unpacker.unused_data:
            raise AnswerError("the answer continues behind the end of its compressed data")
        packed = unpacker.unconsumed_tail
        if chunk:
            yield chunk


def post(
    url: str,
    *,
    json: object | bytes,
    headers: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    allowed: Networks = (),
) -> AbstractAsyncContextManager[Answer]:
    """POST a JSON document once; the answer as soon as its headers have arrived, whatever its status.

    Bytes, a document that is already encoded, are sent as they are.
    A redirect is an answer like any other. Leaving the block before the answer has arrived completely closes the
    connection. Raises OutboundError.
    """
    body = json if isinstance(json, bytes) else _encode(json).encode()
    return _call("POST", url, body, headers or {}, limits or Limits(), allowed)


def patch(
    url: str,
    *,
    json: object,
    headers: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    allowed: Networks = (),
) -> AbstractAsyncContextManager[Answer]:
    """PATCH with a JSON document once; as `post`."""
    return _call("PATCH", url, _encode(json).encode(), headers or {}, limits or Limits(), allowed)


def get(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    allowed: Networks = (),
) -> AbstractAsyncContextManager[Answer]:
    """GET, which changes nothing and may be repeated on a new connection; else as `post`."""
    return _call("GET", url, None, headers or {}, limits or Limits(), allowed)


@asynccontextmanager
async def _call(
    method: str, url: str, body: bytes | None, headers: Mapping[str, str], limits: Limits, allowed: Networks
) -> AsyncIterator[Answer]:
    target = checked_url(url, allowed)
    deadline = asyncio.get_running_loop().time() + limits.total_seconds
    async with _session(allowed) as session:
        response = await _send(session, method, target, headers, body, limits, deadline)
        answer = Answer(response, limits, deadline)
        try:
            yield answer
        finally:
            answer.close()


async def _send(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: Mapping[str, str],
    body: bytes | None,
    limits: Limits,
    deadline: float,
) -> aiohttp.ClientResponse:
    """The answer's head. Raises OutboundError."""
    host = url.host
    timeout = aiohttp.ClientTimeout(connect=limits.connect_seconds, sock_read=limits.first_byte_seconds)
    try:
        async with asyncio.timeout_at(deadline):
            response = await session.request(
                method, url, data=body, headers=headers, allow_redirects=False, timeout=timeout
            )
    except aiohttp.ConnectionTimeoutError as error:
        raise UnreachableError(f"no connection to {host} in time") from error
    except TimeoutError as error:
        raise LateError(f"{host} did not begin to answer in time") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise UnreachableError(f"the certificate of {host} is not valid") from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, PermissionError):
            raise AddressError(str(error.os_error.strerror)) from error
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            raise UnreachableError(f"there is no host {host}") from error
        raise UnreachableError(f"{host} refused the connection") from error
    except aiohttp.ClientResponseError as error:
        raise AnswerError(f"{host} does not speak HTTP") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ClosedError(f"{host} closed the connection without an answer") from error
    codings = ",".join(response.headers.getall("Transfer-Encoding", [])).strip().lower()
    if response.status < 200 or codings not in {"", "chunked"}:
        response.close()
        raise AnswerError(f"{host} does not speak HTTP")
    return response


_Sessions = dict[Networks, aiohttp.ClientSession]
_sessions: dict[asyncio.AbstractEventLoop, tuple[_Sessions, AsyncGenerator[_Sessions]]] = {}


@asynccontextmanager
async def _session(allowed: Networks) -> AsyncIterator[aiohttp.ClientSession]:
    """The running loop's session for these networks, or a temporary one if there are too many.

    A session keeps connections, so it serves only callers with the same allowed networks.
    """
    loop = asyncio.get_running_loop()
    if loop not in _sessions:
        closing = _until_shutdown()
        _sessions[loop] = await anext(closing), closing
    sessions, _ = _sessions[loop]
    if (session := sessions.get(allowed)) is not None:
        yield session
    elif len(sessions) < _MAX_SESSIONS:
        sessions[allowed] = _open_session(allowed)
        yield sessions[allowed]
    else:
        async with _open_session(allowed) as temporary:
            yield temporary


def _open_session(allowed: Networks) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=Connector(allowed), cookie_jar=aiohttp.DummyCookieJar(), headers=_HEADERS, auto_decompress=False
    )


async def _until_shutdown() -> AsyncGenerator[_Sessions]:
    """Yields the running loop's sessions and closes them with it: `asyncio.run` closes suspended async generators."""
    sessions: _Sessions = {}
    try:
        yield sessions
    finally:
        del _sessions[asyncio.get_running_loop()]
        for session in sessions.values():
            await session.close()
