"""Whatever members, a contact and the clocks do to sessions in whatever order, the database says what a model says."""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.database.desk import JSON, PERSONA, WORKSPACE, Answer, Desk, signed, user, with_token
from tests.database.test_sessions_states import WANTED, change
from tests.database.test_sessions_sweep import forget_sweep, sweep
from tests.database.test_turn_lifecycle import Loop, loop_and_desk

__all__ = ["loop_and_desk"]

LIVE = ("active", "paused")
SECRET = "the-secret-of-the-customers-server"

pick = st.integers(0, 100)


class Sessions(RuleBasedStateMachine):
    """One contact's conversation: its sessions oldest first, how each must stand, and the turn under way."""

    loop: Loop
    desk: Desk
    policy: str
    boss: JSON
    numbers = iter(range(1_000_000))

    @initialize()
    def a_contact_arrives(self) -> None:
        run, admin = self.loop.run, self.desk.admin
        run(admin.execute("update public.spaces set arrivals_per_minute = 1000000"))
        run(admin.execute("update public.workspaces set messages_per_minute_by_contact = 1000000"))
        run(admin.execute("update public.personas set session_policy = $1 where id = $2", self.policy, PERSONA))
        # Sessions of the runs before are none of this one's.
        run(admin.execute("update public.sessions set last_activity_at = now() + interval '1 day'"))
        email = f"s{next(self.numbers)}@example.test"
        # With proof, so that it is the lasting conversation, which members find too.
        arrived = run(self.desk.register(email, email_hmac=signed(email, SECRET)))
        self.decoy = run(self.desk.register("decoy@example.test", email_hmac=signed("decoy@example.test", SECRET)))[
            "session_id"
        ]
        self.ann = with_token(arrived)
        self.stands: dict[str, str] = {arrived["session_id"]: "active"}
        self.turns: dict[str, int] = {arrived["session_id"]: 0}
        self.idle: set[str] = set()
        self.turn: Answer | None = None
        self.stopping = False

    def _live(self) -> str | None:
        return next((key for key, status in self.stands.items() if status in LIVE), None)

    def _opened(self, key: str) -> None:
        live = self._live()
        assert key == live if live is not None else key not in self.stands
        if live is None:
            self.stands[key], self.turns[key] = "active", 0

    def _turn_ended(self, status: str) -> None:
        assert self.turn is not None
        key = self.turn["session_id"]
        if self.policy == "per_message" and self.stands[key] in LIVE:
            self.stands[key] = status
        self.turn, self.stopping = None, False

    @rule()
    def the_contact_writes(self) -> None:
        answer = self.loop.run(self.desk.start(self.ann))
        if self.turn is not None:
            assert (answer.status, answer["turn_id"]) == (409, self.turn["turn_id"])
            return
        assert answer.status == 200
        self._opened(answer["session_id"])
        self.stands[answer["session_id"]] = "active"
        self.turns[answer["session_id"]] += 1
        self.idle.discard(answer["session_id"])
        self.turn = answer

    @rule(by_member=st.booleans())
    def somebody_starts_one(self, by_member: bool) -> None:
        token: dict[str, Any] = {**self.ann, "scope": {"workspace_id": WORKSPACE}}
        more: dict[str, Any] = {}
        if by_member:
            token = {"role": "switchboard", "scope": {}, "caller": self.boss}
            more = {"contact_id": self.ann["caller"]["contact_id"], "persona_id": PERSONA}
        answer = self.loop.run(self.desk.call("start_session", token, **more))
        assert answer.status == 200
        assert answer["created"] == (self._live() is None)
        self._opened(answer["session_id"])

    @rule(status=st.sampled_from(["completed", "failed", "cancelled"]))
    def the_answer_ends(self, status: str) -> None:
        if self.turn is not None:
            done = self.loop.run(self.desk.finish(self.turn, status))
            assert done["changed"] is True
            self._turn_ended(status)

    @rule()
    def the_answerer_is_gone_and_the_sweep_says_so(self) -> None:
        if self.turn is not None:
            self.loop.run(self.desk.let_lease_run_out(self.turn))
            assert self.loop.run(self.desk.expire()) == 1
            self._turn_ended("timeout")

    @rule(number=pick, verb=st.sampled_from(list(WANTED)), quiet=st.booleans())
    def a_member_changes_one(self, number: int, verb: str, quiet: bool) -> None:
        key, wanted = list(self.stands)[-1 - number % min(3, len(self.stands))], WANTED[verb]
        answers = self.turn is not None and self.turn["session_id"] == key
        if quiet and answers and self.turn is not None:
            self.loop.run(self.desk.let_lease_run_out(self.turn))
        answer = self.loop.run(change(self.desk, self.boss, key, verb))
        before = self.stands[key]
        if before == wanted:
            assert (answer.status, answer["changed"]) == (200, False)
        elif before not in LIVE:
            assert (answer.status, answer["session_status"]) == (409, before)
        elif wanted in LIVE:
            assert (answer.status, answer["changed"]) == (200, True)
            self.stands[key] = wanted
        elif answers and not quiet:
            assert (answer.status, answer["stopping"]) == (409, True)
            self.stopping = True
        else:
            if answers:
                self._turn_ended("timeout")
            if self.stands[key] in LIVE:
                self.stands[key] = wanted
            if self.stands[key] == wanted:
                assert (answer.status, answer["changed"]) == (200, True)
            else:
                assert (answer.status, answer["session_status"]) == (409, "timeout")
        if quiet and answers and self.turn is not None:
            # Nobody answers any more, and nothing has said so yet.
            assert self.loop.run(self.desk.expire()) == 1
            self._turn_ended("timeout")

    @rule(number=pick)
    def the_contact_recovers_one(self, number: int) -> None:
        key = list(self.stands)[-1 - number % min(3, len(self.stands))]
        token = {"role": "switchboard", "scope": {}, "caller": self.ann["caller"]}
        answer = self.loop.run(self.desk.call("recover_session", token, session_id=key))
        before, live = self.stands[key], self._live()
        if before in LIVE:
            assert (answer.status, answer["changed"]) == (200, False)
        elif before == "timeout" and live is None:
            assert (answer.status, answer["changed"]) == (200, True)
            self.stands[key] = "active"
            self.idle.discard(key)
        else:
            assert (answer.status, answer["session_status"]) == (409, before)

    @rule(number=pick)
    def a_day_passes_for_one(self, number: int) -> None:
        key = list(self.stands)[number % len(self.stands)]
        self.idle.add(key)
        self.loop.run(
            self.desk.admin.execute(
                "update public.sessions set last_activity_at = clock_timestamp() - interval '25 hours' where id = $1",
                key,
            )
        )

    @rule()
    def idle_sessions_are_swept(self) -> None:
        self.loop.run(forget_sweep(self.desk))
        # There is always another that is due, so that the workspace is looked through.
        self.loop.run(
            self.desk.admin.execute(
                "update public.sessions set status = 'active', ended_at = null, "
                "last_activity_at = clock_timestamp() - interval '25 hours' where id = $1",
                self.decoy,
            )
        )
        due = {
            key for key in self.idle
            if self.stands[key] in LIVE and (self.turn is None or self.turn["session_id"] != key)
        }  # fmt: skip
        assert self.loop.run(sweep(self.desk)).body == {"timed_out": len(due) + 1, "remaining": False}
        self.stands |= dict.fromkeys(due, "timeout")

    @invariant()
    def the_database_says_the_same(self) -> None:
        if not hasattr(self, "ann"):
            return
        rows = self.loop.run(
            self.desk.admin.fetch(
                "select s.id::text, s.status::text, s.turn_count, s.message_count, s.ended_at, "
                "(select count(*) from public.turns t where t.session_id = s.id) as turns, "
                "(select count(*) from public.messages m where m.session_id = s.id) as messages, "
                "(select count(*) from public.turns t where t.session_id = s.id and t.status = 'active') as open "
                "from public.sessions s where s.conversation_id = $1",
                self.ann["caller"]["conversation_id"],
            )
        )
        assert {row["id"]: row["status"] for row in rows} == self.stands
        for row in rows:
            assert (row["turn_count"], row["message_count"]) == (row["turns"], row["messages"])
            assert row["turns"] == self.turns[row["id"]]
            assert (row["ended_at"] is None) == (row["status"] in LIVE)
            assert row["open"] == (self.turn is not None and self.turn["session_id"] == row["id"])
            # Whatever is over has no answer under way.
            assert not row["open"] or row["status"] in LIVE
        assert sum(row["status"] in LIVE for row in rows) <= 1


@pytest.mark.parametrize("policy", ["per_conversation", "per_message"])
def test_sessions_do_what_their_model_does(loop_and_desk: tuple[Loop, Desk], policy: str) -> None:
    loop, desk = loop_and_desk
    loop.run(desk.believe_hmacs(SECRET))
    boss = user(loop.run(desk.sign_up(None)))
    loop.run(
        desk.admin.execute(
            "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'owner')",
            WORKSPACE,
            boss["user_id"],
        )
    )
    machine = type("Machine", (Sessions,), {"loop": loop, "desk": desk, "policy": policy, "boss": boss})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
