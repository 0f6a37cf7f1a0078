"""Nobody finds what is somebody else's: conversations by contact, null included, by user, persona and thread key.

Whoever arrives, in whatever order, each under the same few thread keys, gets what is theirs and no other's; and what is
somebody else's is refused as what does not exist is, word for word.
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
    SPACE,
    WORKSPACE,
    Answer,
    Desk,
    Raised,
    claims,
    member,
    on_behalf,
    signed,
    user,
    with_token,
)
from tests.database.test_turn_lifecycle import Loop, loop_and_desk

__all__ = ["loop_and_desk"]

SECRET = "the-secret-of-the-customers-server"
THREADS = (None, "main", "offer", "ann")
TABLES = ("conversations", "sessions", "turns", "messages")
PEOPLE = ("ann", "bob", "typed", "guest", "nameless", "agent", "owner")
"""Two who are known by an email that they prove, somebody who only types Ann's, a user who confirmed it, a user without
any, and two members."""


@dataclass(frozen=True)
class Arrival:
    """Somebody who says something, or opens a session without: where, and under which thread key."""

    who: str
    door: int
    thread: str | None
    speaks: bool
    beside: str | None
    """Whom a member opens it for; None: for themselves."""


arrivals = st.builds(
    Arrival,
    who=st.sampled_from(PEOPLE),
    door=st.integers(0, 1),
    thread=st.sampled_from(THREADS),
    speaks=st.booleans(),
    beside=st.sampled_from((None, None, "ann", "bob")),
)


class World:
    """Who there is in this run, the spaces, and what everybody ought to have."""

    def __init__(self, loop: Loop, desk: Desk, doors: Sequence[tuple[str, str]]) -> None:
        self.loop, self.desk, self.doors = loop, desk, doors
        self.run = uuid.uuid4().hex[:8]
        self.theirs: dict[tuple[Any, ...], str] = {}
        self.rows: dict[str, set[tuple[str, str]]] = {}
        """Of each conversation the rows that it ought to have, by table."""
        self.readers: dict[str, set[str]] = {}
        """The conversations that each user holds, or was assigned."""
        self.tokens: dict[str, JSON] = {}
        self.users: dict[str, JSON] = {}
        for who in PEOPLE:
            if who in ("agent", "owner"):
                self.users[who] = loop.run(member(desk, who))
            elif who == "guest":
                self.users[who] = user(loop.run(desk.sign_up(self.email("ann"))), self.email("ann"))
            elif who == "nameless":
                self.users[who] = user(loop.run(desk.sign_up(None)))
        self.contacts = {who: self._register(who)["contact_id"] for who in ("ann", "bob")}

    def email(self, who: str) -> str:
        """Somebody's address, in this run."""
        return f"{who}-{self.run}@example.test"

    def _register(self, who: str) -> Answer:
        email = self.email(who)
        arrived = self.loop.run(self.desk.register(email, email_hmac=signed(email, SECRET)))
        self._have(("contact", arrived["contact_id"], None, PERSONA, "main"), arrived)
        self.tokens[who] = with_token(arrived)
        return arrived

    def _have(self, key: tuple[Any, ...], answer: Answer) -> None:
        conversation = answer["conversation_id"]
        assert self.theirs.setdefault(key, conversation) == conversation, "the same people have the same conversation"
        assert [each for each, held in self.theirs.items() if held == conversation] == [key], "and nobody else has it"
        rows = self.rows.setdefault(conversation, {("conversations", conversation)})
        rows.add(("sessions", answer["session_id"]))
        if "turn_id" in answer.body:
            rows.add(("turns", answer["turn_id"]))
            rows.add(("messages", answer["user_message_id"]))

    def arrive(self, one: Arrival) -> None:
        """Let somebody in, and hold what they get against whose it ought to be."""
        space, persona = self.doors[one.door]
        caller = self.users.get(one.who)
        thread = one.thread or "main"
        if one.who in ("agent", "owner") and one.beside is not None:
            arguments = {"contact_id": self.contacts[one.beside], "space_id": space, "thread_key": one.thread}
            try:
                answer = self.loop.run(self.desk.call("start_session", on_behalf(self.users[one.who]), **arguments))
            except Raised as refused:
                # The contact's live session there is somebody else's to look after.
                if (one.who, refused.code) != ("agent", "forbidden"):
                    raise
                return
            self._have(("contact", self.contacts[one.beside], None, persona, thread), answer)
            assert answer["contact_id"] == self.contacts[one.beside]
            if one.who == "agent":
                self.readers.setdefault("agent", set()).add(answer["conversation_id"])
            return
        if one.who == "typed":
            typed: dict[str, Any] = {"email": self.email("ann"), "thread_key": one.thread}
            if one.thread is not None:
                with pytest.raises(Raised, match="thread_key_not_allowed"):
                    self.loop.run(self.desk.start(claims(space=space), space=space, **typed))
                return
            answer = self.loop.run(self.desk.start(claims(space=space), space=space, **typed))
            assert (answer["contact_id"], answer["history"]) == (self.contacts["ann"], [])
            key: tuple[Any, ...] = ("typed", len(self.theirs))
        elif caller is None:
            email = self.email(one.who)
            proof: dict[str, Any] = {"email": email, "email_hmac": signed(email, SECRET), "thread_key": one.thread}
            answer = self.loop.run(self.desk.start(claims(space=space), space=space, **proof))
            key = ("contact", self.contacts[one.who], None, persona, thread)
        else:
            token = claims(caller, space)
            if one.speaks:
                answer = self.loop.run(self.desk.start(token, space=space, thread_key=one.thread))
            else:
                answer = self.loop.run(self.desk.call("start_session", token, space_id=space, thread_key=one.thread))
            whose = None if one.who in ("agent", "owner") else answer["contact_id"]
            assert answer["contact_id"] == whose, "a member's own side has no contact"
            key = ("contact", whose, caller["user_id"], persona, thread)
            self.readers.setdefault(one.who, set()).add(answer["conversation_id"])
        if one.who == "guest":
            assert answer["contact_id"] == self.contacts["ann"]
        self._have(key, answer)
        if "turn_id" in answer.body:
            said = self.loop.run(self.desk.finish(answer))
            self.rows[answer["conversation_id"]].add(("messages", said["message_id"]))

    def sees(self, token: JSON) -> set[tuple[str, str]]:
        """The rows of this run that a token reads, of all tables."""

        async def read() -> set[tuple[str, str]]:
            async with self.desk.reading(token) as connection:
                return {
                    (table, str(row[0]))
                    for table in TABLES
                    for row in await connection.fetch(f"select id from public.{table}")
                }

        everything = set[tuple[str, str]]().union(*self.rows.values())
        return self.loop.run(read()) & everything

    def ought_to_see(self, conversations: set[str]) -> set[tuple[str, str]]:
        """All that belongs to conversations."""
        return set[tuple[str, str]]().union(*(self.rows[each] for each in conversations))

    def told(self, token: JSON, function: str, **arguments: Any) -> tuple[int | None, str, str]:
        """How a call is refused, without the ids that it named."""
        try:
            answer = self.loop.run(self.desk.call(function, token, **arguments))
        except Raised as refused:
            text = str(refused)
            for value in arguments.values():
                text = text.replace(str(value), "…")
            return refused.status, refused.code, text
        raise AssertionError(f"{function} answers {answer.body}")

    def asked_for(self, token: JSON, own: JSON, rows: dict[str, str]) -> list[tuple[str, JSON, JSON]]:
        """Every call that names a conversation, session or turn, with the token that it goes with."""
        return [
            ("read_turn", own, {"turn_id": rows["turns"], "after": 0}),
            ("recover_session", token, {"session_id": rows["sessions"]}),
            ("change_session_status", token, {"session_id": rows["sessions"], "status": "cancelled"}),
            ("change_session_status", token, {"session_id": rows["sessions"], "status": "paused"}),
            ("cancel_turn", token, {"turn_id": rows["turns"]}),
        ]


