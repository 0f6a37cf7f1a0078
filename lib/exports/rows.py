"""The rows of an export, read in pages: contacts, conversations and sessions, then what belongs to them."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from lib.archive import transcripts as archived
from lib.database.commands import Rpc
from lib.fields.models import Record

Row = Mapping[str, Any]

PARENTS = 200
"""Contacts or sessions whose parts are read at a time."""

PAGE = 2000

PAGE_BYTES = 2_000_000
"""Of the texts of a page, as the pages before tell; reading one takes several times as much memory."""

FIRST_PAGE = 125
"""Of messages: the next ones have as many more as PAGE_BYTES allows, twice as many at most."""

HIDDEN = {
    "workspace_id", "name_key", "last_name_key", "attempt_id", "lease_until", "deadline", "cancel_requested_at",
    "collecting", "contact_kind", "group_kind", "scope_id", "duplicate_key",
}  # fmt: skip

TALK = ("turns", "messages")
"""Read in pages: a session may have many."""

DROPPED = ("messages", "attachments")
"""What the archive may hold alone."""


Archived = Callable[[Row], Awaitable[Sequence[archived.Row]]]
"""Reads the archived rows of a session from its place in the object store."""


class _Page(Record):
    rows: tuple[dict[str, Any], ...]


class Rows:
    """The rows of one export."""

    def __init__(self, rpc: Rpc, export_id: UUID, read_archived: Archived) -> None:
        self._rpc, self._export_id, self._read_archived = rpc, export_id, read_archived
        self._messages_at_once = FIRST_PAGE

    async def first(self, kind: str) -> AsyncIterator[Sequence[Row]]:
        """Pages of contacts, conversations, sessions or memories, in the order of their ids."""
        after: Row = {}
        while True:
            rows = await self._read(kind, after=after, most=PAGE)
            if rows:
                yield rows
            if len(rows) < PAGE:
                return
            after = {"id": rows[-1]["id"]}

    async def parts(self, kind: str, parents: Sequence[Row]) -> AsyncIterator[Sequence[Row]]:
        """The rows of contacts or sessions, in the order of these. Messages that were dropped from the database are
        read from the archive."""
        for begin in range(0, len(parents), PARENTS):
            ids = [parent["id"] for parent in parents[begin : begin + PARENTS]]
            gone: Sequence[Row] = ()
            if kind in DROPPED and any(parent.get("status") == "archived" for parent in parents):
                gone = await self._read("archives", parents=ids)
            if not gone:
                async for page in self._stored(kind, ids):
                    yield page
                continue
            places = {row["session_id"]: row for row in gone}
            for parent_id in ids:
                # What came late is in the database.
                late = [row async for page in self._stored(kind, [parent_id]) for row in page]
                old = await self._archived(kind, places[parent_id]) if parent_id in places else []
                yield [*old, *late]

    async def _stored(self, kind: str, ids: Sequence[str]) -> AsyncIterator[Sequence[Row]]:
        after: Row = {}
        while True:
            most = self._messages_at_once if kind == "messages" else PAGE
            rows = await self._read(kind, parents=ids, after=after, most=most)
            if rows:
                yield rows
            if kind == "messages" and rows:
                mean = sum(len(row["text"]) for row in rows) / len(rows)
                self._messages_at_once = max(1, min(PAGE, 2 * most, int(PAGE_BYTES / mean)))
            if kind not in TALK or len(rows) < most:
                return
            after = {name: rows[-1][name] for name in ("session_id", "created_at", "id")}

    async def _archived(self, kind: str, place: Row) -> list[Row]:
        rows = [row for row in await self._read_archived(place) if row["relation"] == kind]
        if kind == "messages":
            return sorted(map(_message, rows), key=lambda row: (row["created_at"], row["id"]))
        return [{**_shown(json.loads(row["row"])), "session_id": row["session_id"]} for row in rows]

    async def _read(self, kind: str, **more: Any) -> tuple[dict[str, Any], ...]:
        arguments = {"export_id": self._export_id, "kind": kind, **more}
        page = await self._rpc.call("read_export_rows", arguments, _Page, repeatable=True)
        return tuple(map(_shown, page.rows))


_MESSAGE = (
    "session_id", "conversation_id", "turn_id", "role", "contact_id", "user_id", "persona_id", "text", "partial",
    "created_at", "client_message_id", "speaker", "changed_at",
)  # fmt: skip


_TRAILING_ZEROS = re.compile(r"(\.\d*?)0+(?=[+-]\d\d:\d\d$)")
"""Of a fraction of a second, which Postgres does not write."""


def _message(row: archived.Row) -> Row:
    """An archived message as the database would give it."""
    plain = {name: row[name] for name in _MESSAGE}
    times = {
        name: row[name] and _TRAILING_ZEROS.sub(r"\1", row[name].isoformat()) for name in ("created_at", "changed_at")
    }
    metadata = row["metadata"]
    return {
        "id": row["row_id"],
        **plain,
        **times,
        "metadata": json.loads(metadata) if isinstance(metadata, str) else metadata or {},
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the columns that say nothing outside of this database."""
    return {name: value for name, value in row.items() if name not in HIDDEN}
