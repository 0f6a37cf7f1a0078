"""Rate limits and breakers over HTTP: the headers and problems; what counts is the database's tests'."""

import re
import socket

import aiohttp
import asyncpg
import jwt
import pytest

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, problem, until
from tests.functions.people import Staff, sign_up
from tests.standins.openai import OpenAI

OPEN = (
    "insert into public.persona_breakers (persona_id, workspace_id, state, failures, opened_at, retry_at) "
    "select id, workspace_id, 'open', 5, now(), now() + interval '1 hour' from public.personas where id = $1"
)


def state_of(response: aiohttp.ClientResponse) -> dict[str, tuple[int, int, int]]:
    """Quota, remaining and seconds, by limit."""
    form = r'"(\w+)";q=(\d+);w=60'
    quotas = {name: int(quota) for name, quota in re.findall(form, response.headers["RateLimit-Policy"])}
    left = re.findall(r'"(\w+)";r=(\d+);t=(\d+)', response.headers["RateLimit"])
    assert list(quotas) == [name for name, _, _ in left]
    return {name: (quotas[name], int(remaining), int(seconds)) for name, remaining, seconds in left}


async def test_answers_and_refusals_tell_the_remaining_quota(
    workspace: Workspace, held_visitor: Visitor, openai: OpenAI
) -> None:
    register, arrival = f"/space/{held_visitor.space_id}/register", {"email": "ana@example.com"}
    async with held_visitor.client.post(register, json=arrival, headers={"Origin": "null"}) as registered:
        assert state_of(registered)["arrivals_by_space"][:2] == (1200, 1198)
    async with held_visitor.post("hello") as response:
        state = state_of(response)
        assert list(state) == ["messages_by_contact", "messages_by_address", "messages_by_space"]
        assert state["messages_by_contact"][:2] == (60, 59)
        assert 0 < state["messages_by_contact"][2] <= 60
        async with held_visitor.post("and more") as waiting:
            assert (waiting.status, state_of(waiting)["messages_by_contact"][:2]) == (409, (60, 58))
            assert "limits" not in await problem(waiting)
        await openai.release()
        await response.read()
    persona = "select persona_id from public.spaces where id = $1"
    await workspace.database.execute(OPEN, (await workspace.row(persona, held_visitor.space_id))["persona_id"])
    async with held_visitor.post("anybody there?") as refused:
        assert (refused.status, state_of(refused)["messages_by_contact"][:2]) == (503, (60, 57))


async def test_a_message_over_the_limit_is_told_when_to_retry_and_leaves_nothing(
    visitor: Visitor, workspace: Workspace
) -> None:
    limit = "update public.workspaces set messages_per_minute_by_contact = 1 where id = $1"
    await workspace.database.execute(limit, workspace.id)
    # The first message is an arrival.
    for message in ("one", "two"):
        await visitor.say(message)
    before = await workspace.counts()
    async with visitor.post("three") as response:
        assert response.status == 429
        document = await problem(response)
        assert response.headers["Retry-After"] == str(document["retry_after"])
        assert state_of(response) == {"messages_by_contact": (1, 0, document["retry_after"])}
    assert (document["code"], document["limit"]) == ("rate_limited", "messages_by_contact")
    assert "limits" not in document
    assert await workspace.counts() == before
    await Visitor(visitor.client, visitor.space_id).say("another contact")


async def test_reads_are_limited_by_caller_with_the_same_headers(
    client: aiohttp.ClientSession, visitor: Visitor, staff: Staff, database: asyncpg.Connection
) -> None:
    await visitor.say("hello")
    for headers, path in (
        (visitor.headers, "/chat-sessions"),
        ({"Authorization": f"Bearer {staff.agent.token}"}, "/contacts"),
    ):
        for read in (599, 598):
            async with client.get(path, headers=headers) as response:
                assert (response.status, state_of(response)["reads_by_caller"][:2]) == (200, (600, read))
        claims = jwt.decode(headers["Authorization"].split()[1], options={"verify_signature": False})
        used_up = "update private.reads set taken = 600 where subject = $1"
        await database.execute(used_up, claims.get("conversation_id", claims["sub"]))
        async with client.get(path, headers=headers) as response:
            document = await problem(response)
            assert (response.status, document["code"], document["limit"]) == (429, "rate_limited", "reads_by_caller")
            assert state_of(response) == {"reads_by_caller": (600, 0, document["retry_after"])}
            assert response.headers["Retry-After"] == str(document["retry_after"])
    # Writing has limits of its own, and so has each reader.
    await visitor.say("hello again")
    assert (await staff.admin.ask("GET", "/contacts"))[0] == 200


