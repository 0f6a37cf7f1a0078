"""10,000 random worlds: no list and no recall returns a foreign memory, and each returns as many as there are.

A world is a workspace with personas of both memory models, contacts with and without proof, a group, an admin and an
agent. Whose a memory is, is told twice: here from what happened, in the database by its columns.
"""

import json
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from tests.database.desk import JSON

WORLDS = 10_000
RECALLS = WORLDS if os.environ.get("FUZZ") else 2_500
"""Worlds in which a session recalls, which takes a millisecond; in all of them tokens list."""
NOW = datetime.now(UTC)
WORDS = ("tea", "coffee", "window", "aisle", "seat", "london", "paris", "茶", "咖啡", "dog", "cat", "red", "blue")
DIRECTIONS = [[1.0 if place % 16 == number else 0.1 for place in range(384)] for number in range(16)]

CHECKS = """
create schema worlds;
create function worlds.recalled(asked jsonb) returns table (place integer, ids uuid[]) language plpgsql as $$
declare
    one jsonb;
begin
    place := 0;
    for one in select jsonb_array_elements(asked) loop
        perform set_config('switchboard.workspace_id', one ->> 'workspace', true);
        ids := array(select r.id
                         from public.conversations c
                        cross join lateral private.recall(private.conversation_memory_scope(c), one ->> 'query',
                                                          one -> 'embedding', (one ->> 'hits')::integer) r
                        where c.id = (one ->> 'conversation')::uuid);
        return next;
        place := place + 1;
    end loop;
end $$;
create function worlds.listed(tokens jsonb) returns table (place integer, ids uuid[]) language plpgsql as $$
declare
    one jsonb;
begin
    place := 0;
    for one in select jsonb_array_elements(tokens) loop
        perform set_config('request.jwt.claims', one::text, true);
        ids := array(select m.id from public.memories m);
        return next;
        place := place + 1;
    end loop;
end $$;
grant usage on schema worlds to contact, authenticated;
grant execute on all functions in schema worlds to contact, authenticated;
"""


@dataclass(frozen=True)
class Conversation:
    id: UUID
    persona: UUID
    contact: UUID | None
    verified: bool
    user: UUID | None = None


@dataclass(frozen=True)
class Memory:
    id: UUID
    persona: UUID | None
    contact: UUID | None
    conversation: UUID | None
    """The one that alone may know it: without proof, or a member's own."""
    internal: bool
    is_current: bool


@dataclass
class World:
    """What happened in one workspace, with what is expected from it."""

    dice: random.Random
    agent: UUID
    admin: UUID
    conversations: list[Conversation] = field(default_factory=list)
    memories: list[Memory] = field(default_factory=list)
    assigned: set[UUID] = field(default_factory=set)
    merged: tuple[UUID, UUID] | None = None

    def __post_init__(self) -> None:
        self.id, self.shared, self.private, self.group, *self.people = [self.new() for _ in range(6)]
        personas = (self.shared, self.private)
        for contact in (self.group, *self.people):
            proofs = self.dice.choice(((True,), (True, False), (False,), (False, False)))
            for verified in (True,) if contact == self.group else proofs:
                self.conversations.append(Conversation(self.new(), self.dice.choice(personas), contact, verified))
        for member in (self.agent, self.admin):
            self.conversations.append(Conversation(self.new(), self.dice.choice(personas), None, False, member))
        self.assigned = {self.dice.choice(self.conversations[:4]).id}
        for _ in range(self.dice.randint(4, 12)):
            told = self.dice.choice((None, self.group, *self.people, *self.conversations))
            is_said = isinstance(told, Conversation)
            owner = told.contact if isinstance(told, Conversation) else told
            own = told.id if isinstance(told, Conversation) and not told.verified else None
            persona = self.dice.choice((None, *personas))
            self.memories.append(
                Memory(
                    self.new(),
                    persona,
                    owner,
                    own,
                    not is_said and owner is not None,
                    not self.memories or self.dice.random() < 0.8,
                )
            )

    def new(self) -> UUID:
        """A random id."""
        return UUID(int=self.dice.getrandbits(128), version=4)

    def prove(self, proven: Conversation) -> None:
        """The visitor of a conversation proves to be its contact."""
        self.conversations = [replace(c, verified=True) if c == proven else c for c in self.conversations]
        self.memories = [replace(m, conversation=None) if m.conversation == proven.id else m for m in self.memories]

    def merge(self) -> None:
        """A member merges the two people."""
        gone, into = self.merged = (self.people[0], self.people[1])
        self.conversations = [replace(c, contact=into) if c.contact == gone else c for c in self.conversations]
        self.memories = [replace(m, contact=into) if m.contact == gone else m for m in self.memories]

    def recalls(self, asking: Conversation) -> set[UUID]:
        """What a conversation's session may know."""
        return {
            m.id for m in self.memories
            if m.is_current and m.persona in (None, asking.persona) and self._knows(asking, m)
        }  # fmt: skip

    def _knows(self, asking: Conversation, memory: Memory) -> bool:
        if asking.user is not None:
            return asking.user == self.admin or self._agent_sees(memory)
        if memory.conversation is not None or not asking.verified:
            return memory.conversation == asking.id
        of_workspace = memory.contact is None and asking.persona == self.shared
        return memory.contact == asking.contact or of_workspace

    def _agent_sees(self, memory: Memory) -> bool:
        theirs = [c for c in self.conversations if c.id in self.assigned]
        if memory.conversation is not None:
            own = {c.id for c in self.conversations if c.user == self.agent}
            return memory.conversation in own | {c.id for c in theirs if not c.verified}
        return memory.contact is None or memory.contact in {c.contact for c in theirs}

    def lists(self, token: Conversation) -> set[UUID]:
        """What the token that a contact was given for a conversation shows."""
        return {
            m.id for m in self.memories
            if m.is_current and not m.internal
            and ((m.conversation, m.contact) == (None, token.contact) if token.verified else m.conversation == token.id)
        }  # fmt: skip

    def agent_lists(self) -> set[UUID]:
        """What the agent's own token shows."""
        return {m.id for m in self.memories if self._agent_sees(m)}


