"""Sessions are paused, resumed, completed and cancelled, by those who may; and started without a message."""

import asyncio
from typing import Any

import pytest

from tests.database.desk import (
    JSON,
    PERSONA,
    SPACE,
    WORKSPACE,
    Answer,
    Desk,
    Raised,
    claims,
    member,
    on_behalf,
    user,
    with_token,
)

WANTED = {"pause": "paused", "resume": "active", "complete": "completed", "cancel": "cancelled"}


async def change(desk: Desk, caller: JSON, session_id: str, verb: str) -> Answer:
    return await desk.call("change_session_status", on_behalf(caller), session_id=session_id, status=WANTED[verb])


async def audited(desk: Desk, session_id: str) -> list[tuple[str, str | None]]:
    rows = await desk.admin.fetch(
        "select verb, actor_id::text from public.audit_events where object_id = $1 order by created_at, id", session_id
    )
    return [(row["verb"], row["actor_id"]) for row in rows]


@pytest.mark.parametrize("role", ["owner", "admin"])
async def test_a_session_is_paused_resumed_and_completed_once_each(desk: Desk, role: str) -> None:
    boss = await member(desk, role)
    ann = await desk.register("ann@example.test")
    for verb in ("pause", "resume", "complete"):
        first = await change(desk, boss, ann["session_id"], verb)
        assert (first.status, first["status"], first["changed"]) == (200, WANTED[verb], True)
        again = await change(desk, boss, ann["session_id"], verb)
        assert (again.status, again["status"], again["changed"]) == (200, WANTED[verb], False)
    assert await audited(desk, ann["session_id"]) == [
        (f"session.{done}", boss["user_id"]) for done in ("paused", "resumed", "completed")
    ]
    ended = await desk.admin.fetchrow(
        "select status::text, ended_at from public.sessions where id = $1", ann["session_id"]
    )
    assert ended is not None
    assert ended["status"] == "completed"
    assert ended["ended_at"] is not None


@pytest.mark.parametrize("verb", list(WANTED))
@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "cancelled", "archived"])
async def test_what_has_ended_changes_no_more_and_says_how_it_stands(desk: Desk, verb: str, status: str) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    await desk.admin.execute(
        "update public.sessions set status = $1::text::public.session_status, ended_at = now(), "
        "archived_at = case when $1 = 'archived' then now() end, "
        "status_before_archive = case when $1 = 'archived' then 'completed'::public.session_status end",
        status,
    )
    answer = await change(desk, boss, ann["session_id"], verb)
    if WANTED[verb] == status:
        assert (answer.status, answer["changed"]) == (200, False)
    else:
        assert (answer.status, answer["code"], answer["session_status"]) == (409, "transition_not_allowed", status)
    assert await audited(desk, ann["session_id"]) == []


async def test_an_agent_changes_what_is_assigned_and_finds_nothing_else(desk: Desk) -> None:
    agent = await member(desk, "agent")
    ann = await desk.register("ann@example.test")
    for verb in WANTED:
        with pytest.raises(Raised) as refused:
            await change(desk, agent, ann["session_id"], verb)
        assert (refused.value.status, refused.value.code) == (404, "session_not_found")
    await desk.admin.execute("update public.sessions set assigned_user_id = $1", agent["user_id"])
    assert (await change(desk, agent, ann["session_id"], "pause"))["changed"] is True


async def test_a_contact_and_a_user_only_cancel_their_own(desk: Desk) -> None:
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    una = user(await desk.sign_up("una@example.test"), "una@example.test")
    hers = await desk.start(claims(una))
    await desk.finish(hers)
    other = await member(desk, "owner", (await desk.open_workspace())[0])
    for caller, session_id in ((with_token(ann)["caller"], ann["session_id"]), (una, hers["session_id"])):
        for verb in ("pause", "resume", "complete"):
            with pytest.raises(Raised) as refused:
                await change(desk, caller, session_id, verb)
            assert (refused.value.status, refused.value.code) == (403, "forbidden")
        for stranger in (with_token(bob)["caller"], other, {"kind": "system"}, {"kind": "anonymous"}):
            for verb in WANTED:
                with pytest.raises(Raised) as refused:
                    await change(desk, stranger, session_id, verb)
                assert (refused.value.status, refused.value.code) == (404, "session_not_found")
        assert (await change(desk, caller, session_id, "cancel"))["status"] == "cancelled"


