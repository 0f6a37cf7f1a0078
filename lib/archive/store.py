"""The object store of the archive: an S3-compatible one, or a folder.

    s3://bucket/prefix?endpoint=https://…&region=…    credentials from the usual AWS variables
    file:///folder

Keys are made of letters, digits, and `-_=./`. An object is written once and never changed. All calls raise
BackendUnavailable (logged) if the store cannot be reached or refuses.
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit
from uuid import UUID

from lib import config, errors, log

Result = TypeVar("Result")


class ObjectMissing(Exception):  # noqa: N818 (a fact, which callers expect)
    """The store has no such object."""


class Store(Protocol):
    """What the archive needs of an object store."""

    async def put_if_absent(self, key: str, content: bytes) -> bool:
        """Store an object, unless there is one of this key; whether it was stored. Readers see all of it or none."""
        ...

    async def get(self, key: str) -> bytes:
        """The whole object. Raises ObjectMissing."""
        ...

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """So many bytes of an object. Raises ObjectMissing."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object with all of its versions; there may be none."""
        ...

    async def versions(self, key: str) -> int:
        """How many versions of an object the store has, delete markers included."""
        ...

    def keys(self, prefix: str) -> AsyncIterator[str]:
        """The keys that begin with this text, in order."""
        ...


def object_key(workspace_id: UUID, month: date, object_id: UUID) -> str:
    """Where an object is: Hive partitions of workspace and month. Ids are time-ordered, so names are too."""
    return f"workspace={workspace_id}/month={month:%Y-%m}/{object_id}.parquet"


def open_store(url: str) -> Store:
    """The store at this URL. Raises ConfigError."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path.startswith("/") and not (parts.netloc or parts.query or parts.fragment):
        return Folder(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc:
        from lib.archive.s3_store import S3  # noqa: PLC0415 (boto3 takes longer to import than a function)

        with contextlib.suppress(ValueError):  # not an address
            return S3(parts)
    raise errors.ConfigError(
        "SWITCHBOARD_ARCHIVE_STORE must be s3://bucket/prefix?endpoint=https://… or file:///folder"
    )


def configured() -> Store | None:
    """The store of this deployment; None if it has none: then sessions are only marked."""
    url = config.settings().switchboard_archive_store
    return None if url is None else open_store(url)


class Folder:
    """A folder as object store. An object appears by a hard link, which is atomic and never replaces another.

    A write that was killed leaves a hidden file, which is a version of the object until that is deleted.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put_if_absent(self, key: str, content: bytes) -> bool:
        """As Store."""
        return await _run(self._put, key, content)

    async def get(self, key: str) -> bytes:
        """As Store."""
        return await _run(self._read, key, 0, -1)

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """As Store."""
        return await _run(self._read, key, offset, length)

    async def delete(self, key: str) -> None:
        """As Store."""
        await _run(self._delete, key)

    async def versions(self, key: str) -> int:
        """As Store."""
        return len(await _run(self._files, key))

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """As Store."""
        for key in await _run(self._keys, prefix):
            yield key

    def _path(self, key: str) -> Path:
        return self._root / key

    def _put(self, key: str, content: bytes) -> bool:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(number)
            os.link(name, path)
        except FileExistsError:
            return False
        finally:
            os.unlink(name)
        # Names are as durable as contents only once their folders are.
        for folder in (path.parent, *path.parent.relative_to(self._root).parents):
            _sync(self._root / folder)
        return True

    def _files(self, key: str) -> list[Path]:
        path = self._path(key)
        return [each for each in (path, *path.parent.glob(f".{path.name}.*")) if each.exists()]

    def _read(self, key: str, offset: int, length: int) -> bytes:
        try:
            with self._path(key).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except FileNotFoundError:
            raise ObjectMissing(key) from None

    def _delete(self, key: str) -> None:
        path = self._path(key)
        for each in self._files(key):
            each.unlink(missing_ok=True)
        # A month without objects leaves no folder.
        with contextlib.suppress(OSError):
            path.parent.rmdir()

    def _keys(self, prefix: str) -> list[str]:
        # An object that is being written has a name that begins with a dot.
        within = (self._root / f"{prefix}*").parent
        found = (path for path in within.rglob("*") if not path.name.startswith(".") and path.is_file())
        return sorted(key for path in found if (key := path.relative_to(self._root).as_posix()).startswith(prefix))


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


async def _run(call: Callable[..., Result], *given: object) -> Result:
    try:
        return await asyncio.to_thread(call, *given)
    except OSError as failure:
        log.error("archive_store_failed", reason=type(failure).__name__)
        raise errors.BackendUnavailable(type(failure).__name__) from None
