"""Erasing over HTTP: what was planted for a contact in every place is gone, and other people's rows are untouched.

Locks, rules and words are tests/database/test_erasures.py's.
"""

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from lib.archive import parquet
from lib.archive.store import open_store
from local.stack import Stack
from tests.events import read_all
from tests.functions.conftest import Visitor, Workspace, until
from tests.functions.people import Staff
from tests.functions.test_archive import grow_old
from tests.functions.test_channels import Channel
from tests.functions.test_events import Receiver, receiver, subscribe
from tests.functions.test_logs import every_log
from tests.functions.test_senders import add_channel, post
from tests.functions.test_transcripts import Omi, omi, segment
from tests.functions.test_worker import work
from tests.senders import SENDERS
from tests.standins import discord, telegram, whatsapp
from tests.standins.messenger import MessengerApi
from tests.standins.openai import OpenAI
from tests.standins.telegram import Telegram

__all__ = ["omi", "receiver"]

RELATIONS = """
select n.nspname || '.' || c.relname
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and n.nspname !~ '^(pg_|information_schema)'
"""
COLUMNS = """
select a.attname, format_type(a.atttypid, null)
  from pg_attribute a
 where a.attrelid = $1::text::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
   and format_type(a.atttypid, null) in ('text', 'jsonb')
"""
RULED = "select relation from private.erase_rules where rule in ('cascade', 'deleted', 'searched', 'anonymised')"

AS_THEY_ARE = {"public.inbound_events", "public.jobs", "public.archive_objects", "public.session_archives",
               "public.exports"}  # fmt: skip
"""Deliveries as they came, jobs as they are queued; archives and exports have tests of their own."""

LEFT_ALONE = {
    # What the contact is found by.
    "contact_identities": {"key", "value", "asserted_by"}, "device_links": {"provider", "uid", "verified_with"},
    "rate_limits": {"name", "subject"},
    # A code of ours, or of a form that a check sets.
    "turns": {"error_code"},
    "contact_merges": {"verified_by"}, "quotes": {"currency"}, "proposals": {"currency"}, "contacts": {"title"},
    "device_sessions": {"linked_with"},
}  # fmt: skip


@pytest_asyncio.fixture
async def bot(client: aiohttp.ClientSession, workspace: Workspace) -> AsyncIterator[Channel]:
    """A Telegram bot whose persona answers without delay, in groups too."""
    async with Telegram() as api:
        channel = Channel(client, workspace, "telegram", api)
        config = json.dumps({"api_base": api.url, "username": "x", "group_replies": "all"})
        yield await channel.connect(telegram.TOKEN, config=config)


async def holders(database: asyncpg.Connection, *words: str) -> dict[str, list[str]]:
    """The rows of every table, of every schema, that hold one of the words, whatever the case."""
    pattern = "|".join(map(re.escape, words))
    found: dict[str, list[str]] = {}
    for (relation,) in await database.fetch(RELATIONS):
        for row in await database.fetch(f"select t::text from {relation} t where t::text ~* $1", pattern):
            found.setdefault(relation, []).append(row[0])
    return found


async def rows_of(database: asyncpg.Connection, ids: set[str], without: set[str]) -> dict[str, list[str]]:
    """The rows of every table of ours that name one of these ids and none of the others, as text."""
    found = {}
    for (relation,) in await database.fetch(RELATIONS):
        if relation.startswith(("public.", "private.")) and relation != "public.session_stats_daily":
            query = f"select t::text from {relation} t where t::text ~ $1 and t::text !~ $2 order by 1"
            found[relation] = [row[0] for row in await database.fetch(query, "|".join(ids), "|".join(without))]
    return found


