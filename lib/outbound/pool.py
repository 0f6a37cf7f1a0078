"""Connections that are kept between calls; the one used last is taken first."""

import asyncio
import collections
import select
from typing import Generic, Protocol, TypeVar


class Connection(Protocol):
    """What can be kept."""

    def quiet(self) -> bool:
        """Whether it can be used now: it is open, and nothing has come that nobody asked for."""
        ...

    def hang_up(self) -> None:
        """Close it, whatever is under way."""
        ...


Kept = TypeVar("Kept", bound=Connection)


def silent(transport: asyncio.BaseTransport) -> bool:
    """Whether nothing has come that was not read, not even the end. Asks the system, as the loop may lag."""
    if transport.is_closing():
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return not poll.poll(0)


class Pool(Generic[Kept]):
    """The unused connections of one event loop to one place: at most so many, for so many seconds each."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._idle: collections.deque[tuple[float, Kept]] = collections.deque()
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> Kept | None:
        """A connection that can be used now, None when there is none."""
        while self._idle:
            until, connection = self._idle.pop()
            if self._loop.time() < until and connection.quiet():
                return connection
            connection.hang_up()
        return None

    @property
    def size(self) -> int:
        """How many are kept."""
        return len(self._idle)

    def keep(self, connection: Kept) -> None:
        """Keep a connection for the next call."""
        if len(self._idle) >= self._most:
            self._idle.popleft()[1].hang_up()
        self._idle.append((self._loop.time() + self._seconds, connection))
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._sweep)

    def empty(self) -> None:
        """Close all of them."""
        while self._idle:
            self._idle.pop()[1].hang_up()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        """Close what nobody has taken in time; the oldest come first."""
        self._timer = None
        while self._idle and self._idle[0][0] <= self._loop.time():
            self._idle.popleft()[1].hang_up()
        if self._idle:
            self._timer = self._loop.call_at(self._idle[0][0], self._sweep)