async def copy(admin: asyncpg.Connection, table: str, columns: str, rows: Iterable[Sequence[Any]]) -> None:
    """Insert many rows."""
    await admin.copy_records_to_table(table, schema_name="public", columns=columns.split(), records=rows)


async def fill(admin: asyncpg.Connection, worlds: list[World]) -> None:
    """Store the worlds as they begin; the ends of their memories are told by expiry."""
    await admin.execute("set session_replication_role = replica; drop index public.memory_embeddings_embedding_idx")
    await admin.execute(CHECKS)
    await copy(admin, "workspaces", "id name", [(w.id, "x") for w in worlds])
    members = [(w.id, user, role) for w in worlds for user, role in ((w.agent, "agent"), (w.admin, "admin"))]
    await copy(admin, "workspace_members", "workspace_id user_id role", members)
    models = [(w.id, p, "demo", "x", m) for w in worlds for p, m in ((w.shared, "shared"), (w.private, "per_contact"))]
    await copy(admin, "personas", "workspace_id id kind name memory_model", models)
    contacts = [(w.id, c, "group" if c == w.group else "person") for w in worlds for c in (w.group, *w.people)]
    await copy(admin, "contacts", "workspace_id id kind", contacts)
    await copy(
        admin, "conversations", "workspace_id id persona_id contact_id user_id thread_key proof",
        [(w.id, c.id, c.persona, c.contact, c.user, str(c.id),
          None if c.contact is None else "verified" if c.verified else "asserted")
         for w in worlds for c in w.conversations],
    )  # fmt: skip
    # One is assigned to the agent.
    await copy(
        admin, "sessions", "workspace_id conversation_id contact_id persona_id assigned_user_id",
        [(w.id, c.id, c.contact, c.persona, w.agent if c.id in w.assigned else None)
         for w in worlds for c in w.conversations[:4]],
    )  # fmt: skip
    # One that is not current has expired, or another corrects it.
    await copy(
        admin, "memories",
        "workspace_id id persona_id contact_id conversation_id kind content internal expires_at superseded_by",
        [(w.id, m.id, m.persona, m.contact, m.conversation, "turn", " ".join(w.dice.choices(WORDS, k=3)), m.internal,
          None if m.is_current or m.id.int % 2 else NOW - timedelta(1),
          None if m.is_current or not m.id.int % 2 else w.memories[0].id) for w in worlds for m in w.memories],
    )  # fmt: skip
    # Half of the memories have a vector.
    await admin.execute(
        "insert into public.memory_embeddings (memory_id, workspace_id, model, embedding)"
        " select m.id, m.workspace_id, 'test', ($1::text[])[1 + abs(hashtext(m.content)) % 16]::extensions.halfvec"
        " from public.memories m where hashtext(m.id::text) % 2 = 0",
        [str(direction) for direction in DIRECTIONS],
    )
    await admin.execute("set session_replication_role = origin")


