"""HTTP to PostgREST: POSTs whose answers come whole over kept-alive connections."""

import asyncio
import functools
import weakref
from dataclasses import dataclass
from urllib.parse import urlsplit

from lib.outbound import wire
from lib.outbound.pool import Pool
from lib.outbound.wire import Headers, Lost, Origin

KEEP_ALIVE_SECONDS = 15
"""Below PostgREST's own 30 s, so that we never send on a connection that it is about to close."""

MOST_IDLE = 64
"""How many unused connections are kept; more are open while more calls are under way."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""With its headers. Several times what the largest answer holds: ten claimed jobs with a delivery of 1 MiB each."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that came whole: its HTTP status and its JSON."""

    status: int
    content: bytes | str


async def post(url: str, path: str, headers: Headers, body: bytes, *, connect_seconds: float, seconds: float) -> Answer:
    """POST a body to a path below an http or https URL and read the answer, whatever its status.

    ``connect_seconds`` is for name, connection and TLS, ``seconds`` for all of it. Raises Lost. A call that is
    cancelled hangs up.
    """
    origin, base = _origin(url)
    message = wire.request(origin.authority, base + path, (("User-Agent", wire.USER_AGENT), *headers), body)
    pool = _pool(origin)
    sent = False
    try:
        async with asyncio.timeout(seconds):
            connection = pool.take()
            if connection is None:
                async with asyncio.timeout(connect_seconds):
                    connection = await wire.connect(_Connection, origin, await wire.resolve(origin))
            try:
                # Nothing is awaited between finding the connection good and writing to it.
                coming = connection.ask(message)
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


class _Connection(wire.Connection):
    """Keeps what comes until the answer is whole."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def ask(self, message: bytes) -> "asyncio.Future[Answer]":
        """Write a request; the answer, or Lost, is in the future. Raises Lost when the peer has hung up before."""
        self._size = 0
        self._content: list[bytes] = []
        self.send(message)
        self._answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._size += len(data)
        if self.under_way and self._size > MAX_ANSWER_BYTES:
            self.lose("TooLarge")
        else:
            super().data_received(data)

    def on_body(self, data: bytes) -> None:
        if not self.under_way:
            return
        if self._parser.get_status_code() < 200:
            self.lose("NotHttp")
        else:
            self._content.append(data)

    def on_answer(self, status: int) -> None:
        if not self._answer.done():
            self._answer.set_result(Answer(status, b"".join(self._content)))

    def on_lost(self, reason: str) -> None:
        if not self._answer.done():
            self._answer.set_exception(Lost(reason, sent=True))
            self._answer.exception()  # where the caller is cancelled in this very moment, nobody else looks at it


_Pools = dict[Origin, Pool[_Connection]]
_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pools] = weakref.WeakKeyDictionary()


def _pool(origin: Origin) -> Pool[_Connection]:
    """One pool for each event loop, which is one for each process of a deployed function."""
    pools = _pools.setdefault(asyncio.get_running_loop(), {})
    if (pool := pools.get(origin)) is None:
        pool = pools[origin] = Pool(MOST_IDLE, KEEP_ALIVE_SECONDS)
    return pool


@functools.lru_cache(maxsize=8)
def _origin(url: str) -> tuple[Origin, str]:
    """Where PostgREST is, and the path that is before all others there."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    origin = Origin(
        host=parts.hostname or "",
        port=parts.port or (443 if tls else 80),
        tls=tls,
        authority=parts.netloc.rpartition("@")[2],
    )
    return origin, parts.path.rstrip("/")
