"""The short form of `make faults`, and the checker's own test: a planted violation breaks its promise."""

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

ONCE = "Every acknowledged message is stored once"
SAME = "What a reader has of an ended turn is exactly the stored text"
CRASH = "After a crash the stored text is what was read, less the last moment"
ENDS = "Every turn ends within its lease and the sweep after it"
WHOLE = "Pieces and resumed rest follow each other without gap or overlap"
TOLD = "Every reader is told how the turn ended, as it is stored"
LEFT = "Nothing is left over: no piece, no stuck job, no impossible limit"
LINKS = "Every message belongs to its turn and session, every contact to a session of its own"
BACK = "What was killed came back"


@dataclass(frozen=True)
class Run:
    """A finished run, whose stack still runs."""

    folder: Path
    stack: Stack
    report: Report

    async def broken(self, *, folder: Path | None = None, logs: Path | None = None, tampering: str = "") -> set[str]:
        """The promises that the checker finds broken, after a tampering that is rolled back."""
        connection = await asyncpg.connect(self.stack.admin_url)
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(tampering or "select")
            assert bool(tampering) == bool(await connection.fetchval("select pg_current_xact_id_if_assigned()"))
            logs = logs or self.stack.state_dir / "logs"
            report = await checker.check(folder or self.folder, logs, connection)
        finally:
            await transaction.rollback()
            await connection.close()
        return {rule.promise for rule in report.rules if rule.broken}

    def copy(self, folder: Path) -> Path:
        """A copy of what the run wrote down, for a forger."""
        for name in (records.CLIENTS, records.KILLS, records.RUN):
            shutil.copy(self.folder / name, folder)
        for name in ("postgres.log", "gateway.log"):
            shutil.copy(self.stack.state_dir / "logs" / name, folder)
        return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run() -> AsyncIterator[Run]:
    """One short run of the real thing."""
    folder = harness.new_folder()
    try:
        with harness.own_stack(folder / "state") as stack:
            await harness.run(stack, folder, PLAN, print)
            yield Run(folder, stack, await harness.check(stack, folder))
    finally:
        harness.remove(folder)


async def test_whatever_is_killed_every_promise_is_kept(run: Run) -> None:
    assert run.report.broken == [], "\n".join(run.report.lines())
    assert await run.broken() == set()


async def test_the_run_was_worth_its_name(run: Run) -> None:
    checked = {rule.promise: rule.checked for rule in run.report.rules}
    rare = {"A refused message is not stored", "An answer is given up only in a long outage"}
    assert all(count for promise, count in checked.items() if promise not in rare), checked
    assert checked[BACK] == PLAN.kills
    assert all(kind in run.report.figures["kills"] for kind in ("functions", "postgrest", "postgres", "backend"))
    assert checked[ONCE] > 50
    assert checked[CRASH] > 5
    assert "completed" in run.report.figures["turns"]
    assert "final" in run.report.figures["resumes"]


COMPLETED = """(select t.id from public.turns t join public.messages m on m.turn_id = t.id and m.role = 'persona'
                 where t.status = 'completed' and t.client_message_id is not null order by t.id limit 1)"""
# One that left some text, if there is any: on a slow machine crashes come before the first text is stored.
CRASHED = """(select t.id from public.turns t left join public.messages m on m.turn_id = t.id and m.role = 'persona'
               where t.error_code = 'lease_expired' order by m.id is null, t.id limit 1)"""

# A single crashed turn may have no reader.
EVERY_CRASHED = "(select id from public.turns where error_code = 'lease_expired')"

