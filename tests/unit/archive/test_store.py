"""The object store: a folder and an S3 bucket keep the same promises, and DuckDB reads what is in it."""

import os
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import boto3
import duckdb
import duckdb_extension_httpfs
import pyarrow as pa
import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from lib import errors
from lib.archive import parquet, store
from lib.archive.s3_store import S3
from local.paths import REPOSITORY

WORKSPACE, OTHER = UUID(int=1), UUID(int=2)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server with the buckets `archive` and, with versions, `versioned`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        for bucket in ("archive", "versioned"):
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
        yield f"{host}:{port}"
    server.stop()


@pytest_asyncio.fixture(params=["file", "archive", "versioned"])
async def kept(request: pytest.FixtureRequest, s3: str, tmp_path: Path) -> AsyncIterator[store.Store]:
    """An empty store of each kind."""
    url = f"s3://{request.param}/{uuid4().hex}?endpoint=http://{s3}&region=us-east-1"
    yield store.open_store(tmp_path.as_uri() if request.param == "file" else url)


async def test_an_object_is_stored_once_read_in_parts_and_deleted_with_all_versions(kept: store.Store) -> None:
    key = store.object_key(WORKSPACE, date(2026, 8, 1), uuid4())
    other = store.object_key(OTHER, date(2026, 8, 1), uuid4())
    assert await kept.put_if_absent(key, b"0123456789")
    assert not await kept.put_if_absent(key, b"other")
    assert await kept.put_if_absent(other, b"")
    assert (await kept.get(key), await kept.get_range(key, 3, 4)) == (b"0123456789", b"3456")
    assert [each async for each in kept.keys("")] == sorted([key, other])
    assert [each async for each in kept.keys(f"workspace={OTHER}/")] == [other]
    assert await kept.versions(key) == 1
    for _ in range(2):
        await kept.delete(key)
        assert await kept.versions(key) == 0
        for read in (kept.get(key), kept.get_range(key, 0, 1)):
            with pytest.raises(store.ObjectMissing):
                await read
    assert await kept.get(other) == b""


async def test_an_object_that_was_truncated_gives_what_is_left_of_it(kept: store.Store) -> None:
    key = store.object_key(WORKSPACE, date(2026, 8, 1), uuid4())
    assert await kept.put_if_absent(key, b"0123456789")
    assert (await kept.get_range(key, 8, 4), await kept.get_range(key, 12, 4)) == (b"89", b"")


async def test_what_a_killed_write_left_in_a_folder_goes_with_its_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, key = store.open_store(tmp_path.as_uri()), store.object_key(WORKSPACE, date(2026, 8, 1), uuid4())
    with monkeypatch.context() as patch:
        # A process that is killed cleans nothing up.
        patch.setattr(os, "unlink", lambda name: None)
        await kept.put_if_absent(key, b"words")
    assert await kept.versions(key) == 2
    await kept.delete(key)
    assert await kept.versions(key) == 0
    assert not [name for _, _, names in os.walk(tmp_path) for name in names]


async def test_an_object_of_a_bucket_that_lists_no_versions_counts_until_it_is_deleted(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = S3(urlsplit(f"s3://archive/{uuid4().hex}?endpoint=http://{s3}&region=us-east-1"))

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "NotImplemented"}}, "ListObjectVersions")

    monkeypatch.setattr(kept._client, "list_object_versions", refuse)
    await kept.put_if_absent("x", b"1")
    assert await kept.versions("x") == 1
    await kept.delete("x")
    assert await kept.versions("x") == 0


@pytest.mark.parametrize(
    "url", ["s3://archive?endpoint=http://127.0.0.1:9&region=x", "s3://missing?endpoint=http://{s3}"]
)
async def test_a_store_that_refuses_is_an_error_of_ours(s3: str, url: str) -> None:
    with pytest.raises(errors.BackendUnavailable):
        await store.open_store(url.format(s3=s3)).put_if_absent("x", b"")


@pytest.mark.parametrize(
    "url", ["", "file://a/b", "file:a", "file:///a?b", "file:///a#b", "s3://", "s3://a?endpoint=b", "http://a"]
)
def test_what_is_no_address_of_a_store_is_refused(url: str) -> None:
    with pytest.raises(errors.ConfigError):
        store.open_store(url)


def _row(session_id: str, relation: str, **columns: Any) -> parquet.Row:
    row = dict.fromkeys(parquet.NAMES) | {"session_id": session_id, "relation": relation, "row_id": str(uuid4())}
    return row | {"created_at": datetime(2026, 8, 2, tzinfo=UTC), **columns}


def _object(*rows: parquet.Row) -> bytes:
    writer = parquet.Writer()
    writer.add(pa.Table.from_pylist(list(rows), schema=parquet.SCHEMA))
    return writer.finish().content


async def test_duckdb_runs_the_documented_query(s3: str) -> None:
    kept = store.open_store(f"s3://archive?endpoint=http://{s3}&region=us-east-1")
    first, second = UUID(int=10), UUID(int=11)
    august = date(2026, 8, 1)
    session, again = str(uuid4()), str(uuid4())
    old = _object(_row(again, "messages", role="contact", text="before it was restored"), _row(session, "turns"),
                  _row(session, "messages", role="contact", text="Hello"))  # fmt: skip
    await kept.put_if_absent(store.object_key(WORKSPACE, august, first), old)
    new = _object(
        _row(again, "messages", role="contact", text="Hi"), _row(again, "messages", role="persona", text="ok")
    )
    await kept.put_if_absent(store.object_key(WORKSPACE, august, second), new)
    await kept.put_if_absent(store.object_key(OTHER, august, uuid4()), old)

    page = (REPOSITORY / "docs" / "archive.md").read_text()
    setup, query = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)[:2]
    extension = next((Path(duckdb_extension_httpfs.__file__).parent / "extensions").rglob("*.duckdb_extension"))
    setup = setup.replace("install httpfs;\nload httpfs;", f"load '{extension}';")
    for name, value in {"KEY_ID": "test", "SECRET": "test", "ENDPOINT": s3, "use_ssl true": "use_ssl false",
                        "REGION": "us-east-1", "BUCKET": "archive", "WORKSPACE": str(WORKSPACE)}.items():  # fmt: skip
        setup, query = setup.replace(name, value), query.replace(name, value)
    connection = duckdb.connect()
    connection.execute(setup)
    assert connection.execute(query).fetchall() == [("2026-08", "contact", 2, 3.5), ("2026-08", "persona", 1, 2.0)]
