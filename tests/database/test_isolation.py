"""Conversations are found by contact (null included), user, persona and thread key, and by nothing else.

Arrivals in any order, under the same few thread keys, reach their own rows only; foreign rows are refused exactly as
rows that do not exist.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.database.desk import (
    JSON,
    PERSONA,
    SECRET,
    SPACE,
    WORKSPACE,
    Answer,
    Desk,
    Loop,
    Raised,
    claims,
    on_behalf,
    own_token,
    session_view,
    signed,
    user,
    with_token,
)

THREADS = (None, "main", "offer", "ann")
TABLES = ("conversations", "sessions", "turns", "messages")
PEOPLE = ("ann", "bob", "typed", "guest", "nameless", "agent", "owner")
"""Two contacts with proven emails, a visitor who types Ann's, a user who confirmed it, one without any, two members."""


@dataclass(frozen=True)
class Arrival:
    """A message, or the start of a session without one."""

    who: str
    door: int
    thread: str | None
    speaks: bool
    beside: str | None
    """The contact for whom a member starts it; None: the member's own side."""


arrivals = st.builds(
    Arrival,
    who=st.sampled_from(PEOPLE),
    door=st.integers(0, 1),
    thread=st.sampled_from(THREADS),
    speaks=st.booleans(),
    beside=st.sampled_from((None, None, "ann", "bob")),
)


class World:
    """The callers and spaces of a run, and the rows that each caller should have."""

    def __init__(self, loop: Loop, desk: Desk, doors: Sequence[tuple[str, str]]) -> None:
        self.loop, self.desk, self.doors = loop, desk, doors
        self.run = uuid.uuid4().hex[:8]
        self.theirs: dict[tuple[Any, ...], str] = {}
        self.rows: dict[str, set[tuple[str, str]]] = {}
        """The rows of each conversation, with their table."""
        self.readers: dict[str, set[str]] = {}
        """The conversations that are a user's own or assigned to them."""
        self.tokens: dict[str, JSON] = {}
        self.users: dict[str, JSON] = {}
        for who in ("agent", "owner"):
            self.users[who] = loop.run(desk.member(who))
        self.users["guest"] = user(loop.run(desk.sign_up(self.email("ann"))), self.email("ann"))
        self.users["nameless"] = user(loop.run(desk.sign_up(None)))
        self.contacts = {who: self._register(who)["contact_id"] for who in ("ann", "bob")}

    def email(self, who: str) -> str:
        """An address that is new in this run."""
        return f"{who}-{self.run}@example.test"

    def _register(self, who: str) -> Answer:
        arrived = self.loop.run(self.desk.prove(self.email(who)))
        self._have(("contact", arrived["contact_id"], None, PERSONA, "main"), arrived)
        self.tokens[who] = with_token(arrived)
        return arrived

    def _have(self, key: tuple[Any, ...], answer: Answer) -> None:
        conversation = answer["conversation_id"]
        assert self.theirs.setdefault(key, conversation) == conversation, "the same key, the same conversation"
        assert [each for each, held in self.theirs.items() if held == conversation] == [key], "and no other key"
        rows = self.rows.setdefault(conversation, {("conversations", conversation)})
        rows.add(("sessions", answer["session_id"]))
        if "turn_id" in answer.body:
            rows.add(("turns", answer["turn_id"]))
            rows.add(("messages", answer["user_message_id"]))

    def arrive(self, one: Arrival) -> None:
        """Do what an arrival wants, and compare the conversation with the expected one."""
        space, persona = self.doors[one.door]
        run, caller, thread = self.loop.run, self.users.get(one.who), one.thread or "main"
        token = claims(caller or claims()["caller"], space)
        more: dict[str, Any] = {"space": space, "thread_key": one.thread}
        key: tuple[Any, ...]
        if one.who in ("agent", "owner") and one.beside is not None:
            contact = self.contacts[one.beside]
            arguments = {"contact_id": contact, "space_id": space, "thread_key": one.thread}
            try:
                answer = run(self.desk.start_session(on_behalf(self.users[one.who]), **arguments))
            except Raised as refused:
                # The contact's live session there may be another member's.
                if (one.who, refused.code) != ("agent", "forbidden"):
                    raise
                return
            key = ("contact", contact, None, persona, thread)
            assert answer["contact_id"] == contact
            if one.thread is None and not answer["created"]:
                # What the contact reads comes first: its live session with the persona, in whatever thread.
                (key,) = (each for each, held in self.theirs.items() if held == answer["conversation_id"])
                assert key[:2] + key[3:4] == ("contact", contact, persona)
            if one.who == "agent":
                self.readers.setdefault("agent", set()).add(answer["conversation_id"])
        elif one.who == "typed":
            if one.thread is not None:
                with pytest.raises(Raised, match="thread_key_not_allowed"):
                    run(self.desk.start(token, email=self.email("ann"), **more))
                return
            answer = run(self.desk.start(token, email=self.email("ann"), **more))
            found = answer["contact_id"], answer["proof"], answer["history"]
            assert found == (self.contacts["ann"], "asserted", [])
            key = ("typed", len(self.theirs))
        elif caller is None:
            email = self.email(one.who)
            answer = run(self.desk.start(token, email=email, email_hmac=signed(email, SECRET), **more))
            assert answer["proof"] == "verified"
            key = ("contact", self.contacts[one.who], None, persona, thread)
        else:
            if one.speaks:
                answer = run(self.desk.start(token, **more))
                assert answer["proof"] == (None if one.who in ("agent", "owner") else "verified")
            else:
                answer = run(self.desk.start_session(token, space_id=space, thread_key=one.thread))
            whose = None if one.who in ("agent", "owner") else answer["contact_id"]
            assert answer["contact_id"] == whose, "a member's own side has no contact"
            assert one.who != "guest" or whose == self.contacts["ann"]
            key = ("contact", whose, caller["user_id"], persona, thread)
            self.readers.setdefault(one.who, set()).add(answer["conversation_id"])
        self._have(key, answer)
        if "turn_id" in answer.body:
            said = run(self.desk.finish(answer))
            self.rows[answer["conversation_id"]].add(("messages", said["message_id"]))

    def sees(self, token: JSON) -> set[tuple[str, str]]:
        """The rows of this run that a token reads."""

        async def read() -> set[tuple[str, str]]:
            async with self.desk.reading(token) as connection:
                found = {
                    (table, str(row[0]))
                    for table in TABLES
                    for row in await connection.fetch(f"select id from public.{table}")
                }
                view = await session_view(connection)
                shown = {("sessions", str(row[0])) for row in await connection.fetch(f"select id from public.{view}")}
                assert shown == {row for row in found if row[0] == "sessions"}
                return found

        everything = set[tuple[str, str]]().union(*self.rows.values())
        return self.loop.run(read()) & everything

    def ought_to_see(self, conversations: set[str]) -> set[tuple[str, str]]:
        """The rows of conversations."""
        return set[tuple[str, str]]().union(*(self.rows[each] for each in conversations))

    def told(self, token: JSON, function: str, **arguments: Any) -> tuple[int | None, str, str]:
        """The refusal of a call, without the ids that the call named."""
        try:
            answer = self.loop.run(self.desk.call(function, token, **arguments))
        except Raised as refused:
            text = str(refused)
            for value in arguments.values():
                text = text.replace(str(value), "…")
            return refused.status, refused.code, text
        raise AssertionError(f"{function} answers {answer.body}")

    def asked_for(self, token: JSON, own: JSON, rows: dict[str, str]) -> list[tuple[str, JSON, JSON]]:
        """The calls that name a conversation, session or turn, with their token."""
        return [
            ("read_turn", own, {"turn_id": rows["turns"], "after": 0}),
            ("recover_session", token, {"session_id": rows["sessions"]}),
            ("change_session_status", token, {"session_id": rows["sessions"], "status": "cancelled"}),
            ("change_session_status", token, {"session_id": rows["sessions"], "status": "paused"}),
            ("cancel_turn", token, {"turn_id": rows["turns"]}),
        ]


