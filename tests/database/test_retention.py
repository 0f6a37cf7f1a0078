"""Retention: what is older than a workspace keeps it goes, in batches; what lives, and other workspaces' rows, stay."""

from typing import Any

import pytest

from tests.database.access import world
from tests.database.desk import SYSTEM, Desk, managing, on_a_turn, user

OLD = {
    "messages": "update public.sessions set ended_at = now() - interval '40 days' where ended_at is not null",
    "raw_events": "update public.inbound_events set received_at = now() - interval '40 days';"
    " update public.jobs set status = 'succeeded', lease_until = null, created_at = now() - interval '40 days',"
    " finished_at = now() - interval '40 days' where status = 'running';"
    " update public.jobs set event_id = null where status = 'queued'",
    "events": "update public.events set occurred_at = now() - interval '40 days'",
    "audit": "update public.audit_events set created_at = now() - interval '40 days'",
    "addresses": 'update public.sessions set metadata = \'{"address": "192.0.2.1", "user_agent": "x", "source": "y"}\'',
    "memory_history": "update public.memory_history set changed_at = now() - interval '40 days'",
}
"""What makes the rows of the world old."""

COUNTED = {
    "messages": "select count(*) from public.messages where workspace_id = $1",
    "raw_events": "select count(*) from public.inbound_events where workspace_id = $1",
    "jobs": "select count(*) from public.jobs where workspace_id = $1",
    "events": "select count(*) from public.events where workspace_id = $1",
    "audit": "select count(*) from public.audit_events where workspace_id = $1",
    "addresses": "select count(*) from public.sessions where workspace_id = $1 and metadata ? 'address'",
    "memory_history": "select count(*) from public.memory_history where workspace_id = $1",
}


async def counts(desk: Desk, workspace: str) -> dict[str, int]:
    return {place: await desk.admin.fetchval(query, workspace) for place, query in COUNTED.items()}


async def run(desk: Desk, workspace: str) -> dict[str, int]:
    """One run to its end; what it deleted."""
    while not (progress := await desk.call("apply_retention", SYSTEM, workspace_id=workspace))["finished"]:
        pass
    return dict(progress["deleted"])


@pytest.fixture
async def filled(desk: Desk) -> Desk:
    """The rows of both workspaces of the access matrix, of which those that have ended are 40 days old."""
    await world.load(desk.admin, tuple(world.ROWS))
    await desk.admin.execute("; ".join(OLD.values()))
    await desk.admin.execute("delete from public.retention_settings; delete from private.retention_runs")
    return desk


async def test_a_run_deletes_what_its_preview_counts_and_nothing_that_lives_or_is_anothers(filled: Desk) -> None:
    one, two = (world.uid("workspaces", label) for label in ("one", "two"))
    owner = managing(user(world.uid("users", "owner")))
    before, elsewhere = await counts(filled, one), await counts(filled, two)
    days = {place: 30 for place in COUNTED if place != "jobs"}
    await filled.call("set_retention", owner, workspace_id=one, days={**days, "messages": 50})
    none = (await filled.call("preview_retention", owner, workspace_id=one))["places"]["messages"]
    assert none == {"rows": 0, "oldest": None}
    preview = (await filled.call("preview_retention", owner, workspace_id=one, days={"messages": 30}))["places"]
    assert all(place["rows"] > 0 for place in preview.values()), preview
    await filled.call("set_retention", owner, workspace_id=one, days=days)
    deleted = await run(filled, one)
    assert deleted == {place: found["rows"] for place, found in preview.items()}
    after = await counts(filled, one)
    lost = {place: before[place] - after[place] for place in COUNTED}
    # The change of the settings is audited.
    assert lost == {**deleted, "audit": deleted["audit"] - 2}
    assert await counts(filled, two) == elsewhere
    live = (
        "select count(*) from public.messages m join public.sessions s on s.id = m.session_id where s.ended_at is null"
    )
    assert await filled.admin.fetchval(f"{live} and m.workspace_id = $1", one) == after["messages"] > 0
    assert await filled.count("sessions", "metadata ->> 'source' = 'y'") == await filled.count("sessions")
    assert await filled.count("jobs", "status = 'queued' and workspace_id = $1", one) > 0
    assert await run(filled, one) == {}
    shown = await filled.call("read_retention", owner, workspace_id=one)
    assert (shown["addresses_days"], shown["last_run"]["deleted"]) == (30, {})


async def test_by_default_deliveries_finished_jobs_and_events_are_kept_for_30_days_and_the_rest_for_good(
    filled: Desk,
) -> None:
    one = world.uid("workspaces", "one")
    before = await counts(filled, one)
    # A delivery stays as long as a job about it, which has just ended here.
    await filled.admin.execute("update public.jobs set finished_at = now() where status = 'succeeded'")
    assert (await run(filled, one)).keys() == {"events"}
    await filled.admin.execute("update public.jobs set finished_at = created_at where status = 'succeeded'")
    assert (await run(filled, one)).keys() == {"jobs", "raw_events"}
    after = await counts(filled, one)
    assert {place for place in COUNTED if after[place] != before[place]} == {"events", "raw_events", "jobs"}


async def test_the_schedule_queues_one_job_for_each_workspace(desk: Desk) -> None:
    await desk.open_workspace()
    command = await desk.admin.fetchval("select command from cron.job where jobname = 'switchboard-retention'")
    for _ in range(2):
        await desk.admin.execute(command)
    assert await desk.count("jobs", "kind = 'apply_retention'") == await desk.count("workspaces") == 2
    claimed: Any = (await desk.call("claim_jobs", SYSTEM))["jobs"]
    assert {job["kind"] for job in claimed} == {"apply_retention"}
    await desk.call("complete_job", on_a_turn(claimed[0]["workspace_id"]), job_id=claimed[0]["id"], attempt=1)
    await desk.admin.execute(command)
    assert await desk.count("jobs", "kind = 'apply_retention'") == 3
