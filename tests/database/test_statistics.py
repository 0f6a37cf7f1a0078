"""Statistics say what a count over all rows says, whoever asks, whatever changed and whenever days were counted."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.database import brute_statistics as brute
from tests.database.desk import JSON, PERSONA, SPACE, WORKSPACE, Desk, Raised, with_token
from tests.database.test_sessions_states import change, member
from tests.database.test_turn_lifecycle import Loop, loop_and_desk

__all__ = ["loop_and_desk"]

OTHER_PERSONA = "00000000-0000-7000-8000-0000000000a1"
OTHER_SPACE = "00000000-0000-7000-8000-0000000000a2"
NOBODY = "00000000-0000-4000-8000-000000000001"
OVER = ("completed", "failed", "timeout", "cancelled")
STEPS = ("understanding_request", "searching_aircraft", "proposal_ready")
CODES = ("persona_timeout", "persona_failed", "lease_expired", None)


def own_token(caller: JSON) -> JSON:
    """The claims of a user's own token."""
    return {"role": "authenticated", "sub": caller["user_id"]}


async def ask(desk: Desk, caller: JSON, filters: JSON | None = None, workspace: str | None = WORKSPACE) -> JSON:
    answer = await desk.call("read_session_stats", own_token(caller), workspace_id=workspace, filters=filters or {})
    return answer.body


async def count_past(desk: Desk) -> int:
    """What pg_cron does every ten minutes."""
    counted: int = await desk.admin.fetchval("select private.count_past_sessions()")
    return counted


async def check(desk: Desk, caller: JSON, filters: JSON | None = None, *, whole: bool = True) -> JSON:
    """The figures that a caller is told, which are what can be counted."""
    said = await ask(desk, caller, filters)

    is_member = await desk.admin.fetchval(
        "select exists (select from public.workspace_members where user_id = $1)", caller["user_id"]
    )

    def mine(session: brute.Row) -> bool:
        if whole:
            return True
        if is_member:
            return caller["user_id"] in (str(session["user_id"]), str(session["assigned_user_id"]))
        return session["contact_id"] is not None and caller["user_id"] == str(session["user_id"])

    brute.compare(said, brute.count(await brute.Rows.read(desk.admin), filters or {}, mine, whole=whole))
    return said


async def add_places(desk: Desk) -> None:
    """A second persona and a second space."""
    await desk.admin.execute(
        "insert into public.personas (id, workspace_id, kind, name) values ($1, $2, 'demo', 'Other')",
        OTHER_PERSONA,
        WORKSPACE,
    )
    await desk.admin.execute(
        "insert into public.spaces (id, workspace_id, kind, name, persona_id) values ($1, $2, 'embed', 'Other', $3)",
        OTHER_SPACE,
        WORKSPACE,
        OTHER_PERSONA,
    )


