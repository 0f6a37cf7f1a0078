"""Contacts, members, workers and clocks act on sessions and turns, one after the other and concurrently.

The database does what the model does; for concurrent actions, what the model does in one of their orders.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import asyncpg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.database.desk import (
    JSON,
    PERSONA,
    SYSTEM,
    WANTED,
    WORKSPACE,
    Answer,
    Desk,
    Loop,
    explore,
    on_a_turn,
    on_behalf,
    with_token,
)
from tests.database.lifecycle import SWEEPS, TERMINAL, Conversation, Deed, Kind, Outcome, orders

QUIET = {"a day": 25, "a season": 2_400}
"""In hours: past the idle timeout, past the archive age."""
KINDS: tuple[Kind, ...] = (
    "message", "start", "start beside", "flush", "finish", "cancel turn", "change", "recover", *SWEEPS,
)  # fmt: skip

deeds = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 2), st.sampled_from(list(WANTED.values())), st.sampled_from(TERMINAL),
    st.sampled_from((None, "", "All of it.")),
)  # fmt: skip
"""A deed before its target is known: the last session or turn, or one of the two before it."""


class Lifecycle(RuleBasedStateMachine):
    """One contact's conversation, and the model of it."""

    loop: Loop
    desk: Desk
    holder: asyncpg.Connection
    policies: tuple[str, str]
    boss: JSON
    numbers = iter(range(1_000_000))

    @initialize()
    def a_contact_arrives(self) -> None:
        run, admin = self.loop.run, self.desk.admin
        policies = "update public.personas set session_policy = $1, turn_policy = $2 where id = $3"
        run(admin.execute(policies, *self.policies, PERSONA))
        # The sweeps ignore what earlier runs left.
        run(admin.execute("update public.turns set lease_until = now() + interval '1 day' where status = 'active'"))
        later = "last_activity_at = now() + interval '1 day', ended_at = case when ended_at is not null then now() end"
        run(admin.execute(f"update public.sessions set {later}"))
        # With a proof, the conversation is the one that members find too.
        arrived = run(self.desk.prove(f"s{next(self.numbers)}@example.test"))
        self.ann = with_token(arrived)
        self.conversation: str = arrived["conversation_id"]
        session_policy, turn_policy = self.policies
        self.model = Conversation(per_message=session_policy == "per_message", interrupts=turn_policy == "interrupt")
        self.ids: dict[str, str] = {"s0": arrived["session_id"]}

    @rule(deed=deeds)
    def something_is_done(self, deed: tuple[Any, ...]) -> None:
        self._do([self._known(*deed)])

    @rule(drawn=st.lists(deeds, min_size=2, max_size=4), held=st.booleans())
    def several_things_are_done_at_once(self, drawn: list[tuple[Any, ...]], held: bool) -> None:
        found = [self._known(*deed) for deed in drawn]
        # A worker flushes one piece after the other.
        flushes = [deed for deed in found if deed.kind == "flush"]
        self._do([deed for deed in found if deed not in flushes[1:] or deed is flushes[0]], held=held)

    @rule(place=st.integers(0, 2), quiet=st.sampled_from(list(QUIET)))
    def nothing_comes_in_for_long(self, place: int, quiet: str) -> None:
        name = list(self.model.sessions)[-1 - place % len(self.model.sessions)]
        session = self.model.sessions[name]
        session.quiet = cast(Any, quiet)
        session.old = quiet == "a season" and session.status in TERMINAL
        age = (
            "update public.sessions s set last_activity_at = a.at,"
            " ended_at = case when s.ended_at is not null then a.at end"
            " from (select clock_timestamp() - make_interval(hours => $2) as at) a where id = $1"
        )
        self.loop.run(self.desk.admin.execute(age, self.ids[name], QUIET[quiet]))

    # No precondition: the draws must not depend on the winner of a race, so that a run can be replayed.
    @rule()
    def the_worker_dies(self) -> None:
        name = self.model.under_way()
        if name is not None:
            self.model.turns[name].lapsed = True
            expire = "update public.turns set lease_until = clock_timestamp() - interval '1 second' where id = $1"
            self.loop.run(self.desk.admin.execute(expire, self.ids[name]))

    def _known(self, kind: Kind, place: int, wanted: str, ends: str, text: str | None) -> Deed:
        sessions, turns = list(self.model.sessions), list(self.model.turns)
        if kind in ("change", "recover"):
            return Deed(kind, sessions[-1 - place % len(sessions)], wanted if kind == "change" else "")
        if kind in ("flush", "finish", "cancel turn"):
            if not turns:
                return Deed("message")
            target = turns[-1 - place % min(2, len(turns))]
            return Deed(kind, target, ends if kind == "finish" else "", "é🌍" if kind == "flush" else text)
        return Deed(kind)

    def _do(self, done: list[Deed], *, held: bool = False) -> None:
        """Do these concurrently, and compare the outcome with every order in which they may have come."""
        before = self.model
        self.loop.run(self.desk.admin.execute("delete from private.sweeps"))
        answers = self.loop.run(self._all(done, held=held))
        told = [self._outcome(deed, answer) for deed, answer in zip(done, answers, strict=True)]
        seen = self.loop.run(self._look())
        for after, outcomes in orders(before, done):
            if outcomes == told and after.seen() == seen:
                self.model = after
                break
        else:
            some = itertools.islice(orders(before, done), 6)
            expected = "\n".join(f"{outcomes} {after.seen()}" for after, outcomes in some)
            raise AssertionError(f"{done}\nfrom {before.seen()}\ntold {told}\nto   {seen}\nnot among\n{expected}")
        self._stop_the_clocks()

    async def _all(self, done: list[Deed], *, held: bool) -> list[Any]:
        if not held:
            return await asyncio.gather(*(self._call(deed) for deed in done))
        # All calls wait for the same lock, which is then released.
        async with self.holder.transaction():
            await self.holder.execute("select from public.conversations where id = $1 for update", self.conversation)
            waiting = [asyncio.create_task(self._call(deed)) for deed in done]
            await asyncio.sleep(0.02)
        return await asyncio.gather(*waiting)

    async def _call(self, deed: Deed) -> Any:
        if deed.kind == "message":
            return await self.desk.start(self.ann)
        if deed.kind == "expire turns":
            # The owner sweeps, on another connection.
            async with self.desk.as_owner() as connection:
                return await connection.fetchval("select private.expire_turns()")
        contact, boss, target = self.ann["caller"], on_behalf(self.boss), self.ids.get(deed.target)
        calls: dict[Kind, tuple[str, JSON, dict[str, Any]]] = {
            "start": ("start_session", {**self.ann, "scope": {"workspace_id": WORKSPACE}}, {}),
            "start beside": ("start_session", boss, {"contact_id": contact["contact_id"], "persona_id": PERSONA}),
            "flush": ("flush_turn", on_a_turn(), {"turn_id": target, "piece": deed.text}),
            "finish": ("finish_turn", on_a_turn(), {"turn_id": target, "status": deed.wanted, "answer": deed.text}),
            "cancel turn": ("cancel_turn", on_behalf(contact), {"turn_id": target}),
            "change": ("change_session_status", boss, {"session_id": target, "status": deed.wanted}),
            "recover": ("recover_session", on_behalf(contact), {"session_id": target}),
            "time out": ("expire_idle_sessions", SYSTEM, {}),
            "archive": ("archive_old_chat_sessions", SYSTEM, {}),
        }
        function, token, arguments = calls[deed.kind]
        if deed.kind == "flush":
            arguments["position"] = len(self.model.turns[deed.target].flushed)
        return await self.desk.call(function, token, **arguments)

    def _name(self, letter: str, key: str) -> str:
        """The name of a session or turn; a new one gets the next name."""
        known = next((name for name, known in self.ids.items() if known == key), None)
        if known is None:
            known = f"{letter}{sum(name[0] == letter for name in self.ids)}"
            self.ids[known] = key
        return known

    def _outcome(self, deed: Deed, answer: Any) -> Outcome:
        """An answer in the model's terms."""
        if deed.kind == "expire turns":
            return (answer,)
        assert isinstance(answer, Answer)
        body = answer.body
        if answer.status == 409 and body["code"] == "turn_in_progress":
            return "busy", self._name("t", body["turn_id"])
        if answer.status == 409:
            return "refused", body["session_status"]
        told: dict[Kind, Callable[[], Outcome]] = {
            "message": lambda: ("turn", self._name("t", body["turn_id"]), self._name("s", body["session_id"])),
            "start": lambda: ("session", self._name("s", body["session_id"]), body["created"]),
            "start beside": lambda: ("session", self._name("s", body["session_id"]), body["created"]),
            "flush": lambda: (body["status"], body["stop"]),
            "finish": lambda: (body["changed"], body["status"]),
            "cancel turn": lambda: (body["status"],),
            "change": lambda: (body["status"], body["changed"]),
            "recover": lambda: (body["status"], body["changed"]),
            "time out": lambda: (body["timed_out"],),
            "archive": lambda: (body["archived"],),
        }
        return told[deed.kind]()

    def _stop_the_clocks(self) -> None:
        """Leases and cancel requests expire only where a rule says so, however slow the machine."""
        stop = (
            "update public.turns set"
            " lease_until = case when lease_until > now() then now() + interval '1 hour' else lease_until end,"
            " cancel_requested_at = case when cancel_requested_at is not null then now() + interval '1 hour' end"
            " where conversation_id = $1 and status = 'active'"
        )
        self.loop.run(self.desk.admin.execute(stop, self.conversation))

    async def _look(self) -> dict[str, Any]:
        """The rows in the model's terms, after the checks that need no model."""
        fetch = self.desk.admin.fetch
        sessions = await fetch(
            "select s.id::text, s.status::text, s.status_before_archive::text as former, s.turn_count, s.message_count,"
            " (select count(*) from public.turns t where t.session_id = s.id) as turns,"
            " (select count(*) from public.messages m where m.session_id = s.id) as messages"
            " from public.sessions s where s.conversation_id = $1 order by s.created_at, s.id",
            self.conversation,
        )
        turns = await fetch(
            "select t.id::text, t.session_id::text, t.status::text,"
            " t.status = 'active' and t.cancel_requested_at is not null as stopping,"
            " m.id is not null as said, coalesce(m.partial, false) as partial, coalesce(m.text, (select"
            " string_agg(c.piece, '' order by c.position) from public.turn_chunks c where c.turn_id = t.id),"
            " '') as text"
            " from public.turns t left join public.messages m on m.turn_id = t.id and m.role = 'persona'"
            " where t.conversation_id = $1 order by t.created_at, t.id",
            self.conversation,
        )
        for row in sessions:
            assert (row["turn_count"], row["message_count"]) == (row["turns"], row["messages"]), "counters equal counts"
        assert sum(row["status"] in ("active", "paused") for row in sessions) <= 1, "one live session"
        under_way = Counter(row["session_id"] for row in turns if row["status"] == "active")
        assert set(under_way.values()) <= {1}, "one active turn in each session"
        for row in turns:
            assert row["partial"] == (row["said"] and row["status"] != "completed")
        names = {
            row["id"]: self._name(letter, row["id"]) for letter, rows in (("s", sessions), ("t", turns)) for row in rows
        }
        audited = "select verb, object_id::text from public.audit_events where object_id = any ($1::uuid[])"
        return {
            "sessions": {
                names[row["id"]]: (row["status"], row["former"], row["turns"], row["messages"]) for row in sessions
            },
            "turns": {
                names[row["id"]]: (names[row["session_id"]], row["status"], row["stopping"], row["text"], row["said"])
                for row in turns
            },
            "audit": Counter((verb, names[key]) for verb, key in await self.desk.all(audited, list(names))),
        }


POLICIES = (("per_conversation", "refuse"), ("per_message", "refuse"), ("per_conversation", "interrupt"))


@pytest.mark.parametrize("policies", POLICIES, ids="-".join)
def test_sessions_and_turns_do_what_their_model_does_even_concurrently(
    loop_and_desk: tuple[Loop, Desk], policies: tuple[str, str]
) -> None:
    loop, desk = loop_and_desk
    loop.run(desk.believe_hmacs())
    loop.run(desk.lift_limits())
    loop.run(desk.admin.execute("update public.personas set breaker_failures = 0"))
    holder = loop.run(asyncpg.connect(desk.admin_url))
    given = {
        "loop": loop,
        "desk": desk,
        "holder": holder,
        "policies": policies,
        "boss": loop.run(desk.member("owner")),
    }
    explore(type("Machine", (Lifecycle,), given), examples=15, steps=25)
    loop.run(holder.close())
