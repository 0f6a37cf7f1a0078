"""The short form of `make faults`, and the checker's own test: what is tampered with does not pass."""

import json
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from local.stack import Stack
from tests.faults import checker, harness, records
from tests.faults.checker import Report
from tests.faults.harness import Plan
from tests.faults.records import Record

PLAN = Plan(kills=12, seed=7, pause=1.0, sweep_seconds=2)


@dataclass(frozen=True)
class Run:
    """A run that is over; its stack still stands."""

    folder: Path
    stack: Stack
    report: Report

    @property
    def logs(self) -> Path:
        """Where the parts of the stack logged."""
        return self.stack.state_dir / "logs"

    async def check(self, folder: Path | None = None, logs: Path | None = None) -> Report:
        """The checker's word about what is there now."""
        return await checker.check(folder or self.folder, logs or self.logs, self.stack.admin_url)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run() -> AsyncIterator[Run]:
    """One short run of the real thing."""
    folder = harness.new_folder()
    try:
        with harness.own_stack(folder / "state") as stack:
            await harness.run(stack, folder, PLAN, print)
            yield Run(folder, stack, await checker.check(folder, stack.state_dir / "logs", stack.admin_url))
    finally:
        harness.remove(folder)


async def test_whatever_is_killed_every_promise_is_kept(run: Run) -> None:
    assert run.report.broken == [], "\n".join(run.report.lines())


async def test_the_run_was_worth_its_name(run: Run) -> None:
    checked = {rule.promise: rule.checked for rule in run.report.rules}
    rare = {"A refused message is not stored", "An answer is given up only in a long outage"}
    assert all(count for promise, count in checked.items() if promise not in rare), checked
    assert checked["What was killed came back"] == PLAN.kills
    assert all(kind in run.report.figures["kills"] for kind in ("functions", "postgrest", "postgres", "backend"))
    assert checked["Every acknowledged message is stored once"] > 50
    assert checked["After a crash the stored text is what was read, less the last moment"] > 5
    assert "completed" in run.report.figures["turns"]
    assert "final" in run.report.figures["resumes"]


COMPLETED = """(select t.id from public.turns t join public.messages m on m.turn_id = t.id and m.role = 'persona'
                 where t.status = 'completed' and t.client_message_id is not null order by t.id limit 1)"""
# One that left some text, if there is any: where all is slow, crashes come before the first of it is stored.
CRASHED = """(select t.id from public.turns t left join public.messages m on m.turn_id = t.id and m.role = 'persona'
               where t.error_code = 'lease_expired' order by m.id is null, t.id limit 1)"""
ENDED_SESSION = "(select id from public.sessions where status = 'completed' order by id limit 1)"

