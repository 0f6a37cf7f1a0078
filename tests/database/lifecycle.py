"""A model of the sessions and turns of one contact's conversation with one persona.

`Conversation.do` does one deed and returns its caller's answer. Sessions are named s0, s1, …, turns t0, t1, … in the
order in which they begin.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

LIVE = ("active", "paused")
TERMINAL = ("completed", "failed", "timeout", "cancelled")

Kind = Literal[
    "message", "start", "start beside", "flush", "finish", "cancel turn", "change", "recover",
    "expire turns", "time out", "archive",
]  # fmt: skip

SWEEPS: tuple[Kind, ...] = ("expire turns", "time out", "archive")
"""They skip locked rows."""

Outcome = tuple[Any, ...]


@dataclass(frozen=True)
class Deed:
    """One call: the session or turn that it names, and the wanted status."""

    kind: Kind
    target: str = ""
    wanted: str = ""
    text: str | None = None


@dataclass
class Session:
    """``quiet``: the time without incoming messages, as the sweeps distinguish it; ``old``: ended a season ago."""

    status: str = "active"
    former: str | None = None
    quiet: Literal["", "a day", "a season"] = ""
    old: bool = False
    failed_by_member: bool = False
    turns: int = 0
    messages: int = 0


@dataclass
class Turn:
    """``lapsed``: its lease has expired but nothing has ended it; ``said``: its stored message."""

    session: str
    status: str = "active"
    stopping: bool = False
    lapsed: bool = False
    flushed: str = ""
    said: str | None = None


@dataclass
class Conversation:
    """Its sessions and turns by name, and their audit events."""

    per_message: bool
    interrupts: bool
    sessions: dict[str, Session] = field(default_factory=lambda: {"s0": Session()})
    turns: dict[str, Turn] = field(default_factory=dict)
    audit: Counter[tuple[str, str]] = field(default_factory=Counter)

    def live(self) -> str | None:
        """The active or paused session."""
        return next((name for name, session in self.sessions.items() if session.status in LIVE), None)

    def under_way(self, session: str | None = None) -> str | None:
        """The active turn, of a session or of any."""
        active = [name for name, turn in self.turns.items() if turn.status == "active"]
        return next((name for name in active if session in (None, self.turns[name].session)), None)

    def do(self, deed: Deed, held: Collection[str] = ()) -> Outcome:
        """Do one deed; the caller's answer. A sweep skips the ``held`` sessions and their turns."""
        deeds: dict[Kind, Callable[[], Outcome]] = {
            "message": self._message,
            "start": self._start,
            "start beside": self._start,
            "flush": lambda: self._flush(self.turns[deed.target], deed.text or ""),
            "finish": lambda: self._finish(deed.target, deed.wanted, deed.text),
            "cancel turn": lambda: self._ask_to_stop(deed.target),
            "change": lambda: self._change(deed.target, deed.wanted),
            "recover": lambda: self._recover(deed.target),
            "expire turns": lambda: self._expire_turns(held),
            "time out": lambda: self._time_out(held),
            "archive": lambda: self._archive(held),
        }
        return deeds[deed.kind]()

    def _finish(self, name: str, status: str, answer: str | None) -> Outcome:
        changed = self.turns[name].status == "active"
        if changed:
            self._close(name, status, answer)
        return changed, self.turns[name].status

    def _expire_turns(self, held: Collection[str]) -> Outcome:
        turns = self.turns.items()
        lapsed = [name for name, each in turns if each.status == "active" and each.lapsed and each.session not in held]
        for name in lapsed:
            self._close(name, "timeout", None)
        return (len(lapsed),)

    def _time_out(self, held: Collection[str]) -> Outcome:
        idle = [n for n, each in self.sessions.items() if each.status in LIVE and each.quiet and n not in held]
        return self._become("timeout", [name for name in idle if self.under_way(name) is None])

    def _archive(self, held: Collection[str]) -> Outcome:
        old = [n for n, s in self.sessions.items() if s.status in TERMINAL and s.old and n not in held]
        for name in old:
            self.sessions[name].former = self.sessions[name].status
        return self._become("archived", old)

    def _become(self, status: str, names: list[str]) -> Outcome:
        for name in names:
            self.sessions[name].status = status
            self.audit[f"session.{status}", name] += 1
        return (len(names),)

    def _open(self) -> tuple[str, bool]:
        live = self.live()
        if live is not None:
            return live, False
        name = f"s{len(self.sessions)}"
        self.sessions[name] = Session()
        return name, True

    def _message(self) -> Outcome:
        busy = self.under_way()
        if busy is not None:
            if not self.turns[busy].lapsed:
                self.turns[busy].stopping |= self.interrupts
                return "busy", busy
            self._close(busy, "timeout", None)
        name, _ = self._open()
        session = self.sessions[name]
        if session.status == "paused":
            self.audit["session.resumed", name] += 1
        session.status, session.quiet = "active", ""
        session.turns += 1
        session.messages += 1
        turn = f"t{len(self.turns)}"
        self.turns[turn] = Turn(name)
        return "turn", turn, name

    def _start(self) -> Outcome:
        name, is_new = self._open()
        self.audit["session.started", name] += is_new
        return "session", name, is_new

    def _flush(self, turn: Turn, piece: str) -> Outcome:
        if turn.status == "active":
            turn.lapsed = False
            turn.flushed += piece
        return turn.status, turn.status == "active" and turn.stopping

    def _close(self, name: str, status: str, answer: str | None) -> None:
        turn = self.turns[name]
        session = self.sessions[turn.session]
        said = turn.flushed if answer is None else answer
        turn.status, turn.flushed, turn.said = status, "", said or None
        session.messages += bool(said)
        if status != "completed":
            self.audit[f"turn.{status}", name] += 1
        if self.per_message and session.status in LIVE:
            session.status = status

    def _ask_to_stop(self, name: str) -> Outcome:
        turn = self.turns[name]
        if turn.status == "active":
            self.audit["turn.cancel_requested", name] += not turn.stopping
            turn.stopping = True
        return (turn.status,)

    def _change(self, name: str, wanted: str) -> Outcome:
        session = self.sessions[name]
        if session.status == wanted:
            return wanted, False
        if session.status not in LIVE:
            return ("refused", session.status)
        turn = self.under_way(name)
        if wanted not in LIVE and turn is not None:
            if not self.turns[turn].lapsed:
                self._ask_to_stop(turn)
                return ("busy", turn)
            self._close(turn, "timeout", None)
            if session.status not in LIVE:
                return ("refused", session.status)
        session.status, session.failed_by_member = wanted, wanted == "failed"
        self.audit["session.resumed" if wanted == "active" else f"session.{wanted}", name] += 1
        return wanted, True

    def _recover(self, name: str) -> Outcome:
        session = self.sessions[name]
        turn = self.under_way(name)
        changed = turn is not None and self.turns[turn].lapsed
        if turn is not None and changed:
            self._close(turn, "timeout", None)
        if session.status in LIVE:
            return session.status, changed
        if session.status not in ("timeout", "failed") or session.failed_by_member or self.live() is not None:
            return ("refused", session.status)
        session.status, session.quiet, session.old = "active", "", False
        self.audit["session.recovered", name] += 1
        return "active", True

    def seen(self) -> dict[str, Any]:
        """The state as the database shows it.

        ``stopping`` counts for active turns only: a message that interrupts asks a turn to stop after its own refusal,
        and the turn may have ended in between.
        """
        return {
            "sessions": {name: (s.status, s.former, s.turns, s.messages) for name, s in self.sessions.items()},
            "turns": {
                name: (
                    each.session, each.status, each.stopping and each.status == "active",
                    each.flushed or each.said or "", bool(each.said),
                )
                for name, each in self.turns.items()
            },
            "audit": +self.audit,
        }  # fmt: skip


