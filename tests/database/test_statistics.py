"""Statistics say what a count over all rows says, whoever asks, whatever changed and whenever days were counted."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.database import brute_statistics as brute
from tests.database.desk import JSON, PERSONA, SPACE, WORKSPACE, Desk, member, own_token
from tests.database.test_turn_lifecycle import Loop, loop_and_desk

__all__ = ["loop_and_desk"]

OTHER_PERSONA = "00000000-0000-7000-8000-0000000000a1"
OTHER_SPACE = "00000000-0000-7000-8000-0000000000a2"
NOBODY = "00000000-0000-4000-8000-000000000001"
OVER = ("completed", "failed", "timeout", "cancelled")
STEPS = ("understanding_request", "searching_aircraft", "proposal_ready")
CODES = ("persona_timeout", "persona_failed", "lease_expired", None)


async def ask(desk: Desk, caller: JSON, filters: JSON | None = None, workspace: str | None = WORKSPACE) -> JSON:
    answer = await desk.call("read_session_stats", own_token(caller), workspace_id=workspace, filters=filters or {})
    return answer.body


async def count_past(desk: Desk) -> int:
    """What pg_cron does every ten minutes."""
    counted: int = await desk.admin.fetchval("select private.count_past_sessions()")
    return counted


async def keep(desk: Desk, hours_ago: float) -> None:
    """What the schedule would have done at a time before."""
    await desk.admin.execute(
        "select private.keep_session_periods($1, now() - make_interval(mins => $2))",
        UUID(WORKSPACE),
        int(hours_ago * 60),
    )


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


# Of this month and of two before: whole months, parts of them, and days of which the hours are kept.
days_ago = st.sampled_from([0, 0, 0, 1, 1, 2, 4, 20, 34, 45, 62, 75])
hours = st.integers(0, 47).map(lambda number: number / 2)
months_ago = st.sampled_from(["first of 1", "first of 2", "last of 2", "last of 1"])
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
        "from": st.one_of(days_ago, months_ago),
        "to": st.one_of(days_ago, months_ago),
    },
)


def day_named(asked: object) -> object:
    """The day so many days ago, or the first or last of a month so many months ago."""
    today = datetime.now(UTC).date()
    if isinstance(asked, int):
        return (today - timedelta(days=asked)).isoformat()
    if isinstance(asked, str) and " of " in asked:
        which, _, number = asked.split()
        # Of a month's first day, the month before ends the day before.
        first = today.replace(day=1)
        for _ in range(int(number)):
            after, first = first, (first - timedelta(days=1)).replace(day=1)
        return (first if which == "first" else after - timedelta(days=1)).isoformat()
    return asked


class Statistics(RuleBasedStateMachine):
    """Rows of several days, changed as the functions change them, and three readers."""

    loop: Loop
    desk: Desk
    readers: dict[str, JSON]

    @initialize()
    def nothing_is_there(self) -> None:
        for table in ("conversations", "contacts", "session_stats_periods"):
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

    @rule(hours_ago=st.sampled_from([0, 0, 0, 0.5, 3, 11, 26, 49, 24 * 30, 24 * 60]))
    def periods_are_kept(self, hours_ago: float) -> None:
        """As of some time: it goes on, but never back."""
        self.loop.run(keep(self.desk, hours_ago))
        marks = self.loop.run(
            self.desk.admin.fetchval(
                "select count(*) from private.session_stats_marks m join private.session_stats_progress p"
                " on p.workspace_id = m.workspace_id and m.hour < p.hours_until"
            )
        )
        assert marks == 0

    @rule(filters=filters_asked)
    def somebody_asks(self, filters: JSON) -> None:
        named = {name: day_named(value) for name, value in filters.items()}
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


FAULTS = {
    "changes leave no mark": (
        "private.mark_session_hour()",
        "insert into private.session_stats_marks",
        "return null; insert into private.session_stats_marks",
    ),
    "a mark is of another hour": (
        "private.mark_session_hour()",
        "select distinct e.workspace_id, pg_catalog.date_trunc('hour', e.created_at, 'UTC')",
        "select distinct e.workspace_id, pg_catalog.date_trunc('day', e.created_at, 'UTC')",
    ),
    "a month is kept though a day of it is not": (
        "private.session_stats(uuid,jsonb)",
        "case k.unit when 'month' then marked_months",
        "case k.unit when 'month' then array[]::timestamptz[]",
    ),
    "a month is not summed again": (
        "private.keep_session_periods(uuid,timestamptz)",
        "from days d where d.starts_at < months_until",
        "from days d where d.starts_at < months_until and d.starts_at >= kept.months_until",
    ),
    "a marked hour is counted and kept": (
        "private.session_stats(uuid,jsonb)",
        "when 'day' then marked_days else marked_hours end",
        "when 'day' then marked_days else array[]::timestamptz[] end",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_notices_a_fault(loop_and_desk: tuple[Loop, Desk], fault: str) -> None:
    loop, desk = loop_and_desk
    loop.run(add_places(desk))
    function, right, wrong = FAULTS[fault]
    source = loop.run(desk.admin.fetchval("select pg_get_functiondef($1::text::regprocedure)", function))
    assert right in source
    loop.run(desk.admin.execute(source.replace(right, wrong)))
    with pytest.raises(AssertionError):
        run(loop, desk, max_examples=400, phases=[Phase.generate])
