"""A zip that Switchboard exported, of a workspace or a contact.

The files of a kind are in the order of their contacts or sessions, so that they are read side by side and none is held
in memory; only the conversations are, which are small. Each session is a conversation item of its own.
"""

import hashlib
import itertools
import json
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lib.exports.package import FORMAT, MANIFEST, VERSION, Manifest
from lib.imports.readers.found import Found, Mapping, UnreadableFileError, without_nothing

Row = dict[str, Any]

_BROKEN = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, AttributeError, LookupError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""What reading a zip raises that is damaged, encrypted or of another kind; RuntimeError also for deep JSON,
OSError for a place before the file's beginning."""

_LINE_BYTES = 32 * 1024 * 1024
"""Longest row that is read: a small zip may hold a line of gigabytes."""

_ENDED = {"completed", "failed", "timeout", "cancelled"}
_CONTACT = ("first_name", "last_name", "title", "source", "attributes", "created_at", "kind")
_SESSION = (
    "subject", "created_at", "last_activity_at", "first_message_at", "error_message", "metadata", "workflow",
    "workflow_step", "workflow_state", "request_id", "primary_quote_id", "proposal_id",
)  # fmt: skip
_MESSAGE = (
    "text", "role", "partial", "metadata", "created_at", "client_message_id", "speaker", "changed_at",
)  # fmt: skip
_TURN = (
    "client_message_id", "first_token_ms", "usage", "error_code", "created_at", "taken_over", "retry_of",
)  # fmt: skip
_ATTACHMENT = ("kind", "external_id", "url", "media_type", "size", "name")
_MEMORY = (
    "kind", "content", "importance", "internal", "speaker", "superseded_by", "valid_from", "expires_at", "created_at",
)  # fmt: skip
_WORKFLOW = ("requests", "quotes", "proposals", "refs", "steps", "reasons")


def read(path: Path, mapping: Mapping) -> Iterator[Found]:
    """The contacts (persons, then groups) and the sessions of an export. Raises UnreadableFileError."""
    del mapping
    try:
        with zipfile.ZipFile(path) as archive:
            manifest_of(archive)
            names = {row["id"]: row["name"] for kind in ("personas", "spaces") for row in _rows(archive, kind)}
            for kind in ("person", "group"):
                yield from _contacts(archive, kind)
            yield from _sessions(archive, names)
            yield from _memories(archive, names)
    except _BROKEN as broken:
        raise UnreadableFileError(f"{path.name} is no export of Switchboard: {broken}") from None


def manifest_of(archive: zipfile.ZipFile) -> Manifest:
    """What the export says of itself. Raises UnreadableFileError for another version."""
    with archive.open(MANIFEST) as file:
        manifest = Manifest.model_validate_json(file.read(_LINE_BYTES))
    if (manifest.format, manifest.version) != (FORMAT, VERSION):
        raise UnreadableFileError(f"It is a {manifest.format} of version {manifest.version}, not {FORMAT} {VERSION}.")
    return manifest


def verify(path: Path) -> Manifest:
    """The manifest of an export all of whose files have the hashes in it. Raises UnreadableFileError."""
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = manifest_of(archive)
            for file in manifest.files:
                digest = hashlib.sha256()
                with archive.open(file.name) as stream:
                    while content := stream.read(1024 * 1024):
                        digest.update(content)
                if digest.hexdigest() != file.sha256:
                    raise UnreadableFileError(f"{file.name} differs from what the manifest says.")
    except _BROKEN as broken:
        raise UnreadableFileError(f"{path.name} is no export of Switchboard: {broken}") from None
    return manifest


def _rows(archive: zipfile.ZipFile, kind: str) -> Iterator[Row]:
    with archive.open(f"{kind}.jsonl") as file:
        while line := file.readline(_LINE_BYTES):
            yield json.loads(line)


class _Parts:
    """The rows of a kind, taken parent by parent."""

    def __init__(self, rows: Iterable[Row], parent: str) -> None:
        self._groups = itertools.groupby((row for row in rows if row.get(parent)), key=lambda row: row[parent])
        self._next: tuple[str, list[Row]] | None = None

    def of(self, parent_id: str) -> list[Row]:
        """The rows of this parent; parents are asked for in the order of the file."""
        while self._next is None or self._next[0] < parent_id:
            group = next(self._groups, None)
            if group is None:
                return []
            self._next = (group[0], list(group[1]))
        return self._next[1] if self._next[0] == parent_id else []


