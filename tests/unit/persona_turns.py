"""Turns to ask personas with, their answers, and the kinds that ship."""

import ipaddress
import itertools
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from lib import personas
from lib.personas import HistoryMessage, PersonaError, PersonaTurn, Piece, RecalledMemory, Text
from lib.personas.sanitizer import Sanitizer
from tests.standins.openai import MODEL

SHIPPED = ("demo", "n8n", "openai")
"""The kinds that ship; a tree may have more (docs/personas.md)."""

CONTENT = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("👋é\n \ud83d\udc4b")), max_size=8)
"""Pieces of an answer, with halves of emojis."""

PLACES = st.lists(st.integers(min_value=0), max_size=30)
"""Where `cut` cuts a body."""

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
MESSAGE = "Grüße 👋 at noon"
ANSWER = f"You wrote: {MESSAGE}"
"""What the stand-ins answer to the message."""


def make_turn(message: str = MESSAGE, **changes: Any) -> PersonaTurn:
    """A contact's first message, except for what the test changes."""
    given: dict[str, Any] = {
        "turn_id": "turn-1", "session_id": "session-1", "conversation_id": "conversation-1", "persona_id": "persona-1",
        "space_id": "space-1", "sender_id": "contact-1", "verified": True, "contact": None, "message": message,
        "history": (), "time_limit_seconds": 20, "allowed_networks": LOOPBACK,
    }  # fmt: skip
    return PersonaTurn(**(given | changes))


def calling(kind: str, url: str, *, turn: dict[str, Any] | None = None, **config: Any) -> PersonaTurn:
    """A turn of a persona whose server has this URL; `turn` changes the turn, and the rest the settings."""
    address = {"base_url": url, "model": MODEL} if kind == "openai" else {"url": url}
    return make_turn(config={**address, **config}, **(turn or {}))


def said(*texts: str) -> tuple[HistoryMessage, ...]:
    """A history of these texts, contact and persona in turn."""
    return tuple(
        HistoryMessage("persona" if number % 2 else "contact", text, "2026-11-21T09:00:00Z")
        for number, text in enumerate(texts)
    )


def remembered(*contents: str) -> tuple[RecalledMemory, ...]:
    """Memories with these contents, the best first."""
    return tuple(
        RecalledMemory(f"memory-{number}", "fact", content, "2026-11-21T09:00:00Z", 1 / number)
        for number, content in enumerate(contents, 1)
    )


@dataclass(frozen=True)
class Heard:
    """All pieces of an answer, and the error that ended it, if one did."""

    pieces: list[Piece]
    error: PersonaError | None

    @property
    def texts(self) -> list[str]:
        return [piece.text for piece in self.pieces if isinstance(piece, Text)]

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def code(self) -> str | None:
        return self.error.code if self.error else None

    @property
    def detail(self) -> str:
        return self.error.detail if self.error else ""


async def hear(kind: str, turn: PersonaTurn) -> Heard:
    """What a persona answers, to the end, as turns take it."""
    pieces: list[Piece] = []
    spoken = Sanitizer()
    try:
        async with aclosing(personas.find(kind).answer(turn)) as answer:
            async for piece in answer:
                pieces += [fit] if (fit := spoken.take(piece)) is not None else []
        assert spoken.finish() is None
    except PersonaError as error:
        return Heard(pieces, error)
    return Heard(pieces, None)


async def ask(kind: str, url: str, *, turn: dict[str, Any] | None = None, **config: Any) -> Heard:
    """What a persona answers whose server has this URL."""
    return await hear(kind, calling(kind, url, turn=turn, **config))


def json_values(names: str) -> st.SearchStrategy[Any]:
    """JSON values whose objects have these names."""
    named = st.sampled_from(names.split())
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(named, inner, max_size=5),
        max_leaves=12,
    )


def cut(body: bytes, places: list[int]) -> list[bytes]:
    """A body in chunks, cut at these places."""
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]
