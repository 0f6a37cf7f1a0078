"""A view of details shows of each row what looking its parts up one by one shows, to every reader."""

from typing import Any

import pytest

from tests.database.desk import JSON, WORKSPACE, Connection, Desk, own_token, session_view

FOR_MEMBERS = (
    "subject", "assigned_user_id", "opened_by_key_id", "primary_quote_id", "taken_over_by", "taken_over_at",
    "workflow_state",
)  # fmt: skip

SESSION = (
    "id", "workspace_id", "conversation_id", "status", "persona_id", "contact_id", "user_id", "space_id", "channel",
    "turn_count", "message_count", "created_at", "last_activity_at", "ended_at", "archived_at",
    "updated_at", "error_message",
    "workflow", "workflow_step", "request_id",
)  # fmt: skip

QUOTES = ("expected", "received", "declined", "expired", "withdrawn", "late")


async def rows(connection: Connection, table: str, columns: str, where: str, *values: Any) -> list[JSON]:
    """What a reader sees of a table, as JSON has it."""
    found = await connection.fetch(
        f"select to_jsonb(x) as x from (select {columns} from public.{table} where {where}) x",
        *values,
    )
    return [row["x"] for row in found]


async def one(connection: Connection, table: str, columns: str, where: str, *values: Any) -> JSON | None:
    """The first of them, if any."""
    return next(iter(await rows(connection, table, columns, where, *values)), None)


async def shown(connection: Connection, session_id: str, *, of_contact: bool) -> JSON:
    """A session, looked up by itself with a statement for each thing that is shown of it."""
    columns = SESSION if of_contact else SESSION + FOR_MEMBERS
    session = await one(connection, "sessions", ", ".join((*columns, "taken_over_at")), "id = $1", session_id)
    assert session is not None
    named = await one(connection, "contacts", "first_name, last_name", "id = $1", session["contact_id"]) or {}
    name = " ".join(part for part in (named.get("first_name"), named.get("last_name")) if part is not None)
    persona = None if of_contact else await one(connection, "personas", "name", "id = $1", session["persona_id"])
    conversation = await one(connection, "conversations", "thread_key, proof", "id = $1", session["conversation_id"])
    item: JSON = {
        **{name: session[name] for name in columns},
        "live": session["ended_at"] is None,
        "error_code": session["error_message"],
        "taken_over": session["taken_over_at"] is not None,
        "thread_key": conversation and conversation["thread_key"],
        "persona": {"id": session["persona_id"], "name": persona and persona["name"]},
        "contact": {"id": session["contact_id"], "name": name or None} if session["contact_id"] else None,
        "request": await one(
            connection, "requests", "id, origin, destination, departs_at, passengers", "id = $1", session["request_id"]
        ),
        "proposal": await one(
            connection,
            "proposals",
            "id, status, title, amount, currency, text",
            "session_id = $1 order by created_at desc, id desc",
            session_id,
        ),
        # Nothing is stored here: tests/functions/test_archive.py lists a session that is.
        "archive": None,
    }
    if of_contact:
        return item
    if item["contact"] is not None:
        of_emails = "contact_id = $1 and kind = 'email' order by evidence desc, created_at, id"
        email = await one(connection, "contact_identities", "value", of_emails, session["contact_id"])
        item["contact"]["email"] = email and email["value"]
    quotes = await rows(connection, "quotes", "status, late", "request_id = $1", session["request_id"])
    counts = {each: sum(quote["status"] == each for quote in quotes) for each in QUOTES}
    primary = "id, operator, amount, currency, aircraft_type"
    metadata = await one(connection, "sessions", "metadata", "id = $1", session_id) or {}
    return item | {
        "proof": conversation and conversation["proof"],
        "metadata": metadata["metadata"],
        "primary_quote": await one(connection, "quotes", primary, "id = $1", session["primary_quote_id"]),
        "quote_counts": counts | {"expected": len(quotes), "late": sum(quote["late"] for quote in quotes)},
        "last_message": await one(
            connection,
            "messages",
            "id, role, left(text, 200) as text, created_at",
            "session_id = $1 order by created_at desc, id desc",
            session_id,
        ),
        # Nothing came in here: tests/functions/test_inbox.py lists what a member has not read.
        "unread": False,
        "tags": [
            tag["name"] for tag in await rows(connection, "tags", "name", "session_id = $1 order by name", session_id)
        ],
    }


