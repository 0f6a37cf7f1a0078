"""The stand-ins for Supabase's images behave as pg_cron, pg_net, Vault and the hosted roles do."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from local.stack import Stack


async def eventually(look: Callable[[], Awaitable[Any]], seconds: float = 12.0) -> Any:
    """The first truthy result of `look`. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not (found := await look()):  # noqa: ASYNC110
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
    """A server's URL and the requests it received. `/slow` answers after three seconds."""
    received: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.text()
        received.append({"method": request.method, "target": request.raw_path, "headers": dict(request.headers)})
        if request.path == "/slow":
            await asyncio.sleep(3)
        return web.json_response({"got": body}, status=201)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/")).removesuffix("/"), received


async def response_to(postgres: asyncpg.Connection, request: Any) -> Any:
    """The stored response to a request of pg_net."""
    return await eventually(lambda: postgres.fetchrow("select * from net._http_response where id = $1", request))


async def test_a_job_runs_as_its_user_and_leaves_run_details(postgres: asyncpg.Connection) -> None:
    await postgres.execute("create table public.stand_in_test (who text, path text)")
    insert = "insert into public.stand_in_test select current_user, current_setting('search_path')"
    ended = "select * from cron.job_run_details where jobid = $1 and status not in ('starting', 'running')"
    good, bad = [
        await postgres.fetchval("select cron.schedule($1, '1 seconds', $2)", name, command)
        for name, command in (("test-runs", insert), ("test-fails", "select 1 / 0"))
    ]
    run = await eventually(lambda: postgres.fetchrow(ended, good))
    assert (run["status"], run["return_message"], run["username"]) == ("succeeded", "INSERT 0 1", "postgres")
    assert run["start_time"] <= run["end_time"]
    assert run["job_pid"] > 0
    written = await postgres.fetch("select * from public.stand_in_test limit 1")
    assert [tuple(row) for row in written] == [("postgres", '"$user", public, extensions')]
    failed = await eventually(lambda: postgres.fetchrow(ended, bad))
    assert (failed["status"], "division by zero" in failed["return_message"]) == ("failed", True)


async def test_the_next_run_of_a_slow_job_starts_when_the_previous_run_has_ended(postgres: asyncpg.Connection) -> None:
    job = await postgres.fetchval("select cron.schedule('test-slow', '1 seconds', 'select pg_sleep(1.2)')")
    third = "select from cron.job_run_details where jobid = $1 and end_time is not null offset 2"
    await eventually(lambda: postgres.fetch(third, job))
    pauses = (
        "select extract(epoch from start_time - lag(end_time) over (order by runid))::float"
        " from cron.job_run_details where jobid = $1 order by runid limit 3"
    )
    for (pause,) in (await postgres.fetch(pauses, job))[1:]:
        assert 0 <= pause < 1


async def test_jobs_are_replaced_altered_and_unscheduled(postgres: asyncpg.Connection) -> None:
    schedule = "select cron.schedule('test-name', $1, $2)"
    first = await postgres.fetchval(schedule, "0 0 1 1 *", "select 1")
    assert await postgres.fetchval(schedule, "0 0 2 1 *", "select 2") == first
    nameless = await postgres.fetchval("select cron.schedule('0 0 1 1 *', 'select 1')")
    await postgres.execute("select cron.alter_job($1, schedule := '5 4 * * *', active := false)", nameless)
    query = "select schedule, command, active, jobname from cron.job where jobid in ($1, $2) order by jobid"
    assert [tuple(job) for job in await postgres.fetch(query, first, nameless)] == [
        ("0 0 2 1 *", "select 2", True, "test-name"),
        ("5 4 * * *", "select 1", False, None),
    ]
    assert await postgres.fetchval("select cron.unschedule('test-name')") is True
    assert await postgres.fetchval("select cron.unschedule($1::bigint)", nameless) is True
    with pytest.raises(asyncpg.PostgresError, match="could not find valid entry for job"):
        await postgres.execute("select cron.unschedule('test-name')")


@pytest.mark.parametrize("schedule", ["every minute", "* * * *", "0 seconds", "60 seconds", "* * * * * ; drop"])
async def test_a_schedule_that_pg_cron_refuses_is_refused(postgres: asyncpg.Connection, schedule: str) -> None:
    with pytest.raises(asyncpg.PostgresError, match="invalid schedule"):
        await postgres.execute("select cron.schedule('test-bad', $1, 'select 1')", schedule)


async def test_a_request_is_sent_only_after_its_commit_and_the_response_is_stored(
    stack: Stack, postgres: asyncpg.Connection, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = receiver
    rolled_back = postgres.transaction()
    await rolled_back.start()
    await postgres.execute("select net.http_post(url := $1)", f"{url}/never")
    await rolled_back.rollback()
    async with postgres.transaction():
        request = await postgres.fetchval(
            'select net.http_post(url := $1, body := \'{"a": 1}\', params := \'{"q": "ä b"}\', '
            'headers := \'{"Content-Type": "application/json", "Authorization": "Bearer x"}\')',
            f"{url}/hook",
        )
        other = await asyncpg.connect(stack.db_url)
        await response_to(other, await other.fetchval("select net.http_get(url := $1)", f"{url}/meanwhile"))
        await other.close()
        assert [sent["target"] for sent in received] == ["/meanwhile"]

    answer = await response_to(postgres, request)

    assert (answer["status_code"], answer["timed_out"], answer["error_msg"]) == (201, False, None)
    assert answer["content_type"].startswith("application/json")
    assert json.loads(json.loads(answer["content"])["got"]) == {"a": 1}
    assert [(sent["method"], sent["target"]) for sent in received[1:]] == [("POST", "/hook?q=%C3%A4%20b")]
    assert received[1]["headers"]["Authorization"] == "Bearer x"
    assert await postgres.fetchval("select count(*) from net.http_request_queue where id = $1", request) == 0


async def test_a_failed_request_is_recorded_and_not_retried(
    postgres: asyncpg.Connection, receiver: tuple[str, list[dict[str, Any]]]
) -> None:
    url, received = receiver
    slow = await postgres.fetchval("select net.http_post(url := $1, timeout_milliseconds := 300)", f"{url}/slow")
    late = await response_to(postgres, slow)
    assert (late["status_code"], late["timed_out"], "300 ms" in late["error_msg"]) == (None, True, True)
    refused = await response_to(postgres, await postgres.fetchval("select net.http_get(url := 'http://127.0.0.1:1/')"))
    assert refused["status_code"] is None
    assert refused["error_msg"]
    await response_to(postgres, await postgres.fetchval("select net.http_get(url := $1)", f"{url}/after"))
    assert [sent["target"] for sent in received] == ["/slow", "/after"]


async def test_a_post_with_another_content_type_is_refused(postgres: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.PostgresError, match="Content-Type header must be"):
        await postgres.execute("""select net.http_post('http://x/', headers := '{"content-type": "text/plain"}')""")


async def test_the_service_role_reads_the_current_value_of_a_secret(postgres: asyncpg.Connection) -> None:
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
async def test_the_api_roles_are_denied(postgres: asyncpg.Connection, role: str, statement: str) -> None:
    await postgres.execute(f"set role {role}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await postgres.execute(statement)


async def test_postgres_is_no_superuser_and_does_not_own_the_tables_of_cron_and_auth(
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
    assert (tuple(row)[:3], json.loads(row[3])) == ((claims["sub"], "authenticated", "a@b.example"), claims)
    assert await postgres.fetchval("select auth.uid()") is None
