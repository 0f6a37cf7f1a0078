"""The one way out: every call to a server that is not ours goes through `post`.

Whoever may configure a persona chooses where we call, so the address is untrusted. `post` speaks http and
https only, takes no proxy from the environment, keeps no cookies, follows no redirect, and connects only to
public addresses or to the networks that the workspace allows. The address is judged three times: as written
in the URL, as resolved, and when the socket is made, which is the address that is really used, so a name
that changes its mind in between (DNS rebinding) gains nothing.

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
import functools
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from lib.addresses import Networks, host_permitted, parse, permitted

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]

MAX_URL_LENGTH = 2_048

# Below the 5 s after which Node.js, and so n8n, closes an idle connection: a POST is never sent twice.
_KEEP_ALIVE_SECONDS = 4.0
# How exact the clock of uvloop is.
_CLOCK_SECONDS = 0.001
_TOO_LONG = "the answer took too long"
# Workspaces with networks of their own get their own connections, since a pooled one is not judged again.
_MAX_POOLS = 32


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
    """How long to wait, in seconds, and how much to take, in bytes of the decoded body."""

    connect_seconds: float = 5.0
    first_byte_seconds: float = 60.0
    idle_seconds: float = 60.0
    total_seconds: float = 120.0
    max_bytes: int = 4 * 1024 * 1024


@functools.lru_cache(maxsize=1_024)
def checked_url(text: str, allowed: Networks = ()) -> URL:
    """The URL, when it may be called as far as one can tell without resolving its host.

    Raises UrlError or AddressError.
    """
    if len(text) > MAX_URL_LENGTH or any(ord(character) <= 0x20 or character == "\\" for character in text):
        raise UrlError("the address is too long or contains spaces, backslashes or control characters")
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise UrlError("the address is not a URL") from error
    if url.scheme not in {"http", "https"} or not url.raw_host or not port:
        raise UrlError("the address must be an absolute http or https URL")
    if url.raw_user is not None or url.raw_password is not None:
        raise UrlError("the address must not contain credentials")
    if not host_permitted(url.raw_host, allowed):
        raise AddressError(f"{url.raw_host} is an address outside the allowed networks")
    return url


class _PermittedResolver(AbstractResolver):
    """The system's resolver, less the addresses that may not be called."""

    def __init__(self, allowed: Networks) -> None:
        self._system = aiohttp.ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            found = await self._system.resolve(host, port, family)
        except UnicodeError as error:  # an empty or overlong label
            raise OSError(f"{host} is not a host name") from error
        kept = [result for result in found if permitted(parse(result["host"]), self._allowed)]
        if found and not kept:
            raise AddressError(f"{host} resolves to an address outside the allowed networks")
        return kept

    async def close(self) -> None:
        await self._system.close()


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Narrows a call's clock once its request is sent: the wait for the first byte begins then."""

    clock: asyncio.Timeout
    seconds: float
    deadline: float

    def begin(self) -> None:
        self.clock.reschedule(min(asyncio.get_running_loop().time() + self.seconds, self.deadline))


async def _request_sent(
    _session: aiohttp.ClientSession, context: Any, _sent: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx.begin()


def _open_session(allowed: Networks) -> aiohttp.ClientSession:
    def make_socket(info: AddressInfo) -> socket.socket:
        """The last word: `info` is the address that is about to be connected to."""
        family, kind, protocol, _, target = info
        if not permitted(parse(str(target[0])), allowed):
            raise AddressError(f"{target[0]} is outside the allowed networks")
        return socket.socket(family, kind, protocol)

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_request_sent)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=_PermittedResolver(allowed),
            socket_factory=make_socket,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            limit=0,  # as many as there are turns; a place in a queue would look like a slow persona
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=[trace],
        # A stream must not wait in a compressor. Who compresses all the same is decoded in bounded steps.
        headers={"Accept-Encoding": "identity", "User-Agent": "switchboard"},
    )


_Pool = dict[Networks, aiohttp.ClientSession]
_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()