@pytest.mark.parametrize(("column", "most"), [("subject", 20), ("address", 200)])
async def test_open_streams_are_limited_by_caller_and_by_address_until_they_end(
    client: aiohttp.ClientSession, visitor: Visitor, database: asyncpg.Connection, column: str, most: int
) -> None:
    opened = (await visitor.say("hello"))[0].data
    path = f"/conversations/{opened['conversation_id']}/stream"
    streams = "select id, subject, address from private.open_streams where subject = $1"
    async with client.get(path, headers=visitor.headers) as response:
        assert response.status == 200
        (stream,) = await database.fetch(streams, opened["conversation_id"])
    await until(lambda: has_none(database, streams, opened["conversation_id"]))
    # Streams of earlier tests may still be ending.
    await database.execute("delete from private.open_streams")
    # Those of other callers at the address, or of the caller elsewhere; one of them has outlived its process.
    values = {"subject": "another", "address": "192.0.2.7", column: stream[column]}
    others = (
        "insert into private.open_streams (id, subject, address, ends_at) select gen_random_uuid(), $1, $2,"
        " now() + interval '1 minute' * case when n = 0 then -1 else 1 end from generate_series(0, $3) n returning id"
    )
    rows = await database.fetch(others, values["subject"], values["address"], most)
    try:
        async with client.get(path, headers=visitor.headers) as response:
            document = await problem(response)
            assert (response.status, document["code"]) == (429, "too_many_streams")
            assert response.headers["Retry-After"] == "15"
        # A message is answered all the same.
        assert (await visitor.say("hello again"))[-1].data["status"] == "completed"
        await database.execute("delete from private.open_streams where id = $1", rows[-1]["id"])
        async with client.get(path, headers=visitor.headers) as response:
            assert response.status == 200
    finally:
        await database.execute("delete from private.open_streams where id = any($1)", [row["id"] for row in rows])


async def has_none(database: asyncpg.Connection, query: str, subject: str) -> bool:
    return not await database.fetch(query, subject)


async def test_a_failing_persona_is_refused_until_a_probe_succeeds(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        await workspace.allow_loopback()
        persona_id = await workspace.add_persona("n8n", {"url": url}, breaker_failures=2, breaker_seconds=30)
        visitor = Visitor(client, await workspace.add_space(persona_id=persona_id))
        for _ in range(2):
            assert (await visitor.say("hello"))[-1].data["code"] == "persona_unreachable"
        async with visitor.post("hello") as response:
            assert response.status == 503
            document = await problem(response)
        assert (document["code"], document["persona_id"]) == ("persona_unavailable", str(persona_id))
        assert response.headers["Retry-After"] == str(document["retry_after"]) in ("29", "30")
    await workspace.database.execute(
        "update public.personas set kind = 'demo', config = '{}' where id = $1", persona_id
    )
    await workspace.database.execute(
        "update public.persona_breakers set retry_at = now() where persona_id = $1", persona_id
    )
    assert (await visitor.say("hello"))[-1].data["status"] == "completed"


async def test_a_change_of_how_a_persona_is_called_closes_its_breaker(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    owner = await sign_up(client, workspace, stack, "owner")
    persona_id = await workspace.add_persona("n8n", {"url": "http://127.0.0.1:1/"}, breaker_seconds=3600)
    visitor = Visitor(client, await workspace.add_space(persona_id=persona_id))
    await workspace.database.execute(OPEN, persona_id)
    path = f"/personas/{persona_id}"
    for method, at, change, passes in (
        ("PATCH", path, {"name": "Concierge"}, False),
        ("PATCH", path, {"config": {"url": "http://127.0.0.1:2/"}}, True),
        ("PUT", f"{path}/secret", {"secret": "another"}, True),
        ("PATCH", path, {"breaker_seconds": 60}, True),
    ):
        await owner.done(method, at, change)
        # The probe fails, which opens the breaker again.
        for status in (200 if passes else 503, 503):
            async with visitor.post("hello") as response:
                assert response.status == status, change
                await response.read()
