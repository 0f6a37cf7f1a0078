"""Archiving over HTTP: the function and its schedule, the transcript, and the restore; who may do what."""

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, problem, until
from tests.functions.people import Staff
from tests.functions.test_channels import Channel, bot, number
from tests.functions.test_imports import ANN, TALK, statuses
from tests.functions.test_transcripts import Omi, omi, segment
from tests.standins import telegram, whatsapp

__all__ = ["bot", "number", "omi"]

ROWS = {
    "messages": "select to_jsonb(m)::text from public.messages m where m.session_id = $1 order by m.id",
    "turns": "select to_jsonb(t)::text from public.turns t where t.session_id = $1 order by t.id",
    "attachments": "select to_jsonb(a)::text from public.attachments a join public.messages m on m.id = a.message_id"
    " where m.session_id = $1 order by a.message_id, a.place",
    "deliveries": "select to_jsonb(d)::text from public.message_deliveries d"
    " join public.messages m on m.id = d.message_id where m.session_id = $1 order by d.message_id, d.part",
}


async def rows_of(workspace: Workspace, session_id: UUID) -> dict[str, list[str]]:
    """All rows that a session's archive replaces, as text."""
    return {name: [row[0] for row in await workspace.database.fetch(query, session_id)] for name, query in ROWS.items()}


async def grow_old(workspace: Workspace, session_id: UUID) -> None:
    """A finished session that is older than the archive age."""
    await workspace.database.execute(
        "update public.sessions set status = 'completed', status_before_archive = null, archived_at = null,"
        " ended_at = now() - interval '91 days' where id = $1",
        session_id,
    )


