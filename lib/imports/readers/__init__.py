"""Readers of files: each gives the contacts and conversations of a file as an import takes them, one by one.

    csv_contacts     contacts, with any column names
    json_lines       contacts and conversations as POST /workspaces/{workspace_id}/imports takes them
    own_exports      a zip that Switchboard exported
    chatwoot         responses of Chatwoot's API
    intercom         responses of Intercom's API

Contacts come before the conversations that name them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from lib.imports.readers import chatwoot, csv_contacts, intercom, json_lines, own_exports
from lib.imports.readers.found import Found, Mapping

Format = Literal["csv", "jsonl", "switchboard", "chatwoot", "intercom"]

FORMATS: dict[Format, Callable[[Path, Mapping], Iterator[Found]]] = {
    "csv": csv_contacts.read,
    "jsonl": json_lines.read,
    "switchboard": own_exports.read,
    "chatwoot": chatwoot.read,
    "intercom": intercom.read,
}


def format_of(path: Path) -> Format:
    """The format that a file's name tells: ours for a zip, else CSV or JSON Lines."""
    endings: dict[str, Format] = {".zip": "switchboard", ".csv": "csv", ".tsv": "csv"}
    return endings.get(path.suffix.lower(), "jsonl")
