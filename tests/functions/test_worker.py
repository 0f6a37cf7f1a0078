"""The worker's entry point: queued answers end their turns; claims and retries are tests/database/test_queue.py's."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from local.stack import Stack
from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, problem, until


async def work(client: aiohttp.ClientSession, stack: Stack) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {stack.cron_secret}"}
    async with client.post("/worker", json={}, headers=headers) as response:
        assert response.status == 200, await response.text()
        report: dict[str, Any] = await response.json()
        return report


async def queue_answer(workspace: Workspace, turn_id: str, text: str, **job: Any) -> None:
    """A stored delivery and its job, as record_event leaves them."""
    columns = {"kind": "persona_answer", "ordering_key": turn_id, "status": "queued", "attempts": 0} | job
    raw_body = columns.pop("raw_body", json.dumps({"turnId": turn_id, "output": text}))
    await workspace.database.execute(
        "with e as (insert into public.inbound_events (workspace_id, source, delivery_key, raw_body)"
        " values ($1, 'n8n', $2, $3) returning id) insert into public.jobs"
        " (workspace_id, kind, event_id, ordering_key, status, attempts, lease_until)"
        " select $1, $4, id, $5, $6::text::public.job_status, $7,"
        " case when $6 = 'running' then now() - interval '1 second' end from e",
        workspace.id, str(uuid4()), raw_body, *columns.values(),
    )  # fmt: skip


async def open_turn(visitor: Visitor, workspace: Workspace) -> str:
    """An active turn that waits for its answer."""
    turn_id: str = (await visitor.say("a word"))[0].data["turn_id"]
    delete = "delete from public.messages where turn_id = $1 and role = 'persona'"
    await workspace.database.execute(delete, UUID(turn_id))
    await workspace.database.execute(
        "update public.turns set status = 'active', finished_at = null, lease_until = now() + interval '1 minute'"
        " where id = $1",
        UUID(turn_id),
    )
    return turn_id


async def ended(workspace: Workspace) -> list[dict[str, Any]]:
    """The workspace's jobs once all have ended: the schedule's worker may have claimed some of them."""
    query = "select * from public.jobs where workspace_id = $1"
    running = f"{query} and status in ('queued', 'running')"

    async def none_left() -> bool:
        return not await workspace.database.fetch(running, workspace.id)

    await until(none_left)
    return [dict(job) for job in await workspace.database.fetch(query, workspace.id)]


async def test_of_two_queued_answers_the_first_ends_the_turn(
    visitor: Visitor, workspace: Workspace, client: aiohttp.ClientSession, stack: Stack
) -> None:
    turn_id = await open_turn(visitor, workspace)
    for text in ("First.", "Second."):
        await queue_answer(workspace, turn_id, text)
    await asyncio.gather(work(client, stack), work(client, stack))
    assert (await work(client, stack))["remaining"] is False
    assert [job["status"] for job in await ended(workspace)] == ["succeeded", "succeeded"]
    assert text_of(await visitor.resume(turn_id)) == "First."


async def test_concurrent_workers_do_each_job_once(
    visitor: Visitor, workspace: Workspace, client: aiohttp.ClientSession, stack: Stack
) -> None:
    turn_id = (await visitor.say("a word"))[0].data["turn_id"]
    for number in range(40):
        await queue_answer(workspace, turn_id, f"{number}", ordering_key=f"{turn_id}:{number}")
    await asyncio.gather(*(work(client, stack) for _ in range(4)))
    assert [(job["status"], job["attempts"]) for job in await ended(workspace)] == [("succeeded", 1)] * 40


@pytest.mark.parametrize(
    ("job", "status", "attempts"),
    [
        ({"raw_body": "no json"}, "failed", 1),
        ({"raw_body": "{}"}, "failed", 1),
        ({"kind": "of another version"}, "failed", 1),
        ({"status": "running", "attempts": 1}, "succeeded", 2),
    ],
    ids=["no json", "no answer", "unknown kind", "expired lease"],
)
async def test_a_job_that_cannot_succeed_fails_at_once_and_one_with_an_expired_lease_is_resumed(
    visitor: Visitor,
    workspace: Workspace,
    client: aiohttp.ClientSession,
    stack: Stack,
    job: dict[str, Any],
    status: str,
    attempts: int,
) -> None:
    await queue_answer(workspace, await open_turn(visitor, workspace), "x", **job)
    await work(client, stack)
    (done,) = await ended(workspace)
    assert (done["status"], done["attempts"]) == (status, attempts)
    assert bool(done["last_error"]) == (status == "failed")


@pytest.mark.parametrize("path", ["/worker", "/archive"])
async def test_only_the_schedules_secret_is_accepted(client: aiohttp.ClientSession, stack: Stack, path: str) -> None:
    ours = stack.cron_secret
    for secret in (None, "Bearer wrong", "Bearer ", "Bearer \xe4", "Basic x", ours, f"Basic {ours}", f"Bearer {ours}x",
                   f"Bearer {stack.anon_key}", f"Bearer {stack.service_role_key}"):  # fmt: skip
        headers = {"Authorization": secret} if secret else {}
        async with client.post(path, json={}, headers=headers) as response:
            assert response.status == 401
            assert (await problem(response))["code"] == "secret_invalid"
