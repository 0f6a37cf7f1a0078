"""Sanitizes a persona's output: only text that can be shown and stored, whatever the kind."""

from __future__ import annotations

import json

from lib.fields.types import storable_json
from lib.personas import Deferred, PersonaError, Piece, Text, Usage
from lib.personas.text import MAX_CHARACTERS, SurrogateJoiner


class Sanitizer:
    """Sanitizes the pieces of one answer.

    Only the storable part of a text is kept (lib/personas/text); a piece without any is dropped. A piece of another
    type or value is an error of the persona kind: TypeError or ValueError.
    """

    def __init__(self) -> None:
        self._joiner = SurrogateJoiner()
        self._length = 0

    def take(self, piece: object) -> Piece | None:
        """The sanitized piece, or None. Raises PersonaError (persona_too_large), TypeError and ValueError."""
        if isinstance(piece, Text):
            if not isinstance(piece.text, str):
                raise TypeError(f"a Text of {type(piece.text).__name__}")
            return self._say(self._joiner.feed(piece.text))
        if isinstance(piece, Usage):
            usage = json.loads(json.dumps(piece.usage, allow_nan=False))
            if not isinstance(usage, dict):
                raise TypeError(f"a Usage of {type(piece.usage).__name__}")
            return Usage(storable_json(usage))
        if isinstance(piece, Deferred):
            return piece
        raise TypeError(f"{type(piece).__name__} is no piece of an answer")

    def finish(self) -> Piece | None:
        """The rest of the text: a half surrogate pair that waited for its other half."""
        return self._say(self._joiner.finish())

    def _say(self, text: str) -> Text | None:
        self._length += len(text)
        if self._length > MAX_CHARACTERS:
            raise PersonaError("persona_too_large", f"the answer has more than {MAX_CHARACTERS} characters")
        return Text(text) if text else None
