"""Transcripts of archived sessions: read with one ranged read of the store."""

import asyncio
from base64 import b64decode
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from uuid import UUID

from lib import errors, log
from lib.archive import store as stores
from lib.fields.models import Record

Row = Mapping[str, Any]
"""A row of an archive: the columns of the view session_rows. Ids and JSON are text, times are aware."""


class Place(Record):
    """Where the archive of a session is; ``footer``: of the object's file, in base64."""

    object_id: UUID
    workspace_id: UUID
    month: date
    row_group: int
    byte_offset: int
    byte_length: int
    sha256: str
    row_count: int
    message_count: int
    stored_at: datetime
    messages_dropped: bool
    footer: str

    @property
    def key(self) -> str:
        """The object's key in the store."""
        return stores.object_key(self.workspace_id, self.month, self.object_id)


class Reader:
    """Reads the rows of sessions one after another. The last row group is kept: it holds the neighbours, too, and a
    store's transfer and its decoding would be repeated for each of them."""

    def __init__(self, store: stores.Store) -> None:
        self._store = store
        self._known: tuple[UUID, int] | None = None
        self._table: Any = None

    async def read(self, place: Place, session_id: UUID) -> tuple[Row, ...]:
        """The archived rows of a session, in the order of the object: by relation, then by time.

        Verified by hash and count. Raises BackendUnavailable if the store cannot be reached, ArchiveBroken (logged) if
        the object is missing or is not what was recorded.
        """
        from lib.archive import parquet  # noqa: PLC0415 (pyarrow takes longer to import than a function)

        try:
            if self._known != (place.object_id, place.row_group):
                # Not two at a time.
                self._known = self._table = None
                content = await self._store.get_range(place.key, place.byte_offset, place.byte_length)
                group = parquet.RowGroup(place.row_group, place.byte_offset, place.byte_length, place.sha256)
                # Hashing and decompressing would keep the loop, on which other jobs and their leases wait.
                footer = b64decode(place.footer)
                self._table = await asyncio.to_thread(parquet.read_row_group, footer, group, content)
                self._known = (place.object_id, place.row_group)
            rows = parquet.of_session(self._table, str(session_id)).to_pylist()
            if len(rows) != place.row_count:
                raise ValueError("rows are missing")
        except (stores.ObjectMissing, ValueError) as broken:
            log.error("archive_broken", object_id=place.object_id, session_id=session_id, reason=type(broken).__name__)
            raise errors.ArchiveBroken() from None
        return tuple(rows)


async def read(store: stores.Store, place: Place, session_id: UUID) -> tuple[Row, ...]:
    """The archived rows of one session. Raises as `Reader.read`."""
    return await Reader(store).read(place, session_id)