@asynccontextmanager
async def _session(allowed: Networks) -> AsyncIterator[aiohttp.ClientSession]:
    """The running loop's session for these networks, or one for this call only when there are too many."""
    pool = _pools.setdefault(asyncio.get_running_loop(), {})
    session = pool.get(allowed)
    if session is None and len(pool) >= _MAX_POOLS:
        async with _open_session(allowed) as session:
            yield session
        return
    if session is None or session.closed:
        session = pool[allowed] = _open_session(allowed)
    yield session


async def close() -> None:
    """Close the running loop's idle connections; a later call opens new ones."""
    for session in _pools.pop(asyncio.get_running_loop(), {}).values():
        await session.close()


class Answer:
    """What came back: the status and headers at once, the body as it arrives."""

    def __init__(self, response: aiohttp.ClientResponse, limits: Limits, deadline: float) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        # Not aiohttp's own property, which takes a missing header for application/octet-stream.
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.charset = response.charset or "utf-8"
        self._response = response
        self._limits = limits
        self._deadline = deadline
        self._reading_since: float | None = None
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.call_at(min(self._loop.time() + limits.idle_seconds, deadline), self._look)

    def close(self) -> None:
        """Hang up, unless the answer was read to its end: then the connection is back in the pool already."""
        self._clock.cancel()
        self._response.close()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in the pieces in which it comes in, decompressed. Raises OutboundError."""
        taken = 0
        while True:
            chunk = await self._next()
            if not chunk:
                return
            taken += len(chunk)
            if taken > self._limits.max_bytes:
                raise SizeError(f"the answer is larger than {self._limits.max_bytes} bytes")
            yield chunk

    async def excerpt(self, max_bytes: int) -> bytes:
        """The body's first bytes for a message about a failure; whatever goes wrong ends it."""
        start = bytearray()
        with suppress(OutboundError):
            async for chunk in self.chunks():
                start += chunk
                if len(start) >= max_bytes:
                    break
        return bytes(start[:max_bytes])

    async def _next(self) -> bytes:
        self._reading_since = self._loop.time()
        if self._reading_since >= self._deadline:
            raise LateError(_TOO_LONG)
        try:
            return await self._response.content.readany()
        except aiohttp.ClientPayloadError as error:
            if isinstance(error.__cause__, ContentEncodingError):
                raise AnswerError("the answer is not encoded as its headers say") from error
            raise CutOffError("the connection broke in the middle of the answer") from error
        except (aiohttp.ClientError, OSError) as error:
            raise CutOffError("the connection broke in the middle of the answer") from error
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
            self._response.content.set_exception(late)
        else:
            self._clock = self._loop.call_later(max(due - now, _CLOCK_SECONDS), self._look)


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

    A redirect is an answer like any other and not followed. Leaving the block early hangs up.
    Raises OutboundError.
    """
    limits = limits or Limits()
    target = checked_url(url, allowed)
    deadline = asyncio.get_running_loop().time() + limits.total_seconds
    async with _session(allowed) as session:
        response = await _send(
            session, target, json=json, headers=dict(headers or {}), limits=limits, deadline=deadline
        )
        answer = Answer(response, limits, deadline)
        try:
            yield answer
        finally:
            answer.close()


async def _send(
    session: aiohttp.ClientSession,
    target: URL,
    *,
    json: object,
    headers: dict[str, str],
    limits: Limits,
    deadline: float,
) -> aiohttp.ClientResponse:
    try:
        async with asyncio.timeout_at(deadline) as clock:
            return await session.post(
                target,
                json=json,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, connect=limits.connect_seconds),
                trace_request_ctx=_Waiting(clock, limits.first_byte_seconds, deadline),
            )
    except aiohttp.ConnectionTimeoutError as error:
        raise UnreachableError(f"no connection to {target.host} in time") from error
    except TimeoutError as error:
        raise LateError(f"{target.host} did not begin to answer in time") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise UnreachableError(f"the certificate of {target.host} is not valid") from error
    except aiohttp.ClientConnectorDNSError as error:
        raise UnreachableError(f"there is no host {target.host}") from error
    except aiohttp.ClientResponseError as error:
        raise AnswerError(f"{target.host} did not answer in HTTP") from error
    except aiohttp.InvalidURL as error:
        raise UrlError("the address is not a URL") from error
    except (aiohttp.ClientError, OSError) as error:
        raise UnreachableError(f"{target.host} refused the connection or hung up before answering") from error
