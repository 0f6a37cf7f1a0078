"""The worker's entry point: queued answers end their turns.

Claims are tests/database/test_queue.py's, and jobs that fail tests/unit/jobs/test_queue.py's.
"""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from local.stack import Stack
from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, problem
from tests.functions.people import Staff


async def work(client: aiohttp.ClientSession, stack: Stack) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {stack.cron_secret}"}
    async with client.post("/worker", json={}, headers=headers) as response:
        assert response.status == 200, await response.text()
        report: dict[str, Any] = await response.json()
        return report


async def queue_answer(workspace: Workspace, turn_id: str, text: str) -> None:
    """A stored delivery and its job, as record_event leaves them."""
    await workspace.database.execute(
        "with e as (insert into public.inbound_events (workspace_id, source, delivery_key, raw_body)"
        " values ($1, 'n8n', $2, $3) returning id)"
        " insert into public.jobs (workspace_id, kind, event_id, ordering_key)"
        " select $1, 'persona_answer', id, $4 from e",
        workspace.id, str(uuid4()), json.dumps({"turnId": turn_id, "output": text}), turn_id,
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


async def test_of_two_queued_answers_the_first_ends_the_turn(
    visitor: Visitor, workspace: Workspace, client: aiohttp.ClientSession, stack: Stack
) -> None:
    turn_id = await open_turn(visitor, workspace)
    for text in ("First.", "Second."):
        await queue_answer(workspace, turn_id, text)
    await asyncio.gather(work(client, stack), work(client, stack))
    assert (await work(client, stack))["remaining"] is False
    assert [job["status"] for job in await workspace.settled()] == ["succeeded", "succeeded"]
    assert text_of(await visitor.resume(turn_id)) == "First."


async def test_admins_find_a_dead_job_with_its_delivery_and_replay_or_discard_it(
    visitor: Visitor, workspace: Workspace, client: aiohttp.ClientSession, stack: Stack, staff: Staff
) -> None:
    turn_id = await open_turn(visitor, workspace)
    await queue_answer(workspace, str(uuid4()), "Of no turn.")
    await work(client, stack)
    await workspace.settled()
    (dead,) = (await staff.admin.done("GET", "/jobs?status=dead&kind=persona_answer"))["items"]
    assert (dead["last_error"], dead["attempts"], dead["stuck"]) == ("turn_not_found", 1, False)
    for query in ("status=queued", "stuck=true", "kind=x"):
        assert (await staff.admin.done("GET", f"/jobs?{query}"))["items"] == []
    assert await staff.admin.refused("GET", "/jobs?status=failed") == (422, "invalid_body")
    path = f"/jobs/{dead['id']}"
    detail = await staff.owner.done("GET", path)
    assert detail.items() >= dead.items()
    assert (detail["event"]["source"], "Of no turn." in detail["event"]["raw_body"]) == ("n8n", True)

    # What was wrong is mended: the replay has the effect.
    mended = "update public.inbound_events set raw_body = $2 where id = $1"
    body = json.dumps({"turnId": turn_id, "output": "Mended."})
    await workspace.database.execute(mended, UUID(detail["event"]["id"]), body)
    assert (await staff.admin.done("POST", f"{path}/replay"))["status"] == "queued"
    await work(client, stack)
    assert [job["status"] for job in await workspace.settled()] == ["succeeded"]
    assert text_of(await visitor.resume(turn_id)) == "Mended."
    assert await staff.admin.refused("POST", f"{path}/discard") == (409, "transition_not_allowed")
    await queue_answer(workspace, str(uuid4()), "Of no turn either.")
    await work(client, stack)
    await workspace.settled()
    (other,) = (await staff.admin.done("GET", "/jobs?status=dead"))["items"]
    assert await staff.owner.done("POST", f"/jobs/{other['id']}/discard") == {"status": "discarded"}


@pytest.mark.parametrize("path", ["/worker", "/archive"])
async def test_only_the_schedules_secret_is_accepted(client: aiohttp.ClientSession, stack: Stack, path: str) -> None:
    ours = stack.cron_secret
    for secret in (None, "Bearer wrong", "Bearer ", "Bearer \xe4", "Basic x", ours, f"Basic {ours}", f"Bearer {ours}x",
                   f"Bearer {stack.anon_key}", f"Bearer {stack.service_role_key}"):  # fmt: skip
        headers = {"Authorization": secret} if secret else {}
        async with client.post(path, json={}, headers=headers) as response:
            assert response.status == 401
            # Owners and admins may archive too, so there any other text is taken for a token.
            codes = {"/worker": {"secret_invalid"}, "/archive": {"token_missing", "token_invalid"}}
            assert (await problem(response))["code"] in codes[path]