def orders(before: Conversation, deeds: Sequence[Deed]) -> Iterator[tuple[Conversation, list[Outcome]]]:
    """Every order of concurrent deeds: the state after it, and the answers.

    A sweep may have found some rows locked: of the other deeds' sessions or, beside another sweep, of any.
    """
    sweeps = [place for place, deed in enumerate(deeds) if deed.kind in SWEEPS]
    about = set(before.sessions) if len(sweeps) > 1 else {_session_of(before, deed) for deed in deeds}
    names = sorted(name for name in about if name is not None) if len(deeds) > 1 else []
    some = [set(found) for size in range(len(names) + 1) for found in itertools.combinations(names, size)]
    for order in itertools.permutations(range(len(deeds))):
        for held in itertools.product(some, repeat=len(sweeps)):
            left_alone = dict(zip(sweeps, held, strict=True))
            after = deepcopy(before)
            told: list[Outcome] = [()] * len(deeds)
            for place in order:
                told[place] = after.do(deeds[place], left_alone.get(place, ()))
            yield after, told


def _session_of(conversation: Conversation, deed: Deed) -> str | None:
    """The session of a deed: the named one, the named turn's, or the live one."""
    turn = conversation.turns.get(deed.target)
    return turn.session if turn else deed.target or conversation.live()
