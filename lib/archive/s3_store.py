"""The archive in an S3-compatible object store, through boto3, which is synchronous and therefore runs in threads."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qs

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lib import errors, log
from lib.archive.store import ObjectMissing

Result = TypeVar("Result")

_MISSING = {"NoSuchKey", "404", "NoSuchBucket"}
_TOO_SHORT = {"InvalidRange", "416"}
_EXISTS = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_WITHOUT_VERSIONS = {"NotImplemented", "MethodNotAllowed", "501"}


@functools.cache
def _client(endpoint: str | None, region: str | None) -> Any:
    """The process's client of a store: making one reads boto3's models and opens its connections anew."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 4},
            # Stores other than Amazon's have no host for each bucket, and not all know the newer checksums.
            s3={"addressing_style": "path" if endpoint else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


class S3:
    """A bucket, with a prefix for all keys. ``url``: s3://bucket/prefix?endpoint=…&region=…"""

    def __init__(self, url: SplitResult) -> None:
        asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
        endpoint = asked.get("endpoint")
        self._bucket = url.netloc
        self._prefix = f"{prefix}/" if (prefix := url.path.strip("/")) else ""
        self._client = _client(endpoint, asked.get("region"))

    async def put_if_absent(self, key: str, content: bytes) -> bool:
        """As Store. A store that ignores the condition replaces the object."""
        try:
            await self._call("put_object", Key=self._prefix + key, Body=content, IfNoneMatch="*")
        except ClientError as refused:
            if _code(refused) in _EXISTS:
                return False
            raise _unavailable(refused) from None
        return True

    async def get(self, key: str) -> bytes:
        """As Store."""
        return await self._read(key)

    async def get_range(self, key: str, offset: int, length: int) -> bytes:
        """As Store."""
        return await self._read(key, Range=f"bytes={offset}-{offset + length - 1}")

    async def delete(self, key: str) -> None:
        """As Store."""
        for version in await self._versions(key):
            with _refusals():
                await self._call("delete_object", Key=self._prefix + key, VersionId=version)
        with _refusals():
            await self._call("delete_object", Key=self._prefix + key)
        # In a bucket with versions that left a marker.
        for version in await self._versions(key):
            with _refusals():
                await self._call("delete_object", Key=self._prefix + key, VersionId=version)

    async def versions(self, key: str) -> int:
        """As Store."""
        if count := len(await self._versions(key)):
            return count
        # A store that does not list versions, such as Supabase Storage, has one of each object.
        return sum([1 async for found in self.keys(key) if found == key])

    async def keys(self, prefix: str) -> AsyncIterator[str]:
        """As Store."""
        token: dict[str, str] = {}
        while True:
            with _refusals():
                page = await self._call("list_objects_v2", Prefix=self._prefix + prefix, **token)
            for entry in page.get("Contents", ()):
                yield entry["Key"].removeprefix(self._prefix)
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def _read(self, key: str, **span: str) -> bytes:
        def read() -> bytes:
            content: bytes = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, **span)["Body"].read()
            return content

        try:
            return await _in_thread(read)
        except ClientError as refused:
            if _code(refused) in _MISSING:
                raise ObjectMissing(key) from None
            if _code(refused) in _TOO_SHORT:
                return b""
            raise _unavailable(refused) from None

    async def _versions(self, key: str) -> list[str]:
        try:
            page = await self._call("list_object_versions", Prefix=self._prefix + key)
        except ClientError as refused:
            if _code(refused) in _WITHOUT_VERSIONS:
                return []
            raise _unavailable(refused) from None
        entries = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        return [entry["VersionId"] for entry in entries if entry["Key"] == self._prefix + key]

    async def _call(self, name: str, **arguments: Any) -> Any:
        return await _in_thread(lambda: getattr(self._client, name)(Bucket=self._bucket, **arguments))


async def _in_thread(call: Callable[[], Result]) -> Result:
    try:
        return await asyncio.to_thread(call)
    except BotoCoreError as failure:
        raise _unavailable(failure) from None


@contextlib.contextmanager
def _refusals() -> Any:
    try:
        yield
    except ClientError as refused:
        raise _unavailable(refused) from None


def _code(refused: ClientError) -> str:
    return str(refused.response.get("Error", {}).get("Code"))


def _unavailable(failure: BotoCoreError | ClientError) -> errors.Problem:
    # A message of the store may name keys, which hold ids only.
    reason = _code(failure) if isinstance(failure, ClientError) else type(failure).__name__
    log.error("archive_store_failed", reason=reason)
    return errors.BackendUnavailable(reason)
