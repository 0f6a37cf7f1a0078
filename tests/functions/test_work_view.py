"""What owners and admins see of the work behind a workspace: findings, schedules and the deliveries of providers."""

import json

from cli import health as doctor
from lib.workspaces import health
from tests.functions.conftest import Workspace, add_workspace
from tests.functions.people import Staff


async def test_the_doctor_tells_admins_of_their_own_workspace_only(workspace: Workspace, staff: Staff) -> None:
    elsewhere = await add_workspace(workspace.database)
    dead = (
        "insert into public.jobs (workspace_id, kind, status, finished_at) values ($1, 'x', 'dead', now()) returning id"
    )
    own = await workspace.database.fetchval(dead, workspace.id)
    await workspace.database.execute(dead, elsewhere.id)
    path = f"/workspaces/{workspace.id}/doctor"
    told = await staff.admin.done("GET", path)

    found = {check["name"]: check for check in told["checks"]}
    assert found["jobs_dead"] == {"name": "jobs_dead", "state": "warning", "found": 1, "examples": [str(own)]}
    assert found["turns_stuck"] == {"name": "turns_stuck", "state": "ok", "found": 0, "examples": []}
    assert found["addresses_missing"]["examples"] == []
    assert found.keys() <= doctor.RULES.keys()
    assert {name for name in found if doctor.RULES[name].state == "failure"} == health.FAILURES
    schedules = {schedule["name"]: schedule for schedule in told["schedules"]}
    worker = schedules["switchboard-worker"]
    assert (worker["schedule"], worker["active"]) == ("* * * * *", True)
    assert ("next_run_at" in worker) == ("last_run_at" in worker)
    missing = (404, "workspace_not_found")
    denied = [
        (staff.agent, (403, "forbidden")), (staff.stranger, missing), (staff.other_admin, missing),
        (staff.contact, (403, "forbidden")), (staff.anonymous, (401, "token_missing")),
    ]  # fmt: skip
    for person, refusal in denied:
        assert await person.refused("GET", path) == refusal


async def test_admins_read_what_providers_sent_and_what_became_of_it(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/webhook-deliveries"
    event = (
        "insert into public.inbound_events (workspace_id, source, delivery_key, headers, raw_body)"
        " values ($1, $2, $3, $4, $5) returning id"
    )
    job = (
        "insert into public.jobs (workspace_id, event_id, kind, status, last_error, finished_at)"
        " values ($1, $2, 'x', $3::text::public.job_status, $4, now())"
    )
    for number, (provider, body, outcomes) in enumerate((
        ("telegram", "x" * 4_001, ("succeeded", "dead")), ("n8n", "{}", ("succeeded",)), ("n8n", "[]", ()),
    )):  # fmt: skip
        values = (provider, str(number), json.dumps({"a": "b"}), body)
        made = await workspace.database.fetchval(event, workspace.id, *values)
        for status in outcomes:
            await workspace.database.execute(job, workspace.id, made, status, "broken" if status == "dead" else None)

    (idle,), (done,), (broken,) = await staff.admin.pages(path, 1)
    assert (broken["status"], broken["error"], broken["headers"]) == ("dead", "broken", {"a": "b"})
    assert (broken["body"], broken["body_is_cut"]) == ("x" * 4_000, True)
    assert [each["status"] for each in broken["jobs"]] == ["succeeded", "dead"]
    assert (done["status"], done["body"], "error" in done) == ("succeeded", "{}", False)
    assert ("status" in idle, idle["jobs"]) == (False, [])
    listed = await staff.owner.done("GET", f"{path}?provider=n8n")
    assert [item["id"] for item in listed["items"]] == [idle["id"], done["id"]]
    assert await staff.agent.done("GET", path) == {"items": []}
    for person in (staff.stranger, staff.other_admin):
        assert await person.refused("GET", path) == (404, "workspace_not_found")
    assert await staff.contact.refused("GET", path) == (403, "forbidden")
    assert await staff.anonymous.refused("GET", path) == (401, "token_missing")