days_ago = st.integers(0, 5)
hours = st.integers(0, 47).map(lambda number: number / 2)
pick = st.integers(0, 1000)
spaces = st.sampled_from([SPACE, OTHER_SPACE, None])
channels = st.sampled_from(["web", "telegram"])
latencies = st.one_of(st.integers(0, 30), st.integers(0, 600_000))
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
    """Rows of several days, changed as the functions change them, and three readers."""

    loop: Loop
    desk: Desk
    readers: dict[str, JSON]

    @initialize()
    def nothing_is_there(self) -> None:
        for table in ("conversations", "contacts", "session_stats_daily"):
            self._run(f"delete from public.{table}")
        self._run("delete from private.session_stats_progress")
        self.contacts: list[UUID] = []
        self.sessions: list[UUID] = []
        self.turns: list[UUID] = []

    def _run(self, statement: str, *values: Any) -> None:
        self.loop.run(self.desk.admin.execute(statement, *values))

    @staticmethod
    def _moment(ago: int, hour: float) -> datetime:
        midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return min(midnight - timedelta(days=ago) + timedelta(hours=hour), datetime.now(UTC))

    def _touch(self, session: UUID, *, turns: int = 0, messages: int = 0) -> None:
        """As every change of a turn does."""
        self._run(
            "update public.sessions set turn_count = turn_count + $2, message_count = message_count + $3 where id = $1",
            session, turns, messages,
        )  # fmt: skip

    @rule(ago=days_ago, hour=hours)
    def a_contact_comes(self, ago: int, hour: float) -> None:
        self.contacts.append(uuid4())
        self._run(
            "insert into public.contacts (id, workspace_id, created_at) values ($1, $2, $3)",
            self.contacts[-1], WORKSPACE, self._moment(ago, hour),
        )  # fmt: skip

    @rule(ago=days_ago, hour=hours, whose=pick, persona=st.booleans(), space=spaces, channel=channels, reader=pick)
    def a_session_opens(
        self, ago: int, hour: float, whose: int, persona: bool, space: str | None, channel: str, reader: int
    ) -> None:
        contact = self.contacts[whose % len(self.contacts)] if self.contacts and whose % 5 else None
        user_id = None
        if contact is None or reader % 3 == 0:
            user_id = self.readers["agent" if contact is None else "user"]["user_id"]
        assigned = self.readers["agent"]["user_id"] if reader % 4 == 0 else None
        answerer = PERSONA if persona else OTHER_PERSONA
        conversation, session = uuid4(), uuid4()
        self._run(
            "insert into public.conversations (id, workspace_id, contact_id, user_id, persona_id, space_id, channel,"
            " thread_key, proof) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            conversation, WORKSPACE, contact, user_id, answerer, space, channel, str(conversation),
            None if contact is None else "verified",
        )  # fmt: skip
        self._run(
            "insert into public.sessions (id, workspace_id, conversation_id, contact_id, user_id, persona_id,"
            " assigned_user_id, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8)",
            session, WORKSPACE, conversation, contact, user_id, answerer, assigned, self._moment(ago, hour),
        )  # fmt: skip
        self._run(
            "update public.contacts set session_id = $2 where id = $1 and session_id is null and $3",
            contact, session, bool(reader % 2),
        )  # fmt: skip
        self.sessions.append(session)

    @rule(where=pick, answered=st.booleans(), status=st.sampled_from(["active", *OVER]), code=st.sampled_from(CODES),
          took=latencies, first=st.one_of(st.none(), latencies))  # fmt: skip
    def a_turn_is_taken(
        self, where: int, answered: bool, status: str, code: str | None, took: int, first: int | None
    ) -> None:
        if not self.sessions:
            return
        session, turn = self.sessions[where % len(self.sessions)], uuid4()
        row = self.loop.run(self.desk.admin.fetchrow("select * from public.sessions where id = $1", session))
        busy = self.loop.run(
            self.desk.admin.fetchval(
                "select exists (select from public.turns where session_id = $1 and status = 'active')", session
            )
        )
        if row is None or busy:
            return
        began = row["created_at"]
        self._run(
            "insert into public.turns (id, workspace_id, conversation_id, session_id, status, deadline, lease_until,"
            " created_at, finished_at, error_code, first_token_ms) values ($1, $2, $3, $4, $5, $6, $6, $6, $7, $8, $9)",
            turn, WORKSPACE, row["conversation_id"], session, status, began,
            None if status == "active" else began + timedelta(milliseconds=took),
            code if status in ("failed", "timeout") else None, None if status == "active" else first,
        )  # fmt: skip
        said = answered and status != "active"
        if said:
            self._run(
                "insert into public.messages (workspace_id, conversation_id, session_id, turn_id, role, persona_id,"
                " text) values ($1, $2, $3, $4, 'persona', $5, 'Hi')",
                WORKSPACE, row["conversation_id"], session, turn, row["persona_id"],
            )  # fmt: skip
        self._touch(session, turns=1, messages=1 + said)
        self.turns.append(turn)

    @rule(which=pick, status=st.sampled_from(OVER), took=latencies)
    def a_turn_ends(self, which: int, status: str, took: int) -> None:
        if not self.turns:
            return
        row = self.loop.run(
            self.desk.admin.fetchrow(
                "update public.turns set status = $2, finished_at = created_at + $3, error_code = $4"
                " where id = $1 and status = 'active' returning session_id",
                self.turns[which % len(self.turns)], status, timedelta(milliseconds=took),
                "lease_expired" if status == "timeout" else None,
            )
        )  # fmt: skip
        if row is not None:
            self._touch(row["session_id"])

    @rule(which=pick, to=st.sampled_from(["paused", *OVER, "archived"]))
    def a_session_changes(self, which: int, to: str) -> None:
        if self.sessions:
            archived = (
                ", status_before_archive = 'completed', archived_at = now(), ended_at = now()"
                if to == "archived"
                else ", status_before_archive = null, archived_at = null, ended_at = "
                + ("null" if to == "paused" else "now()")
            )
            self._run(
                f"update public.sessions set status = $2 {archived} where id = $1",
                self.sessions[which % len(self.sessions)], to,
            )  # fmt: skip

    @rule(which=pick, step=st.sampled_from(STEPS), offered=st.booleans())
    def a_step_is_taken(self, which: int, step: str, offered: bool) -> None:
        if not self.sessions:
            return
        session = self.sessions[which % len(self.sessions)]
        self._run("update public.sessions set workflow = 'charter', workflow_step = $2 where id = $1", session, step)
        if offered:
            self._run(
                "with r as (insert into public.requests (workspace_id, session_id) select workspace_id, id"
                " from public.sessions where id = $1 returning *), p as (insert into public.proposals (workspace_id,"
                " request_id, session_id) select workspace_id, id, session_id from r returning *)"
                " select p.id from p", session,
            )  # fmt: skip
            self._run(
                "update public.sessions s set proposal_id = p.id from public.proposals p"
                " where s.id = $1 and p.session_id = s.id", session,
            )  # fmt: skip

    @rule(which=pick, who=pick)
    def a_session_becomes_somebody_elses(self, which: int, who: int) -> None:
        if self.sessions and self.contacts:
            self._run(
                "update public.sessions set contact_id = $2 where id = $1 and contact_id is not null",
                self.sessions[which % len(self.sessions)], self.contacts[who % len(self.contacts)],
            )  # fmt: skip

    @rule(which=pick, space=spaces)
    def a_conversation_moves(self, which: int, space: str | None) -> None:
        if self.sessions:
            self._run(
                "update public.conversations c set space_id = $2 from public.sessions s"
                " where s.id = $1 and c.id = s.conversation_id",
                self.sessions[which % len(self.sessions)], space,
            )  # fmt: skip

    @rule(which=pick)
    def a_session_is_gone(self, which: int) -> None:
        if self.sessions and which % 2:
            self._run("delete from public.sessions where id = $1", self.sessions.pop(which % len(self.sessions)))

    @rule(which=pick)
    def a_contact_is_gone(self, which: int) -> None:
        if self.contacts and which % 3 == 0:
            self._run("delete from public.contacts where id = $1", self.contacts.pop(which % len(self.contacts)))

    @rule()
    def days_are_counted(self) -> None:
        self.loop.run(count_past(self.desk))
        marks = self.loop.run(
            self.desk.admin.fetchval(
                "select count(*) from private.session_stats_marks m join private.session_stats_progress p"
                " on p.workspace_id = m.workspace_id and m.day <= p.counted_until"
            )
        )
        assert marks == 0

    @rule(filters=filters_asked)
    def somebody_asks(self, filters: JSON) -> None:
        today = datetime.now(UTC).date()
        named = {
            name: (today - timedelta(days=value)).isoformat() if isinstance(value, int) else value
            for name, value in filters.items()
        }
        for who in self.readers:
            self.loop.run(check(self.desk, self.readers[who], named, whole=who == "owner"))

    @invariant()
    def what_the_owner_is_told_is_what_can_be_counted(self) -> None:
        self.loop.run(check(self.desk, self.readers["owner"]))


