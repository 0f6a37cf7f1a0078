"""Retries of calls to the backend: only if a repeat has no second effect, and within the caller's time."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from lib import errors

Result = TypeVar("Result")


class Unreachable(errors.BackendUnavailable):
    """The backend gave no answer. ``harmless``: the call was certainly not executed."""

    def __init__(self, *, harmless: bool) -> None:
        super().__init__()
        self.harmless = harmless


class Vanished(errors.InternalError):
    """The call was not executed, because an object or function that it needs was just deleted or replaced."""


@dataclass(frozen=True)
class Patience:
    """The limits of a call's retries: the number of tries and, in seconds, the longest pause between two tries, the
    limit of one try, and the time after which no further try starts.
    """

    tries: int
    longest_pause: float
    try_seconds: float = 12
    seconds: float = 24


BRIEF = Patience(tries=3, longest_pause=0.4, seconds=3)
"""For a caller who waits: fails within a second if nothing listens. One try may take longer than the database's own
statement timeout (10 s), so that the database gives up first."""

GLANCE = Patience(tries=1, longest_pause=0, try_seconds=2, seconds=2)
"""For optional data of a request."""

PERSISTENT = Patience(tries=100, longest_pause=2.0)
"""For work that would be lost: the 24 s end the tries, not their count. Pauses are random, so a number of tries is a
time only on average, and a restart of the database may take longer."""


async def run(once: Callable[[], Awaitable[Result]], patience: Patience, *, repeatable: bool) -> Result:
    """The result of one try that succeeds.

    ``repeatable`` declares the call idempotent; without it, only a harmless failure is retried. Raises the last try's
    error.
    """
    began = time.monotonic()
    try:
        try:
            return await once()
        except Vanished:
            # The second try finds the object missing from its start, and the function raises its own error.
            return await once()
    except Unreachable as unreachable:
        first = unreachable

    def again(failure: BaseException) -> bool:
        return isinstance(failure, Unreachable) and (repeatable or failure.harmless)

    # Only after a failure, because tenacity costs a successful call more than all other code here.
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
