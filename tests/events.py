"""Server-sent events as a reader sees them: the parsing rules of the HTML standard."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Received:
    """One dispatched event."""

    name: str
    data: dict[str, Any]
    id: str


class Parser:
    """Feed it bytes as they come; it gives the events that are complete, and keeps the comments."""

    def __init__(self) -> None:
        self.comments: list[str] = []
        self._buffer = b""
        self._name, self._data, self._id = "", list[str](), ""

    def feed(self, chunk: bytes) -> Iterator[Received]:
        """The events that end in this chunk."""
        self._buffer += chunk
        while b"\n" in self._buffer:
            raw, _, self._buffer = self._buffer.partition(b"\n")
            line = raw.decode("utf-8").removesuffix("\r")
            if line == "":
                if self._data:
                    yield Received(self._name or "message", json.loads("\n".join(self._data)), self._id)
                self._name, self._data = "", []
            elif line.startswith(":"):
                self.comments.append(line[1:].strip())
            else:
                field, _, value = line.partition(":")
                self._take(field, value.removeprefix(" "))

    def _take(self, field: str, value: str) -> None:
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        elif field == "id" and "\0" not in value:
            self._id = value


async def read(response: aiohttp.ClientResponse) -> AsyncIterator[Received]:
    """The events of a response, as they come."""
    parser = Parser()
    async for chunk in response.content.iter_any():
        for event in parser.feed(chunk):
            yield event


async def read_all(response: aiohttp.ClientResponse) -> list[Received]:
    """The events of a response, to its end."""
    return [event async for event in read(response)]


async def read_up_to(reading: AsyncIterator[Received], text: str) -> list[Received]:
    """The next events, up to the piece with which the answer is this text."""
    heard: list[Received] = []
    while text_of(heard) != text:
        heard.append(await anext(reading))
    return heard


def text_of(events: list[Received]) -> str:
    """The answer in the deltas."""
    return "".join(event.data["text"] for event in events if event.name == "delta")
