"""Memory in the chat over HTTP: what each kind of persona gets, what becomes of a recall that fails, and who sees it.

What a session may know is tests/database/test_turn_memories.py's.
"""

import asyncio
import json
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, ask_n8n, ask_openai
from tests.functions.people import Staff
from tests.standins.n8n import N8n
from tests.standins.openai import OpenAI

MEMORY = "Ana drinks jasmine tea."
RECALLED = "I remember: “Ana drinks jasmine tea.”."


async def remember(workspace: Workspace, visitor: Visitor, **settings: Any) -> str:
    """Say something, and let what was said be remembered and recalled from now on; the conversation's id."""
    names = ", ".join(f"{name} = ${place}" for place, name in enumerate(settings, 2))
    setting = f"update public.personas set recall_limit = 5{', ' + names if names else ''} where workspace_id = $1"
    await workspace.database.execute(setting, workspace.id, *settings.values())
    conversation: str = (await visitor.say("Hello"))[0].data["conversation_id"]
    await workspace.database.execute(
        "insert into public.memories (workspace_id, contact_id, conversation_id, content)"
        " select workspace_id, contact_id, id, $2 from public.conversations where id = $1",
        UUID(conversation), MEMORY,
    )  # fmt: skip
    return conversation


async def knew(workspace: Workspace, turn_id: str) -> list[str]:
    """The memories recorded at a turn."""
    query = "select content from public.turn_memory_details where turn_id = $1 order by rank"
    return [row["content"] for row in await workspace.database.fetch(query, UUID(turn_id))]


@pytest.mark.parametrize("kind", ["demo", "openai", "n8n", "fallback", "burst"])
async def test_a_persona_of_every_kind_gets_what_fits_the_message(
    client: aiohttp.ClientSession, workspace: Workspace, visitor: Visitor, openai: OpenAI, n8n: N8n, kind: str
) -> None:
    settings: dict[str, Any] = {}
    if kind == "openai":
        visitor = await ask_openai(client, workspace, openai.url("stream"), system_prompt="Be brief.")
    elif kind == "n8n":
        visitor = await ask_n8n(client, workspace, n8n.url("last-node"))
    elif kind == "fallback":
        visitor = await ask_openai(client, workspace, "http://127.0.0.1:1/v1")
        await workspace.database.execute(
            "update public.personas set fallback_persona_id = $2 where workspace_id = $1 and kind = 'openai'",
            workspace.id, workspace.persona_id,
        )  # fmt: skip
    elif kind == "burst":
        settings = {"collect_seconds": 1}
    await remember(workspace, visitor, **settings)
    said = ["Which one does Ana drink?", "tea"] if kind == "burst" else ["Which tea does Ana drink?"]
    heard, *_ = await asyncio.gather(*(visitor.say(text) for text in said))
    assert await knew(workspace, heard[0].data["turn_id"]) == [MEMORY]
    if kind == "openai":
        system = next(call.body["messages"][0] for call in openai.received if "tea" in json.dumps(call.body))
        assert (system["role"], MEMORY in system["content"]) == ("system", True)
    elif kind == "n8n":
        (memory,) = next(call.body["memories"] for call in n8n.received if "tea" in call.body["message"])
        assert (memory["kind"], memory["content"]) == ("fact", MEMORY)
        assert memory.keys() == {"id", "kind", "content", "valid_from", "score"}
    else:
        assert RECALLED in text_of(heard)
    other = Visitor(client, visitor.space_id)
    assert await knew(workspace, (await other.say("Which tea does Ana drink?"))[0].data["turn_id"]) == []


async def test_a_recall_that_is_slow_or_fails_is_left_out(workspace: Workspace, visitor: Visitor) -> None:
    await remember(workspace, visitor)
    async with workspace.database.transaction():
        await workspace.database.execute("lock table public.turn_memories in share mode")
        slow = await visitor.say("Which tea does Ana drink?")
    await workspace.database.execute("alter function public.recall_for_turn rename to recall_for_none")
    try:
        broken = await visitor.say("Which tea does Ana drink?")
    finally:
        await workspace.database.execute("alter function public.recall_for_none rename to recall_for_turn")
    for heard in (slow, broken):
        assert (heard[-1].name, RECALLED in text_of(heard)) == ("done", False)
    assert RECALLED in text_of(await visitor.say("Which tea does Ana drink?"))


async def test_members_see_what_a_turn_knew_and_others_do_not(
    workspace: Workspace, visitor: Visitor, staff: Staff
) -> None:
    await remember(workspace, visitor)
    turn = (await visitor.say("Which tea does Ana drink?"))[0].data
    path = f"/turns/{turn['turn_id']}/memories"
    (item,) = (await staff.admin.done("GET", path))["items"]
    assert (item["content"], item["rank"], item["contact_id"]) == (MEMORY, 1, turn["contact_id"])
    assert await staff.agent.refused("GET", path) == (404, "turn_not_found")
    await workspace.database.execute(
        "update public.sessions set assigned_user_id = $1 where id = $2", staff.agent.id, UUID(turn["session_id"])
    )
    assert (await staff.agent.done("GET", path))["items"] == [item]
    for person in (staff.stranger, staff.other_admin):
        assert await person.refused("GET", path) == (404, "turn_not_found")
    async with visitor.client.get(path, headers=visitor.headers) as response:
        assert response.status == 403
    await workspace.database.execute("delete from public.memories where workspace_id = $1", workspace.id)
    assert await staff.admin.done("GET", path) == {"items": []}, "a forgotten memory leaves the turn"