def run(loop: Loop, desk: Desk, **how: Any) -> None:
    """The machine, with an owner, an agent and a user who asks."""
    readers = {
        "owner": loop.run(member(desk, "owner")),
        "agent": loop.run(member(desk, "agent")),
        "user": {"kind": "user", "user_id": loop.run(desk.sign_up(None))},
    }
    machine = type("Machine", (Statistics,), {"loop": loop, "desk": desk, "readers": readers})
    run_state_machine_as_test(
        machine,
        settings=settings(stateful_step_count=35, deadline=None, suppress_health_check=list(HealthCheck), **how),
    )


def test_figures_are_what_can_be_counted_whatever_changed(loop_and_desk: tuple[Loop, Desk]) -> None:
    loop, desk = loop_and_desk
    loop.run(add_places(desk))
    run(loop, desk, max_examples=40)


def test_the_machine_notices_when_changes_leave_no_mark(loop_and_desk: tuple[Loop, Desk]) -> None:
    loop, desk = loop_and_desk
    loop.run(add_places(desk))
    for table in ("sessions", "contacts", "conversations"):
        loop.run(desk.admin.execute(f"alter table public.{table} disable trigger user"))
    with pytest.raises(AssertionError):
        run(loop, desk, max_examples=400, phases=[Phase.generate])


OLD = "now() - interval '4 days'"

CHANGES = {
    "a session ends": "update public.sessions set status = 'completed', ended_at = now()",
    "a step": "update public.sessions set workflow = 'charter', workflow_step = 'searching_aircraft'",
    "a session goes": "delete from public.sessions",
    "a contact goes": "delete from public.contacts",
    "a contact is linked": "update public.contacts set session_id = (select min(id::text)::uuid from public.sessions)",
    "a contact was there": f"insert into public.contacts (workspace_id, created_at) values ('{WORKSPACE}', {OLD})",
    "another space": f"update public.conversations set space_id = '{OTHER_SPACE}'",
    "no space": "update public.conversations set space_id = null",
    "another channel": "update public.conversations set channel = 'telegram'",
    "a session was there": "insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id, status,"
    f" created_at, ended_at) select workspace_id, id, contact_id, persona_id, 'failed', {OLD}, now()"
    " from public.conversations",
}


