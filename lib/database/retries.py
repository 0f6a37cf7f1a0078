"""Trying a call to the backend again: only where that cannot do it twice, and only as long as its caller is patient."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from lib import errors

Result = TypeVar("Result")


class Unreachable(errors.BackendUnavailable):
    """The backend gave no answer. ``harmless``: whatever was sent has certainly not been done."""

    def __init__(self, *, harmless: bool) -> None:
        super().__init__()
        self.harmless = harmless


class Vanished(errors.InternalError):
    """Nothing was done, because something that the call was about has just been deleted or replaced."""


@dataclass(frozen=True)
class Patience:
    """How often a call is tried in all, and, in seconds: the longest pause between two tries, the limit of one try, and
    the time after which no further try begins.
    """

    tries: int
    longest_pause: float
    try_seconds: float = 12
    seconds: float = 24


BRIEF = Patience(tries=3, longest_pause=0.4, seconds=3)
"""For a caller who waits: give up within a second where nothing listens, and say so. One try may take longer than the
database's own statement timeout (10 s), so that the database gives up first."""

GLANCE = Patience(tries=1, longest_pause=0, try_seconds=2, seconds=2)
"""For data that a request can do without."""

PERSISTENT = Patience(tries=100, longest_pause=2.0)
"""For work that would be lost: the 24 s end the tries, not their count. Pauses are drawn between zero and the longest,
so a count of tries is a time only on average, and a database that restarts may be away for longer than that."""


async def run(once: Callable[[], Awaitable[Result]], patience: Patience, *, repeatable: bool) -> Result:
    """The result of one try that succeeds.

    ``repeatable`` promises that doing it twice is the same as doing it once; without it, only a harmless failure is
    tried again. Raises what the last try raises.
    """
    began = time.monotonic()
    try:
        try:
            return await once()
        except Vanished:
            # The second try finds it missing from its beginning, and the function says so itself.
            return await once()
    except Unreachable as unreachable:
        first = unreachable

    def again(failure: BaseException) -> bool:
        return isinstance(failure, Unreachable) and (repeatable or failure.harmless)

    # Only now, because tenacity takes longer over a call that succeeds than everything else that is done for it here.
    left = patience.seconds - (time.monotonic() - began)
    async for attempt in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(again),
        stop=tenacity.stop_after_attempt(patience.tries) | tenacity.stop_after_delay(left),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=patience.longest_pause),
        reraise=True,
    ):
        with attempt:
            if attempt.retry_state.attempt_number == 1:
                raise first
            return await once()
    raise AssertionError("unreachable: tenacity returns or raises")
