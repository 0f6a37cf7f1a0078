import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from local.stack import Stack
from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, problem


async def work(client: aiohttp.ClientSession, stack: Stack) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {stack.cron_secret}"}
    async with client.post("/worker", json={}, headers=headers) as response:
        assert response.status == 200, await response.text()
        report: dict[str, Any] = await response.json()
        return report


async def queue_answer(workspace: Workspace, turn_id: str, text: str, **job: Any) -> UUID:
    """A stored delivery with its job, as record_event leaves them when there was no time to work on it."""
    event_id = await workspace.database.fetchval(
        """insert into public.inbound_events (workspace_id, source, delivery_key, raw_body)
           values ($1, 'n8n', $2, $3) returning id""",
        workspace.id,
        str(uuid4()),
        json.dumps({"turnId": turn_id, "output": text}),
    )
    columns = {
        "workspace_id": workspace.id,
        "kind": "persona_answer",
        "event_id": event_id,
        "ordering_key": turn_id,
    } | job
    names, places = ", ".join(columns), ", ".join(f"${place + 1}" for place in range(len(columns)))
    query = f"insert into public.jobs ({names}) values ({places}) returning id"
    made: UUID = await workspace.database.fetchval(query, *columns.values())
    return made


async def open_turn(visitor: Visitor, workspace: Workspace) -> str:
    """A turn that waits for its answer and whose stream nobody reads any more."""
    turn_id: str = (await visitor.say("a word"))[0].data["turn_id"]
    query = """update public.turns
                  set status = 'active', finished_at = null, lease_until = now() + interval '1 minute'
                where id = $1"""
    await workspace.database.execute(
        "delete from public.messages where turn_id = $1 and role = 'persona'", UUID(turn_id)
    )
    await workspace.database.execute(query, UUID(turn_id))
    return turn_id


async def over(workspace: Workspace) -> list[dict[str, Any]]:
    """The workspace's jobs once all are over: the schedule's worker comes every minute, and may have taken some."""
    async with asyncio.timeout(10):
        while True:
            jobs = await workspace.database.fetch(
                "select * from public.jobs where workspace_id = $1 order by created_at, id", workspace.id
            )
            if not any(job["status"] in ("queued", "running") for job in jobs):
                return [dict(job) for job in jobs]
            await asyncio.sleep(0.05)


async def test_a_queued_answer_ends_its_turn(
    visitor: Visitor, workspace: Workspace, client: aiohttp.ClientSession, stack: Stack
) -> None:
    turn_id = await open_turn(visitor, workspace)
    await queue_answer(workspace, turn_id, "Here it is.")
    report = await work(client, stack)
    assert report["remaining"] is False
    (job,) = await over(workspace)
    assert job["status"] == "succeeded"
    heard = await visitor.resume(turn_id)
    assert text_of(heard) == "Here it is."


async def test_of_two_answers_the_first_counts(
    visitor: Visitor, workspace: Workspace, client: aiohttp.ClientSession, stack: Stack
) -> None:
    turn_id = await open_turn(visitor, workspace)
    for text in ("First.", "Second."):
        await queue_answer(workspace, turn_id, text)
    await asyncio.gather(work(client, stack), work(client, stack))
    await work(client, stack)
    assert [job["status"] for job in await over(workspace)] == ["succeeded", "succeeded"]
    assert text_of(await visitor.resume(turn_id)) == "First."


async def test_many_workers_do_each_job_once(
    visitor: Visitor, workspace: Workspace, client: aiohttp.ClientSession, stack: Stack
) -> None:
    turn_id = (await visitor.say("a word"))[0].data["turn_id"]
    for number in range(40):
        await queue_answer(workspace, turn_id, f"{number}", ordering_key=f"{turn_id}:{number}")
    await asyncio.gather(*(work(client, stack) for _ in range(4)))
    assert [(job["status"], job["attempts"]) for job in await over(workspace)] == [("succeeded", 1)] * 40


@pytest.mark.parametrize(
    ("raw_body", "kind"),
    [("no json", "persona_answer"), ("{}", "persona_answer"), ("{}", "of another version")],
)
async def test_what_can_never_succeed_is_given_up(
    workspace: Workspace, client: aiohttp.ClientSession, stack: Stack, raw_body: str, kind: str
) -> None:
    await queue_answer(workspace, str(uuid4()), "x", kind=kind)
    await workspace.database.execute(
        "update public.inbound_events set raw_body = $2 where workspace_id = $1", workspace.id, raw_body
    )
    await work(client, stack)
    (job,) = await over(workspace)
    assert job["status"] == "failed"
    assert job["last_error"]


async def test_a_job_whose_worker_died_is_done_by_the_next(
    visitor: Visitor, workspace: Workspace, client: aiohttp.ClientSession, stack: Stack
) -> None:
    turn_id = await open_turn(visitor, workspace)
    job_id = await queue_answer(workspace, turn_id, "Here it is.")
    await workspace.database.execute(
        """update public.jobs
              set status = 'running', attempts = 1, lease_until = now() - interval '1 second'
            where id = $1""",
        job_id,
    )
    await work(client, stack)
    (job,) = await over(workspace)
    assert (job["status"], job["attempts"]) == ("succeeded", 2)


@pytest.mark.parametrize("path", ["/worker", "/archive"])
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "Basic x", "anon", "service"])
async def test_only_the_schedules_may_call(
    client: aiohttp.ClientSession, stack: Stack, path: str, header: str | None
) -> None:
    known = {"anon": f"Bearer {stack.anon_key}", "service": f"Bearer {stack.service_role_key}"}
    headers = {"Authorization": known.get(header, header)} if header else {}
    async with client.post(path, json={}, headers=headers) as response:
        assert response.status == 401
        assert (await problem(response))["code"] == "secret_invalid"
