"""A queue drained in one step.

Tokens that arrive in one read pass each task of a turn in one step, not in one step per token: asyncio.Queue locks and
wakes its reader for every item.
"""

import asyncio
from typing import Generic, TypeVar

Item = TypeVar("Item")


class BatchQueue(Generic[Item]):
    """An unbounded queue with one consumer in the producers' event loop."""

    def __init__(self) -> None:
        self._waiting: list[Item] = []
        self._filled = asyncio.Event()

    def put(self, item: Item, *, wake: bool = True) -> None:
        """Append an item without waiting. An item without ``wake`` is taken together with the next one that has it."""
        self._waiting.append(item)
        if wake:
            self._filled.set()

    async def take(self) -> list[Item]:
        """All queued items in order; waits for the first."""
        await self._filled.wait()
        self._filled.clear()
        taken, self._waiting = self._waiting, []
        return taken
