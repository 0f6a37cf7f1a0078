"""Writes the zip of an export, kind by kind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

from lib.exports import transcript
from lib.exports.package import File, Package
from lib.exports.rows import Row, Rows

Progress = Callable[[dict[str, int]], Awaitable[None]]

OF_CONTACTS = ("identities", "participants")
OF_SESSIONS = ("turns", "messages", "attachments", "requests", "quotes", "proposals", "refs", "steps", "reasons")

NAMED = 1000
"""Contacts whose names the transcript shows; an export with more is of a workspace."""


async def write(package: Package, rows: Rows, progress: Progress) -> None:
    """Write all files but the manifest; ``progress`` is told the rows of each kind after each file."""
    names: dict[str, str] = {}
    for kind in ("personas", "spaces"):
        with package.file(f"{kind}.jsonl") as file:
            async for page in rows.parts(kind, [{"id": _NIL}]):
                names |= {row["id"]: row["name"] for row in page}
                file.write_rows(page)
    for kind in ("contacts", "conversations", "sessions", "memories"):
        with package.file(f"{kind}.jsonl") as file:
            async for page in rows.first(kind):
                await _add(file, page)
                if kind == "contacts" and file.rows <= NAMED:
                    names |= {row["id"]: _name(row) for row in page if _name(row)}
        await progress(package.counts)
    for kind in OF_CONTACTS:
        with package.file(f"{kind}.jsonl") as file:
            await _add_parts(file, rows, kind, rows.first("contacts"))
    with package.file("tags.jsonl") as file:
        await _add_parts(file, rows, "contact_tags", rows.first("contacts"))
        await _add_parts(file, rows, "session_tags", rows.first("sessions"))
    for kind in OF_SESSIONS:
        with package.file(f"{kind}.jsonl") as file:
            await _add_parts(file, rows, kind, rows.first("sessions"))
        await progress(package.counts)
    await _write_transcripts(package, rows, names)


async def _add(file: File, page: Sequence[Row]) -> None:
    # Encoding and compressing would keep the loop, on which other jobs and their leases wait.
    await asyncio.to_thread(file.write_rows, page)


async def _add_parts(file: File, rows: Rows, kind: str, parents: AsyncIterator[Sequence[Row]]) -> None:
    async for some in parents:
        async for page in rows.parts(kind, some):
            await _add(file, page)


async def _write_transcripts(package: Package, rows: Rows, names: Mapping[str, str]) -> None:
    """The transcript in files of so many sessions; the first one exists in any case."""
    number = 0
    async for some in _chunks(rows.first("sessions"), transcript.SESSIONS):
        number += 1
        with package.file("transcript.html" if number == 1 else f"transcript-{number}.html") as file:
            file.write(transcript.HEAD)
            await _add_sessions(file, rows, some, names)
    if number == 0:
        with package.file("transcript.html") as file:
            file.write(transcript.HEAD)


async def _add_sessions(file: File, rows: Rows, sessions: Sequence[Row], names: Mapping[str, str]) -> None:
    """Sessions with their messages, both in the order of the sessions."""
    waiting = iter(sessions)
    shown: Any = None
    async for page in rows.parts("messages", sessions):
        said = []
        for message in page:
            while shown != message["session_id"]:
                session = next(waiting)
                said.append((transcript.END_OF_SESSION if shown else "") + transcript.beginning(session, names))
                shown = session["id"]
            said.append(transcript.message(message, names))
        await asyncio.to_thread(file.write, "".join(said))
    for session in waiting:
        file.write((transcript.END_OF_SESSION if shown else "") + transcript.beginning(session, names))
        shown = session["id"]
    file.write(transcript.END_OF_SESSION if shown else "", rows=len(sessions))


async def _chunks(pages: AsyncIterator[Sequence[Row]], size: int) -> AsyncIterator[Sequence[Row]]:
    async for page in pages:
        for begin in range(0, len(page), size):
            yield page[begin : begin + size]


_NIL: Any = "00000000-0000-0000-0000-000000000000"


def _name(contact: Row) -> str:
    return contact.get("title") or " ".join(filter(None, (contact.get("first_name"), contact.get("last_name"))))
