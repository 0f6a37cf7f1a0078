"""Queries about contacts read no table from end to end, on every version.

The rows are many and uneven: one of two workspaces has most contacts, one space most of their conversations.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.database.desk import PERSONA, SPACE, WORKSPACE
from tests.database.hot_calls import COLUMNS
from tests.servers import VERSIONS, Server

MEMBER = "00000000-0000-4000-8000-0000000000aa"
OF_MEMBER = {"role": "authenticated", "sub": MEMBER}
CONTACTS = 30_000

FILL = f"""
insert into auth.users (id, email, email_confirmed_at) values ('{MEMBER}', 'member@example.test', now());
insert into public.workspace_members (workspace_id, user_id, role) values ('{WORKSPACE}', '{MEMBER}', 'admin');
insert into public.contacts (workspace_id, kind, first_name, last_name, title, created_at)
select '{WORKSPACE}', case when n % 1000 = 0 then 'group' else 'person' end::public.contact_kind,
       case when n % 1000 > 0 then 'First' || n end, case when n % 1000 > 0 then 'Last' || n end,
       case when n % 1000 = 0 then 'Group' || n end, now() - n * interval '1 minute'
  from generate_series(1, {CONTACTS}) n;
create temporary table numbered as
select id, kind, row_number() over (order by created_at desc) as n
  from public.contacts
 where workspace_id = '{WORKSPACE}';
insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)
select '{WORKSPACE}', id, 'email', 'c' || n || '@example.test', 'x', 'asserted' from numbered where kind = 'person';
insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)
select '{WORKSPACE}', id, 'telegram', n::text, 'x', 'asserted' from numbered where kind = 'person';
insert into public.conversations (workspace_id, contact_id, persona_id, space_id, thread_key, proof)
select '{WORKSPACE}', id, '{PERSONA}', '{SPACE}', 'main', 'verified' from numbered where kind = 'person' and n % 3 > 0;
insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id, last_activity_at)
select v.workspace_id, v.id, v.contact_id, v.persona_id, now() - c.n * interval '1 minute'
  from public.conversations v join numbered c on c.id = v.contact_id;
insert into public.tags (workspace_id, contact_id, name)
select '{WORKSPACE}', id, case when n % 500 = 0 then 'vip' else 'known' end from numbered where n % 2 = 0;
"""
BIG = {"contacts", "contact_identities", "conversations", "sessions", "tags"}


def begins(text: str) -> str:
    """The condition that a name or last name begins with a text."""
    conditions = (f"{column} >= '{text}' and {column} < '{text}\U0010ffff'" for column in ("name_key", "last_name_key"))
    return f"({' or '.join(conditions)})"


PAGE = 51
LISTS = {
    "all": ("contact_details", "true", PAGE),
    "a space": ("contacts_by_space", f"space_id = '{SPACE}'", PAGE),
    "another space": ("contacts_by_space", f"space_id = '{MEMBER}'", 0),
    "a session": ("contacts_by_activity", "true", PAGE),
    "no session": ("contacts_without_session", "true", PAGE),
    "a rare tag": ("contacts_by_tag", "tag = 'vip'", PAGE),
    "a common tag": ("contacts_by_tag", "tag = 'known'", PAGE),
    "no such tag": ("contacts_by_tag", "tag = 'x'", 0),
    "active after now": ("contacts_by_activity", "active_at >= now()", 0),
    "active since long": ("contacts_by_activity", "active_at >= '2000-01-01'", PAGE),
    "inactive since now": ("contacts_by_activity", "active_at < now()", PAGE),
    "inactive since long": ("contacts_by_activity", "active_at < '2000-01-01'", 0),
    "groups": ("contact_details", "kind = 'group'", 30),
    "persons": ("contact_details", "kind = 'person'", PAGE),
    "a first name": ("contact_details", begins("first77"), PAGE),
    "a last name": ("contact_details", begins("last12345"), 1),
    "several": ("contacts_by_tag", f"tag = 'vip' and last_activity_at is not null and {begins('first1')}", 6),
}


class Counter:
    """Counts the sequential scans of statements as a caller."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def scanned(self, claims: Mapping[str, Any], statement: str) -> tuple[set[str], list[asyncpg.Record]]:
        """The big tables that a statement reads from end to end, and its rows."""
        async with self.connection.transaction():
            before = await self._scans()
            await self.connection.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(claims))
            await self.connection.execute(f"set local role {claims['role']}")
            rows = await self.connection.fetch(statement)
            await self.connection.execute("reset role")
            after = await self._scans()
        return {table for table in BIG if after[table] > before[table]}, rows

    async def _scans(self) -> dict[str, int]:
        rows = await self.connection.fetch(
            "select relname, pg_stat_get_xact_numscans(relid) as scans from pg_stat_user_tables"
            " where schemaname = 'public'"
        )
        return {row["relname"]: row["scans"] for row in rows}


