"""What stands in for Supabase's own images behaves as pg_cron, pg_net, Vault and the hosted roles do."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from aiohttp import web

from local.stack import Stack


async def eventually(look: Callable[[], Awaitable[Any]], seconds: float = 12.0) -> Any:
    """The first truthy answer of `look`; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (found := await look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)
    return found


@pytest_asyncio.fixture
async def postgres(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the role that migrations run as."""
    connection = await asyncpg.connect(stack.db_url)
    yield connection
    await connection.execute("reset role")
    for job in await connection.fetch("select jobid from cron.job where jobname like 'test-%' or jobname is null"):
        await connection.execute("select cron.unschedule($1::bigint)", job["jobid"])
    await connection.execute("drop table if exists public.stand_in_test")
    await connection.close()


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A server that keeps what it is sent: its URL and the list. `/slow` answers after three seconds."""
    received: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.text()
        received.append(
            {"method": request.method, "target": request.raw_path, "headers": dict(request.headers), "body": body}
        )
        if request.path == "/slow":
            await asyncio.sleep(3)
        return web.json_response({"got": body}, status=201)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", received
    await runner.cleanup()


async def test_a_job_runs_as_its_user_and_leaves_run_details(postgres: asyncpg.Connection) -> None:
    await postgres.execute("create table public.stand_in_test (who text, path text)")
    job = await postgres.fetchval(
        "select cron.schedule('test-runs', '1 seconds', "
        "$$insert into public.stand_in_test select current_user, current_setting('search_path')$$)"
    )

    run = await eventually(
        lambda: postgres.fetchrow(
            "select * from cron.job_run_details where jobid = $1 and status not in ('starting', 'running')", job
        )
    )

    assert (run["status"], run["return_message"], run["username"]) == ("succeeded", "INSERT 0 1", "postgres")
    assert run["start_time"] <= run["end_time"]
    assert run["job_pid"] > 0
    written = await postgres.fetchrow("select * from public.stand_in_test limit 1")
    assert written is not None
    assert tuple(written) == ("postgres", '"$user", public, extensions')


async def test_a_failing_job_says_why(postgres: asyncpg.Connection) -> None:
    job = await postgres.fetchval("select cron.schedule('test-fails', '1 seconds', 'select 1 / 0')")

    run = await eventually(
        lambda: postgres.fetchrow("select * from cron.job_run_details where jobid = $1 and status = 'failed'", job)
    )

    assert "division by zero" in run["return_message"]


async def test_a_job_never_runs_twice_at_once_and_the_next_run_waits(postgres: asyncpg.Connection) -> None:
    job = await postgres.fetchval("select cron.schedule('test-slow', '1 seconds', 'select pg_sleep(1.7)')")

    runs = await eventually(
        lambda: _at_least(
            3,
            postgres.fetch(
                "select start_time, end_time from cron.job_run_details where jobid = $1 and end_time is not null "
                "order by runid",
                job,
            ),
        ),
        seconds=15,
    )

    for earlier, later in itertools.pairwise(runs):
        assert earlier["end_time"] <= later["start_time"]
        assert (later["start_time"] - earlier["end_time"]).total_seconds() < 1.0


async def test_a_job_of_the_same_name_replaces_the_earlier_one(postgres: asyncpg.Connection) -> None:
    first = await postgres.fetchval("select cron.schedule('test-name', '0 0 1 1 *', 'select 1')")
    second = await postgres.fetchval("select cron.schedule('test-name', '0 0 2 1 *', 'select 2')")

    jobs = await postgres.fetch("select schedule, command from cron.job where jobname = 'test-name'")

    assert first == second
    assert [tuple(job) for job in jobs] == [("0 0 2 1 *", "select 2")]


async def test_jobs_are_altered_and_unscheduled_by_id_and_by_name(postgres: asyncpg.Connection) -> None:
    nameless = await postgres.fetchval("select cron.schedule('0 0 1 1 *', 'select 1')")
    await postgres.execute("select cron.schedule('test-gone', '0 0 1 1 *', 'select 1')")
    await postgres.execute("select cron.alter_job($1, schedule := '5 4 * * *', active := false)", nameless)

    altered = await postgres.fetchrow("select schedule, active, jobname from cron.job where jobid = $1", nameless)
    assert altered is not None
    assert tuple(altered) == ("5 4 * * *", False, None)
    assert await postgres.fetchval("select cron.unschedule('test-gone')") is True
    assert await postgres.fetchval("select cron.unschedule($1::bigint)", nameless) is True
    with pytest.raises(asyncpg.PostgresError, match="could not find valid entry for job"):
        await postgres.execute("select cron.unschedule('test-gone')")


@pytest.mark.parametrize("schedule", ["every minute", "* * * *", "0 seconds", "60 seconds", "* * * * * ; drop"])
async def test_a_schedule_that_pg_cron_refuses_is_refused(postgres: asyncpg.Connection, schedule: str) -> None:
    with pytest.raises(asyncpg.PostgresError, match="invalid schedule"):
        await postgres.execute("select cron.schedule('test-bad', $1, 'select 1')", schedule)


async def test_a_request_is_sent_after_the_commit_and_its_answer_is_kept(
    postgres: asyncpg.Connection, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = receiver
    async with postgres.transaction():
        request = await postgres.fetchval(
            'select net.http_post(url := $1, body := \'{"a": 1}\', params := \'{"q": "ä b"}\', '
            'headers := \'{"Content-Type": "application/json", "Authorization": "Bearer x"}\')',
            f"{url}/hook",
        )
        await asyncio.sleep(0.5)
        assert received == []

    answer = await eventually(lambda: postgres.fetchrow("select * from net._http_response where id = $1", request))

    assert (answer["status_code"], answer["timed_out"], answer["error_msg"]) == (201, False, None)
    assert answer["content_type"].startswith("application/json")
    assert json.loads(json.loads(answer["content"])["got"]) == {"a": 1}
    assert [(sent["method"], sent["target"]) for sent in received] == [("POST", "/hook?q=%C3%A4%20b")]
    assert received[0]["headers"]["Authorization"] == "Bearer x"
    # Of this one: every minute a schedule sends one of its own.
    assert await postgres.fetchval("select count(*) from net.http_request_queue where id = $1", request) == 0


async def test_a_request_of_a_rolled_back_transaction_is_never_sent(
    postgres: asyncpg.Connection, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = receiver
    transaction = postgres.transaction()
    await transaction.start()
    await postgres.execute("select net.http_post(url := $1)", f"{url}/never")
    await transaction.rollback()
    after = await postgres.fetchval("select net.http_get(url := $1)", f"{url}/after")

    await eventually(lambda: postgres.fetchrow("select * from net._http_response where id = $1", after))

    assert [sent["target"] for sent in received] == ["/after"]


async def test_a_request_that_times_out_is_recorded_and_not_tried_again(
    postgres: asyncpg.Connection, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = receiver
    request = await postgres.fetchval("select net.http_post(url := $1, timeout_milliseconds := 300)", f"{url}/slow")

    answer = await eventually(lambda: postgres.fetchrow("select * from net._http_response where id = $1", request))
    await asyncio.sleep(0.5)

    assert (answer["status_code"], answer["timed_out"]) == (None, True)
    assert "300 ms" in answer["error_msg"]
    assert len(received) == 1


async def test_a_request_to_nobody_is_recorded_with_its_error(postgres: asyncpg.Connection) -> None:
    request = await postgres.fetchval("select net.http_get(url := 'http://127.0.0.1:1/')")

    answer = await eventually(lambda: postgres.fetchrow("select * from net._http_response where id = $1", request))

    assert answer["status_code"] is None
    assert answer["error_msg"]


async def test_a_post_with_another_content_type_is_refused(postgres: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.PostgresError, match="Content-Type header must be"):
        await postgres.execute("""select net.http_post('http://x/', headers := '{"content-type": "text/plain"}')""")


async def test_vault_gives_postgres_and_service_role_what_was_put_in(postgres: asyncpg.Connection) -> None:
    secret = await postgres.fetchval("select vault.create_secret('gehëim', 'test-secret', 'a test')")
    try:
        await postgres.execute("select vault.update_secret($1, 'neü')", secret)
        await postgres.execute("set role service_role")

        row = await postgres.fetchrow("select * from vault.decrypted_secrets where name = 'test-secret'")

        assert row is not None
        assert (row["id"], row["decrypted_secret"], row["description"]) == (secret, "neü", "a test")
        assert row["secret"] != "neü"
    finally:
        await postgres.execute("reset role")
        await postgres.execute("delete from vault.secrets where id = $1", secret)


@pytest.mark.parametrize("role", ["anon", "authenticated"])
@pytest.mark.parametrize(
    "statement",
    [
        "select * from vault.decrypted_secrets",
        "select * from vault.secrets",
        "select vault.create_secret('x')",
        "select cron.schedule('test-foreign', '* * * * *', 'select 1')",
        "select net.http_get('http://127.0.0.1:1/')",
        "select * from auth.users",
        "select * from auth.refresh_tokens",
    ],
)
async def test_the_api_roles_reach_none_of_it(postgres: asyncpg.Connection, role: str, statement: str) -> None:
    await postgres.execute(f"set role {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await postgres.execute(statement)


async def test_postgres_is_no_superuser_and_cannot_write_cron_or_auth_tables_of_others(
    postgres: asyncpg.Connection,
) -> None:
    assert await postgres.fetchval("select rolsuper from pg_roles where rolname = current_user") is False
    for statement in (
        "insert into cron.job (schedule, command) values ('* * * * *', 'select 1')",
        "alter table auth.users add column mine text",
        "select cron._schedule('test-root', '* * * * *', 'select 1', 'supabase_admin')",
    ):
        with pytest.raises(asyncpg.PostgresError, match=r"permission denied|must be"):
            await postgres.execute(statement)


async def test_auth_helpers_read_the_claims_of_the_request(postgres: asyncpg.Connection) -> None:
    claims = {"sub": "5b0d6a1e-8a50-4d5a-9a3c-0d9f3a5d7f10", "role": "authenticated", "email": "a@b.example"}
    async with postgres.transaction():
        await postgres.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(claims))
        row = await postgres.fetchrow("select auth.uid()::text, auth.role(), auth.email(), auth.jwt()::text")
    assert row is not None
    assert tuple(row)[:3] == (claims["sub"], "authenticated", "a@b.example")
    assert json.loads(row[3]) == claims
    assert await postgres.fetchval("select auth.uid()") is None


async def _at_least(count: int, rows: Awaitable[list[asyncpg.Record]]) -> list[asyncpg.Record] | None:
    found = await rows
    return found if len(found) >= count else None