async def ids_of(database: asyncpg.Connection, contacts: list[UUID]) -> set[str]:
    """The ids of contacts and of what belongs to them."""
    query = (
        "with c as (select id from public.conversations where contact_id = any ($1)),"
        " s as (select id from public.sessions where conversation_id in (select id from c))"
        " select id from c union select id from s union select unnest($1::uuid[])"
        " union select id from public.turns where conversation_id in (select id from c)"
        " union select id from public.messages where conversation_id in (select id from c) or contact_id = any ($1)"
        " union select turn_id from public.messages where contact_id = any ($1) and turn_id is not null"
        " union select id from public.requests where session_id in (select id from s)"
        " union select id from public.memories where contact_id = any ($1) or sender_id = any ($1)"
        " union select id from public.events where contact_id = any ($1)"
        " union select e.id from public.messages m join public.events e on e.data ->> 'message_id' = m.id::text"
        " where m.contact_id = any ($1)"
        " or m.turn_id in (select turn_id from public.messages where contact_id = any ($1))"
        " union select id from public.contact_merges where contact_id = any ($1) or into_id = any ($1)"
    )
    return {str(row[0]) for row in await database.fetch(query, contacts)}


async def plant(database: asyncpg.Connection, relation: str, ids: set[str], mark: str) -> set[str]:
    """Write the mark into every text and jsonb column of the rows that name an id; the columns that took it."""
    planted = set()
    for column, kind in await database.fetch(COLUMNS, relation):
        if column in LEFT_ALONE.get(relation.removeprefix("public."), ()):
            continue
        value = f"left('{mark}' || md5(t.ctid::text), 31)"
        if kind == "jsonb":
            value = f"""coalesce({column}, '{{}}') || '{{"x": "{mark}"}}'"""
        for where in ("true", f"{column} is not null"):
            update = f"update {relation} t set {column} = {value} where t::text ~ $1 and {where}"
            try:
                async with database.transaction():
                    await database.execute("set local log_min_messages = 'fatal'")
                    done = await database.execute(update, "|".join(ids))
            except asyncpg.CheckViolationError:
                continue
            if done != "UPDATE 0":
                planted.add(column)
            break
    return planted


