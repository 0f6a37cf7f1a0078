"""Follow-ups: what was said elsewhere comes into the contact's chat, once, and is shown to nobody else."""

import asyncio
from typing import Any

import pytest

from tests.database.desk import (
    ANONYMOUS,
    JSON,
    PERSONA,
    SPACE,
    WORKSPACE,
    Answer,
    Desk,
    Raised,
    member,
    on_behalf,
    signed,
    user,
    with_token,
)
from tests.database.test_takeover import audited, said, session_of, take_over

SECRET = "a-secret-of-the-space"


async def capture(desk: Desk, caller: JSON, contact_id: str, text: str = "By mail", **more: Any) -> Answer:
    arguments = {"role": "contact", "source": "email", **more}
    return await desk.call("capture_message", on_behalf(caller), contact_id=contact_id, text=text, **arguments)


async def proven(desk: Desk, email: str = "ann@example.test") -> Answer:
    """Somebody whose email a signature stands behind."""
    if not await desk.admin.fetchval("select hmac_secret_id is not null from public.spaces where id = $1", SPACE):
        await desk.believe_hmacs(SECRET)
    return await desk.register(email, email_hmac=signed(email, SECRET))


async def test_a_follow_up_goes_into_the_newest_live_session_and_nobody_answers_it(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await proven(desk)
    await desk.admin.execute("update public.sessions set last_activity_at = now() - interval '3 hours'")
    before = await session_of(desk, ann["session_id"])

    answer = await capture(desk, boss, ann["contact_id"], "My answer", metadata={"campaign": "spring"})

    assert (answer["session_id"], answer["role"], answer["created"]) == (ann["session_id"], "contact", True)
    assert await said(desk, ann["session_id"]) == [("contact", "My answer")]
    assert await desk.count("turns") == 0
    after = await session_of(desk, ann["session_id"])
    assert after["message_count"] == 1
    assert after["last_activity_at"] > before["last_activity_at"], (
        "it came in, and so keeps the session from timing out"
    )
    row = await desk.admin.fetchrow("select metadata, contact_id::text, user_id from public.messages")
    assert row is not None
    assert (row["metadata"], row["contact_id"], row["user_id"]) == (
        {"campaign": "spring", "source": "email"},
        ann["contact_id"],
        None,
    )
    assert await audited(desk, answer["message_id"]) == [("message.captured", boss["user_id"], None)]


async def test_what_a_member_said_elsewhere_is_the_members_and_moves_no_clock(desk: Desk) -> None:
    boss = await member(desk, "admin")
    ann = await proven(desk)
    before = await session_of(desk, ann["session_id"])
    await capture(desk, boss, ann["contact_id"], "As I said on the phone", role="member", source="phone")
    after = await session_of(desk, ann["session_id"])
    assert after["last_activity_at"] == before["last_activity_at"]
    row = await desk.admin.fetchrow("select role::text, user_id::text, contact_id from public.messages")
    assert row is not None
    assert tuple(row) == ("member", boss["user_id"], None)
    turn = await desk.start(with_token(ann), "Hello")
    assert [line["role"] for line in turn["history"]] == ["member"], "the persona knows of it"


async def test_the_same_client_message_is_one_however_often_it_comes(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await proven(desk)
    answers = await asyncio.gather(
        *(capture(desk, boss, ann["contact_id"], client_message_id="mail-1") for _ in range(5))
    )
    await desk.call("change_session_status", on_behalf(boss), session_id=ann["session_id"], status="completed")
    later = await capture(desk, boss, ann["contact_id"], client_message_id="mail-1")
    other = await capture(
        desk, boss, (await proven(desk, "ben@example.test"))["contact_id"], client_message_id="mail-1"
    )

    assert sorted(one["created"] for one in answers) == [False] * 4 + [True]
    assert {one["message_id"] for one in (*answers, later)} == {answers[0]["message_id"]}
    assert other["created"] is True, "an id is its contact's alone"
    assert await desk.count("messages") == 2
    assert (await session_of(desk, ann["session_id"]))["message_count"] == 1


async def test_where_none_is_live_a_session_is_opened_in_the_newest_proven_conversation(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await proven(desk)
    await desk.call("change_session_status", on_behalf(boss), session_id=ann["session_id"], status="completed")
    answer = await capture(desk, boss, ann["contact_id"])
    assert answer["session_id"] != ann["session_id"]
    assert answer["conversation_id"] == ann["conversation_id"]
    assert await audited(desk, answer["session_id"]) == [("session.started", boss["user_id"], None)]


async def test_what_a_contact_says_elsewhere_is_not_shown_to_whoever_typed_their_email(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await proven(desk)
    await desk.call("change_session_status", on_behalf(boss), session_id=ann["session_id"], status="completed")
    typed = await desk.register("ann@example.test")
    assert typed["contact_id"] == ann["contact_id"]

    answer = await capture(desk, boss, ann["contact_id"])

    assert answer["conversation_id"] == ann["conversation_id"]
    assert await said(desk, typed["session_id"]) == []


async def test_of_several_who_only_typed_the_email_none_is_shown_it(desk: Desk) -> None:
    boss = await member(desk, "owner")
    first, second = await desk.register("ann@example.test"), await desk.register("ann@example.test")
    answer = await capture(desk, boss, first["contact_id"])
    assert answer["conversation_id"] not in (first["conversation_id"], second["conversation_id"])
    proof = await desk.admin.fetchval(
        "select proof::text from public.conversations where id = $1", answer["conversation_id"]
    )
    assert proof == "verified"
    named = await capture(desk, boss, first["contact_id"], session_id=second["session_id"])
    assert named["session_id"] == second["session_id"], "who names a session means it"


async def test_a_contact_of_one_conversation_is_met_there(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    assert (await capture(desk, boss, ann["contact_id"]))["session_id"] == ann["session_id"]


async def test_a_contact_without_a_conversation_is_met_with_the_spaces_persona(desk: Desk) -> None:
    boss = await member(desk, "owner")
    contact = str(
        await desk.admin.fetchval("insert into public.contacts (workspace_id) values ($1) returning id", WORKSPACE)
    )
    answer = await capture(desk, boss, contact, space_id=SPACE)
    row = await desk.admin.fetchrow(
        "select persona_id::text, space_id::text, contact_id::text, proof::text "
        "from public.conversations where id = $1",
        answer["conversation_id"],
    )
    assert row is not None
    assert tuple(row) == (PERSONA, SPACE, contact, "verified")
    linked = await desk.admin.fetchval("select session_id::text from public.contacts where id = $1", contact)
    assert linked == answer["session_id"]


async def test_a_contacts_follow_up_resumes_a_paused_session_unless_it_is_taken_over(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await proven(desk)
    pause = {"session_id": ann["session_id"], "status": "paused"}
    await desk.call("change_session_status", on_behalf(boss), **pause)
    await capture(desk, boss, ann["contact_id"], role="member")
    assert (await session_of(desk, ann["session_id"]))["status"] == "paused"
    await capture(desk, boss, ann["contact_id"])
    assert (await session_of(desk, ann["session_id"]))["status"] == "active"
    await desk.call("change_session_status", on_behalf(boss), **pause)
    await take_over(desk, boss, ann["session_id"])
    await capture(desk, boss, ann["contact_id"])
    assert (await session_of(desk, ann["session_id"]))["status"] == "paused"


async def test_an_agent_captures_where_they_work_and_learns_nothing_elsewhere(desk: Desk) -> None:
    boss, agent = await member(desk, "owner"), await member(desk, "agent")
    ann = await proven(desk)
    await capture(desk, boss, ann["contact_id"], client_message_id="mail-1")
    for more in ({}, {"client_message_id": "mail-1"}):
        with pytest.raises(Raised) as refused:
            await capture(desk, agent, ann["contact_id"], **more)
        assert (refused.value.status, refused.value.code) == (403, "forbidden")
    with pytest.raises(Raised) as refused:
        await capture(desk, agent, ann["contact_id"], session_id=ann["session_id"])
    assert (refused.value.status, refused.value.code) == (404, "session_not_found")
    await desk.call("assign_session", on_behalf(boss), session_id=ann["session_id"], user_id=agent["user_id"])
    assert (await capture(desk, agent, ann["contact_id"]))["session_id"] == ann["session_id"]

    ben = await proven(desk, "ben@example.test")
    await desk.call("change_session_status", on_behalf(boss), session_id=ben["session_id"], status="completed")
    opened = await capture(desk, agent, ben["contact_id"])
    assert (await session_of(desk, opened["session_id"]))["assigned_user_id"] == agent["user_id"]


async def test_nobody_but_members_captures(desk: Desk) -> None:
    ann, ben = await proven(desk), await proven(desk, "ben@example.test")
    elsewhere, _ = await desk.open_workspace()
    foreigner, boss = await member(desk, "owner", elsewhere), await member(desk, "owner")
    for caller in (
        with_token(ann)["caller"],
        with_token(ben)["caller"],
        user(await desk.sign_up(None)),
        foreigner,
        ANONYMOUS,
        {"kind": "system"},
    ):
        with pytest.raises(Raised) as refused:
            await capture(desk, caller, ann["contact_id"])
        assert (refused.value.status, refused.value.code) == (404, "contact_not_found")
    with pytest.raises(Raised) as refused:
        await capture(desk, boss, ann["contact_id"], session_id=ben["session_id"])
    assert (refused.value.status, refused.value.code) == (404, "session_not_found")
    with pytest.raises(Raised) as refused:
        await capture(desk, boss, ann["contact_id"], role="persona")
    assert refused.value.status == 422
    await desk.call("change_session_status", on_behalf(boss), session_id=ann["session_id"], status="completed")
    over = await capture(desk, boss, ann["contact_id"], session_id=ann["session_id"])
    assert (over.status, over["code"], over["session_status"]) == (409, "transition_not_allowed", "completed")
    assert await desk.count("messages") == 0


async def test_a_follow_up_to_a_contact_that_was_merged_goes_to_the_one_that_stands(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann, also = await proven(desk), await proven(desk, "ann@work.example")
    before = await capture(desk, boss, also["contact_id"], client_message_id="mail-1")
    managing = {"role": "switchboard", "scope": {"management": True}, "caller": boss}
    await desk.call("merge_contacts", managing, contact_id=also["contact_id"], into_id=ann["contact_id"])

    answer = await capture(desk, boss, also["contact_id"], "To the old id")
    again = await capture(desk, boss, ann["contact_id"], client_message_id="mail-1")

    assert (again["created"], again["message_id"]) == (False, before["message_id"])
    spoke = await desk.admin.fetchrow(
        "select m.contact_id::text, s.contact_id::text as stands from public.messages m "
        "join public.sessions s on s.id = m.session_id where m.id = $1",
        answer["message_id"],
    )
    assert spoke is not None
    assert tuple(spoke) == (ann["contact_id"],) * 2
    assert await desk.count("sessions", "contact_id = $1", also["contact_id"]) == 0
