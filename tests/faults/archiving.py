"""What an archive must keep, whatever ends its runs: the rows of sessions, once, byte for byte."""

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import UUID

import asyncpg

from lib.archive import archives, parquet, store
from lib.auth import callers
from local.paths import REPOSITORY
from local.processes import tied_options
from local.stack import Stack
from tests.functions.conftest import add_workspace

_ROWS = """
select r.id, md5(string_agg(r.t, E'\\n' order by r.t)) as digest, count(*) as rows
  from (select m.session_id as id, 'm' || to_jsonb(m)::text as t from public.messages m where m.workspace_id = $1
         union all
        select t.session_id, 't' || to_jsonb(t)::text from public.turns t where t.workspace_id = $1
         union all
        select m.session_id, 'a' || to_jsonb(a)::text
          from public.attachments a join public.messages m on m.id = a.message_id where m.workspace_id = $1
         union all
        select m.session_id, 'd' || to_jsonb(d)::text
          from public.message_deliveries d join public.messages m on m.id = d.message_id where m.workspace_id = $1) r
 group by r.id
"""

_SESSIONS = """
with p as (
    select p.id as persona_id, c.id as contact_id
      from public.personas p, public.contacts c
     where p.workspace_id = $1 and c.workspace_id = $1
     limit 1
), c as (
    insert into public.conversations (workspace_id, contact_id, persona_id, thread_key, proof)
    select $1, contact_id, persona_id, gen_random_uuid()::text, 'verified' from p, generate_series(1, $2)
    returning *
), s as (
    insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id, status, ended_at, turn_count,
                                 message_count)
    select $1, id, contact_id, persona_id, 'completed', now() - interval '100 days', 2, 4 from c
    returning *
), t as (
    insert into public.turns
           (workspace_id, conversation_id, session_id, status, deadline, lease_until, finished_at, usage)
    select $1, conversation_id, id, 'completed', now(), now(), now(), '{"tokens": 1.10}' from s, generate_series(1, 2)
    returning *
), m as (
    insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, contact_id, persona_id, text,
                                 metadata)
    select $1, t.conversation_id, t.session_id, t.id, r.role::public.message_role,
           case r.role when 'contact' then p.contact_id end, case r.role when 'persona' then p.persona_id end,
           r.role || E' says “ü”, \\\\. "x"\\n' || t.id, '{"n": 12345678901234567890.50}'
      from t, p, (values ('contact'), ('persona')) r (role)
    returning *
), a as (
    insert into public.attachments (message_id, place, workspace_id, conversation_id, kind, size)
    select id, 0, $1, conversation_id, 'image', 9007199254740993 from m where role = 'contact'
)
insert into public.message_deliveries (message_id, part, workspace_id, conversation_id, status)
select id, 0, $1, conversation_id, 'sent' from m where role = 'persona'
"""

_QUEUE = """
with s as (
    update public.sessions
       set status = 'archived', status_before_archive = status, archived_at = now()
     where workspace_id = $1 and status = 'completed'
    returning *
)
insert into public.archive_queue (session_id, workspace_id, month)
select id, workspace_id, date_trunc('month', created_at at time zone 'utc')::date from s
"""

_EXPIRE = """
update public.archive_objects set lease_until = now() - interval '1 second' where status = 'writing';
update public.archive_queue set next_attempt_at = now() - interval '1 second';
"""

Digests = Mapping[UUID, str]


@dataclass(frozen=True)
class Archive:
    """A workspace whose sessions are archived and dropped, seen by the superuser."""

    stack: Stack
    database: asyncpg.Connection
    workspace_id: UUID
    owner_id: UUID

    @property
    def store(self) -> store.Folder:
        """The stack's store."""
        url = self.stack.gateway_env(0)["SWITCHBOARD_ARCHIVE_STORE"]
        return store.Folder(Path(unquote(urlsplit(url).path)))

    async def _fill(self, sessions: int) -> None:
        # Each has two turns, four messages, two attachments and two deliveries.
        drop = "update public.workspaces set archive_retention = 'drop' where id = $1"
        await self.database.execute(drop, self.workspace_id)
        await self.database.execute("insert into public.contacts (workspace_id) values ($1)", self.workspace_id)
        await self.database.execute(_SESSIONS, self.workspace_id, sessions)

    async def queue(self) -> None:
        """Mark and queue all sessions."""
        await self.database.execute(_QUEUE, self.workspace_id)

    async def expire_leases(self) -> None:
        """Let the time pass after which a run is taken for dead."""
        await self.database.execute(_EXPIRE)

    async def rows(self) -> Digests:
        """A digest of all rows of each session in the database."""
        return {row["id"]: row["digest"] for row in await self.database.fetch(_ROWS, self.workspace_id)}

    def child(self, step: str, batch_sessions: int = 1_000) -> "subprocess.Popen[str]":
        """A run that ends at a step."""
        command = [
            sys.executable,
            "-m",
            "tests.faults.archive_child",
            step,
            str(self.workspace_id),
            str(batch_sessions),
        ]
        environment = self.stack.gateway_env(0)
        return subprocess.Popen(
            command, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, **tied_options(signal.SIGKILL)
        )

    async def faults(self, expected: Digests) -> list[str]:
        """What is not as promised, once nothing is queued: sessions are restored by this."""
        found = [f"{each} waits" for each in await self._ids("select session_id from public.archive_queue")]
        query = "select session_id, object_id from public.session_archives where is_current and workspace_id = $1"
        current = {row[0]: str(row[1]) for row in await self.database.fetch(query, self.workspace_id)}
        found += [f"{missing} has no archive" for missing in expected.keys() - current.keys()]
        kept = await self._ids("select distinct session_id from public.messages")
        found += [f"{each} is in the database too" for each in kept]
        stored = {str(each) for each in await self._ids("select id from public.archive_objects")}
        keys = [key async for key in self.store.keys(f"workspace={self.workspace_id}/")]
        found += [f"{key} belongs to nothing" for key in keys if Path(key).stem not in stored]
        counted: Counter[tuple[str, ...]] = Counter()
        for key in keys:
            for table in parquet.read(await self.store.get(key)):
                rows = zip(
                    *(table[name].to_pylist() for name in ("session_id", "relation", "row_id", "row")), strict=True
                )
                counted.update(row for row in rows if current[UUID(row[0])] == Path(key).stem)
        found += [f"{row} is archived {times} times" for row, times in counted.items() if times != 1]
        await self._restore(list(current))
        restored = await self.rows()
        found += [f"{each} is not what it was" for each in expected if restored.get(each) != expected[each]]
        return found

    async def _restore(self, sessions: Sequence[UUID]) -> None:
        user = callers.User(user_id=self.owner_id, email=None, token="")
        for start in range(0, len(sessions), 8):
            await asyncio.gather(*(archives.restore(user, each) for each in sessions[start : start + 8]))

    async def _ids(self, query: str) -> list[UUID]:
        return [row[0] for row in await self.database.fetch(f"{query} where workspace_id = $1", self.workspace_id)]

    @classmethod
    async def new(cls, stack: Stack, database: asyncpg.Connection, sessions: int) -> "Archive":
        """A new workspace with an owner and so many sessions that are old enough."""
        workspace = await add_workspace(database)
        owner = await database.fetchval("insert into auth.users (id) values (gen_random_uuid()) returning id")
        member = "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'owner')"
        await database.execute(member, workspace.id, owner)
        archive = cls(stack, database, workspace.id, owner)
        await archive._fill(sessions)
        return archive