async def test_nothing_of_an_erased_contact_is_left_anywhere(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack, bot: Channel, omi: Omi,
    receiver: Receiver,
) -> None:  # fmt: skip
    database, mark, number = workspace.database, f"mark{uuid4().hex[:12]}", int(time.time() * 1000)
    receiver.planned = [(200, {}, f"thanks for {mark}")]
    await subscribe(staff, workspace, receiver.url, "message.created", "contact.merged", "session.completed")

    # The contact arrives by the web, by a messenger, in a group and by a device, and is one after two merges.
    arrival = {"email": f"{mark}@example.com", "first_name": mark, "phone": "+49 30 901820", "attributes": {"x": mark}}
    headers = {"User-Agent": mark}
    async with client.post(f"/space/{workspace.space_id}/register", json=arrival, headers=headers) as response:
        visitor = Visitor(client, workspace.space_id, (await response.json())["token"])
    said = (await visitor.say(mark, metadata={"x": mark}))[0].data
    document: dict[str, Any] = {"document": {"file_id": mark, "file_unique_id": "x", "file_name": mark}}
    for chat in (None, -number - 5):
        await bot.deliver(telegram.update("Hello from another", sender=number + 1, chat=chat))
        await bot.settled()
        await bot.deliver(telegram.update(mark, sender=number, chat=chat, **document))
    await omi.heard(mark, segment("1", mark))
    await bot.settled()
    others = [row[0] for row in await database.fetch(
        "select i.contact_id from public.contact_identities i where i.workspace_id = $1 and i.key = any ($2)",
        workspace.id, [str(number + 1), str(-number - 5)],
    )]  # fmt: skip
    at, own = f"/chat-sessions/{said['session_id']}", said["contact_id"]
    for identity in (f"telegram:{number}", f"omi:{mark}"):
        (found,) = (await staff.admin.done("GET", f"/contacts?workspace_id={workspace.id}&identity={identity}"))[
            "items"
        ]
        await staff.admin.done("POST", f"/contacts/{found['id']}/merge", {"into": own})
    await staff.admin.done("PUT", f"/contacts/{own}/tags", {"tags": [mark]})
    await staff.admin.done("PATCH", f"{at}/workflow", {"step": "understanding_request", "workflowState": {"x": mark}})
    await staff.admin.done("PUT", f"{at}/request", {"origin": mark, "tripId": mark})
    await staff.admin.done("PUT", f"{at}/quotes/{mark}", {"status": "received", "amount": 1, "currency": "EUR"})
    await staff.admin.done("PUT", f"{at}/proposal", {"title": mark, "text": mark})
    await staff.admin.done("PATCH", f"{at}/pause", {"reason": mark})
    unknown = await add_channel(workspace, SENDERS["standard"])
    body = json.dumps({"type": "x.y", "timestamp": "2026-01-01T00:00:00Z", "data": {"about": f"{mark}@example.com"}})
    assert (await post(client, SENDERS["standard"], unknown, body.encode()))[0] == 200
    await bot.settled()

    contacts = [row[0] for row in await database.fetch(
        "select id from public.contacts where id = $1 or merged_into_id = $1", UUID(own)
    )]  # fmt: skip
    assert len(contacts) == 3
    await fill(database, workspace, UUID(own), UUID(said["session_id"]), UUID(said["turn_id"]), others[0])
    ids = await ids_of(database, contacts)
    bystanders = await ids_of(database, others) - ids
    before = await rows_of(database, bystanders, ids)
    missing = {}
    # Vectors first: one goes with the text of its memory.
    ruled = [row[0] for row in await database.fetch(f"{RULED} order by relation <> 'public.memory_embeddings'")]
    for relation in ruled:
        table = relation.removeprefix("public.")
        if relation in AS_THEY_ARE:
            continue
        planted = await plant(database, relation, ids, mark)
        columns = {row[0] for row in await database.fetch(COLUMNS, relation)}
        if lacking := columns - planted - LEFT_ALONE.get(table, set()):
            missing[table] = lacking
    assert missing == {}
    assert len(await holders(database, mark, str(number))) >= 25

    receipt = await staff.admin.done("DELETE", f"/contacts/{own}")
    while receipt["status"] == "running":
        await work(client, stack)
        receipt = await staff.admin.done("GET", f"/erasures/{receipt['id']}")
    assert await holders(database, mark, str(number)) == {}
    assert mark not in every_log(stack)
    assert set(receipt["contact_ids"]) == {str(one) for one in contacts}
    places = {"contacts": 3, "conversations": 3, "quotes": 1, "group_messages": 1, "inbound_events": 4}
    assert receipt["counts"].items() >= places.items()

    assert await rows_of(database, bystanders, ids) == before
    checked = await staff.admin.done("POST", f"/erasures/{receipt['id']}/check")
    assert (checked["clean"], checked["complete"]) == (True, True)
    assert await staff.admin.done("DELETE", f"/contacts/{contacts[1]}") == receipt