@pytest.mark.parametrize("verb", ["complete", "cancel"])
async def test_ending_a_session_stops_its_answer_and_keeps_what_was_seen(desk: Desk, verb: str) -> None:
    boss = await member(desk, "admin")
    turn = await desk.start(with_token(await desk.register("ann@example.test")))
    await desk.flush(turn, 0, "Well, ")

    waiting = await change(desk, boss, turn["session_id"], verb)

    assert (waiting.status, waiting["code"], waiting["stopping"], waiting["turn_id"]) == (
        409, "turn_in_progress", True, turn["turn_id"],
    )  # fmt: skip
    # Whoever answers learns of it with the next flush, and ends the turn with all it has sent.
    assert await desk.admin.fetchval("select cancel_requested_at is not null from public.turns")
    await desk.finish(turn, "cancelled", "Well, I")
    ended = await change(desk, boss, turn["session_id"], verb)
    assert (ended["status"], ended["changed"]) == (WANTED[verb], True)
    kept = await desk.admin.fetchrow("select text, partial from public.messages where role = 'persona'")
    assert kept is not None
    assert tuple(kept) == ("Well, I", True)


@pytest.mark.parametrize("verb", ["complete", "cancel"])
async def test_an_answer_that_nobody_gives_any_more_is_ended_at_once(desk: Desk, verb: str) -> None:
    boss = await member(desk, "admin")
    turn = await desk.start(with_token(await desk.register("ann@example.test")))
    await desk.flush(turn, 0, "Well, ")
    await desk.let_lease_run_out(turn)
    assert (await change(desk, boss, turn["session_id"], verb))["status"] == WANTED[verb]
    read = await desk.read(turn)
    assert (read["status"], read["text"]) == ("timeout", "Well, ")
    assert await desk.admin.fetchval("select message_count from public.sessions") == 2


async def test_pausing_lets_the_answer_end_and_a_message_resumes(desk: Desk) -> None:
    boss = await member(desk, "admin")
    ann = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(ann)
    assert (await change(desk, boss, turn["session_id"], "pause"))["changed"] is True
    assert (await desk.finish(turn))["status"] == "completed"
    assert await desk.count("sessions", "status = 'paused'") == 1
    assert (await desk.start(ann))["session_id"] == turn["session_id"]
    assert await desk.count("sessions", "status = 'active'") == 1
    assert await audited(desk, turn["session_id"]) == [
        ("session.paused", boss["user_id"]), ("session.resumed", ann["caller"]["contact_id"]),
    ]  # fmt: skip


