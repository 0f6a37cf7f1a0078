"""The stored file of an export: in parts, so that neither writing nor serving it holds more than one in memory.

The parts of each attempt are objects of their own, named by the hash of its file: two attempts at once, of which one
was given up, do not touch each other's. The recorded hash says which are served.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from io import BufferedRandom
from uuid import UUID

from lib.archive.store import Store
from lib.exports.exports import Export

PART_BYTES = 8 * 1024 * 1024


def _prefix(workspace_id: UUID, export_id: UUID) -> str:
    return f"exports/workspace={workspace_id}/{export_id}-"


def key(workspace_id: UUID, export_id: UUID, sha256: str, part: int) -> str:
    """Where a part is."""
    return f"{_prefix(workspace_id, export_id)}{sha256}-{part:04d}"


async def store(target: Store, export: Export, file: BufferedRandom) -> str:
    """Store a file and read it back; its SHA-256. Raises BackendUnavailable.

    Raises ValueError if other bytes were read.
    """
    file.seek(0)
    sha256 = (await asyncio.to_thread(hashlib.file_digest, file, "sha256")).hexdigest()
    stored = hashlib.sha256()
    file.seek(0)
    part = 0
    while content := await asyncio.to_thread(file.read, PART_BYTES):
        place = key(export.workspace_id, export.id, sha256, part)
        await target.put_if_absent(place, content)
        stored.update(await target.get(place))
        part += 1
    if stored.hexdigest() != sha256:
        raise ValueError("the stored file differs from the written one")
    return sha256


async def read(target: Store, export: Export) -> AsyncIterator[bytes]:
    """The parts of a stored file. Raises ObjectMissing and BackendUnavailable."""
    for part in range(-(-(export.size_bytes or 0) // PART_BYTES)):
        yield await target.get(key(export.workspace_id, export.id, str(export.sha256), part))


async def delete(target: Store, workspace_id: UUID, export_id: UUID, *, but: str | None = None) -> None:
    """Delete all parts, also those of attempts that were not finished, ``but`` those of the file with this hash.

    Raises BackendUnavailable.
    """
    kept = None if but is None else f"{_prefix(workspace_id, export_id)}{but}-"
    async for place in target.keys(_prefix(workspace_id, export_id)):
        if kept is None or not place.startswith(kept):
            await target.delete(place)
