"""What ends an answer under way over HTTP, and a session that is recovered.

Who may end it is test_access's and tests/database's; a cancel after a disconnect is test_use_chat's.
"""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from tests import events
from tests.events import Received, text_of
from tests.functions.conftest import Visitor, Workspace, ask_openai
from tests.functions.people import Person, Staff
from tests.standins.openai import OpenAI

UNKNOWN = str(uuid4())


def endings(session_id: str, turn_id: str) -> dict[str, tuple[str, str, Any, dict[str, Any]]]:
    """What ends an answer: a request, and what its answer holds."""
    session = f"/chat-sessions/{session_id}"
    several = {"sessionIds": [session_id, UNKNOWN, session_id], "status": "completed"}
    items = [
        {"id": session_id, "status": "completed", "changed": True},
        {"id": UNKNOWN, "code": "session_not_found", "title": "There is no such session."},
    ]
    return {
        "turn": ("POST", f"/turns/{turn_id}/cancel", None, {"turn_id": turn_id, "status": "cancelled"}),
        "completed session": ("PATCH", f"{session}/complete", None, {"status": "completed", "changed": True}),
        "cancelled session": ("PATCH", f"{session}/cancel", None, {"status": "cancelled", "changed": True}),
        "several sessions": ("POST", "/chat-sessions/bulk-status", several, {"items": items}),
        "takeover": ("POST", f"{session}/takeover", None, {"status": "active", "changed": True}),
    }


async def kept(workspace: Workspace, heard: list[Received]) -> list[tuple[str, bool]]:
    """The stored answer of a turn, and whether it is partial."""
    query = "select text, partial from public.messages where turn_id = $1 and role = 'persona'"
    rows = await workspace.database.fetch(query, UUID(heard[0].data["turn_id"]))
    return [(row["text"], row["partial"]) for row in rows]


@pytest.mark.parametrize(
    ("ending", "words"),
    [("turn", 0), ("turn", 3), ("completed session", 3), ("cancelled session", 3), ("several sessions", 3),
     ("takeover", 3)],
)  # fmt: skip
async def test_an_answer_that_is_ended_keeps_exactly_the_sent_text(
    workspace: Workspace, staff: Staff, held_visitor: Visitor, openai: OpenAI, ending: str, words: int
) -> None:
    if ending == "cancelled session":
        # Such a session ends with the answer that is stopped for it.
        per_message = "update public.personas set session_policy = 'per_message' where workspace_id = $1"
        await workspace.database.execute(per_message, workspace.id)
    await openai.allow(words)
    text = "You wrote: tell" if words else ""
    async with asyncio.timeout(20), held_visitor.post("tell me everything") as response:
        reading = events.read(response)
        heard = [await anext(reading), *await events.read_up_to(reading, text)]
        told = heard[0].data
        method, path, body, expected = endings(told["session_id"], told["turn_id"])[ending]
        asking = asyncio.create_task(staff.owner.done(method, path, body))
        heard += [event async for event in reading]
    assert (await asking).items() >= expected.items()
    done = heard[-1]
    assert (done.name, done.data["status"], done.data["text_length"]) == ("done", "cancelled", len(text))
    assert (text_of(heard), await kept(workspace, heard)) == (text, [(text, True)] if text else [])


async def test_a_message_interrupts_the_answer_if_the_persona_allows_it(
    workspace: Workspace, held_visitor: Visitor, openai: OpenAI
) -> None:
    allow = "update public.personas set turn_policy = 'interrupt' where workspace_id = $1"
    await workspace.database.execute(allow, workspace.id)
    async with held_visitor.post("tell me everything") as first:
        reading = events.read(first)
        heard = await events.read_up_to(reading, "You wrote:")
        second = asyncio.create_task(held_visitor.say("never mind"))
        heard += [event async for event in reading]
    await openai.release()
    answered = await second
    assert (heard[-1].name, heard[-1].data["status"]) == ("done", "cancelled")
    assert await kept(workspace, heard) == [("You wrote:", True)]
    assert (text_of(answered), answered[-1].data["status"]) == ("You wrote: never mind", "completed")
    sent = [message["content"] for message in openai.received[-1].body["messages"]]
    assert sent == ["tell me everything", "You wrote:", "never mind"]


