"""A queue of which everything that waits is taken at once.

Tokens that came in one read go through the tasks of a turn in one step a task, not in one a token: asyncio.Queue takes
its locks and wakes its reader for each.
"""

import asyncio
from typing import Generic, TypeVar

Item = TypeVar("Item")


class BatchQueue(Generic[Item]):
    """Unbounded; for one taker in the event loop of those who put."""

    def __init__(self) -> None:
        self._waiting: list[Item] = []
        self._filled = asyncio.Event()

    def put(self, item: Item, *, hasten: bool = True) -> None:
        """Append an item; never waits. One without ``hasten`` is taken together with the next that has it."""
        self._waiting.append(item)
        if hasten:
            self._filled.set()

    async def take(self) -> list[Item]:
        """Everything that waits, in order; waits until there is something."""
        await self._filled.wait()
        self._filled.clear()
        taken, self._waiting = self._waiting, []
        return taken
