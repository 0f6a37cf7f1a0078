"""An archive object without an erased contact: its sessions are left out, its words in groups replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lib.archive import parquet
from lib.archive.parquet import ArchiveObject, Row

ERASED = "[erased]"
"""As in SQL (private.anonymise_messages)."""

ROW_GROUP_ROWS = 5_000

_IDENTIFYING = ("session_id", "created_at")


@dataclass(frozen=True)
class Rewritten:
    """A new object, its row groups, and the sessions of each; the messages of groups that lost their words, with
    session and time, and the turns that those began."""

    made: ArchiveObject
    tables: Sequence[pa.Table]
    sessions: Sequence[dict[str, list[Any]]]
    erased_messages: Sequence[Mapping[str, object]]
    erased_turns: Sequence[str]


def rewrite(content: bytes, stand_ins: Mapping[str, str | None], erased: frozenset[str]) -> Rewritten:
    """The object with these sessions only. ``stand_ins``: who stands for an erased sender in each of them."""
    writer = parquet.Writer()
    described: list[dict[str, list[Any]]] = []
    waiting: list[pa.Table] = []
    messages: list[Row] = []
    turns: list[str] = []
    for group in parquet.read(content):
        for session_id in map(str, pc.unique(group["session_id"]).to_pylist()):
            if session_id not in stand_ins:
                continue
            table, said, asked = _without(parquet.of_session(group, session_id), stand_ins[session_id], erased)
            messages += ({"id": row["row_id"], **{name: row[name] for name in _IDENTIFYING}} for row in said)
            turns += asked
            if waiting and sum(each.num_rows for each in waiting) + table.num_rows > ROW_GROUP_ROWS:
                described += _write(writer, waiting)
                waiting = []
            waiting.append(table)
    described += _write(writer, waiting)
    return Rewritten(writer.finish(), writer.tables, described, messages, turns)


def _write(writer: parquet.Writer, tables: Sequence[pa.Table]) -> list[dict[str, list[Any]]]:
    if not tables:
        return []
    table = pa.concat_tables(tables).combine_chunks()
    writer.add(table)
    return [parquet.describe(table)]


def _without(table: pa.Table, stand_in: str | None, erased: frozenset[str]) -> tuple[pa.Table, list[Row], set[str]]:
    """A session's rows without what erased contacts wrote in it, and without the answers to that alone; the messages
    that lost their words, and the turns that those of the contacts began."""
    if not set(pc.unique(table["contact_id"]).to_pylist()) & erased:
        return table, [], set()
    rows: list[Row] = table.to_pylist()
    messages = [row for row in rows if row["relation"] == "messages"]
    said = {row["row_id"] for row in messages if row["contact_id"] in erased}
    asked = {row["turn_id"] for row in messages if row["row_id"] in said} - {None}
    answering_others = {row["turn_id"] for row in messages if row["role"] == "contact" and row["row_id"] not in said}
    said |= {
        row["row_id"] for row in messages if row["role"] == "persona" and row["turn_id"] in asked - answering_others
    }
    now = datetime.now(UTC)
    kept = []
    for row in rows:
        if row["relation"] == "messages" and row["row_id"] in said:
            sender = stand_in if row["role"] == "contact" else row["contact_id"]
            row |= {"text": ERASED, "contact_id": sender, "speaker": None, "metadata": "{}", "client_message_id": None}
            row |= {"changed_at": now}
        elif row["relation"] == "turns" and row["turn_id"] in asked:
            row |= {"client_message_id": None, "usage": None}
        elif (row["relation"] == "turn_errors" and row["turn_id"] in asked) or (
            row["relation"] == "attachments" and row["row_id"] in said
        ):
            continue
        kept.append(row)
    return pa.Table.from_pylist(kept, schema=parquet.SCHEMA), [row for row in messages if row["row_id"] in said], asked
