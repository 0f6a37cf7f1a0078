"""The stored file of an export."""

import hashlib
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from lib.archive.store import Folder, ObjectMissing
from lib.exports import files
from lib.exports.exports import Export

NOW = datetime(2026, 8, 1, tzinfo=UTC)


def an_export(content: bytes) -> Export:
    """A stored export with this content."""
    return Export(
        id=UUID(int=1), workspace_id=UUID(int=2), contact_id=None, session_id=None, status="stored", counts={},
        size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), error=None, created_at=NOW,
        finished_at=NOW, expires_at=NOW,
    )  # fmt: skip


async def test_attempts_at_once_keep_their_own_parts_and_all_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 4)
    target = Folder(tmp_path)
    contents = (b"the first attempt", b"and another one")
    for content in (*contents, contents[0]):
        with tempfile.TemporaryFile() as file:
            file.write(content)
            assert await files.store(target, an_export(content), file) == hashlib.sha256(content).hexdigest()
    served, other = map(an_export, contents)
    await files.delete(target, served.workspace_id, served.id, but=served.sha256)
    assert b"".join([part async for part in files.read(target, served)]) == contents[0]
    with pytest.raises(ObjectMissing):
        assert [part async for part in files.read(target, other)]
    await files.delete(target, served.workspace_id, served.id)
    assert [key async for key in target.keys("")] == []