# Each row has, by chance, some of what it may have.
CONTACTS = """
create or replace function pg_temp.perhaps(odds float default 0.5) returns boolean language sql volatile
as $$ select random() < odds $$;
create or replace function pg_temp.one_of(items text[]) returns text language sql volatile
as $$ select items[1 + floor(random() * cardinality(items))::integer] $$;
insert into public.contacts (workspace_id, first_name, last_name)
select '{workspace}', case when pg_temp.perhaps() then 'Ann' || n end, case when pg_temp.perhaps() then 'Lee' end
  from generate_series(1, {contacts}) n;
insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)
select workspace_id, id, platform::public.identity_kind, platform || id, 'x', 'asserted'
  from public.contacts
 cross join unnest(array['email', 'telegram', 'external', 'phone']) platform
 where workspace_id = '{workspace}' and pg_temp.perhaps();
insert into public.tags (workspace_id, contact_id, name)
select workspace_id, id, name from public.contacts cross join unnest(array['vip', 'late', 'Ünïcode']) name
 where workspace_id = '{workspace}' and pg_temp.perhaps();
"""

# Four sessions of each contact, and six of users without a contact.
SESSIONS = """
insert into public.conversations (workspace_id, contact_id, user_id, persona_id, space_id, channel, thread_key, proof)
select '{workspace}', contact_id, case when contact_id is null then pg_temp.one_of('{people}')::uuid end, p.id,
       case when pg_temp.perhaps() then s.id end, pg_temp.one_of('{{web,telegram}}'), gen_random_uuid()::text,
       case when contact_id is not null then 'verified'::public.proof end
  from (select id from public.contacts cross join generate_series(1, 4) where workspace_id = '{workspace}'
         union all
        select null from generate_series(1, 6)) c (contact_id)
 cross join (select * from public.personas where workspace_id = '{workspace}' order by id limit 1) p
 cross join (select * from public.spaces where workspace_id = '{workspace}' order by id limit 1) s;
insert into public.sessions (workspace_id, conversation_id, space_id, channel, contact_id, user_id, persona_id,
                             assigned_user_id, turn_count, error_message, metadata, workflow, workflow_step, created_at)
select workspace_id, id, space_id, channel, contact_id,
       coalesce(user_id, case when pg_temp.perhaps() then pg_temp.one_of('{people}')::uuid end), persona_id,
       case when pg_temp.perhaps() then (select m.user_id from public.workspace_members m
                                          where m.workspace_id = v.workspace_id order by random() limit 1) end,
       floor(random() * 9),
       case when pg_temp.perhaps() then 'It broke.' end, '{{"device": "bot"}}', step.workflow, step.name,
       date_trunc('second', now())
  from public.conversations v
 cross join lateral (select case when md5(v.id::text) < '8' then 'charter' end as workflow,
                            case when md5(v.id::text) < '8' then 'understanding_request' end as name) step
 where workspace_id = '{workspace}';
insert into public.requests (workspace_id, session_id, origin, passengers)
select workspace_id, id, case when pg_temp.perhaps() then 'ZRH' end, case when pg_temp.perhaps() then 4 end
  from public.sessions where workspace_id = '{workspace}' and pg_temp.perhaps();
insert into public.quotes (workspace_id, request_id, session_id, operator_key, operator, status, amount, currency,
                           late, received_at)
select workspace_id, id, session_id, status, 'Acme', status::public.quote_status, 1200.50, 'EUR',
       pg_temp.perhaps(0.3), case when status <> 'requested' then now() end
  from public.requests
 cross join unnest(array['requested', 'received', 'declined', 'expired', 'withdrawn']) status
 where workspace_id = '{workspace}' and pg_temp.perhaps();
insert into public.proposals (workspace_id, request_id, session_id, status, text, amount, currency, created_at)
select workspace_id, id, session_id, status::public.proposal_status, 'We offer this.', 1200.50, 'EUR',
       date_trunc('day', now())
  from public.requests cross join unnest(array['draft', 'sent', 'accepted']) status
 where workspace_id = '{workspace}' and pg_temp.perhaps();
-- Most sessions with a request work on their own one, the others on any or none.
update public.sessions s
   set request_id = r.id,
       primary_quote_id = (select id from public.quotes q where q.request_id = r.id order by random() limit 1)
  from (select x.id as session_id, coalesce(own.id, any_one.id) as id
          from public.sessions x
          left join public.requests own on own.session_id = x.id and pg_temp.perhaps(0.8)
         cross join lateral (select id from public.requests
                              where workspace_id = x.workspace_id order by md5(id || x.id::text) limit 1) any_one
         where x.workspace_id = '{workspace}' and pg_temp.perhaps(0.8)) r
 where s.id = r.session_id;
insert into public.tags (workspace_id, session_id, name)
select workspace_id, id, name from public.sessions cross join unnest(array['vip', 'late', 'angry', 'Ünïcode']) name
 where workspace_id = '{workspace}' and pg_temp.perhaps(0.3);
update public.sessions s
   set status = e.status::public.session_status, ended_at = now(),
       archived_at = case when e.status = 'archived' then now() end,
       status_before_archive = case when e.status = 'archived' then 'failed'::public.session_status end
  from (select id, pg_temp.one_of('{{completed,failed,timeout,cancelled,archived}}') as status
          from public.sessions where workspace_id = '{workspace}' and pg_temp.perhaps()) e
 where s.id = e.id;
update public.sessions s
   set status = pg_temp.one_of('{{active,paused}}')::public.session_status, taken_over_at = now(),
       taken_over_by = (select user_id from public.workspace_members m where m.workspace_id = s.workspace_id limit 1)
 where workspace_id = '{workspace}' and ended_at is null and pg_temp.perhaps();
"""


