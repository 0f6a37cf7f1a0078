"""Reading sessions out of an object of the archive."""

from base64 import b64encode
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pyarrow as pa
import pytest

from lib import errors
from lib.archive import parquet, store
from lib.archive.transcripts import Place, Reader
from tests.unit.archive.test_store import _row


async def test_a_row_group_is_read_once_for_the_sessions_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = sorted(str(uuid4()) for _ in range(6))
    writer = parquet.Writer()
    for part in (sessions[:3], sessions[3:]):
        rows = [_row(one, "messages", text=f"of {one}") for one in part]
        writer.add(pa.Table.from_pylist(rows, schema=parquet.SCHEMA))
    made = writer.finish()
    kept, workspace_id, object_id = store.open_store(f"file://{tmp_path}"), uuid4(), uuid4()
    await kept.put_if_absent(store.object_key(workspace_id, date(2026, 1, 1), object_id), made.content)
    places = [
        Place(
            object_id=object_id, workspace_id=workspace_id, month=date(2026, 1, 1), row_group=group.number,
            byte_offset=group.byte_offset, byte_length=group.byte_length, sha256=group.sha256, row_count=1,
            message_count=1, stored_at=datetime.now(UTC), messages_dropped=True,
            footer=b64encode(made.footer).decode(),
        )
        for group in made.row_groups for _ in range(3)
    ]  # fmt: skip
    ranges: list[int] = []
    read = kept.get_range

    async def get_range(key: str, offset: int, length: int) -> bytes:
        ranges.append(offset)
        return await read(key, offset, length)

    monkeypatch.setattr(kept, "get_range", get_range)
    reader = Reader(kept)
    read_rows = [await reader.read(place, one) for place, one in zip(places, map(UUID, sessions), strict=True)]
    assert [[row["text"] for row in found] for found in read_rows] == [[f"of {one}"] for one in sessions]
    assert ranges == [group.byte_offset for group in made.row_groups]
    # A group that is not what was recorded is not kept, and a session that is not in it is missing.
    broken = places[0].model_copy(update={"sha256": "0" * 64})
    for place, one in ((broken, sessions[0]), (broken, sessions[0]), (places[0], sessions[5])):
        with pytest.raises(errors.ArchiveBroken):
            await reader.read(place, UUID(one))
    assert [row["text"] for row in await reader.read(places[0], UUID(sessions[0]))] == [f"of {sessions[0]}"]