async def fill(
    database: asyncpg.Connection, workspace: Workspace, contact: UUID, session: UUID, turn: UUID, other: UUID
) -> None:
    """Rows that the flow above leaves out: a conflict, a piece of an answer, its error, a link, a waiting job."""
    conversation = await database.fetchval("select conversation_id from public.sessions where id = $1", session)
    user = await database.fetchval("insert into auth.users (id) values (gen_random_uuid()) returning id")
    message = await database.fetchval("select id from public.messages where turn_id = $1 limit 1", turn)
    for statement, *values in (
        ("insert into public.contact_conflicts (workspace_id, contact_id, other_contact_id, found_by)"
         " values ($1, $2, $3, 'x')", contact, other),
        ("insert into public.turn_chunks (turn_id, position, workspace_id, conversation_id, piece)"
         " values ($2, 0, $1, $3, 'x')", turn, conversation),
        ("insert into public.turn_errors (turn_id, persona_id, workspace_id, conversation_id, detail)"
         " values ($2, $4, $1, $3, 'x')", turn, conversation, workspace.persona_id),
        ("insert into public.message_deliveries (message_id, part, workspace_id, conversation_id)"
         " values ($2, 0, $1, $3) on conflict do nothing", message, conversation),
        ("insert into public.device_links (workspace_id, uid, user_id)"
         " select $1, key, $3 from public.contact_identities where contact_id = $2 and kind = 'omi'", contact, user),
        ("insert into public.rate_limits (workspace_id, name, subject) values ($1, 'x', $2::uuid::text)", contact),
        ("insert into public.memories (workspace_id, contact_id, message_id, speaker, content)"
         " values ($1, $2, $3, 'x', 'x')", contact, message),
        ("insert into public.memories (workspace_id, contact_id, sender_id, content) values ($1, $3, $2, 'x')",
         contact, other),
        ("insert into public.turn_memories (turn_id, memory_id, workspace_id, conversation_id, session_id, rank, score)"
         " select $2, id, $1, $3, $4, 1, 1 from public.memories where message_id = $5",
         turn, conversation, session, message),
        ("insert into public.memory_embeddings (memory_id, workspace_id, model, embedding)"
         " select id, $1, 'x', array_fill(0.1::real, array[384])::extensions.halfvec(384) from public.memories"
         " where workspace_id = $1",),
        ("insert into private.archived_message_ids"
         " (message_id, workspace_id, conversation_id, session_id, client_message_id, created_at)"
         " select id, $1, conversation_id, session_id, 'x', created_at from public.messages where id = $2", message),
        ("insert into public.import_refs (workspace_id, source, kind, external_id, contact_id)"
         " values ($1, 'x', 'contact', 'x', $2)", contact),
        ("insert into public.jobs (workspace_id, kind, ordering_key, payload)"
         " values ($1, 'x', 'send:' || $2::uuid, jsonb_build_object('of', $3::uuid))", conversation, session),
        ("insert into public.jobs (workspace_id, kind, status, finished_at, payload)"
         " values ($1, 'x', 'dead', now(), jsonb_build_object('of', $2::uuid))", message),
    ):  # fmt: skip
        await database.execute(statement, workspace.id, *values)


async def test_archives_are_written_anew_without_the_contact(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack, bot: Channel
) -> None:
    database, mark, number = workspace.database, f"mark{uuid4().hex[:12]}", int(time.time() * 1000)
    await bot.deliver(telegram.update("Hello from another", sender=number + 1))
    for sender, text in ((number + 1, "Hello from another"), (number, mark), (number + 2, f"{mark} too")):
        await bot.deliver(telegram.update(text, sender=sender, chat=-number - 5))
        await bot.deliver(telegram.update(text, sender=sender))
        await bot.settled()
    rows = await database.fetch(
        "select id from public.sessions where workspace_id = $1 and channel = 'telegram'", workspace.id
    )
    sessions = [row[0] for row in rows]
    # Remembered: what was said in the group, and its answers.
    await database.execute(
        "insert into public.memories (workspace_id, contact_id, session_id, message_id, kind, content, valid_from)"
        " select m.workspace_id, s.contact_id, s.id, m.id, 'turn', $2, m.created_at from public.messages m"
        " join public.sessions s on s.id = m.session_id where s.id = any ($1) and m.role = 'persona'", sessions, mark,
    )  # fmt: skip
    # And facts, whose content is who said them.
    await database.execute(
        "insert into public.memories (workspace_id, contact_id, session_id, message_id, content)"
        " select m.workspace_id, s.contact_id, s.id, m.id, m.contact_id::text from public.messages m"
        " join public.sessions s on s.id = m.session_id where s.id = any ($1) and m.role = 'contact'", sessions,
    )  # fmt: skip
    for session in sessions:
        await grow_old(workspace, session)
    await database.execute("update public.workspaces set archive_retention = 'drop' where id = $1", workspace.id)
    await archive(client, stack)
    assert len(await archived(stack, mark)) == 1
    kept = {session: await transcript(client, staff, session) for session in sessions}

    # Two who were in the same group are erased at once; each takes the other's words from what is written anew.
    *contacts, bystander = [
        (await staff.admin.done("GET", f"/contacts?identity=telegram:{one}"))["items"][0]["id"]
        for one in (number, number + 2, number + 1)
    ]
    receipts = [await staff.admin.done("DELETE", f"/contacts/{contact}") for contact in contacts]
    assert [receipt["status"] for receipt in receipts] == ["running"] * 2
    # An object that is not what was recorded is not written anew: others would lose what they have in it.
    (key,) = await archived(stack, mark)
    path = Path(stack.functions_env["SWITCHBOARD_ARCHIVE_STORE"].removeprefix("file://")) / key
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    await archive(client, stack)
    assert path.exists()
    path.write_bytes(content)
    for _ in range(12):
        await database.execute("update public.jobs set next_attempt_at = now() where status = 'queued'")
        await archive(client, stack)
        await work(client, stack)
        receipts = [await staff.admin.done("GET", f"/erasures/{receipt['id']}") for receipt in receipts]
        if {receipt["status"] for receipt in receipts} == {"finished"}:
            break
    assert [receipt["status"] for receipt in receipts] == ["finished"] * 2
    assert [key for word in (mark, *contacts) for key in await archived(stack, word)] == []
    # Nor is it in what the database keeps of a dropped turn.
    kept_turns = "select count(*) from public.turns where session_id = any ($1) and client_message_id is not null"
    assert await database.fetchval(kept_turns, sessions) == 3
    assert (await holders(database, mark)).keys() <= {"public.memories"}
    memories = "select count(*) from public.memories where session_id = any ($1) and content = $2"
    assert await database.fetchval(memories, sessions, mark) == 3
    facts = "select distinct content from public.memories where workspace_id = $1 and kind <> 'turn'"
    assert [row[0] for row in await database.fetch(facts, workspace.id)] == [bystander]
    left = {session: await transcript(client, staff, session) for session in sessions}
    gone, group = [one for one in sessions if not left[one]], max(sessions, key=lambda one: len(kept[one]))
    assert (len(gone), left[group]) == (2, [*kept[group][:2], *["[erased]"] * 4])
    others = set(sessions) - {*gone, group}
    assert [left[session] for session in others] == [kept[session] for session in others]


