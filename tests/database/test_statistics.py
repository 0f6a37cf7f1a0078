"""Statistics equal a count over all rows, for every caller, after every change, and whenever days were counted.

The access matrix has the sessions that each caller's figures are of.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.database import brute_statistics as brute
from tests.database.desk import JSON, PERSONA, SPACE, WORKSPACE, Desk, Loop, explore, own_token, refusal, with_token

OTHER_PERSONA = "00000000-0000-7000-8000-0000000000a1"
OTHER_SPACE = "00000000-0000-7000-8000-0000000000a2"
NOBODY = "00000000-0000-4000-8000-000000000001"

_SET = "update public.sessions set status_before_archive = null, archived_at = null, ended_at = "
CHANGES = {
    "a session pauses": f"{_SET} null, status = 'paused' where id = $1 and ended_at is null",
    "a session completes": f"{_SET} now(), status = 'completed' where id = $1",
    "a session times out": f"{_SET} now(), status = 'timeout' where id = $1",
    "a session is archived": "update public.sessions set status = 'archived', status_before_archive = 'completed',"
    " archived_at = now(), ended_at = now() where id = $1",
    "a step": "update public.sessions set workflow = 'charter', workflow_step = 'searching.aircraft' where id = $1",
    "a proposal": "with r as (insert into public.requests (workspace_id, session_id) select workspace_id, id"
    " from public.sessions where id = $1 returning *), p as (insert into public.proposals (workspace_id, request_id,"
    " session_id) select workspace_id, id, session_id from r returning *)"
    " update public.sessions s set proposal_id = p.id from p where s.id = p.session_id",
    "a turn ends": "with t as (update public.turns set status = 'failed', finished_at = created_at + interval '3 s',"
    " error_code = 'persona_failed' where session_id = $1 and status = 'active' returning session_id)"
    " update public.sessions s set message_count = message_count from t where s.id = t.session_id",
    "another contact": "update public.sessions set contact_id = (select id from public.contacts"
    " order by md5(id::text || $1::text) limit 1) where id = $1 and contact_id is not null",
    "another space": f"update public.sessions set space_id = '{OTHER_SPACE}' where id = $1",
    "no space": "update public.sessions set space_id = null where id = $1",
    "another channel": "update public.sessions set channel = 'telegram' where id = $1",
    "a session is deleted": "delete from public.sessions where id = $1",
    "a contact is deleted": "delete from public.contacts c using public.sessions s"
    " where s.id = $1 and c.id = s.contact_id",
    "a contact is linked": "update public.contacts c set session_id = s.id from public.sessions s"
    " where s.id = $1 and c.id = s.contact_id",
    "a contact is unlinked": "update public.contacts set session_id = null where session_id = $1",
    "a contact is imported": "insert into public.contacts (workspace_id, created_at)"
    " select workspace_id, created_at from public.sessions where id = $1",
    "a session is imported": "insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id,"
    " space_id, channel, status, turn_count, created_at, ended_at) select workspace_id, conversation_id, contact_id,"
    " persona_id, space_id, channel, 'failed', 1, created_at - interval '25 hours', now() from public.sessions"
    " where id = $1",
}
"""Each with the id of a session."""


async def ask(desk: Desk, caller: JSON, filters: JSON | None = None, workspace: str | None = WORKSPACE) -> JSON:
    arguments = {"workspace_id": workspace, "filters": filters or {}}
    return (await desk.call("read_session_stats", own_token(caller), **arguments)).body


async def check(desk: Desk, caller: JSON, filters: JSON | None = None, *, whole: bool = True) -> JSON:
    """The answer to a caller, after a comparison with the count over all rows."""
    said = await ask(desk, caller, filters)
    me = UUID(caller["user_id"])
    in_workspace = "select exists (select from public.workspace_members where user_id = $1)"
    is_member = await desk.admin.fetchval(in_workspace, me)

    def mine(session: brute.Row) -> bool:
        if whole or is_member:
            return whole or me in (session["user_id"], session["assigned_user_id"])
        return session["contact_id"] is not None and me == session["user_id"]

    brute.compare(said, brute.count(await brute.Rows.read(desk.admin), filters or {}, mine, whole=whole))
    return said


async def count_past(desk: Desk, hours_ago: float = 0) -> int:
    """The scheduled count, now or at an earlier time."""
    statement = "select private.count_past_sessions(now() - make_interval(mins => $1))"
    counted: int = await desk.admin.fetchval(statement, int(hours_ago * 60))
    return counted


async def add_places(desk: Desk) -> None:
    """A second persona and a second space."""
    await desk.admin.execute(
        "insert into public.personas (id, workspace_id, kind, name)"
        f" values ('{OTHER_PERSONA}', '{WORKSPACE}', 'demo', 'Other');"
        "insert into public.spaces (id, workspace_id, kind, name, persona_id)"
        f" values ('{OTHER_SPACE}', '{WORKSPACE}', 'embed', 'Other', '{OTHER_PERSONA}')"
    )


days_ago = st.sampled_from([0, 0, 0, 1, 1, 2, 4, 34, 75])
latencies = st.one_of(st.integers(0, 30), st.integers(0, 600_000))
pick = st.integers(0, 1000)
channels = st.sampled_from(["web", "telegram"])
filters_asked = st.fixed_dictionaries(
    {},
    optional={
        "persona_id": st.sampled_from([PERSONA, OTHER_PERSONA, NOBODY]),
        "space_id": st.sampled_from([SPACE, OTHER_SPACE]),
        "channel": channels,
        "from": days_ago,
        "to": days_ago,
    },
)


class Statistics(RuleBasedStateMachine):
    """Rows of several days, changed as the functions change them, and three callers."""

    loop: Loop
    desk: Desk
    callers: dict[str, JSON]

    @initialize()
    def empty(self) -> None:
        for table in ("public.conversations", "public.contacts", "public.session_stats_daily", "private.sweeps"):
            self._run(f"delete from {table}")

    def _run(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = self.loop.run(self.desk.admin.fetch(statement, *values))
        return rows

    def _one(self, table: str, which: int) -> asyncpg.Record | None:
        rows = self._run(f"select * from public.{table} order by id")
        return rows[which % len(rows)] if rows else None

    def _moment(self, ago: int, hour: float) -> datetime:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return min(midnight - timedelta(days=ago) + timedelta(hours=hour), datetime.now(UTC))

    @rule(ago=days_ago, hour=st.integers(0, 23))
    def a_contact_arrives(self, ago: int, hour: float) -> None:
        moment = self._moment(ago, hour)
        self._run("insert into public.contacts (workspace_id, created_at) values ($1, $2)", WORKSPACE, moment)

    @rule(ago=days_ago, hour=st.integers(0, 23), which=pick, persona=st.sampled_from([PERSONA, OTHER_PERSONA]),
          space=st.sampled_from([SPACE, OTHER_SPACE, None]), channel=channels)  # fmt: skip
    def a_session_opens(self, ago: int, hour: int, which: int, persona: str, space: str | None, channel: str) -> None:
        # Two of the contacts have most sessions, so that earlier ones matter.
        contact = self._one("contacts", which % 2) if which % 5 else None
        holder = "agent" if contact is None else "user" if which % 3 == 0 else None
        self._run(
            "with v as (insert into public.conversations (workspace_id, contact_id, user_id, persona_id, space_id,"
            " channel, thread_key, proof) values ($1, $2, $3, $4, $5, $6, $7, $8) returning *),"
            " s as (insert into public.sessions (workspace_id, conversation_id, contact_id, user_id, persona_id,"
            " space_id, channel, assigned_user_id, created_at) select workspace_id, id, contact_id, user_id,"
            " persona_id, space_id, channel, $9, $10 from v returning *)"
            " update public.contacts c set session_id = s.id from s where c.id = s.contact_id"
            " and c.session_id is null and $11",
            WORKSPACE, contact and contact["id"], holder and self.callers[holder]["user_id"], persona, space, channel,
            str(uuid4()), contact and "verified", self.callers["agent"]["user_id"] if which % 4 < 2 else None,
            self._moment(ago, hour), which % 3 == 1,
        )  # fmt: skip

    @rule(which=pick, answered=st.booleans(), status=st.sampled_from(["active", "completed", "failed", "timeout"]),
          code=st.sampled_from(["persona_failed", None]), took=latencies, first=st.one_of(st.none(), latencies),
          taken_over=st.booleans())  # fmt: skip
    def a_turn_is_taken(
        self, which: int, answered: bool, status: str, code: str | None, took: int, first: int | None, taken_over: bool
    ) -> None:
        session = self._one("sessions", which)
        if session is None or self._run("select from public.turns where session_id = $1 and status = 'active'",
                                        session["id"]):  # fmt: skip
            return
        over, began = status != "active", session["created_at"]
        self._run(
            "with t as (insert into public.turns (workspace_id, conversation_id, session_id, status, deadline,"
            " lease_until, created_at, finished_at, error_code, first_token_ms, taken_over)"
            " values ($1, $2, $3, $4, $5, $5, $5, $6, $7, $8, $9) returning *), m as (insert into public.messages"
            " (workspace_id, conversation_id, session_id, turn_id, role, persona_id, text)"
            " select workspace_id, conversation_id, session_id, id, 'persona', $10, 'Hi' from t where $11)"
            " update public.sessions set turn_count = turn_count + 1, message_count = message_count + 1 where id = $3",
            WORKSPACE, session["conversation_id"], session["id"], status, began,
            began + timedelta(milliseconds=took) if over else None, code if status in ("failed", "timeout") else None,
            first if over else None, taken_over, session["persona_id"], answered and over,
        )  # fmt: skip

    @rule(which=pick, what=st.sampled_from(sorted(CHANGES)))
    def a_change(self, which: int, what: str) -> None:
        if session := self._one("sessions", which):
            self._run(CHANGES[what], session["id"])

    @rule(hours_ago=st.sampled_from([0, 0, 0, 11, 26, 49, 24 * 60]))
    def past_days_are_counted(self, hours_ago: float) -> None:
        self.loop.run(count_past(self.desk, hours_ago))
        assert not self._run("select from private.session_stats_marks")

    @rule(filters=filters_asked)
    def all_callers_ask(self, filters: JSON) -> None:
        today = datetime.now(UTC).date()
        days: JSON = {name: str(today - timedelta(days=filters[name])) for name in ("from", "to") if name in filters}
        for name, caller in self.callers.items():
            for asked in ({}, {**filters, **days}):
                self.loop.run(check(self.desk, caller, asked, whole=name == "owner"))

    @invariant()
    def the_owner_reads_the_count(self) -> None:
        self.loop.run(check(self.desk, self.callers["owner"]))


def test_figures_equal_a_count_after_every_change(loop_and_desk: tuple[Loop, Desk]) -> None:
    loop, desk = loop_and_desk
    loop.run(add_places(desk))
    callers = {role: loop.run(desk.member(role)) for role in ("owner", "agent")}
    callers["user"] = {"kind": "user", "user_id": loop.run(desk.sign_up(None))}
    machine = type("Machine", (Statistics,), {"loop": loop, "desk": desk, "callers": callers})
    explore(machine, examples=15, steps=30)


async def old_session(desk: Desk, age: timedelta = timedelta(days=4), token: JSON | None = None) -> tuple[JSON, str]:
    """The token of a contact who arrived and chatted so long ago, and the session."""
    token = token or with_token(await desk.register(f"{uuid4()}@example.test"))
    turn = await desk.start(token)
    await desk.finish(turn)
    for table, key in (("sessions", turn["session_id"]), ("contacts", token["caller"]["contact_id"])):
        await desk.admin.execute(f"update public.{table} set created_at = now() - $2::interval where id = $1", key, age)
    return token, turn["session_id"]


async def marks(desk: Desk) -> int:
    found: int = await desk.admin.fetchval("select count(*) from private.session_stats_marks")
    return found


async def test_each_change_of_counted_days_is_in_the_next_answer(desk: Desk) -> None:
    """Each change in both sessions of a contact whose days are counted; the second is assigned to an agent."""
    await add_places(desk)
    owner, agent = await desk.member("owner"), await desk.member("agent")
    for statement in CHANGES.values():
        token, first = await old_session(desk, timedelta(days=70))
        await desk.change(owner, first, "complete")
        _, second = await old_session(desk, timedelta(days=4), token)
        await desk.assign(owner, second, agent)
        await count_past(desk)
        for session in (first, second):
            await desk.admin.execute(statement, session)
            await check(desk, agent, whole=False)
            for filters in ({}, {"space_id": SPACE}, {"channel": "web"}):
                await check(desk, owner, filters)
        await count_past(desk)
        assert await marks(desk) == 0
        await check(desk, owner)


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "lost"])
async def test_a_late_turn_counts_for_the_day_of_its_session(desk: Desk, end: str) -> None:
    owner = await desk.member("owner")
    token, session = await old_session(desk)
    await count_past(desk)
    turn = await desk.start(token)
    assert turn["session_id"] == session
    assert (await check(desk, owner))["turns"]["by_status"] == {"completed": 1, "active": 1}
    await count_past(desk)
    if end == "lost":
        await desk.let_lease_run_out(turn)
        await desk.expire()
    else:
        await desk.finish(turn, end, "Hi", error_code="persona_failed" if end == "failed" else None)
    told = await check(desk, owner)
    assert [day["turns"] for day in told["by_day"]] == [2]
    assert told["turns"]["by_status"].get("active", 0) == 0
    assert await count_past(desk) == 1
    assert await check(desk, owner) == told


async def test_a_turn_in_a_session_of_today_leaves_no_mark(desk: Desk) -> None:
    turn = await desk.start(with_token(await desk.register("ann@example.test")))
    await desk.flush(turn, 0, "Hi")
    await desk.finish(turn)
    await desk.change(await desk.member("owner"), turn["session_id"], "complete")
    assert await marks(desk) == 0


async def test_a_transaction_without_a_mark_has_half_an_hour_to_commit(desk: Desk) -> None:
    trigger = await desk.admin.fetchval(
        "select pg_get_triggerdef(oid) from pg_trigger where tgname like 'mark_changed%'"
    )
    marked_before = trigger.split(" < ")[1].split("))")[0].replace("now()", "$1::timestamptz")
    beyond: dict[int, set[int]] = {30: set(), 40: set()}
    for minute in range(0, 24 * 60, 10):
        began = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
        marked = (await desk.admin.fetchval(f"select {marked_before})", began)).date()
        for later, days in beyond.items():
            await desk.admin.execute("delete from private.sweeps")
            await desk.admin.fetchval("select private.count_past_sessions($1)", began + timedelta(minutes=later))
            days.add((await desk.admin.fetchval("select private.stats_counted_until()") - marked).days)
    assert beyond == {30: {0}, 40: {0, 1}}


async def test_the_answer_comes_from_the_rollups(desk: Desk) -> None:
    owner = await desk.member("owner")
    await old_session(desk)
    await count_past(desk)
    before = await check(desk, owner)
    # No trigger runs, so no day is marked.
    await desk.admin.execute("set session_replication_role = replica; delete from public.turns; reset all")
    assert await ask(desk, owner) == before
    assert (await desk.admin.fetchval("select max(day) from public.session_stats_daily")) < datetime.now(UTC).date()


async def test_a_change_during_a_count_is_counted_again_and_nothing_waits_for_a_mark(desk: Desk) -> None:
    owner = await desk.member("owner")
    sessions = [UUID((await old_session(desk))[1]) for _ in range(2)]
    await count_past(desk)
    other = await asyncpg.connect(desk.admin_url)
    try:
        async with other.transaction():
            await other.execute(CHANGES["a session completes"], sessions[0])
            await desk.admin.execute("set lock_timeout = '1s'")
            await desk.admin.execute(CHANGES["a step"], sessions[1])
            assert await count_past(desk) == 1
            assert await marks(desk) == 0
        assert await marks(desk) == 1
        assert (await check(desk, owner))["sessions"]["by_status"] == {"completed": 1, "active": 1}
        async with other.transaction():
            assert await other.fetchval("select private.count_past_sessions()") == 1
            assert await count_past(desk) == 0, "only one count runs at a time"
        await check(desk, owner)
    finally:
        await other.close()


async def test_marks_grow_with_the_changes_and_not_with_a_contacts_other_sessions(desk: Desk) -> None:
    owner = await desk.member("owner")
    _, session = await old_session(desk)
    await count_past(desk)
    for _ in range(40):
        await desk.admin.execute(CHANGES["a session is imported"], UUID(session))
    assert await marks(desk) == 40
    await check(desk, owner)
    assert await count_past(desk) == 2
    await check(desk, owner)


async def test_figures_name_their_scope_and_places_and_a_member_of_two_workspaces_names_one(desk: Desk) -> None:
    boss, agent = await desk.member("admin"), await desk.member("agent")
    _, session = await old_session(desk)
    await desk.assign(boss, session, agent)
    for caller, scope in ((boss, "workspace"), (agent, "own")):
        told = await ask(desk, caller, workspace=None)
        assert (told["scope"], told["sessions"]["total"]) == (scope, 1)
        assert all(item["name"] for item in told["by_persona"] + told["by_space"])
    other, _ = await desk.open_workspace()
    await desk.join(boss["user_id"], "agent", other)
    assert await refusal(ask(desk, boss, workspace=None)) == (422, "workspace_required")
