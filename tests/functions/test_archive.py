"""Archiving over HTTP: the function and its schedule, the transcript, and the restore; who may do what."""

from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, problem, until
from tests.functions.people import Staff

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
