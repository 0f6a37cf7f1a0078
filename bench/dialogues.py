"""Files of dialogues: who says what, in order."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter


class Line(BaseModel):
    """One thing said."""

    model_config = ConfigDict(frozen=True)

    speaker: str
    text: str
    dia_id: str | None = None


class Episode(BaseModel):
    """Lines said on one occasion."""

    model_config = ConfigDict(frozen=True)

    date_time: str | None = None
    turns: tuple[Line, ...]


class Dialogue(BaseModel):
    """Everything between a few speakers, in one file entry: `{sample_id, speakers, sessions: [{date_time, turns}]}`."""

    model_config = ConfigDict(frozen=True)

    sample_id: str
    speakers: tuple[str, ...]
    sessions: tuple[Episode, ...]

    def lines(self) -> Iterator[Line]:
        """Every line that says something, in the order it was said."""
        for episode in self.sessions:
            yield from (line for line in episode.turns if line.text.strip())


_FILE = TypeAdapter(tuple[Dialogue, ...])


def read(file: Path) -> tuple[Dialogue, ...]:
    """The dialogues of a JSON file. Raises OSError and pydantic.ValidationError."""
    return _FILE.validate_json(file.read_bytes())