# What is done to the database, how it is undone, and the promise that it breaks.
TAMPERED = {
    "a message is gone": (
        f"create temp table kept as select * from public.messages where turn_id = {COMPLETED} and role <> 'persona';"
        "delete from public.messages where id in (select id from kept)",
        "insert into public.messages select * from kept; drop table kept",
        "Every acknowledged message is stored once",
    ),
    "a message is there twice": (
        "insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id, "
        "text, metadata) select workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id, text, "
        f"'{{\"twice\": true}}' from public.messages where turn_id = {COMPLETED} and role <> 'persona'",
        "delete from public.messages where metadata ? 'twice'",
        "No message is stored twice",
    ),
    "an answer is gone": (
        f"create temp table kept as select * from public.messages where turn_id = {COMPLETED} and role = 'persona';"
        "delete from public.messages where id in (select id from kept)",
        "insert into public.messages select * from kept; drop table kept",
        "A turn has one answer at most, a completed one exactly one",
    ),
    "an answer is another one": (
        f"update public.messages set text = 'x' || text where turn_id = {COMPLETED} and role = 'persona'",
        f"update public.messages set text = substr(text, 2) where turn_id = {COMPLETED} and role = 'persona'",
        "What a reader has of an ended turn is exactly the stored text",
    ),
    "what a crash left is more than was read": (
        f"create temp table kept as select * from public.turns where id = {CRASHED};"
        "update public.messages set text = text || 'x' where turn_id in (select id from kept) and role = 'persona';"
        "insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, persona_id, text, "
        "partial, metadata) select k.workspace_id, k.conversation_id, k.session_id, k.id, 'persona', s.persona_id, "
        "'x', true, '{\"made\": true}' from kept k join public.sessions s on s.id = k.session_id where not exists "
        "(select from public.messages m where m.turn_id = k.id and m.role = 'persona')",
        "delete from public.messages where metadata ? 'made'; update public.messages set text = left(text, -1) "
        "where turn_id in (select id from kept) and role = 'persona'; drop table kept",
        "After a crash the stored text is what was read, less the last moment",
    ),
    "a turn is still active": (
        # The sweep would end it before it is looked at.
        "update cron.job set active = false where jobname = 'switchboard-expire-turns';"
        f"create temp table kept as select * from public.turns where id = {COMPLETED};"
        "update public.turns set status = 'active', finished_at = null where id in (select id from kept)",
        "update public.turns t set status = k.status, finished_at = k.finished_at, error_code = k.error_code "
        "from kept k where k.id = t.id; delete from public.audit_events where object_id in (select id from kept);"
        "drop table kept; update cron.job set active = true where jobname = 'switchboard-expire-turns'",
        "Every turn ends within its lease and the sweep after it",
    ),
    "a turn ended late": (
        f"create temp table kept as select * from public.turns where id = {CRASHED};"
        "update public.turns set finished_at = lease_until + interval '1 minute' where id in (select id from kept)",
        "update public.turns t set finished_at = k.finished_at from kept k where k.id = t.id; drop table kept",
        "Every turn ends within its lease and the sweep after it",
    ),
    "a counter is wrong": (
        "update public.sessions set message_count = message_count + 1 where id = (select min(id::text)::uuid "
        "from public.sessions)",
        "update public.sessions set message_count = message_count - 1 where id = (select min(id::text)::uuid "
        "from public.sessions)",
        "A session's counters equal its rows",
    ),
    "two sessions are live": (
        "drop index public.sessions_one_live_idx; insert into public.sessions (workspace_id, conversation_id, "
        "contact_id, user_id, persona_id, metadata) select workspace_id, conversation_id, contact_id, user_id, "
        "persona_id, '{\"second\": true}' from public.sessions where status = 'active' limit 1",
        "delete from public.sessions where metadata ? 'second'; create unique index sessions_one_live_idx "
        "on public.sessions (conversation_id) where status in ('active', 'paused')",
        "A conversation has one live session at most",
    ),
    "a session outlives its one message": (
        f"create temp table kept as select * from public.sessions where id = {ENDED_SESSION};"
        "update public.sessions set status = 'active', ended_at = null where id in (select id from kept)",
        "update public.sessions s set status = k.status, ended_at = k.ended_at from kept k where k.id = s.id;"
        "drop table kept",
        "A session that is for one message ends with its turn",
    ),
    "a contact points to somebody else's session": (
        "create temp table kept as select c.id, c.session_id from public.contacts c limit 1;"
        "update public.contacts c set session_id = "
        "(select s.id from public.sessions s where s.contact_id <> c.id limit 1) where c.id in (select id from kept)",
        "update public.contacts c set session_id = k.session_id from kept k where k.id = c.id; drop table kept",
        "Every message belongs to its turn and session, every contact to a session of its own",
    ),
    "a piece is left over": (
        "insert into public.turn_chunks (turn_id, position, workspace_id, conversation_id, piece) "
        f"select id, 0, workspace_id, conversation_id, 'x' from public.turns where id = {COMPLETED}",
        "delete from public.turn_chunks",
        "Nothing is left over: no piece, no stuck job, no impossible limit",
    ),
    "an end is not audited": (
        f"create temp table kept as select * from public.audit_events where object_id = {CRASHED};"
        "delete from public.audit_events where id in (select id from kept)",
        "insert into public.audit_events overriding system value select * from kept; drop table kept",
        "A turn that was not completed is audited once",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_a_database_that_was_tampered_with_does_not_pass(run: Run, how: str) -> None:
    tamper, undo, promise = TAMPERED[how]
    connection = await asyncpg.connect(run.stack.admin_url)
    try:
        before = await connection.fetchval("select pg_current_wal_insert_lsn()")
        await connection.execute(tamper)
        assert await connection.fetchval("select pg_current_wal_insert_lsn()") != before
        try:
            report = await run.check()
        finally:
            await connection.execute(undo)
    finally:
        await connection.close()
    assert promise in {rule.promise for rule in report.rules if rule.broken}


def _without_one_piece(log: list[Record]) -> list[Record]:
    found = next(n for n, r in enumerate(log) if r.get("name") == "delta" and len(r["text"]) == int(r["id"]))
    return log[:found] + log[found + 1 :]


def _with_a_piece_twice(log: list[Record]) -> list[Record]:
    found = next(n for n, record in enumerate(log) if record.get("name") == "delta")
    return [*log[: found + 1], log[found], *log[found + 1 :]]


def _without_an_end(log: list[Record]) -> list[Record]:
    found = next(n for n, record in enumerate(log) if record.get("name") == "done")
    return log[:found] + log[found + 1 :]


def _with_an_end_of_another_kind(log: list[Record]) -> list[Record]:
    found = next(n for n, record in enumerate(log) if record.get("name") == "done")
    return [*log[:found], {**log[found], "status": "cancelled"}, *log[found + 1 :]]


def _with_a_late_end(log: list[Record]) -> list[Record]:
    found = next(n for n, record in enumerate(log) if record.get("name") == "done")
    return [*log[:found], {**log[found], "t": log[found]["t"] + 600}, *log[found + 1 :]]


def _with_a_message_that_nobody_stored(log: list[Record]) -> list[Record]:
    t, key, turn = log[0]["t"], "00000000-0000-4000-8000-000000000000", "00000000-0000-7000-8000-000000000000"
    about = {"t": t, "key": key, "turn": turn, "session": turn, "conversation": turn, "reader": 999_999}
    return [
        {"t": t, "kind": "sent", "key": key, "caller": "contact", "space": "x", "message": "lost", "attempt": 1},
        {**about, "kind": "acknowledged"},
        *log,
    ]


def _with_more_read_than_a_crash_may_take(log: list[Record]) -> list[Record]:
    end = next(r for r in log if r.get("name") == "error" and r.get("code") == "lease_expired")
    read = [r for r in log if r["kind"] == "event" and r["reader"] == end["reader"] and r["name"] == "delta"]
    length = int(read[-1]["id"]) if read else 0
    early = {**end, "t": log[0]["t"] - 60, "name": "delta", "id": str(length + 4), "text": "more"}
    place = log.index(end)
    return [*log[:place], early, *log[place:]]


def _with_something_strange(log: list[Record]) -> list[Record]:
    return [*log, {"t": log[-1]["t"], "kind": "wrong", "what": "500"}]


WHOLE = "Pieces and resumed rest follow each other without gap or overlap"
TOLD = "Every reader is told how the turn ended, as it is stored"
FORGED: dict[str, tuple[Callable[[list[Record]], list[Record]], str]] = {
    "a piece never came": (_without_one_piece, WHOLE),
    "a piece came twice": (_with_a_piece_twice, WHOLE),
    "the end never came": (_without_an_end, TOLD),
    "another end was told": (_with_an_end_of_another_kind, TOLD),
    "the end came late": (_with_a_late_end, "Every resume answers in bounded time"),
    "an acknowledged message is nowhere": (
        _with_a_message_that_nobody_stored,
        "Every acknowledged message is stored once",
    ),
    "a crash took more than a moment": (
        _with_more_read_than_a_crash_may_take,
        "After a crash the stored text is what was read, less the last moment",
    ),
    "a client was confused": (_with_something_strange, "The clients met nothing strange"),
}


@pytest.mark.parametrize("how", FORGED)
async def test_a_log_that_the_database_contradicts_does_not_pass(run: Run, tmp_path: Path, how: str) -> None:
    forge, promise = FORGED[how]
    for name in (records.KILLS, records.RUN):
        shutil.copy(run.folder / name, tmp_path)
    forged = forge(list(records.read(run.folder / records.CLIENTS)))
    (tmp_path / records.CLIENTS).write_text("".join(json.dumps(record) + "\n" for record in forged))
    assert promise in {rule.promise for rule in (await run.check(tmp_path)).rules if rule.broken}


async def test_a_part_that_never_came_back_does_not_pass(run: Run, tmp_path: Path) -> None:
    for name in (records.CLIENTS, records.RUN):
        shutil.copy(run.folder / name, tmp_path)
    lines = [json.dumps(record) for record in records.read(run.folder / records.KILLS) if record["kind"] == "kill"]
    (tmp_path / records.KILLS).write_text("\n".join(lines) + "\n")
    assert "What was killed came back" in {rule.promise for rule in (await run.check(tmp_path)).rules if rule.broken}


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("postgres", "2026-11-21 12:00:00.000 UTC [1] PANIC:  could not locate a valid checkpoint record"),
        ("postgres", "2026-11-21 12:00:00.000 UTC [1] ERROR:  deadlock detected"),
        ("postgres", '2026-11-21 12:00:00.000 UTC [1] ERROR:  duplicate key value violates unique constraint "x"'),
        ("gateway", '{"severity": "ERROR", "event": "unexpected_error", "function": "chat"}'),
        ("gateway", '{"severity": "ERROR", "event": "backend_refused_us", "call": "start_turn"}'),
        ("gateway", "Traceback (most recent call last):"),
    ],
)
async def test_a_line_that_no_kill_explains_does_not_pass(run: Run, tmp_path: Path, log: str, line: str) -> None:
    for name in ("postgres", "gateway"):
        shutil.copy(run.logs / f"{name}.log", tmp_path)
    with (tmp_path / f"{log}.log").open("a") as file:
        file.write(line + "\n")
    who = "Postgres" if log == "postgres" else "The functions"
    assert f"{who} logged nothing that no kill explains" in {
        rule.promise for rule in (await run.check(logs=tmp_path)).rules if rule.broken
    }


async def test_an_answer_that_was_given_up_too_soon_does_not_pass(run: Run, tmp_path: Path) -> None:
    for name in ("postgres", "gateway"):
        shutil.copy(run.logs / f"{name}.log", tmp_path)
    with (tmp_path / "gateway.log").open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00+00:00", "severity": "ERROR", "event": "finish_failed"}\n')
    report = await run.check(logs=tmp_path)
    assert [rule.promise for rule in report.rules if rule.broken] == ["An answer is given up only in a long outage"]
