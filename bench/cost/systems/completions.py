"""The client of the model that every library has: aiohttp, one session, the stream read line by line."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp

from bench.cost.worker import MESSAGE


class Completions:
    """An OpenAI-compatible `/chat/completions`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def stream(self, messages: Sequence[dict[str, Any]]) -> AsyncIterator[str]:
        """The answer's tokens as they come."""
        body = {"model": "fake", "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
        async with self._session.post(self._url, json=body) as answer:
            if answer.status != 200:
                raise RuntimeError(f"the model answers {answer.status}")
            async for line in answer.content:
                if not line.startswith(b"data: {"):
                    continue
                for choice in json.loads(line[6:])["choices"]:
                    if token := choice["delta"].get("content"):
                        yield token

    async def direct(self) -> float:
        """Ask the model and keep nothing; the clock at the first token."""
        first = 0.0
        async for _ in self.stream([{"role": "user", "content": MESSAGE}]):
            first = first or time.perf_counter()
        return first

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
