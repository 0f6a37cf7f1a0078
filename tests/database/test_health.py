"""`check_health`, which `switchboard doctor` asks. That it runs on every version is test_versions'."""

import json

import asyncpg

from tests.database.desk import Desk

WELL = """
select vault.create_secret('x', name)
  from unnest(array['archive_url', 'worker_url', 'session_cleanup_url', 'cron_secret']) name;
with owner as (insert into auth.users (id, email) values (gen_random_uuid(), 'o@health.test') returning id)
insert into public.workspace_members (workspace_id, user_id, role)
select w.id, o.id, 'owner' from public.workspaces w, owner o;
"""
RUN = (
    "insert into cron.job_run_details (jobid, status, start_time, end_time)"
    " select jobid, '{}', {at}, {at} from cron.job"
)
JOB = (
    "insert into public.jobs (workspace_id, kind, status, next_attempt_at, lease_until, finished_at)"
    " select id, 'x', {} from public.workspaces"
)
SESSIONS = "update public.turns set status = 'completed', finished_at = now(); update public.sessions set "

BROKEN = {
    "schedules_missing": (
        "update cron.job set active = false where jobname = 'switchboard-worker'", {"switchboard-worker"},
    ),
    "schedules_late": (
        RUN.format("succeeded", at="now() - interval '8 minutes'") + " where jobname = 'switchboard-worker';"
        + RUN.format("succeeded", at="now() - interval '6 minutes'") + " where jobname <> 'switchboard-worker'",
        {"switchboard-worker"},
    ),
    "schedules_failing": (
        RUN.format("failed", at="now()") + " where jobname = 'switchboard-prune'", {"switchboard-prune"},
    ),
    "addresses_missing": ("delete from vault.secrets where name = 'worker_url'", {"worker_url"}),
    "turns_stuck": ("update public.turns set lease_until = now() - interval '6 minutes'", 1),
    "sessions_stuck": (SESSIONS + "last_activity_at = now() - interval '37 hours'", 1),
    "jobs_dead": (JOB.format("'dead', now(), null, now()"), 1),
    "jobs_waiting": (
        JOB.format("'queued', now() - interval '1 hour', null, null") + ";"
        + JOB.format("'running', now(), now() - interval '1 hour', null") + ";"
        # The second waits for the first.
        + "insert into public.jobs (workspace_id, kind, ordering_key, next_attempt_at) select id, 'x', 'k', now() + at"
        "  from public.workspaces, unnest(array['1 hour', '-1 hour']::interval[]) at", 2,
    ),
    "workspaces_unarchived": (SESSIONS + "status = 'completed', ended_at = now() - interval '93 days'", 1),
    "transcripts_waiting": (
        "insert into public.archive_queue (session_id, workspace_id, month, queued_at)"
        " select id, workspace_id, '2026-01-01', now() - interval '25 hours' from public.sessions",
        1,
    ),
    "workspaces_without_owner": ("insert into public.workspaces (name) values ('x'), ('y')", 2),
    "tables_open": ("alter table public.tags disable row level security", {"public.tags"}),
    "tables_without_policy": (
        "create table public.mine (id integer); alter table public.mine enable row level security;"
        " grant select on public.mine to contact", {"public.mine"},
    ),
    "policies_missing": (
        "drop policy \"Admins read their workspace's exports\" on public.exports",
        {"public.exports: Admins read their workspace's exports"},
    ),
    "keys_without_index": (
        "drop index public.contacts_session_id_idx, public.jobs_event_id_idx",
        {"public.contacts.contacts_session_id_fkey", "public.jobs.jobs_event_id_fkey"},
    ),
    "indexes_missing": ("drop index public.exports_newest_idx", {"exports_newest_idx"}),
    "indexes_invalid": (
        "update pg_index set indisvalid = false where indexrelid = 'public.tags_name_idx'::regclass",
        {"public.tags_name_idx"},
    ),
    "functions_changed": (
        "create or replace function private.expire_exports(workspace_id uuid) returns void language sql as ''",
        {"private.expire_exports(uuid)"},
    ),
}  # fmt: skip
"""A statement, and what is found then: names, or how many."""


UP = """
create or replace function private.up_since() returns timestamptz language sql as $$select now() - interval '3 days'$$;
insert into supabase_migrations.schema_migrations (version, statements)
values ('9', array['create function private.up_since() $$select now() - interval ''3 days''$$']);
update public.workspaces set created_at = now() - interval '3 days';
"""
SWEPT = "select public.archive_old_chat_sessions(), public.expire_idle_sessions();"
NO_CHANCE = {
    **dict.fromkeys(("schedules_late", "turns_stuck", "jobs_waiting"), ""),
    **dict.fromkeys(("sessions_stuck", "workspaces_unarchived"), UP + SWEPT),
}
"""What is no fault yet: the database has just started, or a run has been since which all of it became due."""


async def findings(connection: asyncpg.Connection) -> dict[str, tuple[int, set[str]]]:
    """What is found by each check."""
    health = json.loads(await connection.fetchval("select public.check_health()::text"))
    assert health["migrations"]
    return {check["name"]: (check["found"], set(check["examples"])) for check in health["checks"]}


async def test_each_broken_thing_is_found_and_named_and_nothing_where_all_is_well(desk: Desk) -> None:
    await desk.admin.execute(WELL)
    assert await findings(desk.admin) == dict.fromkeys(BROKEN, (0, set()))
    await desk.start()

    async def found_after(statement: str, name: str) -> tuple[int, set[str]]:
        transaction = desk.admin.transaction()
        await transaction.start()
        await desk.admin.execute(statement)
        found = (await findings(desk.admin))[name]
        await transaction.rollback()
        return found

    for name, before in NO_CHANCE.items():
        assert await found_after(before + BROKEN[name][0], name) == (0, set()), name
    for name, (statement, expected) in BROKEN.items():
        found, examples = await found_after(UP + statement, name)
        assert (found if isinstance(expected, int) else examples) == expected, name
        assert found == len(examples), name
    assert {name for name, (found, _) in (await findings(desk.admin)).items() if found} == set()