@pytest.fixture
def doors(loop_and_desk: tuple[Loop, Desk]) -> list[tuple[str, str]]:
    """Two spaces of the workspace, each with its own persona, without limits."""
    loop, desk = loop_and_desk
    loop.run(desk.believe_hmacs())
    loop.run(desk.lift_limits())
    made = loop.run(
        desk.one(
            "with p as (insert into public.personas (workspace_id, kind, name) values ($1, 'demo', 'x') returning id)"
            " insert into public.spaces (workspace_id, kind, name, persona_id, hmac_secret_id)"
            " select $1, 'embed', 'Other', p.id, hmac_secret_id from p, public.spaces s where s.id = $2"
            " returning id::text, persona_id::text", WORKSPACE, SPACE,
        )
    )  # fmt: skip
    return [(SPACE, PERSONA), (made[0], made[1])]


def test_a_caller_reaches_no_conversation_session_turn_or_message_of_another(
    loop_and_desk: tuple[Loop, Desk], doors: list[tuple[str, str]]
) -> None:
    loop, desk = loop_and_desk

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(arrivals, min_size=4, max_size=14))
    def callers_arrive(came: list[Arrival]) -> None:
        world = World(loop, desk, doors)
        for one in came:
            world.arrive(one)
        everything = world.ought_to_see(set(world.rows))
        for who, caller in world.users.items():
            ought = everything if who == "owner" else world.ought_to_see(world.readers.get(who, set()))
            assert world.sees(own_token(caller)) == ought, who
            _finds_nothing_else(world, on_behalf(caller), own_token(caller), everything - ought)
        for who, token in world.tokens.items():
            own = own_token(token["caller"])
            ought = world.ought_to_see({token["caller"]["conversation_id"]})
            assert world.sees(own) == ought, who
            _finds_nothing_else(world, {**token, "scope": {"workspace_id": WORKSPACE}}, own, everything - ought)

    callers_arrive()


def _finds_nothing_else(world: World, token: JSON, own: JSON, foreign: set[tuple[str, str]]) -> None:
    """Foreign ids are refused exactly as ids that do not exist."""
    rows = {table: min((key for name, key in foreign if name == table), default="") for table in TABLES}
    if not all(rows.values()):
        return
    nothing = {table: str(uuid.uuid4()) for table in TABLES}
    for theirs, none in zip(world.asked_for(token, own, rows), world.asked_for(token, own, nothing), strict=True):
        function, by, arguments = theirs
        refused = world.told(by, function, **arguments)
        assert refused[0] == 404, function
        assert refused == world.told(none[1], none[0], **none[2])
    several = {"session_ids": [rows["sessions"], nothing["sessions"]], "status": "cancelled"}
    items = world.loop.run(world.desk.call("change_sessions_status", token, **several))["items"]
    assert [{**item, "id": None} for item in items] == [{"id": None, "code": "session_not_found"}] * 2