async def archive(client: aiohttp.ClientSession, stack: Stack) -> None:
    """A run of the archive function."""
    async with client.post("/archive", headers={"Authorization": f"Bearer {stack.cron_secret}"}) as response:
        assert response.status == 200, await response.text()


async def archived(stack: Stack, word: str) -> list[str]:
    """The objects of the store that hold a word."""
    store = open_store(stack.functions_env["SWITCHBOARD_ARCHIVE_STORE"])
    return [
        key async for key in store.keys("workspace=")
        if any(word in str(table.to_pylist()) for table in parquet.read(await store.get(key)))
    ]  # fmt: skip


async def transcript(client: aiohttp.ClientSession, staff: Staff, session: UUID) -> list[str]:
    """The texts of an archived session; none if there is no archive."""
    status, shown = await staff.admin.ask("GET", f"/archive/{session}")
    return [message["text"] for message in shown["messages"]] if status == 200 else []


async def test_what_was_sent_before_the_erasure_is_refused_and_what_comes_after_is_a_new_contact(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack, bot: Channel
) -> None:
    now, count = int(time.time()), "select count(*) from public.inbound_events where workspace_id = $1"
    first = await bot.deliver(telegram.update("Hello", sender=7700077, date=now - 60))
    await bot.settled()
    (found,) = (await staff.admin.done("GET", f"/contacts?workspace_id={workspace.id}&identity=telegram:7700077"))[
        "items"
    ]
    receipt = await staff.admin.done("DELETE", f"/contacts/{found['id']}")
    assert (receipt["status"], receipt["requester_kind"]) == ("finished", "user")

    await bot.deliver(first)
    await bot.deliver(
        telegram.update("Hello?", sender=7700077, date=now - 60, kind="edited_message", edit_date=now - 30)
    )
    await work(client, stack)
    await bot.settled()
    assert (await workspace.counts())["messages"] == await workspace.database.fetchval(count, workspace.id) == 0

    # An erased group does not come back with what another said in it.
    of_group = "select contact_id from public.contact_identities where workspace_id = $1 and key = '-7700099'"
    in_group = await bot.deliver(telegram.update("Hi all", sender=7700088, chat=-7700099, date=now - 60))
    await bot.settled()
    group = await workspace.database.fetchval(of_group, workspace.id)
    assert (await staff.admin.done("DELETE", f"/contacts/{group}"))["status"] == "finished"
    await bot.deliver(in_group)
    await work(client, stack)
    await bot.settled()
    assert await workspace.database.fetchval(of_group, workspace.id) is None

    await bot.deliver(telegram.update("I am back", sender=7700077, date=now + 60))
    await bot.settled()
    (again,) = (await staff.admin.done("GET", f"/contacts?workspace_id={workspace.id}&identity=telegram:7700077"))[
        "items"
    ]
    assert again["id"] != found["id"]
    assert (await staff.admin.done("POST", f"/erasures/{receipt['id']}/check"))["clean"]


