"""An erasure whose process is killed after any call leaves nothing of the person, and all of the others."""

import asyncio
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import boto3
import pytest
from moto.server import ThreadedMotoServer

from lib import config
from lib.archive import archiver, object_cleanup, parquet, store
from lib.auth import callers
from lib.contacts import erasures
from lib.database import commands
from lib.database.management import managing_as
from local.paths import REPOSITORY
from local.stack import Stack
from tests.faults.archiving import Archive
from tests.faults.erase_child import run_job
from tests.faults.test_archive_steps import settings

__all__ = ["settings"]

SYSTEM = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
MARK = "what only the erased person says"

_PEOPLE = """
with s as (select id, row_number() over (order by id) as place from public.sessions where workspace_id = $1),
     c as (update public.contacts set first_name = 'Ann' where workspace_id = $1 returning id),
     o as (insert into public.contacts (workspace_id, kind) values ($1, 'person'), ($1, 'group') returning id, kind)
select s.id, case s.place when 1 then c.id else (select o.id from o where (o.kind = 'group') = (s.place = 3)) end
           as contact_id
  from s, c
 order by s.place
"""
_OWNED = """
with c as (update public.conversations set contact_id = $2
            where id = (select conversation_id from public.sessions where id = $1)),
     m as (update public.messages set contact_id = $2 where session_id = $1 and role = 'contact')
update public.sessions set contact_id = $2 where id = $1
"""
_OTHERS = "update public.messages set contact_id = $2 where session_id = $1 and role = 'contact'"
_SAID = """
update public.messages set text = $2, contact_id = case role when 'contact' then $3::uuid end
 where turn_id = (select min(id::text)::uuid from public.turns where session_id = $1)
"""


@dataclass(frozen=True)
class World:
    """An object with a session of the person, one of another, and one of a group in which both wrote."""

    archive: Archive
    erased_id: UUID
    sessions: tuple[UUID, ...]

    @classmethod
    async def new(cls, stack: Stack, database: asyncpg.Connection, kept: store.Store) -> "World":
        """Archived and dropped."""
        archive = await Archive.new(stack, database, 3)
        people = await database.fetch(_PEOPLE, archive.workspace_id)
        for session_id, contact_id in people:
            await database.execute(_OWNED, session_id, contact_id)
        own, other, group = people
        participants = "insert into public.group_participants (workspace_id, group_id, contact_id) values ($1, $2, $3)"
        for contact_id in (own["contact_id"], other["contact_id"]):
            await database.execute(participants, archive.workspace_id, group["contact_id"], contact_id)
        await database.execute(_OTHERS, group["id"], other["contact_id"])
        for session_id in (own["id"], group["id"]):
            await database.execute(_SAID, session_id, MARK, own["contact_id"])
        await archive.queue()
        await archiver.run(kept, end=math.inf, only_workspace=archive.workspace_id)
        return cls(archive, own["contact_id"], tuple(row["id"] for row in people))

    async def erase(self) -> tuple[UUID, UUID]:
        """Erase the person up to the object: the erasure, and the job that writes the object anew."""
        user = callers.User(user_id=self.archive.owner_id, email=None, token="")
        erasure = await erasures.erase(managing_as(user), SYSTEM, self.erased_id)
        job = "select id from public.jobs where workspace_id = $1 and kind = 'erase_archive'"
        return erasure.id, await self.archive.database.fetchval(job, self.archive.workspace_id)

    async def rows(self, kept: store.Store) -> dict[str, list[dict[str, Any]]]:
        """All rows of the workspace's objects, by session."""
        found: dict[str, list[dict[str, Any]]] = {}
        async for key in kept.keys(f"workspace={self.archive.workspace_id}/"):
            for table in parquet.read(await kept.get(key)):
                for row in table.to_pylist():
                    found.setdefault(row["session_id"], []).append(row)
        return found


@dataclass(frozen=True)
class Bucket:
    """A store, and all that is in it: also older versions, deletions and files of writers that were killed."""

    url: str
    client: Any = None

    def marked(self) -> list[bool]:
        """Of each version, whether it has the mark; a deletion has not."""
        return [
            bool(content) and any(MARK in str(table.to_pylist()) for table in parquet.read(content))
            for content in self._contents()
        ]

    def _contents(self) -> list[bytes]:
        parts = urlsplit(self.url)
        if self.client is None:
            return [path.read_bytes() for path in Path(parts.path).rglob("*") if path.is_file()]
        page = self.client.list_object_versions(Bucket=parts.netloc, Prefix=parts.path.strip("/"))
        return [b"" for _ in page.get("DeleteMarkers", ())] + [
            self.client.get_object(Bucket=parts.netloc, Key=each["Key"], VersionId=each["VersionId"])["Body"].read()
            for each in page.get("Versions", ())
        ]


@pytest.fixture(params=["folder", "versioned bucket"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty folder, or a bucket with versions."""
    if request.param == "folder":
        yield Bucket(tmp_path.as_uri())
        return
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    client = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    yield Bucket(f"s3://versioned/archive?endpoint={address}&region=us-east-1", client)
    server.stop()


def killed(jobs: Sequence[tuple[UUID, int]]) -> list[str]:
    """Run each job in a process that dies after so many calls; how many it made, or `killed`."""
    command = [sys.executable, "-m", "tests.faults.erase_child", *(f"{job}:{calls}" for job, calls in jobs)]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    return done.stdout.split()


@pytest.mark.usefixtures("settings")
async def test_an_erasure_that_is_killed_after_any_call_is_finished_by_a_repeat(
    stack: Stack, database: asyncpg.Connection, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHBOARD_ARCHIVE_STORE", bucket.url)
    config.settings.cache_clear()
    kept = store.open_store(bucket.url)
    first = await World.new(stack, database, kept)
    assert bucket.marked() == [True]
    erasure_id, job_id = await first.erase()
    # Undisturbed: how many calls there are, after each of which another one is killed.
    (calls,) = map(int, await asyncio.to_thread(killed, [(job_id, 0)]))
    assert calls >= 10
    none: dict[str, list[dict[str, Any]]] = {}
    erased = [(first, none, erasure_id, job_id)]
    for _ in range(calls):
        world = await World.new(stack, database, kept)
        before = await world.rows(kept)
        erased.append((world, before, *await world.erase()))
    jobs = [(job_id, number) for number, (_, _, _, job_id) in enumerate(erased)][1:]
    assert await asyncio.to_thread(killed, jobs) == ["killed"] * calls

    # Its lease passes, and so does the time for which a replaced object and one that was not recorded are kept.
    await first.archive.expire_leases()
    await database.execute("update public.jobs set lease_until = now() where status = 'running'")
    for _, _, erasure_id, job_id in erased:
        await database.execute("update public.jobs set next_attempt_at = now() where id = $1", job_id)
        await run_job(job_id)
        assert (await erasures.proceed(SYSTEM, erasure_id, seconds=10)).erasure.status == "finished"
    await database.execute("update public.archive_objects set changed_at = now() - interval '1 hour'")
    await object_cleanup.delete_dead(kept)
    assert bucket.marked() == [False] * len(erased)
    for world, before, _, _ in erased[1:]:
        after = await world.rows(kept)
        own, other, group = map(str, world.sessions)
        assert after.keys() == before.keys() - {own}
        assert after[other] == before[other]
        said = [[row["text"] for row in rows[group] if row["relation"] == "messages"] for rows in (before, after)]
        assert said[1] == ["[erased]" if text == MARK else text for text in said[0]]
        assert said[1].count("[erased]") == 2 < len(said[1])