async def happen(admin: asyncpg.Connection, worlds: list[World]) -> None:
    """In some worlds a visitor proves who they are, in others a member merges the people."""
    proven = []
    for world in worlds:
        open_ones = [c for c in world.conversations if c.contact is not None and not c.verified]
        if open_ones and world.dice.random() < 0.3:
            chosen = world.dice.choice(open_ones)
            world.prove(chosen)
            proven.append(chosen.id)
        if world.dice.random() < 0.05:
            world.merge()
    await admin.execute("update public.conversations set proof = 'verified' where id = any ($1)", proven)
    merges = [(w.id, *w.merged) for w in worlds if w.merged]
    assert min(len(proven), len(merges)) > WORLDS / 100
    await admin.executemany(
        "with e as (select set_config('switchboard.workspace_id', $1::uuid::text, true))"
        " select private.merge_into(a, b, null) from e, public.contacts a, public.contacts b"
        " where a.id = $2 and b.id = $3",
        merges,
    )


async def test_no_world_shows_a_foreign_memory_and_every_recall_is_full(admin: asyncpg.Connection) -> None:
    dice = random.Random(20261201)  # noqa: S311
    agent, admin_user = [UUID(int=dice.getrandbits(128), version=4) for _ in range(2)]
    worlds = [World(dice, agent, admin_user) for _ in range(WORLDS)]
    tokens = []
    await fill(admin, worlds)
    for world in worlds:
        holder = dice.choice([c for c in world.conversations if c.contact is not None])
        tokens.append((world, holder))
    await happen(admin, worlds)
    await admin.execute("analyze public.memories, public.conversations, public.contacts, public.personas")

    asked = [(world, dice.choice(world.conversations), dice.choice((1, 3, 50))) for world in worlds[:RECALLS]]
    answers = await called(admin, "recalled", [question(dice, *each) for each in asked])
    hits = 0
    for (world, asking, most), found in zip(asked, answers, strict=True):
        known = world.recalls(asking)
        assert set(found) <= known, f"{asking} of {world.id} recalls foreign memories"
        assert len(found) == min(most, len(known)), f"{asking} of {world.id} has {len(known)} memories"
        hits += len(found)
    assert hits > RECALLS

    await admin.execute("set role contact")
    listed = await called(admin, "listed", [claims(world, holder) for world, holder in tokens])
    for (world, holder), found in zip(tokens, listed, strict=True):
        assert set(found) == world.lists(holder), f"the token of {holder} in {world.id}"
    await admin.execute("set role authenticated")
    (found,) = await called(admin, "listed", [{"role": "authenticated", "sub": str(agent)}])
    assert set(found) == {memory for world in worlds for memory in world.agent_lists()}


def question(dice: random.Random, world: World, asking: Conversation, most: int) -> JSON:
    """What a session asks, with or without a vector."""
    vector = {"model": "test", "vector": str(dice.choice(DIRECTIONS))} if dice.random() < 0.7 else None
    place = {"workspace": str(world.id), "conversation": str(asking.id)}
    return {**place, "hits": most, "query": " ".join(dice.choices(WORDS, k=2)), "embedding": vector}


def claims(world: World, holder: Conversation) -> JSON:
    """The claims of the token that a contact was given for its conversation, before anything happened."""
    ids = {"workspace_id": str(world.id), "contact_id": str(holder.contact), "conversation_id": str(holder.id)}
    return {"role": "contact", "iat": NOW.timestamp(), **ids, "proof": "verified" if holder.verified else "asserted"}


async def called(admin: asyncpg.Connection, check: str, arguments: list[JSON]) -> list[list[UUID]]:
    """The ids that each call finds, in the order of the calls."""
    async with admin.transaction():
        rows = await admin.fetch(
            f"select ids from worlds.{check}($1::text::jsonb) order by place", json.dumps(arguments)
        )
    return [row["ids"] for row in rows]