async def fill(desk: Desk, seed: int, workspace: str, people: list[JSON], contacts: int) -> None:
    """Insert contacts and sessions of a workspace. `people` hold sessions; members are assigned to them."""
    ids = "{" + ",".join(each["user_id"] for each in people) + "}"
    await desk.admin.execute(f"select setseed(0.{seed})")
    await desk.admin.execute((CONTACTS + SESSIONS).format(workspace=workspace, people=ids, contacts=contacts))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_session_details_show_of_each_session_what_its_own_rows_say(desk: Desk, seed: int) -> None:
    boss, agent, admin = [await desk.member(role) for role in ("owner", "agent", "admin")]
    stranger = {"kind": "user", "user_id": await desk.sign_up(None)}
    there, _ = await desk.open_workspace()
    elsewhere = await desk.member("agent", there)
    for workspace in (WORKSPACE, there):
        await fill(desk, seed, workspace, [boss, agent, stranger, elsewhere], 4)
    tokens = await desk.all(
        "select jsonb_build_object('role', 'contact', 'sub', contact_id, 'workspace_id', workspace_id, 'contact_id',"
        " contact_id, 'conversation_id', id, 'proof', case when random() < 0.5 then 'verified' else 'asserted' end)"
        " from public.conversations where contact_id is not null"
    )
    readers = [own_token(caller) for caller in (boss, admin, agent, stranger, elsewhere)]
    compared: dict[str, int] = {}
    for token in (*(token for (token,) in tokens), *readers):
        items = await desk.sessions(token)
        async with desk.reading(token) as connection:
            of_contact = await session_view(connection) == "contact_session_details"
            for item in items:
                assert item == await shown(connection, item["id"], of_contact=of_contact), token
        compared[token["sub"]] = compared.get(token["sub"], 0) + len(items)
    # Every reader saw some sessions, and they have everything that a list shows.
    assert all(compared[reader["sub"]] for reader in readers), compared
    everything = await desk.sessions(own_token(boss))
    for name in ("contact", "request", "proposal", "primary_quote", "tags", "taken_over", "workflow"):
        assert {bool(item[name]) for item in everything} == {True, False}, name
    assert any(item["quote_counts"]["late"] for item in everything)


@pytest.mark.parametrize("seed", [4, 5])
async def test_contact_details_show_of_each_contact_what_its_own_rows_say(desk: Desk, seed: int) -> None:
    boss, agent = await desk.member("owner"), await desk.member("agent")
    await fill(desk, seed, WORKSPACE, [boss, agent], 12)
    await desk.admin.execute(
        "update public.contacts c set session_id = s.id from public.sessions s"
        " where s.contact_id = c.id and md5(c.id::text) < 'b'"
    )
    linked = dict[str, int]()
    for reader in (boss, agent):
        async with desk.reading(own_token(reader)) as connection:
            items = await rows(connection, "contact_details", "*", "true")
            first_sessions = {item["id"]: item["session_id"] for item in items}
            for view in ("contact_activity", "contacts_by_space"):
                for item in await rows(connection, view, "id, session_id", "true"):
                    assert item["session_id"] == first_sessions[item["id"]]
            for item in items:
                row = (
                    await one(connection, "contacts", "first_name, last_name, session_id", "id = $1", item["id"]) or {}
                )
                emails = [identity["value"] for identity in item["identities"] if identity["kind"] == "email"]
                names = [part for part in (row["first_name"], row["last_name"]) if part]
                assert (item["name"], item["email"]) == (" ".join(names) or None, next(iter(emails), None))
                first = await one(connection, "sessions", "id", "id = $1", row["session_id"]) or {"id": None}
                of_contact = "contact_id = $1 order by"
                keys = await rows(connection, "contact_identities", "key", f"{of_contact} created_at, id", item["id"])
                tags = await rows(connection, "tags", "name", f"{of_contact} name", item["id"])
                assert (item["first_name"], item["session_id"]) == (row["first_name"], first["id"])
                assert [identity["key"] for identity in item["identities"]] == [each["key"] for each in keys]
                assert item["tags"] == [each["name"] for each in tags]
        linked[reader["user_id"]] = sum(item["session_id"] is not None for item in items)
    assert linked[boss["user_id"]] > linked[agent["user_id"]]
