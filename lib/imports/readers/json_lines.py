"""Contacts, conversations and memories in JSON Lines: ``{"contact": {…}}``, ``{"conversation": {…}}`` or
``{"memory": {…}}`` a line.

A line with none of these is a contact, or a conversation if it has messages or sessions.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.imports.readers.found import Found, Kind, Mapping, UnreadableFileError

KINDS: tuple[Kind, ...] = ("contact", "conversation", "memory")


def read(path: Path, mapping: Mapping) -> Iterator[Found]:
    """The items of a file. Raises UnreadableFileError if it is not text in UTF-8."""
    del mapping
    for line, document in documents(path):
        if not isinstance(document, dict):
            yield Found("contact", {}, line, "the line is no JSON object")
            continue
        named = next((kind for kind in KINDS if isinstance(document.get(kind), dict)), None)
        if named is not None and len(document) == 1:
            yield Found(named, document[named], line)
        else:
            yield Found("conversation" if document.keys() & {"messages", "sessions"} else "contact", document, line)


def documents(path: Path) -> Iterator[tuple[int, Any]]:
    """The values of a file of JSON Lines, or of one JSON document: those of its array, or the document itself, each
    with its line or number. None for a line that is no JSON. Raises UnreadableFileError."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            begin = file.read(1)
            while begin.isspace():
                begin = file.read(1)
            file.seek(0)
            first = file.readline()
            if begin == "[" or _value(first) is None:
                file.seek(0)
                if (whole := _value(file.read())) is not None:
                    yield from enumerate(whole if isinstance(whole, list) else [whole], 1)
                    return
            file.seek(0)
            for line, text in enumerate(file, 1):
                if text.strip("\ufeff \t\r\n"):
                    yield line, _value(text)
    except UnicodeDecodeError:
        raise UnreadableFileError(f"{path.name} is not in UTF-8.") from None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
