"""Turns to ask personas with, what they said, and the kinds that are ours."""

import ipaddress
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from lib import personas
from lib.personas import HistoryMessage, PersonaError, PersonaTurn, Piece, Text
from lib.personas.sanitizer import Sanitizer

SHIPPED = ("demo", "n8n", "openai")
"""The kinds that ship; a tree may have more (docs/personas.md)."""

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def make_turn(message: str = "Grüße 👋 at noon", **changes: Any) -> PersonaTurn:
    """A contact's first message, except for what the test changes."""
    given: dict[str, Any] = {
        "turn_id": "turn-1",
        "session_id": "session-1",
        "conversation_id": "conversation-1",
        "persona_id": "persona-1",
        "contact_id": "contact-1",
        "user_id": None,
        "message": message,
        "history": (),
        "time_limit_seconds": 20,
        "allowed_networks": LOOPBACK,
    }
    return PersonaTurn(**(given | changes))


def said(*texts: str) -> tuple[HistoryMessage, ...]:
    """A history of these texts, contact and persona in turn."""
    return tuple(
        HistoryMessage("persona" if number % 2 else "contact", text, "2026-11-21T09:00:00Z")
        for number, text in enumerate(texts)
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