@pytest.mark.parametrize("policy", ["per_conversation", "per_message"])
async def test_a_failed_answer_is_given_anew_once_however_often_it_is_asked_for(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, openai: OpenAI, policy: str
) -> None:
    async def answer_by(name: str) -> None:
        change = "config = config || jsonb_build_object('base_url', $1::text)"
        query = f"update public.personas set {change} where workspace_id = $2 and kind = 'openai'"
        await workspace.database.execute(query, openai.base_url(name), workspace.id)

    visitor = await ask_openai(client, workspace, openai.base_url("stream"), columns={"session_policy": policy})
    await visitor.say("before")
    await answer_by("cut")
    failed = await visitor.say("my order is 7", metadata={"page": "/"})
    assert failed[-1].name == "error"
    await answer_by("stream")
    at = f"/turns/{failed[0].data['turn_id']}/retry"
    answers = []
    for _ in range(2):
        async with client.post(at, headers=visitor.headers) as response:
            answers.append([event async for event in events.read(response)])
    first, again = answers
    assert (text_of(first), first[-1].data["status"]) == ("You wrote: my order is 7", "completed")
    assert again[-1].data == first[-1].data
    assert first[0].data["session_id"] == failed[0].data["session_id"]
    full = await staff.owner.done("GET", f"/chat-sessions/{first[0].data['session_id']}")
    assert [said["role"] for said in full["messages"]].count("contact") == full["turn_count"] - 1
    assert full["turns"][-1]["retry_of"] == failed[0].data["turn_id"]
    # The persona is told neither the message twice nor the answer that broke off.
    sent = [message["content"] for message in openai.received[-1].body["messages"]]
    assert sent == ["before", "You wrote: before", "my order is 7"]
    # So is a message that is sent again to be regenerated, as useChat does.
    await answer_by("cut")
    failed = await visitor.say("once more", client_message_id="m9")
    await answer_by("stream")
    heard = await visitor.say("once more", client_message_id="m9", regenerate=True)
    assert text_of(heard) == "You wrote: once more"
    full = await staff.owner.done("GET", f"/chat-sessions/{heard[0].data['session_id']}")
    assert (full["turns"][-1]["retry_of"], heard[0].data["turn_id"]) == (
        failed[0].data["turn_id"], full["turns"][-1]["id"],
    )  # fmt: skip
    # An answer that is complete, or followed by another message, is not given anew.
    person = Person(client, uuid4(), "", visitor.token)
    status, refused = await person.ask("POST", f"/turns/{first[0].data['turn_id']}/retry")
    assert (status, refused["code"], refused["turn_status"]) == (409, "transition_not_allowed", "completed")


async def test_a_timed_out_session_is_recovered_with_its_history(visitor: Visitor, workspace: Workspace) -> None:
    async def end(status: str) -> None:
        query = "update public.sessions set status = $2::text::public.session_status, ended_at = now() where id = $1"
        await workspace.database.execute(query, UUID(session_id), status)

    heard = await visitor.say("my order is 7")
    session_id, ann = heard[0].data["session_id"], Person(visitor.client, uuid4(), "", visitor.token)
    await end("timeout")
    back = await ann.done("POST", f"/chat-sessions/{session_id}/recover")
    assert (back["status"], back["changed"], back["last_turn"]["status"]) == ("active", True, "completed")
    assert [said["text"] for said in back["messages"]] == ["my order is 7", text_of(heard)]
    await end("completed")
    status, document = await ann.ask("POST", f"/chat-sessions/{session_id}/recover")
    assert (status, document["code"], document["session_status"]) == (409, "transition_not_allowed", "completed")
