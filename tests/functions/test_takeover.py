"""A member answers in the persona's place, over HTTP; and what was said elsewhere is captured."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from local.stack import Stack
from tests import events
from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Staff, staff_of
from tests.functions.test_ui_messages import body, post, read_all
from tests.functions.test_use_chat import use_chat

Chat = tuple[Visitor, str]


async def begun(visitor: Visitor) -> Chat:
    """Somebody who chats, and their session."""
    heard = await visitor.say("hello")
    return visitor, heard[0].data["session_id"]


@pytest.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    return await staff_of(client, workspace, stack)


async def test_a_member_answers_in_the_personas_place_until_they_hand_back(visitor: Visitor, staff: Staff) -> None:
    visitor, session = await begun(visitor)
    taken = await staff.owner.done("POST", f"/chat-sessions/{session}/takeover")
    opened, done = await visitor.say("Is anybody there?", client_message_id="m-1")
    status, sent = await staff.owner.ask("POST", f"/chat-sessions/{session}/messages", {"text": "Yes, me."})
    repeated = await visitor.say("Is anybody there?", client_message_id="m-1")
    back = await staff.owner.done("POST", f"/chat-sessions/{session}/handback")
    answered = await visitor.say("and now?")

    assert (taken["taken_over_by"], taken["assigned_user_id"]) == (str(staff.owner.id), str(staff.owner.id))
    assert (taken["changed"], taken["status"]) == (True, "active")
    assert opened.name == "turn"
    assert done.name == "done"
    assert done.data == {"status": "completed", "message_id": None, "text_length": 0, "taken_over": True}
    assert (status, sent["role"], sent["text"], sent["session_id"]) == (201, "member", "Yes, me.", session)
    assert [(event.name, event.data) for event in repeated] == [
        (event.name, {name: value for name, value in event.data.items() if name != "token"}) for event in (opened, done)
    ]
    assert (await visitor.resume(opened.data["turn_id"]))[-1].data == done.data
    assert (back["changed"], "taken_over_by" in back) == (True, False)
    assert "4 earlier messages" in text_of(answered), "the persona knows what was said meanwhile"
    assert "taken_over" not in answered[-1].data
    whole = await staff.owner.done("GET", f"/chat-sessions/{session}")
    assert [line["role"] for line in whole["messages"]] == [
        "contact", "persona", "contact", "member", "contact", "persona",
    ]  # fmt: skip
    told = [line["event"] for line in whole["timeline"]]
    assert told.index("session.taken_over") < told.index("session.handed_back")


async def test_a_turn_without_an_answer_is_a_whole_message_of_the_ai_sdk(visitor: Visitor, staff: Staff) -> None:
    visitor, session = await begun(visitor)
    await staff.owner.done("POST", f"/chat-sessions/{session}/takeover")
    document = body("hello?")
    for _ in range(2):
        async with post(visitor, document) as response:
            start, finish = await read_all(response)
        assert start["type"] == "start"
        assert finish["type"] == "finish"
        assert finish["messageMetadata"]["taken_over"] is True


async def test_use_chat_is_ready_after_a_turn_without_an_answer(visitor: Visitor, staff: Staff, stack: Stack) -> None:
    visitor, session = await begun(visitor)
    await staff.owner.done("POST", f"/chat-sessions/{session}/takeover")
    seen = await use_chat(stack, "talk", visitor.space_id, token=visitor.token, texts=["hello?", "anybody?"])
    assert (seen["status"], seen["error"]) == ("ready", None)
    told = [message for message in seen["messages"] if message["role"] == "assistant"]
    assert [(message["parts"], message["metadata"]["taken_over"]) for message in told] == [([], True)] * 2


async def test_the_answer_under_way_stops_and_the_persona_begins_no_other(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    persona = await workspace.add_persona("demo", {"delay_ms": 200})
    slow = Visitor(client, await workspace.add_space(persona_id=persona))
    async with slow.post("tell me everything") as response:
        reading = events.read(response)
        heard = [await anext(reading) for _ in range(4)]
        slow.token = heard[0].data["token"]
        session = heard[0].data["session_id"]
        taking = asyncio.create_task(staff.admin.done("POST", f"/chat-sessions/{session}/takeover"))
        heard += [event async for event in reading]
    taken = await taking
    assert (taken["changed"], taken["taken_over_by"]) == (True, str(staff.admin.id))
    assert (heard[-1].name, heard[-1].data["status"]) == ("done", "cancelled")
    kept = await workspace.row(
        "select text, partial from public.messages where turn_id = $1 and role = 'persona'",
        UUID(heard[0].data["turn_id"]),
    )
    assert kept == {"text": text_of(heard), "partial": True}
    assert (await slow.say("and now?"))[-1].data["taken_over"] is True


async def test_members_are_told_who_has_it_and_an_admin_may_hand_it_back(visitor: Visitor, staff: Staff) -> None:
    _, session = await begun(visitor)
    path = f"/chat-sessions/{session}"
    assert await staff.owner.refused("POST", f"{path}/messages", {"text": "Hello"}) == (409, "not_taken_over")
    await staff.owner.done("POST", f"{path}/takeover")
    status, problem = await staff.admin.ask("POST", f"{path}/takeover")
    assert (status, problem["code"], problem["taken_over_by"]) == (409, "taken_over", str(staff.owner.id))
    assert await staff.admin.refused("POST", f"{path}/messages", {"text": "Hello"}) == (409, "taken_over")
    assert (await staff.owner.done("POST", f"{path}/takeover"))["changed"] is False
    assert (await staff.admin.done("POST", f"{path}/handback"))["changed"] is True
    await staff.owner.done("PATCH", f"{path}/complete")
    for what, sent in (("takeover", None), ("messages", {"text": "Hello"})):
        status, problem = await staff.owner.ask("POST", f"{path}/{what}", sent)
        assert (status, problem["code"], problem["session_status"]) == (409, "transition_not_allowed", "completed")


async def test_an_agent_works_on_what_is_assigned_to_them(visitor: Visitor, staff: Staff) -> None:
    _, session = await begun(visitor)
    path = f"/chat-sessions/{session}"
    for what, sent in (("takeover", None), ("handback", None), ("messages", {"text": "Hello"})):
        assert await staff.agent.refused("POST", f"{path}/{what}", sent) == (404, "session_not_found")
    assert await staff.agent.refused("PATCH", f"{path}/assign", {"user_id": str(staff.agent.id)}) == (
        404,
        "session_not_found",
    )
    assigned = await staff.owner.done("PATCH", f"{path}/assign", {"user_id": str(staff.agent.id)})
    assert assigned["assigned_user_id"] == str(staff.agent.id)
    await staff.agent.done("POST", f"{path}/takeover")
    first = await staff.agent.ask("POST", f"{path}/messages", {"text": "Hello", "client_message_id": "c-1"})
    again = await staff.agent.ask("POST", f"{path}/messages", {"text": "Hello", "clientMessageId": "c-1"})
    assert (first[0], again[0], again[1]["message_id"]) == (201, 200, first[1]["message_id"])
    assert await staff.agent.refused("PATCH", f"{path}/assign", {"user_id": None}) == (403, "forbidden")
    assert (await staff.owner.done("PATCH", f"{path}/assign", {"user_id": None}))["changed"] is True
    assert await staff.owner.refused("PATCH", f"{path}/assign", {}) == (422, "invalid_body")
    assert await staff.owner.refused("PATCH", f"{path}/assign", {"user_id": str(staff.stranger.id)}) == (
        404,
        "member_not_found",
    )


async def test_nobody_else_takes_over_or_says_anything(visitor: Visitor, staff: Staff) -> None:
    visitor, session = await begun(visitor)
    path = f"/chat-sessions/{session}"
    asks: tuple[tuple[str, str, Any], ...] = (
        ("POST", f"{path}/takeover", None),
        ("POST", f"{path}/handback", None),
        ("POST", f"{path}/messages", {"text": "Hello"}),
        ("PATCH", f"{path}/assign", {"user_id": None}),
    )
    for method, where, sent in asks:
        assert await staff.anonymous.refused(method, where, sent) == (401, "token_missing")
        assert await staff.contact.refused(method, where, sent) == (403, "forbidden")
        for person in (staff.stranger, staff.other_admin, staff.operator):
            assert await person.refused(method, where, sent) == (404, "session_not_found")
        elsewhere = where.replace(session, str(uuid4()))
        assert await staff.owner.refused(method, elsewhere, sent) == (404, "session_not_found")
    headers = visitor.headers
    async with visitor.client.post(f"{path}/takeover", headers=headers) as response:
        assert response.status == 403
    assert (await visitor.say("still there?"))[-1].data["text_length"] > 0


@pytest.mark.parametrize("text", ["", "   ", "x" * 16_001, "a\x00b"])
async def test_what_a_member_says_is_held_to_what_anybody_may_say(visitor: Visitor, staff: Staff, text: str) -> None:
    _, session = await begun(visitor)
    await staff.owner.done("POST", f"/chat-sessions/{session}/takeover")
    assert await staff.owner.refused("POST", f"/chat-sessions/{session}/messages", {"text": text}) == (
        422,
        "invalid_body",
    )


async def test_a_follow_up_comes_into_the_contacts_chat_once(
    visitor: Visitor, staff: Staff, workspace: Workspace
) -> None:
    visitor, session = await begun(visitor)
    contact = await workspace.database.fetchval("select contact_id::text from public.sessions where id = $1", session)
    path = f"/contacts/{contact}/messages"
    follow_up = {
        "text": "My answer to your offer",
        "role": "contact",
        "source": "email",
        "client_message_id": "<mail-1@example.test>",
        "metadata": {"campaign": "spring"},
    }
    first, again = await staff.owner.ask("POST", path, follow_up), await staff.owner.ask("POST", path, follow_up)
    assert (first[0], again[0]) == (201, 200)
    assert (first[1]["session_id"], again[1]["message_id"]) == (session, first[1]["message_id"])
    assert (first[1]["created"], again[1]["created"]) == (True, False)
    assert "3 earlier messages" in text_of(await visitor.say("did you get it?"))
    activity = await staff.owner.done("GET", f"/contacts/{contact}/activity")
    assert activity["message_count"] == 5


async def test_a_follow_up_that_does_not_fit_or_is_not_theirs_is_refused(
    visitor: Visitor, staff: Staff, workspace: Workspace
) -> None:
    visitor, session = await begun(visitor)
    contact = await workspace.database.fetchval("select contact_id::text from public.sessions where id = $1", session)
    path, good = f"/contacts/{contact}/messages", {"text": "Hello", "role": "contact", "source": "email"}
    wrongs: tuple[dict[str, Any], ...] = (
        {"role": "persona"},
        {"text": " "},
        {"source": ""},
        {"source": None},
        {"more": 1},
        {"metadata": []},
    )
    for wrong in wrongs:
        assert await staff.owner.refused("POST", path, good | wrong) == (422, "invalid_body")
    for person in (staff.stranger, staff.other_admin, staff.operator):
        assert await person.refused("POST", path, good) == (404, "contact_not_found")
    assert await staff.contact.refused("POST", path, good) == (403, "forbidden")
    assert await staff.anonymous.refused("POST", path, good) == (401, "token_missing")
    assert await staff.agent.refused("POST", path, good) == (403, "forbidden")
    assert await staff.owner.refused("POST", f"/contacts/{uuid4()}/messages", good) == (404, "contact_not_found")
    assert await staff.owner.refused("POST", path, good | {"session_id": str(uuid4())}) == (404, "session_not_found")
    assert await workspace.database.fetchval("select count(*) from public.messages where session_id = $1", session) == 2