async def test_a_session_is_archived_read_and_restored_byte_for_byte(
    client: aiohttp.ClientSession, stack: Stack, visitor: Visitor, workspace: Workspace, staff: Staff
) -> None:
    database = workspace.database

    async def post(path: str, token: str, status: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        async with client.post(path, json={}, headers=headers) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def read(token: str | None) -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        async with client.get(f"/archive/{session_id}", headers=headers) as response:
            return (await response.json()) if response.status == 200 else (await problem(response))["code"]

    session_id = UUID((await visitor.say("hello “you”,\n\t\\. \"x\" ''", metadata={"n": 1.10}))[0].data["session_id"])
    await database.execute("update public.workspaces set archive_retention = 'drop' where id = $1", workspace.id)
    await database.execute(
        "insert into public.attachments (message_id, place, workspace_id, conversation_id, kind, size, name)"
        " select id, 1, workspace_id, conversation_id, 'image', 9007199254740993, 'a,b' from public.messages"
        " where session_id = $1 and role = 'contact'",
        session_id,
    )
    await database.execute(
        "insert into public.message_deliveries (message_id, part, workspace_id, conversation_id, status)"
        " select id, 0, workspace_id, conversation_id, 'sent' from public.messages"
        " where session_id = $1 and role = 'persona'",
        session_id,
    )
    await grow_old(workspace, session_id)
    before = await rows_of(workspace, session_id)
    assert [len(rows) for rows in before.values()] == [2, 1, 1, 1]
    assert await read(visitor.token) == "archive_not_found"

    report = await post("/archive", stack.cron_secret)
    # Of all workspaces, so also what other tests left.
    assert min(report["archived"], report["stored"], report["objects"]) >= 1
    assert report["remaining"] is False
    after = await rows_of(workspace, session_id)
    assert after == {"messages": [], "turns": before["turns"], "attachments": [], "deliveries": []}

    shown, of_visitor = await read(staff.owner.token), await read(visitor.token)
    assert [message["role"] for message in shown["messages"]] == ["contact", "persona"]
    assert shown["messages"][0]["text"] == "hello “you”,\n\t\\. \"x\" ''" == of_visitor["messages"][0]["text"]
    assert shown["messages"][0]["attachments"][0]["size"] == 9007199254740993
    assert shown["location"]["object"].startswith(f"workspace={workspace.id}/month=")
    (listed,) = (await staff.owner.done("GET", "/chat-sessions?status=archived"))["items"]
    assert (listed["archive"]["object"], listed["archive"]["messages_dropped"]) == (shown["location"]["object"], True)
    assert (of_visitor.get("location"), of_visitor["messages"][0].get("attachments")) == (None, None)
    assert await read(staff.stranger.token) == "session_not_found"

    path = Path(stack.functions_env["SWITCHBOARD_ARCHIVE_STORE"].removeprefix("file://")) / shown["location"]["object"]
    content = path.read_bytes()
    path.write_bytes(content[:100])
    assert await read(staff.owner.token) == "archive_broken"
    assert (await post(f"/archive/{session_id}/restore", staff.owner.token or "", 500))["code"] == "archive_broken"
    path.write_bytes(content)

    assert (await post(f"/archive/{session_id}/restore", visitor.token or "", 403))["code"] == "forbidden"
    restored = [await post(f"/archive/{session_id}/restore", staff.owner.token or "") for _ in range(2)]
    assert [(each["status"], each["changed"]) for each in restored] == [("completed", True), ("completed", False)]
    assert await rows_of(workspace, session_id) == before


async def test_after_a_drop_the_page_names_the_archive_and_a_repeat_stores_nothing(
    client: aiohttp.ClientSession, stack: Stack, bot: Channel, workspace: Workspace, staff: Staff
) -> None:
    database = workspace.database
    updates = [telegram.update("Hello"), telegram.update("Overheard", sender=7, chat=-1001)]

    async def deliver() -> None:
        # The deliveries of that time are no longer stored.
        await database.execute("delete from public.jobs where workspace_id = $1", workspace.id)
        await database.execute("delete from public.inbound_events where workspace_id = $1", workspace.id)
        for update in updates:
            await bot.deliver(update)
        await bot.settled()

    async def page_of(session: Any) -> Any:
        return await staff.owner.done("GET", f"/conversations/{session['conversation_id']}/messages")

    await deliver()
    ours = "select * from public.sessions where workspace_id = $1 and channel = 'telegram' order by id"
    sessions = await database.fetch(ours, workspace.id)
    contact = f"/contacts/{sessions[0]['contact_id']}/messages"
    follow_up = {"role": "contact", "text": "By mail", "source": "mail", "clientMessageId": "mail-1"}
    captured = await staff.owner.done("POST", contact, follow_up)
    remembered = (
        "insert into public.memories (workspace_id, contact_id, session_id, message_id, content)"
        " select $1, contact_id, session_id, id, 'x' from public.messages where text = 'Hello' and workspace_id = $1"
        " returning id, message_id"
    )
    ((memory_id, message_id),) = await database.fetch(remembered, workspace.id)
    before = {session["id"]: await rows_of(workspace, session["id"]) for session in sessions}
    for session in sessions:
        await grow_old(workspace, session["id"])
    await database.execute("update public.workspaces set archive_retention = 'drop' where id = $1", workspace.id)
    async with client.post("/archive", headers={"Authorization": f"Bearer {stack.cron_secret}"}) as response:
        assert response.status == 200
    counts = await workspace.counts()
    assert (counts["messages"], len(sessions)) == (0, 2)

    for session in sessions:
        page = await page_of(session)
        (gone,) = page["archived"]
        assert (page["items"], gone["session_id"]) == ([], str(session["id"]))
        assert gone["message_count"] == len(before[session["id"]]["messages"])
    await deliver()
    repeated = await staff.owner.done("POST", contact, follow_up)
    assert repeated == captured | {"created": False}
    names = ("messages", "sessions", "turns")
    assert [(await workspace.counts())[name] for name in names] == [counts[name] for name in names]
    ended = await database.fetch("select distinct status::text from public.jobs where workspace_id = $1", workspace.id)
    assert [row[0] for row in ended] == ["succeeded"]

    for session in sessions:
        await staff.owner.done("POST", f"/archive/{session['id']}/restore")
        assert await rows_of(workspace, session["id"]) == before[session["id"]]
        assert "archived" not in await page_of(session)
    linked = "select message_id from public.memories where id = $1"
    assert await database.fetchval(linked, memory_id) == message_id
    await deliver()
    assert {session["id"]: await rows_of(workspace, session["id"]) for session in sessions} == before


Comes = Callable[[], Awaitable[None]]


@pytest_asyncio.fixture
async def said_by_the_business(number: Channel) -> Comes:
    """A message that the business writes in its own app, in a person's chat."""
    await number.deliver(whatsapp.message("Hello"))
    await number.api.until(1)
    await number.settled()
    echo = whatsapp.echo("I am on it.", "4915112345678")

    async def again() -> None:
        await number.deliver(echo)
        await number.settled()

    return again


@pytest.fixture
def heard_late(omi: Omi) -> Comes:
    """A wearable's segment, which comes again with a longer text."""
    texts = itertools.count(1)

    async def again() -> None:
        await omi.heard("u1", segment("5d2c4b5e-0b1e-4b0e-9d5e-0d3a52f6b001", "Fly " * next(texts)))
        await omi.workspace.settled()

    return again


@pytest.fixture
def imported(staff: Staff, workspace: Workspace) -> Comes:
    """A conversation of another system."""
    batch = {"source": "helpdesk", "contacts": [ANN], "conversations": [TALK]}

    async def again() -> None:
        result = await staff.admin.done("POST", f"/workspaces/{workspace.id}/imports", batch)
        assert statuses(result, "conversations") in (["created"], ["unchanged"])

    return again


@pytest.fixture
def again(request: pytest.FixtureRequest) -> Comes:
    """The source that a test names."""
    source: Comes = request.getfixturevalue(request.param)
    return source


@pytest.mark.parametrize("again", ["said_by_the_business", "heard_late", "imported"], indirect=True)
async def test_what_was_dropped_and_comes_again_is_not_stored_again(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, staff: Staff, again: Comes
) -> None:
    database = workspace.database
    await again()
    ids = "select id from public.sessions where workspace_id = $1 and message_count > 0 order by id"
    sessions = [row["id"] for row in await database.fetch(ids, workspace.id)]
    before = {session_id: await rows_of(workspace, session_id) for session_id in sessions}
    assert any(rows["messages"] for rows in before.values())
    for session_id in sessions:
        await grow_old(workspace, session_id)
    await database.execute("update public.workspaces set archive_retention = 'drop' where id = $1", workspace.id)
    async with client.post("/archive", headers={"Authorization": f"Bearer {stack.cron_secret}"}) as response:
        assert response.status == 200
    dropped = await workspace.counts()
    assert dropped["messages"] == 0

    # The delivery of that time is no longer stored, so that the key of its message is all that tells.
    await database.execute("delete from public.jobs where workspace_id = $1", workspace.id)
    await database.execute("delete from public.inbound_events where workspace_id = $1", workspace.id)
    await again()
    names = ("messages", "sessions", "conversations", "contacts", "turns")
    assert [(await workspace.counts())[name] for name in names] == [dropped[name] for name in names]
    dead = "select count(*) from public.jobs where workspace_id = $1 and status = 'dead'"
    assert await database.fetchval(dead, workspace.id) == 0
    for session_id in sessions:
        await staff.owner.done("POST", f"/archive/{session_id}/restore")
    assert {session_id: await rows_of(workspace, session_id) for session_id in sessions} == before


async def test_admins_archive_their_workspace_and_the_schedule_all(
    client: aiohttp.ClientSession, visitor: Visitor, workspace: Workspace, elsewhere: Workspace, staff: Staff
) -> None:
    async def stored(session_id: UUID) -> bool:
        query = "select count(*) from public.session_archives where session_id = $1 and is_current"
        return bool(await workspace.database.fetchval(query, session_id) == 1)

    other = Visitor(client, elsewhere.space_id)
    ours, theirs = [UUID((await each.say("hello"))[0].data["session_id"]) for each in (visitor, other)]
    for session_id in (ours, theirs):
        await grow_old(workspace, session_id)
    named = {"workspaceId": str(elsewhere.id)}
    assert await staff.owner.refused("POST", "/archive", named) == (404, "workspace_not_found")
    assert await staff.agent.refused("POST", "/archive", {}) == (403, "forbidden")
    report = await staff.owner.done("POST", "/archive", {})
    assert (report["archived"], report["stored"], report["objects"]) == (1, 1, 1)
    assert (await stored(ours), await stored(theirs)) == (True, False)
    # The schedule calls the function with the secret from Vault.
    command = await workspace.database.fetchval("select command from cron.job where jobname = 'switchboard-archive'")
    await workspace.database.execute(command)
    await until(lambda: stored(theirs))