async def old_session(desk: Desk, caller: JSON | None = None) -> tuple[JSON, str]:
    """A session of a contact four days ago, and the contact's token."""
    token = with_token(await desk.register(f"{uuid4()}@example.test"))
    turn = await desk.start(token)
    await desk.finish(turn)
    await desk.admin.execute(f"update public.sessions set created_at = {OLD} where id = $1", UUID(turn["session_id"]))
    await desk.admin.execute(
        f"update public.contacts set created_at = {OLD} where id = $1", UUID(token["caller"]["contact_id"])
    )
    return token, turn["session_id"]


async def marks(desk: Desk) -> int:
    found: int = await desk.admin.fetchval("select count(*) from private.session_stats_marks")
    return found


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_of_a_day_long_counted_is_told_at_once(desk: Desk, what: str) -> None:
    owner = await member(desk, "owner")
    await add_places(desk)
    await old_session(desk)
    if what == "a contact is linked":
        await desk.admin.execute("update public.contacts set session_id = null")
    await count_past(desk)
    assert await marks(desk) == 0
    narrow: tuple[JSON, ...] = ({}, {"space_id": SPACE}, {"space_id": OTHER_SPACE}, {"channel": "web"})
    before = [await check(desk, owner, filters) for filters in narrow]
    await desk.admin.execute(CHANGES[what])
    after = [await check(desk, owner, filters) for filters in narrow]
    assert after != before
    assert await marks(desk) > 0
    assert await count_past(desk) == 1
    assert await marks(desk) == 0
    assert [await check(desk, owner, filters) for filters in narrow] == after


@pytest.mark.parametrize("end", ["completed", "failed", "silent", "cancelled", "lost"])
async def test_a_late_turn_counts_for_the_day_of_its_session(desk: Desk, end: str) -> None:
    owner = await member(desk, "owner")
    token, session = await old_session(desk)
    await count_past(desk)
    turn = await desk.start(token)
    assert turn["session_id"] == session
    assert (await check(desk, owner))["turns"]["by_status"] == {"completed": 1, "active": 1}
    await count_past(desk)
    if end == "lost":
        await desk.let_lease_run_out(turn)
        await desk.expire()
    elif end == "silent":
        await desk.finish(turn, "failed", None, error_code="persona_failed")
    else:
        await desk.finish(turn, end, "Hi", error_code="persona_failed" if end == "failed" else None)
    told = await check(desk, owner)
    assert told["turns"]["by_status"].get("active", 0) == 0
    assert [day["turns"] for day in told["by_day"]] == [2]
    await count_past(desk)
    assert await check(desk, owner) == told


async def test_an_ordinary_turn_leaves_no_mark(desk: Desk) -> None:
    token = with_token(await desk.register("ann@example.test"))
    turn = await desk.start(token)
    await desk.flush(turn, 0, "Hi")
    await desk.finish(turn)
    await change(desk, await member(desk, "owner"), turn["session_id"], "complete")
    assert await marks(desk) == 0


async def test_days_that_are_over_are_told_as_they_were_counted(desk: Desk) -> None:
    owner = await member(desk, "owner")
    await old_session(desk)
    await count_past(desk)
    before = await check(desk, owner)
    # Without triggers, so that nobody knows.
    await desk.admin.execute("set session_replication_role = replica; delete from public.turns; reset all")
    assert await ask(desk, owner) == before
    with pytest.raises(AssertionError):
        await check(desk, owner)


async def test_a_day_is_kept_once_it_is_over_for_an_hour_and_marked_by_what_goes_on(desk: Desk) -> None:
    owner = await member(desk, "owner")
    token, session = await old_session(desk)
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    await desk.admin.execute("update public.sessions set created_at = $1 where id = $2", noon, UUID(session))
    # Moving it left a mark at the day that it came from, and at the one that it came to.
    await count_past(desk)
    kept = await desk.admin.fetchval(
        "select counted_until from private.session_stats_progress where workspace_id = $1", WORKSPACE
    )
    assert kept == (datetime.now(UTC) - timedelta(hours=25)).date()
    assert await desk.admin.fetchval("select max(day) from public.session_stats_daily") <= kept
    await desk.admin.execute("delete from private.session_stats_marks")
    before = await check(desk, owner)
    await desk.finish(await desk.start(token))
    assert await marks(desk) > 0
    after = await check(desk, owner)
    assert after["turns"]["total"] == before["turns"]["total"] + 1


