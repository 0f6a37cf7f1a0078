"""Sessions are started without a message, paused, resumed, completed and cancelled, and each change is audited.

test_sessions_lifecycle has the transitions in any order and concurrently, the access matrix has the callers.
"""

import asyncio

import pytest

from tests.database.desk import (
    JSON,
    PERSONA,
    WANTED,
    WORKSPACE,
    Answer,
    Desk,
    on_a_turn,
    on_behalf,
    own_token,
    refusal,
    with_token,
)


async def test_a_session_is_paused_resumed_and_completed_once_each(desk: Desk) -> None:
    boss, ann = await desk.member(), await desk.register("ann@example.test")
    for verb in ("pause", "resume", "complete"):
        for changed in (True, False):
            answer = await desk.change(boss, ann["session_id"], verb)
            assert (answer.status, answer["status"], answer["changed"]) == (200, WANTED[verb], changed)
    verbs = [f"session.{done}" for done in ("paused", "resumed", "completed")]
    assert await desk.audited(ann["session_id"]) == [(verb, boss["user_id"]) for verb in verbs]
    assert await desk.count("sessions", "status = 'completed' and ended_at is not null") == 1


@pytest.mark.parametrize("verb", ["complete", "fail", "cancel"])
async def test_ending_a_session_first_stops_its_answer_and_keeps_the_text(desk: Desk, verb: str) -> None:
    boss, ann = await desk.member(), await desk.arrive()
    turn = await desk.start(ann)
    await desk.flush(turn, 0, "Well, ")

    waiting = await desk.change(boss, turn["session_id"], verb)

    ids = {name: turn[name] for name in ("turn_id", "session_id")}
    assert waiting.body == {"code": "turn_in_progress", "retry_after": 1, "stopping": True, "first": True, **ids}
    assert waiting.status == 409
    assert (await desk.change(boss, turn["session_id"], verb))["first"] is False
    told = await desk.call("flush_turn", on_a_turn(), turn_id=turn["turn_id"], position=6, piece="I")
    assert told["stop"] is True
    await desk.finish(turn, "cancelled", None)
    ended = await desk.change(boss, turn["session_id"], verb)
    assert (ended["status"], ended["changed"]) == (WANTED[verb], True)
    assert await desk.one("select text, partial from public.messages where role = 'persona'") == ("Well, I", True)


async def test_members_read_why_a_session_was_paused_and_failed_and_its_contact_does_not(desk: Desk) -> None:
    boss, ann = await desk.member(), await desk.register("ann@example.test")
    for status, reason in (("paused", "On holiday"), ("failed", "The webhook timed out after 10 seconds")):
        arguments = {"session_id": ann["session_id"], "status": status, "reason": reason}
        assert (await desk.call("change_session_status", on_behalf(boss), **arguments))["changed"] is True
    (shown,) = await desk.sessions(own_token(boss))
    assert (shown["error_code"], shown["error_message"]) == ("failed_by_member", arguments["reason"])
    (seen,) = await desk.sessions(own_token(with_token(ann)["caller"]))
    assert (seen["status"], seen["error_message"]) == ("failed", "failed_by_member")
    read = "select event, reason from public.session_events($1) order by at"
    for token, reasons in ((boss, ["On holiday", arguments["reason"]]), (with_token(ann)["caller"], [None, None])):
        async with desk.reading(own_token(token)) as reader:
            rows = [tuple(row) for row in await reader.fetch(read, ann["session_id"])]
        assert rows == list(zip(("session.paused", "session.failed"), reasons, strict=True))
    # What a member has failed, the contact does not recover.
    recover = {"session_id": ann["session_id"]}
    assert (await desk.call("recover_session", on_behalf(with_token(ann)["caller"]), **recover)).status == 409
    assert (await desk.call("recover_session", on_behalf(boss), **recover))["status"] == "active"


