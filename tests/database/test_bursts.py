"""Messages in quick succession join the turn of the first one: each stored once, in order, for one answer."""

import asyncio

import pytest
import pytest_asyncio

from tests.database.desk import JSON, Answer, Desk, on_a_turn, on_behalf, refusal


@pytest_asyncio.fixture
async def ann(desk: Desk) -> JSON:
    """A contact of a persona that collects messages."""
    await desk.lift_limits()
    await desk.admin.execute("update public.personas set collect_seconds = 5")
    return await desk.arrive()


async def collect(desk: Desk, turn: Answer) -> list[tuple[str, JSON]]:
    collected = await desk.call("collect_messages", on_a_turn(), turn_id=turn["turn_id"])
    return [(message["text"], message["metadata"]) for message in collected["messages"]]


async def test_messages_at_once_are_one_turn_until_it_is_collected(desk: Desk, ann: JSON) -> None:
    earlier = await desk.start(ann, "Before")
    await desk.finish(earlier, answer="Yes?")
    said = [f"message {number}" for number in range(8)]
    async with desk.crowd(8) as crowd:
        started = await asyncio.gather(
            *(crowd.start(ann, text, client_message_id=text, metadata={text: 1}) for text in said)
        )
    assert len({each["turn_id"] for each in started}) == 1
    (first,) = (each for each in started if not each["repeat"])
    assert (first["collect_seconds"], first["persona"]["time_limit_seconds"]) == (5, 120)
    assert [message["text"] for message in first["history"]] == ["Before", "Yes?"]
    limit = "select extract(epoch from deadline - created_at) from public.turns where id = $1"
    assert round((await desk.one(limit, first["turn_id"]))[0]) == 125

    stored = [text for role, text in await desk.said(first["session_id"]) if role == "contact"]
    for _ in range(2):
        assert await collect(desk, first) == [(text, {text: 1}) for text in stored[1:]]
    assert sorted(stored) == ["Before", *said]
    session = await desk.row("sessions", first["session_id"])
    assert (session["turn_count"], session["message_count"]) == (2, 2 + len(said))
    assert (await desk.start(ann, "late")).status == 409


@pytest.mark.parametrize("moment", ["collecting", "answering", "answered", "no longer collected"])
async def test_a_repeat_of_a_message_that_joined_returns_its_turn(desk: Desk, ann: JSON, moment: str) -> None:
    turn = await desk.start(ann, "one", client_message_id="1", attempt_id=ann["caller"]["contact_id"])
    await desk.start(ann, "two", client_message_id="2")
    if moment != "collecting":
        await collect(desk, turn)
    if moment == "answered":
        await desk.finish(turn)
    if moment == "no longer collected":
        await desk.admin.execute("update public.personas set collect_seconds = 0")
    for text, key in (("two", "2"), ("one", "1")):
        again = await desk.start(ann, text, client_message_id=key)
        assert (again["turn_id"], again["repeat"]) == (turn["turn_id"], True)
        other = await refusal(desk.start(ann, "another text", client_message_id=key))
        assert other == (409, "idempotency_key_reused")
    # The request that opened the turn answers it after a lost response: without these messages in the history.
    attempt = await desk.start(ann, "one", client_message_id="1", attempt_id=ann["caller"]["contact_id"])
    assert (attempt["repeat"], attempt["history"]) == (moment == "answered", [])
    assert attempt["collect_seconds"] == (5 if moment == "collecting" else 0)
    assert await collect(desk, turn) == [("one", {}), ("two", {})]


@pytest.mark.parametrize(
    ("length", "change", "status"),
    [(6_999, "usage = null", 200), (7_000, "usage = null", 409), (1, "cancel_requested_at = now()", 409),
     (1, "lease_until = now()", None)],
)  # fmt: skip
async def test_a_message_that_cannot_join_is_treated_as_during_an_answer(
    desk: Desk, ann: JSON, length: int, change: str, status: int | None
) -> None:
    turn = await desk.start(ann, "x" * 9_000)
    await desk.admin.execute(f"update public.turns set {change}")
    second = await desk.start(ann, "y" * length)
    assert second.status == (status or 200)
    assert (second["turn_id"] == turn["turn_id"]) == (status is not None)


async def test_a_message_that_joins_counts_at_the_limits_and_not_at_the_breaker(desk: Desk, ann: JSON) -> None:
    turn = await desk.start(ann)
    await desk.admin.execute(
        "insert into public.persona_breakers (persona_id, workspace_id, state, opened_at, retry_at) select id,"
        " workspace_id, 'open', now(), now() + interval '1 minute' from public.personas"
    )
    assert (await desk.start(ann, "and"))["turn_id"] == turn["turn_id"]
    assert await desk.one("select taken from public.rate_limits where name = 'messages_by_contact'") == (2,)
    await desk.admin.execute("update public.workspaces set messages_per_minute_by_contact = 2")
    assert (await desk.start(ann, "and")).status == 429
    assert await collect(desk, turn) == [("Hello", {}), ("and", {})]


async def test_a_retry_answers_all_messages_of_a_burst(desk: Desk, ann: JSON) -> None:
    turn = await desk.start(ann, "one", metadata={"page": "/"})
    await desk.start(ann, "two", client_message_id="2")
    for _ in range(2):
        await desk.finish(turn, "failed", "Hal", error_code="persona_cut_off")
        first, turn = turn, await desk.call("retry_turn", on_behalf(ann["caller"]), turn_id=turn["turn_id"])
        assert (turn["user_message_id"], turn["history"]) == (first["user_message_id"], [])
        assert [(said["text"], said["metadata"]) for said in turn["messages"]] == [("one", {"page": "/"}), ("two", {})]


async def test_the_id_of_a_members_message_is_not_joined(desk: Desk, ann: JSON) -> None:
    turn = await desk.start(ann)
    await desk.admin.execute(
        "insert into public.messages (workspace_id, conversation_id, session_id, role, user_id, text,"
        " client_message_id) select workspace_id, conversation_id, id, 'member', gen_random_uuid(), 'Hello', 'x'"
        " from public.sessions"
    )
    assert await refusal(desk.start(ann, client_message_id="x")) == (409, "idempotency_key_reused")
    assert await collect(desk, turn) == [("Hello", {})]