WHATSAPP_WORDS = "4915100777", "US.7700777"
DISCORD_WORDS = ("7700777007770077",)


@pytest.mark.parametrize("kind", ["whatsapp", "discord"])
async def test_what_a_provider_repeats_after_an_erasure_brings_nothing_of_the_person_back(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack, kind: str
) -> None:
    database, words = workspace.database, WHATSAPP_WORDS if kind == "whatsapp" else DISCORD_WORDS
    api: MessengerApi = whatsapp.WhatsApp() if kind == "whatsapp" else discord.Discord()
    token, account = (whatsapp.TOKEN, whatsapp.NUMBER) if kind == "whatsapp" else (discord.TOKEN, discord.APPLICATION)
    async with api:
        channel = await Channel(client, workspace, kind, api).connect(token, external_id=account)
        if kind == "whatsapp":
            number, user_id = WHATSAPP_WORDS
            sent = [
                whatsapp.message("Hello", number=number, user_id=user_id),
                whatsapp.status("wamid.OUT1", "read", recipient_id=number, recipient_user_id=user_id),
                whatsapp.message("", number=number, type="system", system={
                    "type": "user_changed_user_id", "user_id": user_id
                }),
                whatsapp.echo("From our phone", number),
                whatsapp.message("In a group", number=number, user_id=user_id, group_id="HBgN"),
            ]  # fmt: skip
        else:
            sent = [discord.command("Hello", user=words[0]), discord.command("Hi all", user=words[0], guild="70")]
        for document in sent:
            await channel.deliver(document)
            await channel.settled()
        found = await staff.admin.done("GET", f"/contacts?workspace_id={workspace.id}&identity={kind}:{words[-1]}")
        receipt = await staff.admin.done("DELETE", f"/contacts/{found['items'][0]['id']}")
        assert (receipt["status"], await holders(database, *words)) == ("finished", {})

        count = (await workspace.counts())["messages"]
        for document in [*sent, *sent]:
            await channel.deliver(document)
            await channel.settled()
        await work(client, stack)
        await channel.settled()
    assert await holders(database, *words) == {}
    assert (await workspace.counts())["messages"] == count
    checked = await staff.admin.done("POST", f"/erasures/{receipt['id']}/check")
    assert (checked["clean"], checked["complete"]) == (True, True)


async def test_a_running_answer_stops_before_its_contact_is_erased(
    workspace: Workspace, staff: Staff, held_visitor: Visitor, openai: OpenAI
) -> None:
    async with held_visitor.post("Hello") as response:

        async def answering() -> bool:
            return bool(
                await workspace.database.fetch("select from public.turns where workspace_id = $1", workspace.id)
            )

        await until(answering)
        contact = await workspace.database.fetchval("select contact_id from public.sessions where workspace_id = $1"
                                                    " order by created_at desc limit 1", workspace.id)  # fmt: skip
        assert (await staff.admin.done("DELETE", f"/contacts/{contact}"))["status"] == "finished"
        await openai.release()
        heard = await read_all(response)
    assert heard[-1].name in ("done", "error")
    async with held_visitor.post("Hello again") as response:
        assert response.status == 401
    assert await staff.agent.refused("DELETE", f"/contacts/{contact}") == (403, "forbidden")
