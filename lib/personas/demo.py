"""The built-in persona: answers without any service, word by word, and quotes the history and what it remembers.

The same message, history and memories always give the same answer, for demonstrations and measurements.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator

from pydantic import Field

from lib.fields.models import StrictRecord
from lib.personas import PersonaError, PersonaTurn, Piece, Text, Usage, configured
from lib.personas.text import excerpt

_WORD = re.compile(r"\S+\s*|\s+")
_QUOTED_MESSAGES = 3
_QUOTED_MEMORIES = 5
_QUOTED_CHARACTERS = 80


class Config(StrictRecord):
    """`delay_ms`: milliseconds before each word; 0 for no delay."""

    delay_ms: int = Field(default=30, ge=0, le=2_000)


class Demo:
    """Repeats the message and describes the history and the memories."""

    async def answer(self, turn: PersonaTurn) -> AsyncGenerator[Piece, None]:
        """One word per piece.

        Raises PersonaError for an invalid config, or if the words take longer than the turn's limit.
        """
        config = configured(Config, turn)
        words: list[str] = _WORD.findall(_compose(turn))
        deadline = asyncio.get_running_loop().time() + turn.time_limit_seconds
        for word in words:
            if config.delay_ms:
                await asyncio.sleep(config.delay_ms / 1_000)
                if asyncio.get_running_loop().time() > deadline:
                    raise PersonaError("persona_timeout", "the demo persona was set to speak too slowly")
            yield Text(word)
        yield Usage({"messages_seen": len(turn.history) + 1, "words": len(words)})


def _compose(turn: PersonaTurn) -> str:
    said = f"You said: “{turn.message.strip()}”."
    if turn.memories:
        quotes = "; ".join(
            f"“{excerpt(memory.content, _QUOTED_CHARACTERS)}”" for memory in turn.memories[:_QUOTED_MEMORIES]
        )
        said += f" I remember: {quotes}."
    if not turn.history:
        return f"{said} This is the first message that I see of our conversation."
    count = len(turn.history)
    seen = "1 earlier message" if count == 1 else f"{count} earlier messages"
    quotes = "; ".join(
        f"{message.role}: “{excerpt(message.text, _QUOTED_CHARACTERS)}”" for message in turn.history[-_QUOTED_MESSAGES:]
    )
    return f"{said} Before that I see {seen} of our conversation, the last of them {quotes}."


persona = Demo()