async def test_a_session_of_one_message_ends_with_its_answer(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set session_policy = 'per_message'")
    boss = await member(desk, "admin")
    turn = await desk.start(with_token(await desk.register("ann@example.test")))
    assert (await change(desk, boss, turn["session_id"], "cancel"))["stopping"] is True
    await desk.finish(turn, "cancelled")
    ended = await change(desk, boss, turn["session_id"], "cancel")
    assert (ended["status"], ended["changed"]) == ("cancelled", False)


# Starting ------------------------------------------------------------------------------------------------------------


async def start(desk: Desk, token: JSON, **more: Any) -> Answer:
    return await desk.call("start_session", token, **more)


async def test_a_member_starts_a_session_for_a_contact_which_remembers_the_first(desk: Desk) -> None:
    agent = await member(desk, "agent")
    await desk.admin.execute("update public.personas set enabled = false where id <> $1", PERSONA)
    contact = str(
        await desk.admin.fetchval("insert into public.contacts (workspace_id) values ($1) returning id", WORKSPACE)
    )

    first = await start(desk, on_behalf(agent), contact_id=contact, context={"case": 7})

    assert (first["created"], first["status"], first["contact_id"]) == (True, "active", contact)
    row = await desk.admin.fetchrow(
        "select assigned_user_id::text, metadata -> 'context' as context from public.sessions where id = $1",
        first["session_id"],
    )
    assert row is not None
    assert tuple(row) == (agent["user_id"], {"case": 7})
    assert await audited(desk, first["session_id"]) == [("session.started", agent["user_id"])]
    again = await start(desk, on_behalf(agent), contact_id=contact)
    assert (again["created"], again["session_id"]) == (False, first["session_id"])
    further = await start(desk, on_behalf(agent), contact_id=contact, thread_key="offer")
    assert further["conversation_id"] != first["conversation_id"]
    assert (
        str(await desk.admin.fetchval("select session_id from public.contacts where id = $1", contact))
        == first["session_id"]
    )


async def test_an_agent_is_not_given_the_live_session_of_another(desk: Desk) -> None:
    boss, agent = await member(desk, "owner"), await member(desk, "agent")
    contact = str(
        await desk.admin.fetchval("insert into public.contacts (workspace_id) values ($1) returning id", WORKSPACE)
    )
    await start(desk, on_behalf(boss), contact_id=contact, persona_id=PERSONA)
    with pytest.raises(Raised) as refused:
        await start(desk, on_behalf(agent), contact_id=contact, persona_id=PERSONA)
    assert (refused.value.status, refused.value.code) == (403, "forbidden")


async def test_a_contact_and_a_user_start_their_own(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    of_caller = {**ann, "scope": {"workspace_id": WORKSPACE}}
    live = await start(desk, of_caller)
    assert live["created"] is False
    await change(desk, ann["caller"], live["session_id"], "cancel")
    new = await start(desk, of_caller)
    assert (new["created"], new["conversation_id"]) == (True, live["conversation_id"])
    una = user(await desk.sign_up("una@example.test"), "una@example.test")
    hers = await start(desk, claims(una), space_id=SPACE)
    assert (hers["created"], hers["user_id"]) == (True, una["user_id"])
    assert (await desk.start(claims(una)))["session_id"] == hers["session_id"]


async def test_what_is_not_there_or_not_theirs_is_not_found(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = with_token(await desk.register("ann@example.test"))
    other_workspace, _ = await desk.open_workspace()
    foreign = await desk.admin.fetchval(
        "insert into public.contacts (workspace_id) values ($1) returning id::text", other_workspace
    )
    ann["scope"] = {"workspace_id": WORKSPACE}
    hers = ann["caller"]["contact_id"]
    before = await desk.everything()
    for token, asked, status, code in (
        (on_behalf(boss), {"contact_id": foreign}, 404, "contact_not_found"),
        (ann, {"contact_id": foreign}, 404, "contact_not_found"),
        (ann, {"persona_id": foreign}, 404, "persona_not_found"),
        (ann, {"thread_key": "mine"}, 422, "thread_key_not_allowed"),
        (on_behalf(boss), {"contact_id": hers, "thread_key": "arrival:x"}, 422, "thread_key_not_allowed"),
        (on_behalf(boss), {"contact_id": hers, "persona_id": foreign}, 404, "persona_not_found"),
        (on_behalf(boss), {"contact_id": hers, "space_id": foreign}, 404, "space_not_found"),
        (claims({"kind": "anonymous"}), {"space_id": SPACE}, 403, "forbidden"),
    ):
        with pytest.raises(Raised) as refused:
            await start(desk, token, **asked)
        assert (refused.value.status, refused.value.code) == (status, code)
    with pytest.raises(Raised) as refused:
        await start(desk, on_behalf(boss), contact_id=hers)
    assert (refused.value.status, refused.value.code) == (422, "persona_required")
    assert (await start(desk, on_behalf(boss), contact_id=hers, persona_id=PERSONA)).status == 200
    assert (await desk.everything())["contacts"] == before["contacts"]


async def test_a_contact_who_starts_and_cancels_is_within_the_limits(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))
    ann["scope"] = {"workspace_id": WORKSPACE}
    await desk.admin.execute("update public.workspaces set messages_per_minute_by_contact = 2")
    for _ in range(2):
        live = await start(desk, ann)
        await change(desk, ann["caller"], live["session_id"], "cancel")
    await start(desk, ann)
    live_id = await desk.admin.fetchval("select id::text from public.sessions where status = 'active'")
    await change(desk, ann["caller"], live_id, "cancel")
    refused = await start(desk, ann)
    assert (refused.status, refused["code"], refused["limit"]) == (429, "rate_limited", "messages_by_contact")
    assert await desk.count("sessions", "status = 'active'") == 0


async def test_many_starts_at_once_make_one_session(desk: Desk) -> None:
    boss = await member(desk, "owner")
    contact = str(
        await desk.admin.fetchval("insert into public.contacts (workspace_id) values ($1) returning id", WORKSPACE)
    )
    answers = await asyncio.gather(
        *(start(desk, on_behalf(boss), contact_id=contact, persona_id=PERSONA) for _ in range(20))
    )
    assert len({answer["session_id"] for answer in answers}) == 1
    assert sum(answer["created"] for answer in answers) == 1
