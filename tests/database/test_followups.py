"""Follow-ups: a message from another channel is captured once, in a session that only its contact reads.

The access matrix has the callers, and contacts and sessions of another workspace.
"""

import asyncio
from typing import Any

from tests.database.desk import JSON, PERSONA, SPACE, WORKSPACE, Answer, Desk, managing, on_behalf, refusal, with_token
from tests.database.test_templates import FIRST, template


async def capture(desk: Desk, caller: JSON, contact_id: str, text: str = "By mail", **more: Any) -> Answer:
    arguments = {"role": "contact", "source": "email", **more}
    return await desk.call("capture_message", on_behalf(caller), contact_id=contact_id, text=text, **arguments)


async def proven(desk: Desk, name: str = "ann") -> Answer:
    await desk.believe_hmacs()
    return await desk.prove(f"{name}@example.test")


async def test_a_contacts_follow_up_joins_the_live_session_without_an_answer(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await proven(desk)
    await desk.admin.execute("update public.sessions set last_activity_at = now() - interval '3 hours'")
    answer = await capture(desk, boss, ann["contact_id"], "My answer", metadata={"campaign": "spring"})

    assert (answer["session_id"], answer["role"], answer["created"]) == (ann["session_id"], "contact", True)
    assert await desk.count("turns") == 0
    # It resets the idle clock.
    assert await desk.count("sessions", "message_count = 1 and last_activity_at > now() - interval '1 hour'") == 1
    message = await desk.row("messages", answer["message_id"])
    assert message["metadata"] == {"campaign": "spring", "source": "email"}
    assert (message["text"], message["contact_id"], message["user_id"]) == ("My answer", ann["contact_id"], None)
    assert await desk.audited(answer["message_id"]) == [("message.captured", boss["user_id"])]


async def test_a_members_follow_up_is_the_members_and_does_not_reset_the_idle_clock(desk: Desk) -> None:
    boss, ann = await desk.member(), await proven(desk)
    before = await desk.row("sessions", ann["session_id"])
    answer = await capture(desk, boss, ann["contact_id"], role="member", source="phone")
    after = await desk.row("sessions", ann["session_id"])
    assert after["last_activity_at"] == before["last_activity_at"]
    message = await desk.row("messages", answer["message_id"])
    assert (message["role"], message["user_id"], message["contact_id"]) == ("member", boss["user_id"], None)
    turn = await desk.start(with_token(ann), "Hello")
    assert [line["role"] for line in turn["history"]] == ["member"]


async def test_a_repeated_client_message_of_a_contact_is_one_message(desk: Desk) -> None:
    boss, ann, ben = await desk.member("owner"), await proven(desk), await proven(desk, "ben")
    once = {"client_message_id": "mail-1"}
    answers = await asyncio.gather(*(capture(desk, boss, ann["contact_id"], **once) for _ in range(5)))
    await desk.change(boss, ann["session_id"], "complete")
    later = await capture(desk, boss, ann["contact_id"], **once)

    assert sorted(one["created"] for one in answers) == [False] * 4 + [True]
    assert {one["message_id"] for one in (*answers, later)} == {answers[0]["message_id"]}
    others: tuple[JSON, ...] = ({"text": "Other"}, {"role": "member"}, {"source": "phone"}, {"metadata": {"x": 1}})
    for other in others:
        refused = await refusal(capture(desk, boss, ann["contact_id"], **once, **other))
        assert refused == (409, "idempotency_key_reused")
    assert (await capture(desk, boss, ben["contact_id"], **once))["created"] is True
    assert await desk.count("messages") == 2
    assert (await desk.row("sessions", ann["session_id"]))["message_count"] == 1


async def test_without_a_live_session_one_opens_in_the_proven_conversation(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await proven(desk)
    await desk.change(boss, ann["session_id"], "complete")
    typed = await desk.register("ann@example.test")

    answer = await capture(desk, boss, ann["contact_id"])

    assert answer["session_id"] != ann["session_id"]
    assert answer["conversation_id"] == ann["conversation_id"]
    assert await desk.audited(answer["session_id"]) == [("session.started", boss["user_id"])]
    # A visitor who typed the contact's email reads nothing of it.
    assert (typed["contact_id"], await desk.said(typed["session_id"])) == (ann["contact_id"], [])


async def test_of_several_unproven_conversations_none_receives_a_follow_up_unless_it_is_named(desk: Desk) -> None:
    boss, first = await desk.member("owner"), await desk.register("ann@example.test")
    assert (await capture(desk, boss, first["contact_id"]))["session_id"] == first["session_id"]
    second = await desk.register("ann@example.test")
    answer = await capture(desk, boss, first["contact_id"])
    assert answer["conversation_id"] not in (first["conversation_id"], second["conversation_id"])
    assert (await desk.row("conversations", answer["conversation_id"]))["proof"] == "verified"
    named = await capture(desk, boss, first["contact_id"], session_id=second["session_id"])
    assert named["session_id"] == second["session_id"]


async def test_a_contact_without_a_conversation_gets_one_with_the_spaces_persona(desk: Desk) -> None:
    boss = await desk.member("owner")
    (contact,) = await desk.one("insert into public.contacts (workspace_id) values ($1) returning id::text", WORKSPACE)
    answer = await capture(desk, boss, contact, space_id=SPACE)
    row = await desk.row("conversations", answer["conversation_id"])
    found = [row[name] for name in ("persona_id", "space_id", "contact_id", "proof")]
    assert found == [PERSONA, SPACE, contact, "verified"]
    assert (await desk.row("contacts", contact))["session_id"] == answer["session_id"]


async def test_only_a_contacts_follow_up_resumes_a_paused_session_that_is_not_taken_over(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await proven(desk)
    await desk.change(boss, ann["session_id"], "pause")
    for role, taken_over, status in (("member", False, "paused"), ("contact", False, "active"),
                                     ("contact", True, "paused")):  # fmt: skip
        if taken_over:
            await desk.change(boss, ann["session_id"], "pause")
            await desk.take_over(boss, ann["session_id"])
        await capture(desk, boss, ann["contact_id"], role=role)
        assert (await desk.row("sessions", ann["session_id"]))["status"] == status


async def test_an_agent_captures_only_in_assigned_or_new_sessions(desk: Desk) -> None:
    boss, agent = await desk.member("owner"), await desk.member("agent")
    ann, ben = await proven(desk), await proven(desk, "ben")
    captured = {"client_message_id": "mail-1"}
    await capture(desk, boss, ann["contact_id"], **captured)
    assert await refusal(capture(desk, agent, ann["contact_id"], **captured)) == (403, "forbidden")
    await desk.assign(boss, ann["session_id"], agent)
    assert (await capture(desk, agent, ann["contact_id"]))["session_id"] == ann["session_id"]

    await desk.change(boss, ben["session_id"], "complete")
    opened = await capture(desk, agent, ben["contact_id"])
    assert (await desk.row("sessions", opened["session_id"]))["assigned_user_id"] == agent["user_id"]


async def test_a_personas_follow_up_is_said_by_the_persona_and_audited_as_the_members(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await proven(desk)
    answer = await capture(desk, boss, ann["contact_id"], "Still interested?", role="persona")
    message = await desk.row("messages", answer["message_id"])
    assert (answer["role"], message["persona_id"], message["user_id"]) == ("persona", PERSONA, None)
    assert await desk.audited(answer["message_id"]) == [("message.captured", boss["user_id"])]
    turn = await desk.start(with_token(ann), "Yes")
    assert [line["role"] for line in turn["history"]] == ["persona"]


async def test_what_members_start_and_send_goes_where_the_contact_reads(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    await template(desk, boss)
    asked = {"contact_id": ann["contact_id"], "persona_id": PERSONA, "template": "Trip"}
    for _ in range(2):
        started = await desk.start_session(on_behalf(boss), **asked)
        assert (started["session_id"], started["created"]) == (ann["session_id"], False)
    assert await desk.said(ann["session_id"]) == [("persona", text) for text in FIRST]
    assert (await desk.row("sessions", ann["session_id"]))["message_count"] == len(FIRST)
    assert (await capture(desk, boss, ann["contact_id"]))["session_id"] == ann["session_id"]

    # A thread that a member opens beside it comes after the one in which the contact writes.
    bob = await proven(desk, "bob")
    await desk.finish(await desk.start(with_token(bob)))
    beside = await desk.start_session(on_behalf(boss), contact_id=bob["contact_id"], persona_id=PERSONA, thread_key="x")
    assert beside["session_id"] != bob["session_id"]
    assert (await capture(desk, boss, bob["contact_id"]))["session_id"] == bob["session_id"]


async def test_a_users_role_and_a_finished_or_foreign_session_are_refused(desk: Desk) -> None:
    boss, ann, ben = await desk.member("owner"), await proven(desk), await proven(desk, "ben")
    await desk.change(boss, ann["session_id"], "complete")
    foreign = await refusal(capture(desk, boss, ann["contact_id"], session_id=ben["session_id"]))
    assert foreign == (404, "session_not_found")
    assert (await refusal(capture(desk, boss, ann["contact_id"], role="user")))[0] == 422
    over = await capture(desk, boss, ann["contact_id"], session_id=ann["session_id"])
    assert (over.status, over["code"], over["session_status"]) == (409, "transition_not_allowed", "completed")
    assert await desk.count("messages") == 0


async def test_a_follow_up_to_a_merged_contact_reaches_the_remaining_one(desk: Desk) -> None:
    boss, ann, also = await desk.member("owner"), await proven(desk), await proven(desk, "work")
    before = await capture(desk, boss, also["contact_id"], client_message_id="mail-1")
    await desk.call("merge_contacts", managing(boss), contact_id=also["contact_id"], into_id=ann["contact_id"])

    answer = await capture(desk, boss, also["contact_id"], "To the old id")
    again = await capture(desk, boss, ann["contact_id"], client_message_id="mail-1")

    assert (again["created"], again["message_id"]) == (False, before["message_id"])
    assert (await desk.row("messages", answer["message_id"]))["contact_id"] == ann["contact_id"]
    assert await desk.count("sessions", "contact_id = $1", also["contact_id"]) == 0