@pytest.fixture
def doors(loop_and_desk: tuple[Loop, Desk]) -> list[tuple[str, str]]:
    """Two spaces of the workspace, each with a persona of its own; nothing counts against a limit."""
    loop, desk = loop_and_desk
    loop.run(desk.believe_hmacs(SECRET))
    other = loop.run(
        desk.admin.fetchval(
            "insert into public.personas (workspace_id, kind, name) values ($1, 'demo', 'Other') returning id::text",
            WORKSPACE,
        )
    )
    space = loop.run(
        desk.admin.fetchval(
            "insert into public.spaces (workspace_id, kind, name, persona_id, hmac_secret_id) "
            "select $1, 'embed', 'Other', $2, hmac_secret_id from public.spaces where id = $3 returning id::text",
            WORKSPACE, other, SPACE,
        )
    )  # fmt: skip
    limits = (
        "messages_per_minute_by_contact = {0}, messages_per_minute_by_user = {0}, messages_per_minute_by_space = {0}"
    )
    loop.run(desk.admin.execute(f"update public.workspaces set {limits.format(1_000_000)}"))
    loop.run(desk.admin.execute("update public.spaces set arrivals_per_minute = 1000000"))
    return [(SPACE, PERSONA), (space, other)]


def test_nobody_ever_finds_a_conversation_session_turn_or_message_of_somebody_else(
    loop_and_desk: tuple[Loop, Desk], doors: list[tuple[str, str]]
) -> None:
    loop, desk = loop_and_desk

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(arrivals, min_size=4, max_size=14))
    def anybody_arrives(came: list[Arrival]) -> None:
        world = World(loop, desk, doors)
        for one in came:
            world.arrive(one)
        everything = world.ought_to_see(set(world.rows))
        for who, caller in world.users.items():
            own = {"role": "authenticated", "sub": caller["user_id"]}
            ought = everything if who == "owner" else world.ought_to_see(world.readers.get(who, set()))
            assert world.sees(own) == ought, who
            _finds_nothing_else(world, on_behalf(caller), own, everything - ought)
        for who, token in world.tokens.items():
            own = {**token["caller"], "role": "contact"}
            ought = world.ought_to_see({token["caller"]["conversation_id"]})
            assert world.sees(own) == ought, who
            _finds_nothing_else(world, {**token, "scope": {"workspace_id": WORKSPACE}}, own, everything - ought)

    anybody_arrives()


