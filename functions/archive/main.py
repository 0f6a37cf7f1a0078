"""archive: archives old sessions for the database's schedule; shows and restores archived ones, and makes exports."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lib import errors
from lib.archive import archives, sweep
from lib.archive import store as stores
from lib.auth.callers import Contact, System, User
from lib.database import queries
from lib.database.management import managing_as
from lib.database.paging import NewestPageRequest, Page
from lib.exports import exports, files
from lib.exports.exports import Export
from lib.http import app
from lib.http.app import Accepted
from lib.http.binding import OPTIONAL

BUDGET_SECONDS = 20.0


async def archive_sessions(caller: User | System, asked: sweep.ArchiveRequest = OPTIONAL) -> sweep.ArchiveReport:
    """Archive the sessions that are old enough, within the time budget."""
    return await sweep.run(caller, asked, budget_seconds=BUDGET_SECONDS)


async def read_archive(caller: Contact | User, session_id: UUID) -> archives.Transcript:
    """The transcript of an archived session."""
    return await archives.read_transcript(caller, session_id)


async def restore_session(user: User, session_id: UUID) -> archives.RestoredSession:
    """Return an archived session to its former state, with its messages."""
    return await archives.restore(user, session_id)


Zip = Annotated[Response, "application/zip"]


async def export_contact(user: User, contact_id: UUID) -> Zip | Accepted[Export]:
    """Everything of a contact as a zip; 202 while it is being made.

    Ask again after Retry-After. The file is kept for a day.
    """
    return await _answer(await exports.request(managing_as(user), contact_id=contact_id))


async def export_session(user: User, session_id: UUID) -> Zip | Accepted[Export]:
    """Everything of a session as a zip; 202 while it is being made.

    Ask again after Retry-After. The file is kept for a day.
    """
    return await _answer(await exports.request_session(user, session_id))


async def create_export(user: User, workspace_id: UUID) -> Accepted[Export]:
    """Have everything of a workspace written to a zip."""
    return _accepted(await exports.request(managing_as(user), workspace_id=workspace_id))


async def list_exports(user: User, workspace_id: UUID, paging: NewestPageRequest) -> Page[Export]:
    """A workspace's exports of the last day, the newest first."""
    return await exports.list_newest(queries.reading_as(user), workspace_id, paging)


async def read_export(user: User, export_id: UUID) -> Export:
    """An export, and how far it is."""
    return await exports.read(queries.reading_as(user), export_id)


async def read_export_file(user: User, export_id: UUID) -> Zip | Accepted[Export]:
    """The file of an export; 202 while it is being made."""
    return await _answer(await exports.read(queries.reading_as(user), export_id))


async def _answer(export: Export) -> Zip | Accepted[Export]:
    exports.require_made(export)
    if export.status == "queued":
        return _accepted(export)
    parts = aiter(files.read(exports.store(), export))
    try:
        # Read before the head is sent: a file that is missing is an error.
        first = await anext(parts)
    except stores.ObjectMissing:
        raise errors.NotFound("export") from None
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{export.file_name}"',
        "Content-Length": str(export.size_bytes),
    }
    return StreamingResponse(_after(first, parts), media_type="application/zip", headers=headers)


async def _after(first: bytes, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in parts:
        yield part


def _accepted(export: Export) -> Accepted[Export]:
    return Accepted(export, {"Retry-After": str(exports.RETRY_SECONDS)})


_HANDLERS = (
    archive_sessions, read_archive, restore_session,
    export_contact, export_session, create_export, list_exports, read_export, read_export_file,
)  # fmt: skip
_serve = app.function("archive", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def archive(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