@pytest_asyncio.fixture(params=VERSIONS)
async def counter(server: Callable[[int], Server], request: pytest.FixtureRequest) -> AsyncIterator[Counter]:
    """A database of that version with many contacts."""
    running = server(request.param)
    name = await running.migrated()
    connection = await asyncpg.connect(running.admin_url(name))
    await connection.execute(FILL)
    await connection.execute("vacuum analyze")
    yield Counter(connection)
    await connection.close()
    await running.drop(name)


async def test_no_query_about_contacts_reads_a_table_whole(counter: Counter) -> None:
    newest = f"order by created_at desc, id desc limit {PAGE}"
    for what, (view, condition, count) in LISTS.items():
        page = f"select {COLUMNS} from public.{view} where workspace_id = '{WORKSPACE}' and merged_into_id is null"
        scanned, rows = await counter.scanned(OF_MEMBER, f"{page} and {condition} {newest}")
        assert (scanned, len(rows)) == (set(), count), what
        if count == PAGE:
            at, last = rows[-2]["created_at"].isoformat(), rows[-2]["id"]
            after = f"created_at <= '{at}' and (created_at < '{at}' or id < '{last}')"
            scanned, rows = await counter.scanned(OF_MEMBER, f"{page} and {condition} and {after} {newest}")
            assert (scanned, bool(rows)) == (set(), True), f"{what}, second page"
    contact = await counter.connection.fetchval("select contact_id from public.sessions limit 1")
    email = f"workspace_id = '{WORKSPACE}' and key = 'c77@example.test' and kind = 'email'"
    one = f"id = '{contact}'"
    for view, condition in (("contact_identities", email), ("contact_details", one), ("contact_activity", one)):
        scanned, rows = await counter.scanned(OF_MEMBER, f"select * from public.{view} where {condition}")
        assert (scanned, len(rows)) == (set(), 1), view

    known = [
        {"kind": "telegram", "key": "77", "value": "77"},
        {"kind": "email", "key": "c77@example.test", "value": "x"},
    ]
    new = [{"kind": "telegram", "key": "-5", "value": "-5"}, {"kind": "phone", "key": "+15550000000", "value": "x"}]
    for role in ("switchboard", "service_role"):
        claims = {"role": role, "scope": {"management": True}, "caller": {"kind": "user", "user_id": MEMBER}}
        for named, make, kind in (
            (known, False, "person"), (known, True, "person"), (new[1:], True, "person"), (new[:1], True, "group"),
        ):  # fmt: skip
            arguments = f"'{json.dumps(named)}', '{WORKSPACE}', {make}, '{kind}', '{{}}', 'crm'"
            for _ in range(2):
                scanned, (row,) = await counter.scanned(claims, f"select public.resolve_contact({arguments})")
                assert (scanned, json.loads(row[0])["contact"]["kind"]) == (set(), kind), (role, named)

    # The count would tell.
    await counter.connection.execute("drop index public.contacts_newest_idx, public.contacts_groups_idx")
    page = f"select id from public.contact_details where workspace_id = '{WORKSPACE}' order by created_at desc limit 51"
    assert (await counter.scanned(OF_MEMBER, page))[0] == {"contacts"}
