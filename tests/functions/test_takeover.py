"""A member answers in the persona's place, over HTTP, and messages from other channels are captured.

Whose turn it is, who holds a session and where a follow-up goes are tests/database's; callers without the right to a
route are test_access's, and the answer that a takeover ends is test_cancel's.
"""

from typing import Any
from uuid import uuid4

from local.stack import Stack
from tests.events import text_of
from tests.functions.conftest import Visitor
from tests.functions.people import Person, Staff
from tests.functions.test_conversations import following, take
from tests.functions.test_ui_messages import body, post, read_all
from tests.functions.test_use_chat import use_chat

INVALID = (422, "invalid_body")


async def begun(visitor: Visitor) -> tuple[str, str]:
    """The path of a new session, and the one of its contact's messages."""
    opened = (await visitor.say("hello"))[0].data
    return f"/chat-sessions/{opened['session_id']}", f"/contacts/{opened['contact_id']}/messages"


async def test_a_member_answers_in_the_personas_place_until_the_handback(visitor: Visitor, staff: Staff) -> None:
    path, _ = await begun(visitor)
    taken = await staff.owner.done("POST", f"{path}/takeover")
    opened, done = await visitor.say("Is anybody there?", client_message_id="m-1")
    status, sent = await staff.owner.ask("POST", f"{path}/messages", {"text": "Yes, me."})
    repeated = await visitor.say("Is anybody there?", client_message_id="m-1")
    back = await staff.owner.done("POST", f"{path}/handback")
    answered = await visitor.say("and now?")

    assert (taken["taken_over_by"], taken["assigned_user_id"]) == (str(staff.owner.id), str(staff.owner.id))
    assert (taken["changed"], taken["status"]) == (True, "active")
    assert (opened.name, done.name) == ("turn", "done")
    assert done.data == {"status": "completed", "message_id": None, "text_length": 0, "taken_over": True}
    assert (status, sent["role"], sent["text"], path[-36:]) == (201, "member", "Yes, me.", sent["session_id"])
    opened.data.pop("token", None)
    assert [(event.name, event.data) for event in repeated] == [("turn", opened.data), ("done", done.data)]
    assert (await visitor.resume(opened.data["turn_id"]))[-1].data == done.data
    assert (back["changed"], "taken_over_by" in back) == (True, False)
    assert "4 earlier messages" in text_of(answered)
    assert "taken_over" not in answered[-1].data
    whole = await staff.owner.done("GET", path)
    roles = [line["role"] for line in whole["messages"]]
    assert roles == ["contact", "persona", "contact", "member", "contact", "persona"]
    history = f"/conversations/{sent['conversation_id']}/messages"
    ann = Person(staff.owner.client, uuid4(), "", visitor.token)
    for person, author in ((staff.admin, str(staff.owner.id)), (ann, None)):
        read = [*(await person.done("GET", path))["messages"], *(await person.done("GET", history))["items"]]
        async with following(person, sent["conversation_id"]) as reading:
            read += [event.data for event in await take(reading, 7) if event.name == "message"]
        assert [line.get("user_id") for line in read if line["role"] == "member"] == [author] * 3
    timeline = [line["event"] for line in whole["timeline"]]
    assert timeline.index("session.taken_over") < timeline.index("session.handed_back")


async def test_a_turn_without_an_answer_is_a_complete_message_of_the_ai_sdk(
    visitor: Visitor, staff: Staff, stack: Stack
) -> None:
    path, _ = await begun(visitor)
    await staff.owner.done("POST", f"{path}/takeover")
    document = body("hello?")
    for _ in range(2):
        async with post(visitor, document) as response:
            start, finish = await read_all(response)
        assert (start["type"], finish["type"]) == ("start", "finish")
        assert finish["messageMetadata"]["taken_over"] is True
    seen = await use_chat(stack, "talk", visitor.space_id, token=visitor.token, texts=["hello?", "anybody?"])
    assert (seen["status"], seen["error"]) == ("ready", None)
    told = [message for message in seen["messages"] if message["role"] == "assistant"]
    assert [(message["parts"], message["metadata"]["taken_over"]) for message in told] == [([], True)] * 2


