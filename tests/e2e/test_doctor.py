"""`switchboard doctor` against the running stack."""

import json
from typing import Any
from uuid import UUID

import asyncpg

from cli.health import RULES
from local.ports import free_port
from tests.e2e.commands import Switchboard
from tests.functions.conftest import add_workspace
from tests.standins.n8n import N8n

STATES = {"ok": 0, "warning": 1, "failure": 2}


async def examined(cli: Switchboard, **changed: str | None) -> dict[str, Any]:
    """The checks by name, of a report whose exit status and printed lines fit."""
    ran = await cli.run("doctor --json", changed=changed)
    report = json.loads(ran.stdout)
    assert ran.exit_code == STATES[report["state"]] == max(STATES.get(check["state"], 0) for check in report["checks"])
    printed = [line.split()[:2] for line in ran.stderr.splitlines() if not line.startswith(" ")]
    assert printed == [[check["state"], check["name"]] for check in report["checks"]]
    return {check["name"]: check for check in report["checks"]}


async def test_a_persona_whose_server_does_not_answer_is_named(cli: Switchboard, database: asyncpg.Connection) -> None:
    # Those of earlier tests, whose servers are gone, would be named too.
    switch_off = "update public.personas set enabled = false where enabled and kind <> 'demo' returning id"
    others = [row[0] for row in await database.fetch(switch_off)]
    workspace = await add_workspace(database)
    await workspace.allow_loopback()
    down = f"http://127.0.0.1:{free_port()}/webhook/x"
    async with N8n() as n8n:
        reached, unreached, disabled = [
            await workspace.add_persona("n8n", {"url": url}, enabled=enabled)
            for url, enabled in ((n8n.url("stream"), True), (down, True), (down, False))
        ]
        checks = await examined(cli)
    await database.execute("update public.personas set enabled = true where id = any ($1)", others)
    assert checks["postgrest"]["state"] == "ok", checks["postgrest"]["text"]
    assert checks.keys() == {"postgrest", *RULES, "migrations", "personas", "confirm_email", "store"}
    assert {checks[name]["state"] for name in ("migrations", "tables_open", "keys_without_index")} == {"ok"}
    # The stack of the tests has the seldom schedules switched off.
    assert checks["schedules_missing"]["state"] == "failure"
    found = {UUID(example.split()[0]) for example in checks["personas"]["examples"]}
    assert (checks["personas"]["state"], found & {reached, unreached, disabled}) == ("warning", {unreached})
    await database.execute("delete from public.personas where workspace_id = $1 and kind = 'n8n'", workspace.id)


async def test_a_database_that_does_not_answer_is_a_failure_and_the_rest_is_skipped(cli: Switchboard) -> None:
    checks = await examined(cli, SUPABASE_URL=f"http://127.0.0.1:{free_port()}")
    states = {name: check["state"] for name, check in checks.items()}
    assert states == {
        "postgrest": "failure",
        **dict.fromkeys(RULES, "skipped"),
        "confirm_email": "failure",
        "store": "skipped",
    }
    assert (await examined(cli, SUPABASE_SERVICE_ROLE_KEY="wrong"))["postgrest"]["state"] == "failure"