def _contacts(archive: zipfile.ZipFile, kind: str) -> Iterator[Found]:
    identities = _Parts(_rows(archive, "identities"), "contact_id")
    tags = _Parts(_rows(archive, "tags"), "contact_id")
    participants = _Parts(_rows(archive, "participants"), "group_id")
    for line, row in enumerate(_rows(archive, "contacts"), 1):
        if row["kind"] != kind or row.get("merged_into_id"):
            continue
        named = (f"{one['kind']}:{one['value']}" for one in identities.of(row["id"]))
        people = (
            without_nothing({"contact": one["contact_id"], **_only(one, ("role", "joined_at", "left_at"))})
            for one in participants.of(row["id"])
        )
        yield Found(
            "contact",
            without_nothing(
                {
                    "external_id": row["id"],
                    **_only(row, _CONTACT),
                    "identities": [text for text in named if not text.startswith("external:auth:")],
                    "tags": [tag["name"] for tag in tags.of(row["id"])],
                    "participants": list(people),
                }
            ),
            line,
        )


def _sessions(archive: zipfile.ZipFile, names: dict[str, str]) -> Iterator[Found]:
    conversations = {row["id"]: row for row in _rows(archive, "conversations")}
    kinds = ("turns", "messages", "attachments", *_WORKFLOW)
    parts = {kind: _Parts(_rows(archive, kind), "session_id") for kind in kinds}
    tags = _Parts(_rows(archive, "tags"), "session_id")
    for line, row in enumerate(_rows(archive, "sessions"), 1):
        of = {kind: part.of(row["id"]) for kind, part in parts.items()}
        conversation = conversations[row["conversation_id"]]
        session = {
            "external_id": row["id"],
            **_only(row, _SESSION),
            "status": _status(row),
            "ended_at": row.get("ended_at") or row["last_activity_at"],
            "tags": [tag["name"] for tag in tags.of(row["id"])],
            "turns": [_turn(turn, names) for turn in of["turns"]],
            "messages": [_message(message, conversation, of["attachments"], names) for message in of["messages"]],
            **{kind: of[kind] for kind in _WORKFLOW},
        }
        document = {
            "external_id": conversation["id"],
            "contact": conversation.get("contact_id"),
            "author": None if conversation.get("contact_id") else {"id": conversation["user_id"]},
            "persona": names.get(conversation["persona_id"]),
            "space": names.get(str(conversation.get("space_id"))),
            "channel": conversation["channel"],
            "created_at": conversation["created_at"],
            "sessions": [without_nothing(session)],
        }
        yield Found("conversation", without_nothing(document), line)


def _memories(archive: zipfile.ZipFile, names: dict[str, str]) -> Iterator[Found]:
    for line, row in enumerate(_rows(archive, "memories"), 1):
        document = {
            "external_id": row["id"],
            **_only(row, _MEMORY),
            "contact": row.get("contact_id"),
            "conversation": row.get("conversation_id"),
            "persona": names.get(str(row.get("persona_id"))),
            "previous": row.get("previous_id"),
        }
        yield Found("memory", without_nothing(document), line)


def _status(row: Row) -> str:
    """A session that lives ends with the import, and an archived one has its former state."""
    status = row.get("status_before_archive") or row["status"]
    return status if status in _ENDED else "completed"


def _turn(row: Row, names: dict[str, str]) -> Row:
    return without_nothing(
        {
            "external_id": row["id"],
            **_only(row, _TURN),
            "status": row["status"] if row["status"] in _ENDED else "timeout",
            "finished_at": row.get("finished_at") or row["created_at"],
            "fallback_persona": names.get(str(row.get("fallback_persona_id"))),
        }
    )


def _message(row: Row, conversation: Row, attachments: list[Row], names: dict[str, str]) -> Row:
    is_other = row.get("persona_id") not in (None, conversation["persona_id"])
    sender = row.get("contact_id") if row.get("contact_id") != conversation.get("contact_id") else None
    files = [_only(one, _ATTACHMENT) for one in attachments if one["message_id"] == row["id"]]
    return without_nothing(
        {
            "external_id": row["id"],
            **_only(row, _MESSAGE),
            "turn": row.get("turn_id"),
            "contact": sender,
            "persona": names.get(row["persona_id"]) if is_other else None,
            "author": {"id": row["user_id"]} if row.get("user_id") else None,
            "attachments": [without_nothing(one) for one in files],
        }
    )


def _only(row: Row, columns: tuple[str, ...]) -> Row:
    return {column: row[column] for column in columns if row.get(column) is not None}
