"""How much is left, how much is too much, and a persona that is left alone."""

import asyncio
import re
import socket

import aiohttp

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, problem
from tests.functions.people import sign_up


def _state(response: aiohttp.ClientResponse) -> dict[str, tuple[int, int, int]]:
    """Quota, what is left and seconds, by limit."""
    form = r'"(\w+)";q=(\d+);w=60'
    quotas = {name: int(quota) for name, quota in re.findall(form, response.headers["RateLimit-Policy"])}
    left = re.findall(r'"(\w+)";r=(\d+);t=(\d+)', response.headers["RateLimit"])
    assert list(quotas) == [name for name, _, _ in left]
    return {name: (quotas[name], int(remaining), int(seconds)) for name, remaining, seconds in left}


async def test_a_message_and_a_registration_tell_how_much_is_left(visitor: Visitor, workspace: Workspace) -> None:
    async with visitor.client.post(
        f"/space/{workspace.space_id}/register", json={"email": "ana@example.com"}, headers={"Origin": "null"}
    ) as registered:
        assert _state(registered)["arrivals_by_space"][:2] == (1200, 1199)
        visitor.token = (await registered.json())["token"]
    for left in (59, 58):
        async with visitor.post("hello") as response:
            state = _state(response)
            await response.read()
        assert list(state) == ["messages_by_contact", "messages_by_address", "messages_by_space"]
        assert state["messages_by_contact"][:2] == (60, left)
        assert 0 < state["messages_by_contact"][2] <= 60


async def test_too_many_messages_are_told_when_to_come_back(visitor: Visitor, workspace: Workspace) -> None:
    await workspace.database.execute(
        "update public.workspaces set messages_per_minute_by_contact = 2 where id = $1", workspace.id
    )
    await visitor.say("one")
    await visitor.say("two")
    await visitor.say("three")
    before = await workspace.counts()
    async with visitor.post("four") as response:
        assert response.status == 429
        document = await problem(response)
        assert response.headers["Retry-After"] == str(document["retry_after"])
        assert _state(response) == {"messages_by_contact": (2, 0, document["retry_after"])}
    assert (document["code"], document["limit"]) == ("rate_limited", "messages_by_contact")
    assert "limits" not in document
    assert await workspace.counts() == before
    other = Visitor(visitor.client, visitor.space_id)
    await other.say("I am somebody else")


async def test_a_persona_that_is_down_is_left_alone_and_found_again(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        await workspace.allow_loopback()
        persona_id = await workspace.add_persona("n8n", {"url": url}, breaker_failures=2, breaker_seconds=1)
        visitor = Visitor(client, await workspace.add_space(persona_id=persona_id))
        for _ in range(2):
            assert (await visitor.say("hello"))[-1].data["code"] == "persona_unreachable"
        async with visitor.post("hello") as response:
            assert response.status == 503
            document = await problem(response)
        assert (document["code"], response.headers["Retry-After"]) == ("persona_unavailable", "1")
        assert document["persona_id"] == str(persona_id)
    await workspace.database.execute(
        "update public.personas set kind = 'demo', config = '{}' where id = $1", persona_id
    )
    await asyncio.sleep(1.1)
    assert (await visitor.say("hello"))[-1].data["status"] == "completed"
    audited = await workspace.database.fetch(
        "select verb from public.audit_events where object_id = $1 order by id", persona_id
    )
    assert [row["verb"] for row in audited] == ["breaker.opened", "breaker.half_opened", "breaker.closed"]


async def test_a_message_that_has_to_wait_is_told_how_much_is_left(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    persona_id = await workspace.add_persona("demo", {"delay_ms": 60})
    visitor = Visitor(client, await workspace.add_space(persona_id=persona_id))
    await visitor.say("hi")
    async with visitor.post("tell me everything") as first:
        async with visitor.post("and more") as waiting:
            assert waiting.status == 409
            assert _state(waiting)["messages_by_contact"][:2] == (60, 58)
            assert "limits" not in await problem(waiting)
        await first.read()
    await workspace.database.execute(
        "insert into public.persona_breakers (persona_id, workspace_id, state, failures, opened_at, retry_at) "
        "values ($1, $2, 'open', 5, now(), now() + interval '9 seconds')",
        persona_id,
        workspace.id,
    )
    async with visitor.post("anybody there?") as refused:
        assert refused.status == 503
        assert _state(refused)["messages_by_contact"][:2] == (60, 57)


async def test_a_persona_that_was_set_right_is_asked_at_once(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    owner = await sign_up(client, workspace, stack, "owner")
    persona_id = await workspace.add_persona("n8n", {"url": "http://127.0.0.1:1/"}, breaker_seconds=3600)
    visitor = Visitor(client, await workspace.add_space(persona_id=persona_id))
    await workspace.database.execute(
        "insert into public.persona_breakers (persona_id, workspace_id, state, failures, opened_at, retry_at) "
        "values ($1, $2, 'open', 5, now(), now() + interval '1 hour')",
        persona_id,
        workspace.id,
    )
    path = f"/personas/{persona_id}"
    for method, at, change, passes in (
        ("PATCH", path, {"name": "Concierge"}, False),
        ("PATCH", path, {"config": {"url": "http://127.0.0.1:2/"}}, True),
        ("PUT", f"{path}/secret", {"secret": "another"}, True),
        ("PATCH", path, {"breaker_seconds": 60}, True),
    ):
        await owner.done(method, at, change)
        async with visitor.post("hello") as response:
            assert response.status == (200 if passes else 503), change
            await response.read()
        async with visitor.post("hello") as response:
            assert response.status == 503, "it was asked once, and failed again"
