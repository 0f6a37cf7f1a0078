"""Looking contacts up reads no table from end to end, whatever is asked, on every version.

Counted while the functions themselves run, as the roles that run them: a plan in a test is not the one that a function
makes. Rows are many and uneven: one workspace of two holds most, one space most of its conversations.
"""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from tests.database.desk import PERSONA, SPACE, WORKSPACE
from tests.servers import VERSIONS, Server

MEMBER = "00000000-0000-4000-8000-0000000000aa"
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
analyze;
"""
BIG = ("contacts", "contact_identities", "conversations", "sessions", "tags")


class Looker:
    """Runs a function as a caller and tells which of the big tables it read whole."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def scanned(self, role: str, claims: dict[str, Any], call: str) -> tuple[set[str], dict[str, Any]]:
        """The tables read from end to end, and the answer."""
        async with self.connection.transaction():
            before = await self._scans()
            await self.connection.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(claims))
            await self.connection.execute(f"set local role {role}")
            answer = json.loads(await self.connection.fetchval(f"select public.{call}"))
            await self.connection.execute("reset role")
            after = await self._scans()
        return {table for table in BIG if after[table] > before[table]}, answer

    async def _scans(self) -> dict[str, int]:
        # The session's own count, which is not yet told to others; in this transaction it only grows.
        rows = await self.connection.fetch(
            "select relname, pg_stat_get_xact_numscans(relid) as scans from pg_stat_user_tables"
            " where schemaname = 'public'"
        )
        return {row["relname"]: row["scans"] for row in rows}


@pytest_asyncio.fixture(scope="module", params=VERSIONS)
async def filled(server: Callable[[int], Server], request: pytest.FixtureRequest) -> AsyncIterator[tuple[Server, str]]:
    """A database of that version with many contacts, to be copied: to fill it takes longer than a test."""
    running = server(request.param)
    name = await running.migrated()
    connection = await asyncpg.connect(running.admin_url(name))
    await connection.execute(FILL)
    await connection.close()
    yield running, name
    await running.drop(name)


@pytest_asyncio.fixture
async def looker(filled: tuple[Server, str]) -> AsyncIterator[Looker]:
    """A copy of it."""
    running, original = filled
    name = await running.copy(original)
    connection = await asyncpg.connect(running.admin_url(name))
    yield Looker(connection)
    await connection.close()
    await running.drop(name)


LISTS: dict[str, tuple[dict[str, Any], int]] = {
    "nothing": ({}, 50),
    "an email": ({"email_key": "c77@example.test"}, 1),
    "an unknown email": ({"email_key": "nobody@example.test"}, 0),
    "an identity": ({"identity": {"kind": "telegram", "key": "77"}}, 1),
    "a space": ({"space_id": SPACE}, 50),
    "having a session": ({"has_session": True}, 50),
    "having none": ({"has_session": False}, 50),
    "a rare tag": ({"tag": "vip"}, 50),
    "activity after a while ago": ({"active_after": "now"}, 0),
    "activity after long ago": ({"active_after": "2000-01-01T00:00:00Z"}, 50),
    "activity before": ({"active_before": "now"}, 50),
    "groups": ({"kind": "group"}, 30),
    "persons": ({"kind": "person"}, 50),
    "a first name": ({"text": "First77"}, 50),
    "a last name": ({"text": "last12345"}, 1),
    "several at once": ({"tag": "vip", "has_session": True, "text": "first1"}, 6),
}


async def test_no_list_reads_a_table_whole(looker: Looker) -> None:
    claims = {"role": "authenticated", "sub": MEMBER}
    session = await looker.connection.fetchval("select id::text from public.sessions limit 1")
    for what, (filters, count) in {**LISTS, "a session": ({"session_id": session}, 1)}.items():
        call = f"list_contacts('{WORKSPACE}', '{json.dumps(filters)}')"
        scanned, page = await looker.scanned("authenticated", claims, call)
        assert (scanned, len(page["items"])) == (set(), count), what
        if page["next_cursor"]:
            scanned, page = await looker.scanned("authenticated", claims, call[:-1] + f", '{page['next_cursor']}')")
            assert scanned == set(), f"{what}, second page"
            assert page["items"], what


async def test_neither_a_contact_nor_its_activity_reads_a_table_whole(looker: Looker) -> None:
    claims = {"role": "authenticated", "sub": MEMBER}
    contact = await looker.connection.fetchval("select contact_id::text from public.sessions limit 1")
    for call in (f"read_contact('{contact}')", f"read_contact_activity('{contact}')"):
        scanned, answer = await looker.scanned("authenticated", claims, call)
        assert (scanned, answer["id"]) == (set(), contact)


@pytest.mark.parametrize("role", ["switchboard", "service_role"])
async def test_resolving_reads_no_table_whole(looker: Looker, role: str) -> None:
    claims = {
        "role": role, "scope": {"management": True}, "caller": {"kind": "user", "user_id": MEMBER},
    }  # fmt: skip
    known = [
        {"kind": "telegram", "key": "77", "value": "77"},
        {"kind": "email", "key": "c77@example.test", "value": "x"},
    ]
    new = [{"kind": "telegram", "key": "-5", "value": "-5"}, {"kind": "phone", "key": "+15550000000", "value": "x"}]
    for named, make, kind in (
        (known, False, "person"),
        (known, True, "person"),
        (new[1:], True, "person"),
        (new[:1], True, "group"),
    ):
        call = f"resolve_contact('{json.dumps(named)}', '{WORKSPACE}', {make}, '{kind}', '{{}}', 'crm')"
        for _ in range(2):
            scanned, answer = await looker.scanned(role, claims, call)
            assert (scanned, answer["contact"]["kind"]) == (set(), kind), named


async def test_the_count_would_tell_of_a_table_that_is_read_whole(looker: Looker) -> None:
    await looker.connection.execute("drop index public.contacts_newest_idx; drop index public.contacts_groups_idx")
    claims = {"role": "authenticated", "sub": MEMBER}
    scanned, _ = await looker.scanned("authenticated", claims, f"list_contacts('{WORKSPACE}')")
    assert scanned == {"contacts"}