async def test_refusals_name_the_holder_and_the_state(visitor: Visitor, staff: Staff) -> None:
    path, _ = await begun(visitor)
    hello, agent, nobody = {"text": "Hello"}, {"user_id": str(staff.agent.id)}, {"user_id": None}
    assert await staff.owner.refused("POST", f"{path}/messages", hello) == (409, "not_taken_over")
    await staff.owner.done("POST", f"{path}/takeover")
    for text in ("", "   ", "x" * 16_001, "a\x00b"):
        assert await staff.owner.refused("POST", f"{path}/messages", {"text": text}) == INVALID
    status, problem = await staff.admin.ask("POST", f"{path}/takeover")
    assert (status, problem["code"], problem["taken_over_by"]) == (409, "taken_over", str(staff.owner.id))
    assert await staff.admin.refused("POST", f"{path}/messages", hello) == (409, "taken_over")
    assert (await staff.admin.done("POST", f"{path}/handback"))["changed"] is True

    assigned = await staff.owner.done("PATCH", f"{path}/assign", agent)
    assert assigned["assigned_user_id"] == str(staff.agent.id)
    await staff.agent.done("POST", f"{path}/takeover")
    first = await staff.agent.ask("POST", f"{path}/messages", {**hello, "client_message_id": "c-1"})
    again = await staff.agent.ask("POST", f"{path}/messages", {**hello, "clientMessageId": "c-1"})
    assert (first[0], again[0], again[1]["message_id"]) == (201, 200, first[1]["message_id"])
    assert await staff.agent.refused("PATCH", f"{path}/assign", nobody) == (403, "forbidden")
    assert (await staff.owner.done("PATCH", f"{path}/assign", nobody))["changed"] is True
    assert await staff.owner.refused("PATCH", f"{path}/assign", {}) == INVALID
    stranger = {"user_id": str(staff.stranger.id)}
    assert await staff.owner.refused("PATCH", f"{path}/assign", stranger) == (404, "member_not_found")

    await staff.owner.done("PATCH", f"{path}/complete")
    for what, sent in (("takeover", None), ("messages", hello)):
        status, problem = await staff.owner.ask("POST", f"{path}/{what}", sent)
        assert (status, problem["code"], problem["session_status"]) == (409, "transition_not_allowed", "completed")


async def test_a_follow_up_joins_the_contacts_chat_once(visitor: Visitor, staff: Staff) -> None:
    path, messages = await begun(visitor)
    good = {"text": "Hello", "role": "contact", "source": "email"}
    mail: dict[str, Any] = {**good, "metadata": {"campaign": "spring"}, "client_message_id": "<mail-1@example.test>"}
    first, again = [await staff.owner.ask("POST", messages, mail) for _ in range(2)]
    assert (first[0], first[1]["created"], again[0], again[1]["created"]) == (201, True, 200, False)
    assert (first[1]["session_id"], again[1]["message_id"]) == (path[-36:], first[1]["message_id"])
    assert "3 earlier messages" in text_of(await visitor.say("did you get it?"))

    wrongs: tuple[dict[str, Any], ...] = (
        {"role": "user"}, {"text": " "}, {"source": ""}, {"source": None}, {"more": 1},
    )  # fmt: skip
    for wrong in wrongs:
        assert await staff.owner.refused("POST", messages, good | wrong) == INVALID
    assert await staff.agent.refused("POST", messages, good) == (403, "forbidden")
    elsewhere = good | {"session_id": str(uuid4())}
    assert await staff.owner.refused("POST", messages, elsewhere) == (404, "session_not_found")
    activity = await staff.owner.done("GET", messages.replace("messages", "activity"))
    assert activity["message_count"] == 5
