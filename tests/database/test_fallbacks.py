"""The fallback of a persona: when it answers instead, and whose breaker learns of what."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from tests.database.desk import JSON, PERSONA, WORKSPACE, Answer, Desk, on_a_turn, on_behalf

FALLBACK = "00000000-0000-7000-8000-0000000000fb"


@pytest_asyncio.fixture(autouse=True)
async def fallback(desk: Desk) -> None:
    """The persona has a fallback, and each breaker opens with one failure."""
    await desk.lift_limits()
    insert = (
        "insert into public.personas (id, workspace_id, kind, name, secret_id, time_limit_seconds)"
        " values ($1, $2, 'demo', 'Fallback', $3, 20)"
    )
    await desk.admin.execute(insert, FALLBACK, WORKSPACE, await desk.keep_secret("fallback's"))
    await desk.admin.execute("update public.personas set breaker_failures = 1")
    await desk.admin.execute("update public.personas set fallback_persona_id = $1 where id = $2", FALLBACK, PERSONA)


async def fall_back(desk: Desk, turn: Answer) -> Any:
    arguments = {"turn_id": turn["turn_id"], "error_code": "persona_unreachable", "error_detail": "no server"}
    return (await desk.call("start_fallback", on_a_turn(), **arguments))["persona"]


async def breakers(desk: Desk) -> dict[str, str]:
    return dict(
        await desk.all("select persona_id::text, state::text from public.persona_breakers where state <> 'closed'")
    )


async def test_a_failure_before_the_first_text_is_the_personas_and_the_result_its_fallbacks(desk: Desk) -> None:
    turn = await desk.start(await desk.arrive())
    assert turn["has_fallback"]
    called = [await fall_back(desk, turn) for _ in range(2)]
    assert called[0] == {**called[1], "id": FALLBACK, "secret": "fallback's", "time_limit_seconds": 20}
    assert await breakers(desk) == {PERSONA: "open"}
    await desk.finish(turn, "failed", "Hal", error_code="persona_cut_off", error_detail="it ended early")
    assert await breakers(desk) == {PERSONA: "open", FALLBACK: "open"}
    assert await desk.count("messages", "persona_id = $1", FALLBACK) == 1
    errors = "select persona_id::text, code, detail from public.turn_errors order by created_at"
    failed = [(PERSONA, "persona_unreachable", "no server"), (FALLBACK, "persona_cut_off", "it ended early")]
    assert await desk.all(errors) == failed
    audited = [("turn.fell_back", "persona_unreachable"), ("turn.failed", "persona_cut_off")]
    assert await desk.audited(turn["turn_id"], "verb, code") == audited
    assert await fall_back(desk, turn) is None, "the turn is over"


async def test_a_fallback_answers_at_once_while_the_breaker_is_open_but_not_instead_of_the_probe(desk: Desk) -> None:
    ann, bob = await desk.arrive(), await desk.arrive("bob")
    change = "update public.personas set fallback_persona_id = $1, time_limit_seconds = 840 where id = $2"
    await desk.admin.execute(change, PERSONA, FALLBACK)
    await desk.finish(await desk.start(ann), "failed", None, error_code="persona_failed")
    for attempt in ("one", "two"):
        ids = {"client_message_id": attempt, "attempt_id": FALLBACK}
        turns = [await desk.start(ann, **ids) for _ in range(2)]
        for started in turns:
            answers = (started["persona"]["id"], started["persona"]["secret"], started["has_fallback"])
            assert answers == (FALLBACK, "fallback's", False), "a fallback of a fallback is not called"
            assert started["persona"]["time_limit_seconds"] == 120, "the persona's limit"
        await desk.finish(turns[0])
    assert (await breakers(desk), await desk.count("messages", "persona_id = $1", FALLBACK)) == ({PERSONA: "open"}, 2)

    await desk.admin.execute("update public.persona_breakers set retry_at = clock_timestamp() where state = 'open'")
    async with desk.crowd(2) as crowd:
        both = await asyncio.gather(*(crowd.start(each) for each in (ann, bob)))
    assert sorted(each["persona"]["id"] for each in both) == [PERSONA, FALLBACK]
    (probe,) = (each for each in both if each["persona"]["id"] == PERSONA)
    assert (await fall_back(desk, probe))["id"] == FALLBACK
    assert await breakers(desk) == {PERSONA: "open"}, "the probe failed"
    await desk.admin.execute("update public.personas set enabled = false where id = $1", FALLBACK)
    refused = await desk.start(await desk.arrive("eve"))
    assert (refused.status, refused["code"], refused["persona_id"]) == (503, "persona_unavailable", PERSONA)


async def test_a_retry_passes_the_breaker_as_a_message_does(desk: Desk) -> None:
    ann = await desk.arrive()
    failed = await desk.start(ann)
    await desk.finish(failed, "failed", None, error_code="persona_failed")

    async def retry() -> Answer:
        arguments = {"turn_id": failed["turn_id"], "attempt_id": FALLBACK}
        return await desk.call("retry_turn", on_behalf(ann["caller"]), **arguments)

    await desk.admin.execute("update public.personas set enabled = false where id = $1", FALLBACK)
    refused = await retry()
    assert (refused.status, refused["code"], refused["persona_id"]) == (503, "persona_unavailable", PERSONA)
    await desk.admin.execute("update public.personas set enabled = true")
    for _ in range(2):
        turn = await retry()
        answers = (turn["repeat"], turn["persona"]["id"], turn["persona"]["secret"], turn["has_fallback"])
        assert answers == (False, FALLBACK, "fallback's", False)
    await desk.finish(turn)
    assert (await breakers(desk), await desk.count("messages", "persona_id = $1", FALLBACK)) == ({PERSONA: "open"}, 1)


@pytest.mark.parametrize(
    "change",
    [
        f"update public.personas set enabled = false where id = '{FALLBACK}'",
        f"delete from public.personas where id = '{FALLBACK}'",
        "insert into public.persona_breakers (persona_id, workspace_id, state, opened_at, retry_at)"
        f" values ('{FALLBACK}', '{WORKSPACE}', 'open', now(), now() + interval '1 minute')",
        "update public.turns set cancel_requested_at = now()",
        "update public.turns set deadline = now()",
    ],
    ids=["disabled", "removed", "breaker", "cancelled", "no time"],
)
async def test_a_fallback_that_may_not_answer_is_as_none(desk: Desk, change: str) -> None:
    turn = await desk.start()
    await desk.admin.execute(change)
    assert await fall_back(desk, turn) is None
    assert await desk.count("turn_errors") == 0, "the end of the turn records the failure"


async def test_personas_that_are_each_others_fallback_do_not_deadlock(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set fallback_persona_id = $1 where id = $2", PERSONA, FALLBACK)
    (database,) = await desk.one("select current_database()")
    await desk.admin.execute(f"alter database {database} set deadlock_timeout = '20ms'")
    everybody = [await desk.arrive(f"a{number}") for number in range(8)]
    swapped = [each["caller"]["contact_id"] for each in everybody[::2]]
    for table in ("conversations", "sessions"):
        change = f"update public.{table} set persona_id = $1 where contact_id = any ($2::uuid[])"
        await desk.admin.execute(change, FALLBACK, swapped)

    async def chat(crowd: Desk, token: JSON) -> None:
        for _ in range(4):
            turn = await crowd.start(token)
            if turn.status == 200:
                if turn["has_fallback"]:
                    await fall_back(crowd, turn)
                await crowd.finish(turn, "failed", None, error_code="persona_failed")

    async def end_pauses() -> None:
        while chatting:
            for persona in (PERSONA, FALLBACK):
                change = "update public.persona_breakers set retry_at = now() where state = 'open' and persona_id = $1"
                await desk.admin.execute(change, persona)

    async with desk.crowd(8) as crowd:
        for _ in range(8):
            chatting = True
            await desk.admin.execute("delete from public.persona_breakers")
            ending = asyncio.create_task(end_pauses())
            ended = await asyncio.gather(*(chat(crowd, each) for each in everybody), return_exceptions=True)
            chatting = False
            await ending
            assert [each for each in ended if each is not None] == [], "also while the breakers are created"


async def test_the_end_of_a_fallbacks_turn_does_not_deadlock_with_a_message(desk: Desk) -> None:
    ann, bob = await desk.arrive(), await desk.arrive("bob")
    turn = await desk.start(ann)
    await fall_back(desk, turn)
    await desk.admin.execute("update public.persona_breakers set failures = 1 where persona_id = $1", FALLBACK)
    await desk.admin.execute("update public.personas set breaker_failures = 3 where id = $1", FALLBACK)
    lose = "update public.turns set lease_until = now() - interval '1 second' where id = $1"
    await desk.admin.execute(lose, turn["turn_id"])
    async with desk.crowd(2) as crowd, desk.as_owner() as holder:
        async with holder.transaction():
            await holder.execute("select from public.persona_breakers where persona_id = $1 for update", PERSONA)
            asked = []
            for waiting, caller in enumerate((bob, ann), 1):
                asked.append(asyncio.create_task(crowd.start(caller)))
                await desk.until_waiting(waiting)
        assert [(await each)["persona"]["id"] for each in asked] == [FALLBACK] * 2