@pytest.mark.parametrize("policy", ["per_conversation", "per_message"])
async def test_of_parallel_cancels_one_has_changed_the_session(desk: Desk, policy: str) -> None:
    await desk.admin.execute("update public.personas set session_policy = $1 where id = $2", policy, PERSONA)
    boss, ann = await desk.member(), await desk.arrive()
    turn = await desk.start(ann)

    cancel = {"session_id": turn["session_id"], "status": "cancelled", "reason": "No longer needed"}
    async with desk.crowd(6) as crowd:

        async def cancel_all(more: list[JSON]) -> list[Answer]:
            call = crowd.call
            return await asyncio.gather(
                *(call("change_session_status", on_behalf(boss), **cancel, **each) for each in more)
            )

        waiting = await cancel_all([{}] * 6)
        assert sorted(each["first"] for each in waiting) == [False] * 5 + [True]
        await desk.finish(turn, "cancelled", None)
        ended = await cancel_all([{"stopped_turn": each["turn_id"]} if each["first"] else {} for each in waiting])
    assert sorted(each["changed"] for each in ended) == [False] * 5 + [True]
    assert await desk.audited(turn["session_id"]) == [("session.cancelled", boss["user_id"])]
    assert await desk.count("session_reasons", "reason = 'No longer needed'") == 1


# Starting ------------------------------------------------------------------------------------------------------------


async def test_a_member_starts_a_session_for_a_contact(desk: Desk) -> None:
    agent = await desk.member("agent")
    (contact,) = await desk.one("insert into public.contacts (workspace_id) values ($1) returning id::text", WORKSPACE)
    await desk.admin.execute("update public.personas set enabled = false where id <> $1", PERSONA)

    async with desk.crowd(10) as crowd:
        started = await asyncio.gather(
            *(crowd.start_session(on_behalf(agent), contact_id=contact, context={"case": 7}) for _ in range(10))
        )
    first = next(each for each in started if each["created"])
    further = await desk.start_session(on_behalf(agent), contact_id=contact, thread_key="offer")

    assert (first["status"], first["contact_id"]) == ("active", contact)
    assert sorted(each["created"] for each in started) == [False] * 9 + [True]
    assert {each["session_id"] for each in started} == {first["session_id"]}
    row = await desk.row("sessions", first["session_id"])
    assert (row["assigned_user_id"], row["metadata"]["context"]) == (agent["user_id"], {"case": 7})
    assert await desk.audited(first["session_id"]) == [("session.started", agent["user_id"])]
    assert further["conversation_id"] != first["conversation_id"]
    assert (await desk.row("contacts", contact))["session_id"] == first["session_id"]
    # The live session of another member is not an agent's.
    other = on_behalf(await desk.member("agent"))
    assert await refusal(desk.start_session(other, contact_id=contact, persona_id=PERSONA)) == (403, "forbidden")


async def test_a_refused_start_leaves_nothing(desk: Desk) -> None:
    boss, ann = on_behalf(await desk.member("owner")), (await desk.arrive())["caller"]
    _, foreign_space = await desk.open_workspace()
    before = await desk.everything()
    for more, expected in (
        ({}, (422, "persona_required")),
        ({"thread_key": "arrival:x"}, (422, "thread_key_not_allowed")),
        ({"space_id": foreign_space}, (404, "space_not_found")),
    ):
        assert await refusal(desk.start_session(boss, contact_id=ann["contact_id"], **more)) == expected
    assert await desk.everything() == before


async def test_starting_and_cancelling_counts_at_the_limits(desk: Desk) -> None:
    ann = {**await desk.arrive(), "scope": {"workspace_id": WORKSPACE}}
    await desk.admin.execute("update public.workspaces set messages_per_minute_by_contact = 2")
    # The first start finds the registration's live session, which counts nothing.
    for _ in range(3):
        live = await desk.start_session(ann)
        await desk.change(ann["caller"], live["session_id"], "cancel")
    refused = await desk.start_session(ann)
    assert (refused.status, refused["code"], refused["limit"]) == (429, "rate_limited", "messages_by_contact")
    assert await desk.count("sessions", "status = 'active'") == 0
