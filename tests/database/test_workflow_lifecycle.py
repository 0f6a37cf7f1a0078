"""A session's steps, quotes and proposals in any order: a model predicts them, and the counts are the rows'."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.database.desk import JSON, Answer, Desk, Loop, explore, own_token
from tests.database.test_workflow import ALLOWED, STEPS, logged, propose, quote, work
from tests.database.test_workflow_quotes import NEXT, STATUSES, counted

PROPOSALS = {"draft": {"sent", "withdrawn"}, "sent": {"accepted", "declined", "withdrawn"}}


class Work(RuleBasedStateMachine):
    """One session with a model of its step, each operator's quote, and the proposal."""

    loop: Loop
    desk: Desk
    boss: JSON
    numbers = iter(range(1_000_000))

    @initialize()
    def open(self) -> None:
        arrived = self.loop.run(self.desk.register(f"w{next(self.numbers)}@example.test"))
        self.session_id: str = arrived["session_id"]
        self.live = True
        self.step: str | None = None
        self.steps: list[str] = []
        self.quotes: dict[str, str] = {}
        self.late: set[str] = set()
        self.primary: str | None = None
        self.order: list[str] = []
        self.proposal: str | None = None
        self.proposals = 0

    def _do(self, doing: Any) -> Answer:
        answer: Answer = self.loop.run(doing)
        return answer

    @rule(step=st.sampled_from(STEPS))
    def take_step(self, step: str) -> None:
        answer = self._do(work(self.desk, self.boss, self.session_id, step=step))
        if step == self.step:
            assert (answer.status, answer["changed"]) == (200, False)
        elif not self.live:
            assert (answer.status, answer["code"]) == (409, "transition_not_allowed")
        elif step in ALLOWED[self.step]:
            assert (answer.status, answer["workflow_step"], answer["changed"]) == (200, step, True)
            self.step = step
            self.steps.append(step)
        else:
            assert (answer.status, answer["code"], answer["workflow_step"]) == (409, "step_not_allowed", self.step)
            assert answer["allowed_steps"] == ALLOWED[self.step]

    @rule(operator=st.sampled_from("abcd"), status=st.sampled_from(STATUSES), chosen=st.booleans())
    def tell_quote(self, operator: str, status: str, chosen: bool) -> None:
        more = {"primary": True} if chosen else {}
        answer = self._do(quote(self.desk, self.boss, self.session_id, operator, status=status, **more))
        before = self.quotes.get(operator)
        after = before if before is not None and status == "requested" else status
        allowed = before in (None, after) or after in NEXT[str(before)]
        if not allowed or (chosen and after != "received"):
            assert (answer.status, answer["code"]) == (409, "transition_not_allowed")
            return
        assert (answer.status, answer["quote"]["status"]) == (200, after)
        if before != after and not self.live:
            self.late.add(operator)
        if after == "received" and operator not in self.order:
            self.order.append(operator)
        self.quotes[operator] = str(after)
        if chosen:
            self.primary = operator
        if self.primary is None or self.quotes[self.primary] != "received":
            self.primary = next((each for each in self.order if self.quotes[each] == "received"), None)

    @rule(status=st.sampled_from(("draft", "sent", "accepted", "declined", "withdrawn")))
    def tell_proposal(self, status: str) -> None:
        answer = self._do(propose(self.desk, self.boss, self.session_id, status=status))
        begins = self.proposal is None or (self.proposal in ("declined", "withdrawn") and status in ("draft", "sent"))
        if begins and self.live and status in ("draft", "sent"):
            self.proposals += 1
        elif begins or (status != self.proposal and status not in PROPOSALS.get(str(self.proposal), set())):
            assert (answer.status, answer["code"]) == (409, "transition_not_allowed")
            return
        assert (answer.status, answer["proposal"]["status"]) == (200, status)
        if status == "sent" != self.proposal and self.live and self.step != "proposal_ready":
            self.step = "proposal_ready"
            self.steps.append(self.step)
        self.proposal = status

    @precondition(lambda self: self.live)
    @rule(verb=st.sampled_from(("pause", "resume", "complete", "cancel")))
    def change_status(self, verb: str) -> None:
        self._do(self.desk.change(self.boss, self.session_id, verb))
        self.live = verb not in ("complete", "cancel")

    @precondition(lambda self: not self.live)
    @rule()
    def revive(self) -> None:
        revive = "update public.sessions set status = 'active', ended_at = null where id = $1"
        self.loop.run(self.desk.admin.execute(revive, self.session_id))
        self.live = True

    @invariant()
    def is_as_the_model_predicts(self) -> None:
        if not hasattr(self, "session_id"):
            return
        token = own_token(self.boss)
        (shown,) = self.loop.run(self.desk.sessions(token, "s.id = $1", self.session_id))
        quotes = self.loop.run(self._rows(token, f"public.quotes where session_id = '{self.session_id}'"))
        events = self.loop.run(self._rows(token, f"public.session_events('{self.session_id}')"))
        assert (shown["workflow_step"], shown["status"] in ("active", "paused")) == (self.step, self.live)
        assert [step[2] for step in self.loop.run(logged(self.desk, self.session_id))] == self.steps
        assert {each["operator_key"]: each["status"] for each in quotes} == self.quotes
        assert {each["operator_key"] for each in quotes if each["late"]} == self.late
        assert shown["quote_counts"] == self.loop.run(counted(self.desk, self.session_id))
        assert shown["quote_counts"]["expected"] == len(self.quotes)
        assert (shown["primary_quote"] or {}).get("operator") == self.primary
        assert (shown["proposal"] or {}).get("status") == self.proposal
        steps = sorted((each["at"], each["step"]) for each in events if each["event"] == "workflow.step")
        assert [step for _, step in steps] == self.steps

    async def _rows(self, token: JSON, source: str) -> list[Any]:
        async with self.desk.reading(token) as connection:
            return list(await connection.fetch(f"select * from {source}"))


def test_work_in_any_order_is_as_the_model_predicts(loop_and_desk: tuple[Loop, Desk]) -> None:
    Work.loop, Work.desk = loop_and_desk
    Work.loop.run(Work.desk.lift_limits())
    Work.boss = Work.loop.run(Work.desk.member("owner"))
    explore(Work, examples=15, steps=25)
