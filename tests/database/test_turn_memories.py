"""What a turn knows: the memories that its session may know, the best of them, and what is remembered of it."""

from uuid import uuid4

import pytest_asyncio

from tests.database.desk import PERSONA, SPACE, WORKSPACE, Desk, on_a_turn, on_behalf, with_token

MINE = {"ann", "ann p", "ann internal"}
KNOWN = {"known", "known p"}
RECALLED = {
    "ann": (MINE, MINE | KNOWN),
    "ann typed": ({"ann typed"}, {"ann typed"}),
    "ben": ({"ben"}, {"ben"} | KNOWN),
    "group": ({"group"}, {"group"} | KNOWN),
    "agent": (KNOWN | {"agent"}, KNOWN | {"agent"}),
    "no member": (set(), set()),
    "admin": (MINE | KNOWN | {"ann typed", "ben", "group", "agent"},) * 2,
}
"""By conversation: the memories that it recalls with the memory model per_contact, and with shared."""


class Town:
    """Ann with proof and without, Ben, a group of both, and members in their own conversations; each with memories."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.conversations: dict[str, str] = {}

    async def settle(self) -> None:
        """Make everyone, and a memory of each kind for each."""
        people: dict[str, str | None] = {}
        for name, kind in (("ann", "person"), ("ben", "person"), ("group", "group")):
            insert = "insert into public.contacts (workspace_id, kind, title) values ($1, $2, $3) returning id::text"
            title = name if kind == "group" else None
            people[name] = (await self.desk.one(insert, WORKSPACE, kind, title))[0]
        users = {role: (await self.desk.member(role))["user_id"] for role in ("agent", "admin")}
        # As an API key for ingest, which reads nothing, or a former member.
        users["no member"] = str(uuid4())
        for name in RECALLED:
            contact, proof = people.get(name.partition(" ")[0]), "asserted" if "typed" in name else "verified"
            self.conversations[name] = (
                await self.desk.one(
                    "insert into public.conversations"
                    " (workspace_id, contact_id, user_id, persona_id, space_id, thread_key, proof)"
                    " values ($1, $2, $3, $4, $5, $6, $7) returning id::text",
                    WORKSPACE, contact, users.get(name), PERSONA, contact and SPACE, name, contact and proof,
                )
            )[0]  # fmt: skip
        other = await self.desk.one(
            "insert into public.personas (workspace_id, kind, name) values ($1, 'demo', 'Q') returning id::text",
            WORKSPACE,
        )
        ann = {"contact_id": people["ann"]}
        for name, contact in people.items():
            await self.remember(name, contact_id=contact)
        await self.remember("ann p", **ann, persona_id=PERSONA)
        await self.remember("ann q", **ann, persona_id=other[0])
        await self.remember("ann internal", **ann, internal=True)
        await self.remember("ann expired", **ann, expires_at="2020-01-01T00:00:00Z")
        await self.remember(
            "ann former", **ann, superseded_by=await self.remember("ann new", **ann, expires_at="2020-01-01Z")
        )
        await self.remember("ann typed", **ann, conversation_id=self.conversations["ann typed"])
        await self.remember("agent", conversation_id=self.conversations["agent"], kind="turn")
        await self.remember("known", internal=True)
        await self.remember("known p", internal=True, persona_id=PERSONA)
        await self.remember("known q", internal=True, persona_id=other[0])

    async def remember(self, content: str, **columns: object) -> str:
        """A memory; its id."""
        row = {"workspace_id": WORKSPACE, "content": f"apple {content}", **columns}
        named = ", ".join(row)
        insert = (
            f"insert into public.memories ({named}) select {named}"
            " from jsonb_populate_record(null::public.memories, $1) returning id::text"
        )
        return str((await self.desk.one(insert, row))[0])

    async def recall(self, name: str, message: str = "An apple?") -> list[str]:
        """What a new turn in a conversation recalls, the best first."""
        session = await self.desk.one(
            "insert into public.sessions (workspace_id, conversation_id, contact_id, user_id, persona_id)"
            " select workspace_id, id, contact_id, user_id, persona_id from public.conversations where id = $1"
            " on conflict do nothing returning id",
            self.conversations[name],
        )
        turn = await self.desk.one(
            "insert into public.turns (workspace_id, conversation_id, session_id, deadline, lease_until)"
            " values ($1, $2, $3, now() + interval '1 minute', now() + interval '1 minute') returning id::text",
            WORKSPACE, self.conversations[name], session[0],
        )  # fmt: skip
        recalled = await self.desk.call("recall_for_turn", on_a_turn(), turn_id=turn[0], message=message)
        query = "select t.memory_id::text from public.turn_memories t where t.turn_id = $1 order by t.rank"
        assert [memory["id"] for memory in recalled["memories"]] == [
            key for (key,) in await self.desk.all(query, turn[0])
        ]
        await self.desk.admin.execute(
            "update public.turns set status = 'completed', finished_at = now() where id = $1", turn[0]
        )
        await self.desk.end_session(str(session[0]), "completed")
        return [memory["content"].removeprefix("apple ") for memory in recalled["memories"]]


@pytest_asyncio.fixture
async def town(desk: Desk) -> Town:
    """Everyone, and a persona with memory."""
    await desk.lift_limits()
    await desk.admin.execute("update public.personas set recall_limit = 50")
    made = Town(desk)
    await made.settle()
    return made


async def test_a_turn_recalls_all_that_its_session_may_know_and_nothing_else(town: Town) -> None:
    for model, place in (("per_contact", 0), ("shared", 1)):
        await town.desk.admin.execute("update public.personas set memory_model = $1::text::public.memory_model", model)
        for name, expected in RECALLED.items():
            recalled = await town.recall(name)
            assert sorted(recalled) == sorted(expected[place]), (model, name)
    await town.desk.admin.execute("update public.personas set recall_limit = 0")
    assert await town.recall("ann") == [], "memory is off"


async def test_the_best_fill_the_limit_beside_the_history(town: Town) -> None:
    """What the persona is given as history is not recalled besides."""
    desk = town.desk
    await desk.admin.execute("update public.personas set recall_limit = 2, remember_turns = true, history_limit = 4")
    ann = with_token(await desk.register("ann@example.test"))
    for number in range(4):
        turn = await desk.start(ann, f"apple {number}")
        knew = await desk.call("recall_for_turn", on_a_turn(), turn_id=turn["turn_id"], message="apple")
        history = [message["text"] for message in turn["history"]]
        contents = [memory["content"] for memory in knew["memories"]]
        assert (len(contents), set(contents) & set(history)) == (min(max(2 * number - 4, 0), 2), set())
        again = await desk.call("recall_for_turn", on_a_turn(), turn_id=turn["turn_id"], message="apple")
        assert again.body == knew.body
        await desk.finish(turn, answer=f"An apple a day {number}")


async def remembered(desk: Desk) -> list[str]:
    """The remembered turns, from the first by the turn before each."""
    query = (
        "with recursive r as (select id, content, 1 as place from public.memories"
        " where kind = 'turn' and previous_id is null union all select m.id, m.content, r.place + 1"
        " from r join public.memories m on m.previous_id = r.id)"
        " select content from r order by place"
    )
    return [content for (content,) in await desk.all(query)]


async def test_a_turn_is_remembered_however_it_ends(desk: Desk) -> None:
    await desk.lift_limits()
    admin = await desk.member()
    ann = await desk.arrive()
    await desk.finish(await desk.start(ann, "off"))
    assert await remembered(desk) == [], "memory is off"
    await desk.admin.execute("update public.personas set remember_turns = true, collect_seconds = 5")
    turn = await desk.start(ann, "one")
    await desk.start(ann, "one and a half")
    await desk.call("collect_messages", on_a_turn(), turn_id=turn["turn_id"])
    await desk.finish(turn, answer="first")
    await desk.finish(turn, answer="late")
    await desk.admin.execute("update public.personas set collect_seconds = 0")
    turn = await desk.start(ann, "two")
    await desk.flush(turn, 0, "half")
    await desk.let_lease_run_out(turn)
    await desk.expire()
    turn = await desk.start(ann, "three")
    await desk.finish(turn, "failed", "", error_code="persona_failed")
    turn = await desk.call("retry_turn", on_behalf(ann["caller"]), turn_id=turn["turn_id"])
    await desk.finish(turn, answer="third")
    turn = await desk.start(ann, "wait")
    await desk.admin.execute("update public.personas set turn_policy = 'interrupt'")
    assert (await desk.start(ann, "no, this"))["stopping"]
    await desk.finish(turn, "cancelled", answer="I w")
    turn = await desk.start(ann, "no, this")
    await desk.finish(turn, answer="that")
    await desk.take_over(admin, turn["session_id"])
    await desk.start(ann, "four")
    everything = [
        "one",
        "one and a half",
        "first",
        "two",
        "half",
        "three",
        "third",
        "wait",
        "I w",
        "no, this",
        "that",
        "four",
    ]
    assert await remembered(desk) == everything
    without_proof = "conversation_id is not null and contact_id is not null and message_id is not null"
    assert await desk.count("memories", without_proof) == len(everything)
