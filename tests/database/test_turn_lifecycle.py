"""Whatever happens to turns in whatever order: counters equal counts, and a terminal state stays."""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.database.desk import JSON, PERSONA, Answer, Desk, with_token
from tests.servers import Server

T = TypeVar("T")

STATUSES = ("completed", "failed", "timeout", "cancelled")


class Loop:
    """An event loop of its own: hypothesis calls a state machine's rules one by one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, awaitable: Awaitable[T]) -> T:
        """Wait for the answer."""
        return self._loop.run_until_complete(awaitable)

    def close(self) -> None:
        """End the loop."""
        self._loop.close()


@pytest.fixture
def loop_and_desk(server_18: Server) -> Iterator[tuple[Loop, Desk]]:
    """A migrated database of its own for a synchronous test."""
    loop = Loop()
    database = loop.run(server_18.migrated())
    desk = Desk(server_18.gate_url(database), server_18.admin_url(database))
    loop.run(desk.__aenter__())
    yield loop, desk
    loop.run(desk.__aexit__(None, None, None))
    loop.run(server_18.drop(database))
    loop.close()


class Turns(RuleBasedStateMachine):
    """One contact's conversation, with every turn it ever had and how it must stand."""

    loop: Loop
    desk: Desk
    policy: str
    numbers = iter(range(1_000_000))

    def __init__(self) -> None:
        super().__init__()
        number = next(self.numbers)
        self.loop.run(self.desk.admin.execute("update public.spaces set arrivals_per_minute = 1000000"))
        self.loop.run(
            self.desk.admin.execute(
                "update public.personas set session_policy = $1 where id = $2", self.policy, PERSONA
            )
        )
        # What an example before left under way is not to run out of its lease in this one, however slow the machine is.
        self.loop.run(
            self.desk.admin.execute("update public.turns set lease_until = 'infinity' where status = 'active'")
        )
        self.ann: JSON = with_token(self.loop.run(self.desk.register(f"a{number}@example.test")))
        self.turns: list[Answer] = []
        self.stands: dict[str, str] = {}
        self.flushed: dict[str, str] = {}
        self.messages = 0

    def _active(self) -> Answer | None:
        return next((each for each in self.turns if self.stands[each["turn_id"]] == "active"), None)

    @rule()
    def a_message_comes(self) -> None:
        busy = self._active()
        turn = self.loop.run(self.desk.start(self.ann))
        if busy is not None:
            assert (turn.status, turn["turn_id"]) == (409, busy["turn_id"])
            return
        assert turn.status == 200
        self.turns.append(turn)
        self.stands[turn["turn_id"]], self.flushed[turn["turn_id"]] = "active", ""
        self.messages += 1

    @precondition(lambda self: self.turns)
    @rule(pick=st.integers(0, 100), piece=st.text("ab é🌍", max_size=5))
    def a_piece_is_flushed(self, pick: int, piece: str) -> None:
        turn = self.turns[-1 - pick % min(2, len(self.turns))]
        key = turn["turn_id"]
        assert self.loop.run(self.desk.flush(turn, len(self.flushed[key]), piece)) == self.stands[key]
        if self.stands[key] == "active":
            self.flushed[key] += piece

    @precondition(lambda self: self.turns)
    @rule(
        pick=st.integers(0, 100), status=st.sampled_from(STATUSES), more=st.none() | st.sampled_from(["", "!", "abc"])
    )
    def somebody_finishes(self, pick: int, status: str, more: str | None) -> None:
        turn = self.turns[-1 - pick % min(3, len(self.turns))]
        key = turn["turn_id"]
        done = self.loop.run(self.desk.finish(turn, status, None if more is None else self.flushed[key] + more))
        assert done["changed"] == (self.stands[key] == "active")
        if done["changed"]:
            self._ended(key, status, more or "")
        assert (done["status"], done["text_length"]) == (self.stands[key], len(self.flushed[key]))

    @precondition(lambda self: self._active() is not None)
    @rule(by_message=st.booleans())
    def the_lease_runs_out(self, by_message: bool) -> None:
        turn = self._active()
        assert turn is not None
        self.loop.run(self.desk.let_lease_run_out(turn))
        if by_message:
            self._ended(turn["turn_id"], "timeout", "")
            self.a_message_comes()
        else:
            assert self.loop.run(self.desk.expire()) == 1
            self._ended(turn["turn_id"], "timeout", "")

    @precondition(lambda self: self._active() is None)
    @rule(status=st.sampled_from(["paused", "completed", "failed", "timeout", "cancelled"]))
    def a_member_pauses_or_ends_the_session(self, status: str) -> None:
        self.loop.run(
            self.desk.admin.execute(
                "update public.sessions set status = $2::text::public.session_status, "
                "ended_at = case when $2::text <> 'paused' then now() end "
                "where conversation_id = $1 and status in ('active', 'paused')",
                self.ann["caller"]["conversation_id"],
                status,
            )
        )

    def _ended(self, key: str, status: str, more: str) -> None:
        self.stands[key] = status
        self.flushed[key] += more
        self.messages += bool(self.flushed[key])

    @invariant()
    def the_database_says_the_same(self) -> None:
        conversation = self.ann["caller"]["conversation_id"]
        fetch = self.desk.admin.fetch
        turns = self.loop.run(
            fetch("select id::text, status from public.turns where conversation_id = $1", conversation)
        )
        assert {row["id"]: row["status"] for row in turns} == self.stands
        texts = self.loop.run(
            fetch(
                "select turn_id::text, text, partial from public.messages "
                "where conversation_id = $1 and role = 'persona'",
                conversation,
            )
        )
        said = {key: text for key, text in self.flushed.items() if text and self.stands[key] != "active"}
        assert {row["turn_id"]: row["text"] for row in texts} == said
        assert all(row["partial"] == (self.stands[row["turn_id"]] != "completed") for row in texts)
        sessions = self.loop.run(
            fetch(
                "select s.*, (select count(*) from public.turns t where t.session_id = s.id) as turns, "
                "(select count(*) from public.messages m where m.session_id = s.id) as messages, "
                "(select count(*) from public.turns t where t.session_id = s.id and t.status = 'active') as open "
                "from public.sessions s where conversation_id = $1",
                conversation,
            )
        )
        for session in sessions:
            assert (session["turn_count"], session["message_count"]) == (session["turns"], session["messages"])
            assert session["open"] == 0 or session["status"] == "active"
            if self.policy == "per_message":
                assert session["turns"] <= 1
        assert sum(session["messages"] for session in sessions) == self.messages
        assert sum(session["status"] in ("active", "paused") for session in sessions) <= 1


@pytest.mark.parametrize("policy", ["per_conversation", "per_message"])
def test_counters_equal_counts_and_ends_are_final_in_any_order(loop_and_desk: tuple[Loop, Desk], policy: str) -> None:
    loop, desk = loop_and_desk
    machine = type("Machine", (Turns,), {"loop": loop, "desk": desk, "policy": policy})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
