"""A library that keeps chats: its turn is an answer's tokens, which a program hears itself or a server sends on."""

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from bench.cost.systems.completions import Completions
from bench.cost.worker import MESSAGE


class Library(ABC):
    """Somebody who chats through a library in the same process (a Chat of bench/cost/worker.py)."""

    def __init__(self, model: Completions) -> None:
        self._model = model

    @abstractmethod
    def answer(self, message: str, *, new_thread: bool) -> AsyncIterator[str]:
        """One turn: the answer's tokens as they come. It ends when everything that the turn stores is stored."""

    async def turn(self, *, new_thread: bool) -> float:
        """Say MESSAGE and hear the answer out; the clock (time.perf_counter) at its first token."""
        first = 0.0
        async for _ in self.answer(MESSAGE, new_thread=new_thread):
            first = first or time.perf_counter()
        return first

    async def direct(self) -> float:
        """The same with the model alone and nothing stored."""
        return await self._model.direct()