TAMPERED = {
    "a message is gone": (f"delete from public.messages where turn_id = {COMPLETED} and role <> 'persona'", ONCE),
    "a message is there twice": (
        f"""insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id,
                                         text)
            select workspace_id, conversation_id, session_id, turn_id, role, contact_id, user_id, text
              from public.messages where turn_id = {COMPLETED} and role <> 'persona'""",
        "No message is stored twice",
    ),
    "an answer is gone": (
        f"delete from public.messages where turn_id = {COMPLETED} and role = 'persona'",
        "A turn has one answer at most, a completed one exactly one",
    ),
    "an answer is another one": (
        f"update public.messages set text = 'x' || text where turn_id = {COMPLETED} and role = 'persona'",
        "An answer is what the persona said to this message",
    ),
    "an answer is not what was read": (
        f"update public.messages set text = text || 'x' where turn_id = {COMPLETED} and role = 'persona'",
        SAME,
    ),
    "a crash left more than was read": (
        f"""delete from public.messages where turn_id in {EVERY_CRASHED} and role = 'persona';
            insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, persona_id, text,
                                         partial)
            select t.workspace_id, t.conversation_id, t.session_id, t.id, 'persona', s.persona_id, 'never read', true
              from public.turns t join public.sessions s on s.id = t.session_id where t.id in {EVERY_CRASHED}""",
        CRASH,
    ),
    "a turn is still active": (
        f"update public.turns set status = 'active', finished_at = null where id = {COMPLETED}",
        ENDS,
    ),
    "a turn ended late": (
        f"update public.turns set finished_at = lease_until + interval '1 minute' where id = {CRASHED}",
        ENDS,
    ),
    "a counter is wrong": (
        "update public.sessions set message_count = message_count + 1",
        "A session's counters equal its rows",
    ),
    "two sessions are live": (
        """drop index public.sessions_one_live_idx;
           insert into public.sessions (workspace_id, conversation_id, contact_id, user_id, persona_id)
           select workspace_id, conversation_id, contact_id, user_id, persona_id
             from public.sessions where status = 'active' limit 1""",
        "A conversation has one live session at most",
    ),
    "a session outlives its one message": (
        """update public.sessions set status = 'active', ended_at = null
            where id = (select id from public.sessions where status = 'completed' limit 1)""",
        "A session that is for one message ends with its turn",
    ),
    "a contact points to a session of another": (
        """update public.contacts c
              set session_id = (select s.id from public.sessions s where s.contact_id <> c.id limit 1)
            where c.id = (select id from public.contacts limit 1)""",
        LINKS,
    ),
    "a piece is left over": (
        f"""insert into public.turn_chunks (turn_id, position, workspace_id, conversation_id, piece)
            select id, 0, workspace_id, conversation_id, 'x' from public.turns where id = {COMPLETED}""",
        LEFT,
    ),
    "an end is not audited": (
        f"delete from public.audit_events where object_id = {CRASHED}",
        "A turn that was not completed is audited once",
    ),
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_a_database_that_was_tampered_with_does_not_pass(run: Run, how: str) -> None:
    tampering, promise = TAMPERED[how]
    assert promise in await run.broken(tampering=tampering)


Forger = Callable[[list[Record], int], list[Record]]
"""Changes the clients' log at a place."""


def _with_more_read_than_a_crash_may_lose(log: list[Record], place: int) -> list[Record]:
    end = log[place]
    read = [int(one["id"]) for one in log if one.get("reader") == end["reader"] and one.get("name") == "delta"]
    early = {**end, "t": log[0]["t"] - 60, "name": "delta", "id": str(max(read, default=0) + 4), "text": "more"}
    return [*log[:place], early, *log[place:]]


def _with_a_message_that_is_not_stored(log: list[Record], _: int) -> list[Record]:
    sent = next(one for one in log if one["kind"] == "sent")
    acknowledged = next(one for one in log if one["kind"] == "acknowledged")
    return [{**sent, "key": "lost"}, {**acknowledged, "key": "lost", "reader": 999_999}, *log]


# What is done to the clients' log, at the first record of that name or code.
FORGED: dict[str, tuple[str, Forger, str]] = {
    "a piece never came": ("delta", lambda log, at: log[:at] + log[at + 1 :], WHOLE),
    "a piece came twice": ("delta", lambda log, at: log[: at + 1] + log[at:], WHOLE),
    "the end never came": ("done", lambda log, at: log[:at] + log[at + 1 :], TOLD),
    "another end was told": (
        "done",
        lambda log, at: [*log[:at], {**log[at], "status": "cancelled"}, *log[at + 1 :]],
        TOLD,
    ),
    "the end came late": (
        "done",
        lambda log, at: [*log[:at], {**log[at], "t": log[at]["t"] + 600}, *log[at + 1 :]],
        "Every resume answers in bounded time",
    ),
    "a crash took more than a moment": ("lease_expired", _with_more_read_than_a_crash_may_lose, CRASH),
    "an acknowledged message is nowhere": ("done", _with_a_message_that_is_not_stored, ONCE),
    "a client was confused": (
        "done",
        lambda log, _: [*log, {"t": log[-1]["t"], "kind": "wrong", "what": "500"}],
        "The clients met nothing strange",
    ),
}


@pytest.mark.parametrize("how", FORGED)
async def test_a_log_that_the_database_contradicts_does_not_pass(run: Run, tmp_path: Path, how: str) -> None:
    mark, forge, promise = FORGED[how]
    log = list(records.read(run.folder / records.CLIENTS))
    forged = forge(log, next(at for at, one in enumerate(log) if mark in (one.get("name"), one.get("code"))))
    (run.copy(tmp_path) / records.CLIENTS).write_text("".join(json.dumps(record) + "\n" for record in forged))
    assert promise in await run.broken(folder=tmp_path)


async def test_a_part_that_never_came_back_does_not_pass(run: Run, tmp_path: Path) -> None:
    kills = [json.dumps(one) for one in records.read(run.folder / records.KILLS) if one["kind"] == "kill"]
    (run.copy(tmp_path) / records.KILLS).write_text("\n".join(kills) + "\n")
    assert BACK in await run.broken(folder=tmp_path)


GIVEN_UP = '{"time": "2026-01-01T00:00:00+00:00", "severity": "ERROR", "event": "finish_failed"}'
STRANGE = {
    "2026-11-21 12:00:00.000 UTC [1] PANIC:  could not locate a valid checkpoint record": "Postgres",
    "2026-11-21 12:00:00.000 UTC [1] ERROR:  deadlock detected": "Postgres",
    '2026-11-21 12:00:00.000 UTC [1] ERROR:  duplicate key value violates unique constraint "x"': "Postgres",
    '{"severity": "ERROR", "event": "unexpected_error", "function": "chat"}': "The functions",
    '{"severity": "ERROR", "event": "backend_refused_us", "call": "start_turn"}': "The functions",
    "Traceback (most recent call last):": "The functions",
}


@pytest.mark.parametrize("line", [*STRANGE, GIVEN_UP])
async def test_a_line_that_no_kill_explains_does_not_pass(run: Run, tmp_path: Path, line: str) -> None:
    part = STRANGE.get(line, "The functions")
    with (run.copy(tmp_path) / ("postgres.log" if part == "Postgres" else "gateway.log")).open("a") as file:
        file.write(line + "\n")
    told = "An answer is given up only in a long outage"
    promise = told if line == GIVEN_UP else f"{part} logged nothing that no kill explains"
    assert await run.broken(logs=tmp_path) == {promise}
