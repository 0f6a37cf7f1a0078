"""A batch of an import as rows of each table, for the SQL function import_batch.

Ids of conversations, sessions and what is in them follow from the workspace, the source and the id there: a repeated
batch has the same rows, and stores nothing twice. Like the ids that the database makes they begin with a time, the
row's own, so that rows of one time are stored side by side.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from lib.imports.items import (
    Author,
    ImportedContact,
    ImportedConversation,
    ImportedMemory,
    ImportedMessage,
    ImportedSession,
    ImportedTurn,
    WorkflowRow,
)

Row = dict[str, Any]

_TABLES = (
    "contacts", "conversations", "sessions", "turns", "messages", "attachments", "requests", "quotes", "proposals",
    "refs", "steps", "reasons", "memories",
)  # fmt: skip
_KEYS = {
    "requests": (),
    "quotes": (("request_id", "requests"),),
    "proposals": (("request_id", "requests"), ("quote_id", "quotes")),
    "refs": (),
    "steps": (),
    "reasons": (),
}
"""The tables of a session's workflow, and their columns that name a row of another."""


@dataclass(frozen=True)
class Batch:
    """The rows of a batch. ``n`` is an item's place in the request."""

    workspace_id: UUID
    source: str
    rows: dict[str, list[Row]] = field(default_factory=lambda: {table: [] for table in _TABLES})
    _sessions: dict[UUID, Row] = field(default_factory=dict)
    _known: set[UUID] = field(default_factory=set)
    """The turns and messages of the batch: a conversation may come in several items."""

    def add_contacts(self, contacts: Sequence[tuple[int, ImportedContact]]) -> None:
        """Add contacts. Those that share an identity become one contact: that of their leader."""
        leaders = _leaders(contacts)
        for n, contact in contacts:
            named = contact.named
            kind = next((one.contact_kind for one in named if one.contact_kind is not None), None)
            self.rows["contacts"].append(
                {
                    "n": n,
                    "leader": leaders[n],
                    "kind": kind or contact.kind or "person",
                    "origin": contact.source,
                    "identities": [{"kind": one.kind, "key": one.key, "value": one.value} for one in named],
                    "tags": sorted(set(contact.tags)),
                    **contact.model_dump(
                        mode="json",
                        include={"external_id", "first_name", "last_name", "title", "attributes", "created_at"},
                    ),
                    "participants": [one.model_dump(mode="json") for one in contact.participants],
                }
            )

    def add_conversation(self, n: int, conversation: ImportedConversation) -> None:
        """Add a conversation with its sessions."""
        began_at = conversation.created_at or min(session.began_at for session in conversation.episodes)
        conversation_id = self._id("conversation", conversation.external_id, began_at, timeless=True)
        given = conversation.model_dump(include={"external_id", "contact", "persona", "space", "channel"})
        self.rows["conversations"].append(
            {"n": n, "id": conversation_id, "created_at": began_at, **given, **self._author(conversation.author)}
        )
        for session in conversation.episodes:
            self._add_session(conversation_id, conversation.external_id, session)

    def add_memory(self, n: int, memory: ImportedMemory) -> None:
        """Add a memory."""
        named = {"previous_id": memory.previous, "superseded_by": memory.superseded_by}
        conversation_id = self._row_id("conversation", memory.conversation) if memory.conversation else None
        self.rows["memories"].append(
            {
                **memory.model_dump(mode="json", exclude={"external_id", "conversation", "previous", "superseded_by"}),
                "n": n,
                "id": self._row_id("memories", memory.external_id),
                "conversation_id": conversation_id,
                **{column: self._row_id("memories", name) if name else None for column, name in named.items()},
            }
        )

    def _add_session(self, conversation_id: UUID, conversation: str, session: ImportedSession) -> None:
        name = f"{conversation}\0{session.external_id or ''}"
        began_at, active_at = session.began_at, session.active_at
        session_id = self._id("session", name, began_at, timeless=session.external_id is None)
        incoming = [message.created_at for message in session.messages if message.role in ("contact", "user")]
        given = session.model_dump(
            mode="json",
            include={
                "status", "subject", "error_message", "metadata", "workflow", "workflow_step", "workflow_state", "tags",
            },
        )  # fmt: skip
        row = self._sessions.get(session_id)
        if row is None:
            row = self._sessions[session_id] = {
                **given,
                "id": session_id,
                "conversation_id": conversation_id,
                "created_at": began_at,
                "last_activity_at": active_at,
                "ended_at": session.ended_at or active_at,
                "first_message_at": session.first_message_at or min(incoming, default=None),
                "turn_count": 0,
                "message_count": 0,
                **self._links(session),
            }
            self.rows["sessions"].append(row)
        row["last_activity_at"] = max(row["last_activity_at"], active_at)
        if session.ended_at is None:
            row["ended_at"] = max(row["ended_at"], active_at)
        turns = {turn.external_id: self._turn(session_id, turn) for turn in session.turns}
        for turn in turns.values():
            if self._is_new(turn["id"]):
                row["turn_count"] += 1
                self.rows["turns"].append({**turn, "retry_of": turns.get(turn["retry_of"], {}).get("id")})
        for place, message in enumerate(session.messages):
            row["message_count"] += self._add_message(session_id, name, place, message, turns)
        for table in _KEYS:
            for row in getattr(session, table):
                self.rows[table].append(self._workflow_row(session_id, table, row))

    def _is_new(self, row_id: UUID) -> bool:
        is_new = row_id not in self._known
        self._known.add(row_id)
        return is_new

    def _links(self, session: ImportedSession) -> Row:
        """The request, quote and proposal that a session works on."""
        tables = {"request_id": "requests", "primary_quote_id": "quotes", "proposal_id": "proposals"}
        return {
            column: self._row_id(table, getattr(session, column)) if getattr(session, column) else None
            for column, table in tables.items()
        }

    def _turn(self, session_id: UUID, turn: ImportedTurn) -> Row:
        row_id = self._id("turn", f"{session_id}\0{turn.external_id}", turn.created_at)
        return {**turn.model_dump(mode="json", exclude={"external_id"}), "id": row_id, "session_id": session_id}

    def _add_message(
        self, session_id: UUID, session: str, place: int, message: ImportedMessage, turns: dict[str, Row]
    ) -> bool:
        """Add a message, unless the batch has it; whether it was added."""
        name = message.external_id or f"#{place}"
        message_id = self._id("message", f"{session}\0{name}", message.created_at, name=name)
        if not self._is_new(message_id):
            return False
        author = message.author or Author()
        self.rows["messages"].append(
            {
                "id": message_id,
                "session_id": session_id,
                "turn_id": turns.get(message.turn or "", {}).get("id"),
                "created_at": message.created_at,
                "changed_at": message.changed_at,
                "role": message.role,
                "contact": message.contact,
                "persona": message.persona,
                "text": message.text,
                "partial": message.partial,
                "metadata": message.metadata,
                "client_message_id": message.client_message_id,
                "speaker": message.speaker or author.name,
                **(self._author(author) if message.role in ("member", "user") else {}),
            }
        )
        for index, attachment in enumerate(message.attachments):
            self.rows["attachments"].append({"message_id": message_id, "place": index, **attachment.model_dump()})
        return True

    def _author(self, author: Author | None) -> Row:
        """A member of the workspace with the author's id, or else an id that no user has."""
        if author is None:
            return {}
        name = author.id or author.name or ""
        try:
            member_id = UUID(author.id) if author.id else None
        except ValueError:
            member_id = None
        return {"user_id": uuid5(self.workspace_id, f"{self.source}\0author\0{name}"), "member_id": member_id}

    def _workflow_row(self, session_id: UUID, table: str, row: WorkflowRow) -> Row:
        given = row.model_dump(mode="json")
        named = {column: self._row_id(other, given[column]) for column, other in _KEYS[table] if given.get(column)}
        return {**given, "id": self._row_id(table, row.id), "session_id": session_id, **named}

    def _row_id(self, table: str, external_id: str) -> UUID:
        return uuid5(self.workspace_id, f"{self.source}\0{table}\0{external_id}")

    def _id(self, kind: str, external_id: str, at: datetime, *, timeless: bool = False, name: str = "") -> UUID:
        """A version 7 UUID: the row's time, 12 bits in the order of numbered ids, and a hash of what identifies it.

        ``timeless``: without the time, which may be another in the next batch, as it follows from the messages in it.
        """
        if timeless:
            return self._row_id(kind, external_id)
        text = f"{self.workspace_id}\0{self.source}\0{kind}\0{external_id}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        milliseconds = max(0, int(at.timestamp() * 1000)) & (2**48 - 1)
        order = int(name) & 0xFFF if name.isascii() and name.isdecimal() else int.from_bytes(digest[:2]) & 0xFFF
        rest = int.from_bytes(digest[8:]) & (2**62 - 1)
        return UUID(int=milliseconds << 80 | 0x7 << 76 | order << 64 | 0b10 << 62 | rest)


def _leaders(contacts: Iterable[tuple[int, ImportedContact]]) -> dict[int, int]:
    """For each item the first one with which it shares an identity or an id, directly or through others."""
    leader: dict[int, int] = {}
    members: dict[int, list[int]] = defaultdict(list)
    owners: dict[tuple[str, ...], int] = {}
    for n, contact in contacts:
        keys = [("id", contact.external_id), *((one.kind, one.key) for one in contact.named)]
        joined = sorted({leader[owners[key]] for key in keys if key in owners})
        first = joined[0] if joined else n
        leader[n] = first
        members[first].append(n)
        for other in joined[1:]:
            for member in members.pop(other):
                leader[member] = first
                members[first].append(member)
        for key in keys:
            owners.setdefault(key, n)
    return leader
