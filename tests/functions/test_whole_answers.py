"""Answers as one JSON document, chats on landing pages, and members' own conversations with a persona."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, ask_openai, until
from tests.functions.people import Person, Staff
from tests.standins.openai import OpenAI

JSON = {"Accept": "application/json"}
N8N = {
    "Accept": "application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7"
}


async def ask(
    client: aiohttp.ClientSession, path: str, body: dict[str, Any], token: str | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """The status and the document of an answer, which has the type that was asked for."""
    known = {"Authorization": f"Bearer {token}"} if token else {}
    async with client.post(path, json=body, headers=JSON | known | headers) as response:
        assert response.headers["content-type"] == "application/json"
        return response.status, await response.json()


@pytest.mark.parametrize("kind", ["space", "landing"])
@pytest.mark.parametrize("headers", [JSON, N8N], ids=["json", "n8n"])
async def test_the_document_says_what_the_stream_says(
    client: aiohttp.ClientSession, workspace: Workspace, kind: str, headers: dict[str, str]
) -> None:
    place = workspace.space_id if kind == "space" else workspace.landing_id
    path, message = f"/{kind}/{place}/chat/stream", {"message": "Hello", "client_message_id": str(uuid4())}
    status, whole = await ask(client, path, message, **headers)
    assert (status, whole["status"], whole["text_length"]) == (200, "completed", len(whole["text"]))
    visitor = Visitor(client, place)
    opened, *_, done = heard = await visitor.say(**message)
    assert whole["text"] == text_of(heard)
    assert {name: whole[name] for name in ("turn_id", "session_id", "conversation_id", "contact_id")}.items() <= (
        opened.data.items()
    )
    assert (whole["message_id"], whole["usage"]) == (done.data["message_id"], done.data["usage"])
    status, second = await ask(client, path, {"message": "again"}, whole["token"])
    assert (status, second["conversation_id"], "token" in second) == (200, whole["conversation_id"], False)
    assert "2 earlier messages" in second["text"]
    turn = f"/turns/{whole['turn_id']}/stream"
    async with client.get(turn, headers=JSON | {"Authorization": f"Bearer {whole['token']}"}) as response:
        again = await response.json()
    assert again == {name: value for name, value in whole.items() if name != "token"}


async def test_a_failed_turn_is_a_problem_document_and_is_stored(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    visitor = await ask_openai(client, workspace, "http://127.0.0.1:9")
    path = f"/space/{visitor.space_id}/chat/stream"
    status, problem = await ask(client, path, {"message": "Hello"})
    assert (status, problem["status"], problem["code"], problem["retryable"]) == (502, 502, "persona_unreachable", True)
    turn = await workspace.row("select * from public.turns where id = $1", UUID(problem["turn_id"]))
    assert (turn["status"], turn["error_code"]) == ("failed", "persona_unreachable")
    assert problem["token"]
    for body, expected in (
        ({}, (422, "invalid_body")),
        ({"message": "x", "thread_key": "y"}, (422, "thread_key_not_allowed")),
    ):
        status, problem = await ask(client, path, body)
        assert (status, problem["code"]) == expected


async def test_an_answer_is_stored_when_its_reader_leaves(
    workspace: Workspace, held_visitor: Visitor, openai: OpenAI
) -> None:
    path, message = f"/space/{held_visitor.space_id}/chat/stream", {"message": "Hello", "client_message_id": "m"}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(held_visitor.client, path, message, held_visitor.token), 1)
    await openai.release()
    done = "select status = 'completed' from public.turns where workspace_id = $1"

    async def is_done() -> bool:
        return bool(await workspace.database.fetchval(done, workspace.id))

    await until(is_done)
    status, whole = await ask(held_visitor.client, path, message, held_visitor.token)
    assert (status, whole["text"].startswith("You wrote:")) == (200, True)


async def test_a_turn_without_an_answer_says_that_a_member_answers(visitor: Visitor, staff: Staff) -> None:
    opened = (await visitor.say("hello"))[0].data
    await staff.owner.done("POST", f"/chat-sessions/{opened['session_id']}/takeover")
    path = f"/space/{visitor.space_id}/chat/stream"
    status, whole = await ask(visitor.client, path, {"message": "Anybody?"}, visitor.token)
    assert (status, whole["text"], whole["taken_over"], "message_id" in whole) == (200, "", True, False)


async def test_a_member_talks_with_a_persona_in_a_conversation_of_their_own(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    path = f"/personas/{workspace.persona_id}/messages"

    async def say(person: Person, **body: Any) -> dict[str, Any]:
        status, whole = await ask(client, path, {"message": "Hello", **body}, person.token)
        assert status == 200, whole
        return whole

    first, again = await say(staff.agent), await say(staff.agent, persona_id=str(workspace.persona_id))
    assert "contact_id" not in first
    assert "token" not in first
    assert (first["conversation_id"], "2 earlier messages" in again["text"]) == (again["conversation_id"], True)
    others = [await say(staff.agent, thread_key="offer"), await say(staff.owner)]
    assert len({first["conversation_id"], *(other["conversation_id"] for other in others)}) == 3
    columns = "contact_id, user_id, space_id, proof"
    row = await workspace.row(
        f"select {columns} from public.conversations where id = $1", UUID(first["conversation_id"])
    )
    assert row == {"contact_id": None, "user_id": staff.agent.id, "space_id": None, "proof": None}
    # The same conversation in a space, since a member is on the owner's side there too.
    visitor = Visitor(client, workspace.space_id, staff.agent.token)
    assert (await visitor.say("Hello"))[0].data["conversation_id"] == first["conversation_id"]
    history = await staff.agent.done("GET", f"/conversations/{first['conversation_id']}/messages")
    assert [message["role"] for message in history["items"]] == ["persona", "user"] * 3
    hidden = (404, "conversation_not_found")
    for person in (staff.stranger, staff.other_admin, staff.contact):
        assert await person.refused("GET", f"/conversations/{first['conversation_id']}/messages") == hidden
    assert await staff.agent.refused("GET", f"/conversations/{others[1]['conversation_id']}/messages") == hidden
    stream = [event async for event in _events(client, path, staff.agent)]
    assert (stream[0], stream[-1]) == ("turn", "done")


async def _events(client: aiohttp.ClientSession, path: str, person: Person) -> Any:
    headers = {"Authorization": f"Bearer {person.token}"}
    async with client.post(path, json={"message": "Hello"}, headers=headers) as response:
        async for line in response.content:
            if line.startswith(b"event: "):
                yield line[7:].strip().decode()


async def test_a_message_to_a_persona_is_limited_and_needs_an_enabled_persona(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    path = f"/personas/{workspace.persona_id}/messages"
    foreign = {"message": "Hello", "persona_id": str(uuid4())}
    assert await staff.agent.refused("POST", path, foreign) == (422, "invalid_body")
    reserved = {"message": "Hello", "thread_key": "arrival:x"}
    assert await staff.agent.refused("POST", path, reserved) == (422, "thread_key_not_allowed")
    for column in ("user", "address"):
        limit = f"messages_per_minute_by_{column}"
        await workspace.database.execute(f"update public.workspaces set {limit} = 1 where id = $1", workspace.id)
        await ask(client, path, {"message": "Hello"}, staff.agent.token)
        status, problem = await staff.agent.ask("POST", path, {"message": "Hello"})
        assert (status, problem["code"], problem["limit"]) == (429, "rate_limited", f"messages_by_{column}")
        await workspace.database.execute(f"update public.workspaces set {limit} = 600 where id = $1", workspace.id)
    await workspace.database.execute("update public.personas set enabled = false where id = $1", workspace.persona_id)
    before = await workspace.counts()
    assert await staff.owner.refused("POST", path, {"message": "Hello"}) == (404, "persona_not_found")
    assert await workspace.counts() == before