async def test_what_changes_while_it_is_counted_is_counted_again(desk: Desk) -> None:
    owner = await member(desk, "owner")
    await old_session(desk)
    await count_past(desk)
    other = await asyncpg.connect(desk.admin_url)
    try:
        async with other.transaction():
            await other.execute("update public.sessions set status = 'completed', ended_at = now()")
            # A first mark brings the count about, and the change is not in it.
            await desk.admin.execute("update public.contacts set session_id = null")
            assert await count_past(desk) == 1
        assert await marks(desk) == 1
        assert (await check(desk, owner))["sessions"]["by_status"] == {"completed": 1}
        assert await count_past(desk) == 1
        assert (await check(desk, owner))["sessions"]["by_status"] == {"completed": 1}
    finally:
        await other.close()


async def test_nobody_waits_for_a_mark_and_only_one_counts(desk: Desk) -> None:
    sessions = [UUID((await old_session(desk))[1]) for _ in range(2)]
    await count_past(desk)
    others = [await asyncpg.connect(desk.admin_url) for _ in range(2)]
    try:
        for other, session in zip(others, sessions, strict=True):
            await other.execute("begin; set local lock_timeout = '1s'")
            await other.execute("update public.sessions set error_message = 'late' where id = $1", session)
        # Counting waits for nobody either, and keeps nobody waiting.
        await others[0].execute("commit; begin")
        assert await others[0].fetchval("select private.count_past_sessions()") == 1
        assert await count_past(desk) == 0
    finally:
        for other in others:
            await other.close()


async def test_whoever_asks_is_told_of_their_own_and_nothing_else(desk: Desk) -> None:
    boss, agent = await member(desk, "admin"), await member(desk, "agent")
    stranger = {"kind": "user", "user_id": await desk.sign_up(None)}
    workspace, _ = await desk.open_workspace()
    elsewhere = await member(desk, "owner", workspace)
    sessions = [(await old_session(desk))[1] for _ in range(3)]
    await count_past(desk)
    await desk.admin.execute(
        "update public.sessions set assigned_user_id = $1 where id = $2", UUID(agent["user_id"]), UUID(sessions[0])
    )
    for caller, named, scope, total in (
        (boss, WORKSPACE, "workspace", 3),
        (boss, None, "workspace", 3),
        (agent, WORKSPACE, "own", 1),
        (agent, None, "own", 1),
        (stranger, None, "own", 0),
        (stranger, WORKSPACE, "own", 0),
        (elsewhere, WORKSPACE, "own", 0),
        (elsewhere, None, "workspace", 0),
        (boss, workspace, "own", 0),
    ):
        told = await ask(desk, caller, workspace=named)
        assert (told["scope"], told["sessions"]["total"], told["active_now"]) == (scope, total, total)
        assert told["funnel"]["registered"] == total
        assert told["turns"]["total"] == total
        assert sum(item["sessions"] for item in told["by_persona"]) == total
    names = [item["name"] for item in (await ask(desk, boss))["by_persona"] + (await ask(desk, boss))["by_space"]]
    assert all(names)
    await desk.admin.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'agent')",
        UUID(workspace),
        UUID(boss["user_id"]),
    )
    with pytest.raises(Raised) as refused:
        await ask(desk, boss, workspace=None)
    assert (refused.value.status, refused.value.code) == (422, "workspace_required")
    assert (await ask(desk, boss))["sessions"]["total"] == 3


async def test_an_agent_learns_nothing_of_a_contacts_other_sessions(desk: Desk) -> None:
    agent = await member(desk, "agent")
    first = await desk.start(with_token(await desk.register("ann@example.test")))
    await desk.finish(first)
    second = await desk.start(with_token(await desk.register("ann@example.test")))
    await desk.finish(second)
    assert first["contact_id"] == second["contact_id"]
    await desk.admin.execute(
        "update public.sessions set assigned_user_id = $1 where id = $2",
        UUID(agent["user_id"]),
        UUID(second["session_id"]),
    )
    # As if there were no earlier one.
    told = await check(desk, agent, whole=False)
    assert told["funnel"] == {"registered": 1, "chatted": 1, "answered": 1, "proposal": 0}


async def test_a_workspace_that_goes_takes_its_figures_along(desk: Desk) -> None:
    await old_session(desk)
    await count_past(desk)
    await desk.admin.execute("delete from public.workspaces where id = $1", UUID(WORKSPACE))
    await count_past(desk)
    assert await desk.count("session_stats_daily") == 0
    assert await marks(desk) == 0
