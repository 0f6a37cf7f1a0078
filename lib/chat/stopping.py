"""Waiting for a turn to stop: the process that answers a turn notices a cancel only at its next flush."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from lib import errors

PAUSE_SECONDS = 0.3
WAIT_SECONDS = 10.0
"""How long a command waits for a turn to stop: above the 6 s after which the database ends the turn itself."""

Result = TypeVar("Result")


async def until_stopped(
    attempt: Callable[[bool], Awaitable[Result]], stopping: Callable[[Result], bool] = lambda _: False
) -> Result:
    """Repeat a command until the turn that it stops has stopped, for at most 10 s.

    ``attempt`` is called with whether it is the last attempt. The turn is still stopping if the command is refused with
    ``stopping``, or if ``stopping`` is true of its result. After the last attempt its result is returned or its refusal
    raised.
    """
    end = time.monotonic() + WAIT_SECONDS
    while True:
        last = time.monotonic() > end
        try:
            result = await attempt(last)
            if last or not stopping(result):
                return result
        except errors.Refused as refused:
            if last or not refused.extra.get("stopping"):
                raise
        await asyncio.sleep(PAUSE_SECONDS)