def _finds_nothing_else(world: World, token: JSON, own: JSON, foreign: set[tuple[str, str]]) -> None:
    """What is somebody else's is refused as what does not exist is, whoever asks for it in whatever way."""
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


async def test_what_was_started_for_a_contact_goes_on_with_that_contact(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    boss = await member(desk, "owner")
    email = "ann@example.test"
    proof: dict[str, Any] = {"email": email, "email_hmac": signed(email, SECRET)}
    ann = await desk.register(email, email_hmac=proof["email_hmac"])
    started = await desk.call(
        "start_session", on_behalf(boss), contact_id=ann["contact_id"], space_id=SPACE, thread_key="offer"
    )
    rows = []
    for _ in range(2):
        turn = await desk.start(thread_key="offer", **proof)
        await desk.finish(turn)
        assert (turn["conversation_id"], turn["contact_id"]) == (started["conversation_id"], ann["contact_id"])
        rows.append(turn["session_id"])
        await desk.call("change_session_status", on_behalf(boss), session_id=turn["session_id"], status="completed")
    assert rows[0] == started["session_id"] != rows[1]
    spoke = await desk.admin.fetch(
        "select distinct s.contact_id::text, s.user_id, m.role::text, m.contact_id::text as spoke"
        " from public.sessions s join public.messages m on m.session_id = s.id where s.conversation_id = $1 order by 3",
        started["conversation_id"],
    )
    assert [tuple(row) for row in spoke] == [
        (ann["contact_id"], None, "contact", ann["contact_id"]), (ann["contact_id"], None, "persona", None),
    ]  # fmt: skip
    # The member who opened it talks on a side of their own, under the same key.
    own = await desk.start(claims(boss), thread_key="offer")
    assert own["conversation_id"] != started["conversation_id"]
    assert own["contact_id"] is None
    assert own["history"] == []


async def test_a_contact_s_first_session_is_told_to_whoever_may_read_it(desk: Desk) -> None:
    boss, agent = await member(desk, "owner"), await member(desk, "agent")
    ann = await desk.register("ann@example.test")

    async def told(caller: JSON) -> list[str | None]:
        own = {"role": "authenticated", "sub": caller["user_id"]}
        one = await desk.call("read_contact", own, contact_id=ann["contact_id"])
        active = await desk.call("read_contact_activity", own, contact_id=ann["contact_id"])
        (listed,) = (await desk.call("list_contacts", own))["items"]
        return [each["session_id"] for each in (one, active, listed)]

    assert await told(boss) == [ann["session_id"]] * 3
    assert await told(agent) == [None] * 3
    await desk.admin.execute("update public.sessions set assigned_user_id = $1", agent["user_id"])
    assert await told(agent) == [ann["session_id"]] * 3
