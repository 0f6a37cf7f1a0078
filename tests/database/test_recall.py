"""Recall finds memories by words of every script, by vectors and by their neighbours, and nothing outside its scope."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

WORKSPACE = "00000000-0000-7000-8000-000000000001"
PERSONA = UUID("00000000-0000-7000-8000-000000000002")


def vector(*numbers: float) -> str:
    """A vector of 384 numbers that begins so."""
    return str([*numbers, *[0.0] * (384 - len(numbers))])


@dataclass
class Recaller:
    """A contact of the demo workspace, and what is recalled of it, as the database's owner."""

    db: asyncpg.Connection
    contact: UUID

    async def remember(self, content: str, embedding: str | None = None, **columns: Any) -> UUID:
        """A memory of the contact, optionally with a vector of the model m."""
        row = {"workspace_id": WORKSPACE, "contact_id": str(self.contact), "content": content, **columns}
        names = ", ".join(row)
        memory: UUID = await self.db.fetchval(
            f"insert into public.memories ({names}) select {names}"
            " from jsonb_populate_record(null::public.memories, $1) returning id",
            json.dumps(row, default=str),
        )
        if embedding is not None:
            await self.embed(memory, embedding)
        return memory

    async def embed(self, memory: UUID, embedding: str, model: str = "m") -> None:
        """Give a memory a vector."""
        await self.db.execute(
            "insert into public.memory_embeddings (memory_id, workspace_id, model, embedding)"
            " values ($1, $2, $3, ($4::text)::extensions.halfvec)",
            memory, WORKSPACE, model, embedding,
        )  # fmt: skip

    async def recall(
        self, query: str, embedding: str | None = None, *, scopes: list[UUID] | None = None, **filters: Any
    ) -> list[Mapping[str, Any]]:
        """The memories of the contact, or of these scopes; all of the workspace for []."""
        await self.db.execute("select set_config('switchboard.workspace_id', $1, false)", WORKSPACE)
        named = "".join(f", {name} => ${place}" for place, name in enumerate(filters, 6))
        rows = await self.db.fetch(
            "select r.* from private.recall(row($1::text::uuid, $2::uuid[], $3, true)::private.memory_scope,"
            f" $4, $5::jsonb, hits => 10{named}) r",
            WORKSPACE,
            [self.contact] if scopes is None else scopes or None,
            PERSONA,
            query,
            embedding and json.dumps({"model": "m", "vector": embedding}),
            *filters.values(),
        )
        return [{**row, "reasons": json.loads(row["reasons"])} for row in rows]


@pytest_asyncio.fixture
async def recaller(admin: asyncpg.Connection) -> AsyncIterator[Recaller]:
    contact = await admin.fetchval("insert into public.contacts (workspace_id) values ($1) returning id", WORKSPACE)
    yield Recaller(admin, contact)


async def test_words_of_every_script_are_found_in_other_forms(recaller: Recaller) -> None:
    asked = {
        "She adopted two puppies in Lyon": "When did they adopt a puppy?",
        "我喜欢靠窗的座位": "靠窗",
        "Предпочитает место около окна": "место",
        "يفضل المقعد بجانب النافذة": "النافذة",
        "Möchte am Gang sitzen": "GANG mochte",
        "ชอบที่นั่งริมหน้าต่าง": "หน้าต่าง",
    }
    for content in asked:
        await recaller.remember(content)
    for content, query in asked.items():
        best = (await recaller.recall(query))[0]
        assert (best["content"], bool(best["reasons"]["words"])) == (content, True)


async def test_a_rare_word_outweighs_a_common_one(recaller: Recaller) -> None:
    for number in range(8):
        await recaller.remember(f"The flight of day {number} was late")
    await recaller.remember("A meal with cardamom")
    assert (await recaller.recall("a flight with cardamom"))[0]["content"] == "A meal with cardamom"


async def test_a_hit_says_why_it_was_returned(recaller: Recaller) -> None:
    asks = await recaller.remember(
        "Where were you on Tuesday?", kind="turn", speaker="Ana", valid_from="2026-05-03T10:00Z"
    )
    answers = await recaller.remember(
        "In Lisbon", vector(1), kind="turn", speaker="Bo Berg", previous_id=asks, valid_from="2026-05-03T10:01Z"
    )
    await recaller.remember("Nothing at all", vector(0, 1), kind="turn", valid_from="2026-01-01T10:00Z")
    best, *_ = await recaller.recall("What did Bo do on that Tuesday in May?", vector(1))
    assert best["id"] == answers
    assert best["reasons"] == {"similarity": 1, "neighbour": True, "speaker": "Bo Berg", "date": True}
    asked = next(hit for hit in await recaller.recall("Tuesday") if hit["id"] == asks)
    assert asked["reasons"] == {"words": ["tuesday"]}


async def test_vectors_of_another_model_are_not_compared(recaller: Recaller) -> None:
    memory = await recaller.remember("x")
    await recaller.embed(memory, vector(1), model="other")
    await recaller.remember("y", vector(0.1))
    found = await recaller.recall("?", vector(1))
    assert {hit["content"]: hit["reasons"] for hit in found} == {"x": {}, "y": {"similarity": 0.1}}


@pytest.mark.parametrize("many", [False, True])
async def test_filters_apply_before_anything_is_ranked(recaller: Recaller, many: bool) -> None:
    """In a small scope, and in one so large that the indexes choose candidates."""
    other = await recaller.db.fetchval("insert into public.contacts (workspace_id) values ($1) returning id", WORKSPACE)
    wanted = [
        await recaller.remember(
            f"seat by the window {n}", vector(1, n / 100), kind="preference", valid_from=f"2026-02-{n + 1:02}"
        )
        for n in range(12)
    ]
    # Better ones, each of which one filter leaves out.
    best = "seat window"
    await recaller.remember(best, vector(1), contact_id=str(other), valid_from="2026-02-01")
    await recaller.remember(best, vector(1), contact_id=None, valid_from="2026-02-01")
    await recaller.remember(best, vector(1), kind="fact", valid_from="2026-02-01")
    await recaller.remember(best, vector(1), kind="preference", valid_from="2026-01-31")
    await recaller.remember(best, vector(1), kind="preference", valid_from="2026-03-01")
    await recaller.remember(best, vector(1), kind="preference", valid_from="2026-02-01", expires_at="2026-02-02")
    await recaller.remember(best, vector(1), kind="preference", valid_from="2026-02-01", superseded_by=str(wanted[0]))
    await recaller.remember(
        best, vector(1), kind="preference", valid_from="2026-02-01", persona_id="00000000-0000-7000-8000-000000000005"
    )
    if many:
        await recaller.db.execute(
            "insert into public.memories (workspace_id, contact_id, kind, content, valid_from)"
            " select $1, $2, 'preference', 'seat ' || n, '2026-02-01' from generate_series(1, 2100) n",
            WORKSPACE, recaller.contact,
        )  # fmt: skip
    filters: dict[str, Any] = {"kinds": ["preference"], "since": _day("2026-02-01"), "until": _day("2026-03-01")}
    for embedding in (vector(1), None):
        found = await recaller.recall("seat window", embedding, **filters)
        assert {hit["id"] for hit in found} <= set(wanted)
        assert len(found) == 10
    assert len(await recaller.recall("seat window", vector(1), scopes=[other])) == 1
    assert len(await recaller.recall("nothing has these words", None, **filters)) == 10
    assert await recaller.recall("nothing has these words", None, min_score=0.01, **filters) == []


async def test_a_large_scope_finds_what_a_small_one_finds(recaller: Recaller) -> None:
    rare = await recaller.remember("A parrot named Zephyr", vector(0, 1))
    near = await recaller.remember("Something else", vector(0.5, 0, 0.5))
    asks = await recaller.remember("Which instrument?", vector(0, 0, 0, 1), kind="turn", valid_from="2026-01-01T00:00Z")
    answer = await recaller.remember(
        "The oboe", vector(0, 0, 0, 0, 1), kind="turn", previous_id=asks, valid_from="2026-01-01T00:01Z"
    )
    await recaller.db.execute(
        "insert into public.memories (workspace_id, contact_id, content)"
        " select $1, $2, 'parrot ' || n from generate_series(1, 2100) n",
        WORKSPACE, recaller.contact,
    )  # fmt: skip
    for query, embedding, best in (
        ("zephyr parrot", None, rare),
        ("unknown words", vector(0.5, 0, 0.5), near),
        ("instrument", vector(0, 0, 0, 0, 1), answer),
    ):
        assert (await recaller.recall(query, embedding))[0]["id"] == best
        assert (await recaller.recall(query, embedding, scopes=[]))[0]["id"] == best


async def test_recall_serves_only_the_entered_workspace(recaller: Recaller) -> None:
    await recaller.db.execute("select set_config('switchboard.workspace_id', gen_random_uuid()::text, false)")
    with pytest.raises(asyncpg.PostgresError, match="forbidden"):
        await recaller.db.fetch(
            "select * from private.recall(row($1::text::uuid, null, null, true)::private.memory_scope, 'x', null, 5)",
            WORKSPACE,
        )


async def test_each_memory_waits_once_for_its_vector_with_the_turns_around_it(recaller: Recaller) -> None:
    db = recaller.db
    first = await recaller.remember("One", kind="turn", speaker="Ana")
    await _entered(db)
    waiting = json.loads(await db.fetchval("select public.memories_to_embed(10)"))["memories"]
    assert [(item["content"], item["before"], item["after"]) for item in waiting] == [("One", None, None)]
    vectors = [{"id": str(first), "queued_at": waiting[0]["queued_at"], "vector": vector(1)}]
    # The next turn queues the one before it again: what was made of it alone is not stored.
    await recaller.remember("Two", kind="turn", speaker="Bo", previous_id=first)
    await _entered(db)
    stored = [await db.fetchval("select public.store_embeddings('m', $1)", json.dumps(vectors))]
    waiting = json.loads(await db.fetchval("select public.memories_to_embed(10)"))["memories"]
    assert [(item["content"], item["before"], item["after"], item["speakers"]) for item in waiting] == [
        ("One", None, "Two", ["Ana", "Bo"]),
        ("Two", "One", None, ["Bo", "Ana"]),
    ]
    vectors = [{"id": item["id"], "queued_at": item["queued_at"], "vector": vector(1)} for item in waiting]
    stored += [await db.fetchval("select public.store_embeddings('m', $1)", json.dumps(vectors)) for _ in range(2)]
    assert [json.loads(each)["stored"] for each in stored] == [0, 2, 0]
    assert await db.fetchval("select count(*) from public.memories_to_embed") == 0
    assert await db.fetchval("select count(*) from public.jobs where kind = 'embed_memories'") == 1
    # A vector that says what was deleted goes at once, also that of a neighbour.
    await db.execute("delete from public.memories where content = 'Two'")
    assert await db.fetch("select from public.memory_embeddings") == []
    assert await db.fetchval("select memory_id from public.memories_to_embed") == first
    await db.execute("delete from public.workspaces where id = $1", WORKSPACE)


async def test_a_new_model_queues_page_by_page_what_it_has_not_embedded(recaller: Recaller) -> None:
    db = recaller.db
    for number in range(3):
        memory = await recaller.remember(f"x {number}", vector(1))
    await recaller.db.execute("delete from public.memories_to_embed")
    await db.execute("update public.memory_embeddings set model = 'new' where memory_id = $1", memory)
    after, pages = None, []
    while True:
        page = json.loads(await db.fetchval("select public.queue_embeddings($1, 'new', $2, 2)", WORKSPACE, after))
        pages.append((page["queued"], page["seen"]))
        after = page["last"]
        if page["seen"] < 2:
            break
    assert sum(queued for queued, _ in pages) == 2
    assert json.loads(await db.fetchval("select public.embedding_progress($1)", WORKSPACE)) == {
        "memories": 3,
        "waiting": 2,
    }
    with pytest.raises(asyncpg.PostgresError, match="workspace_not_found"):
        await db.fetchval("select public.embedding_progress($1)", uuid4())


def _day(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}T00:00:00+00:00")


async def _entered(db: asyncpg.Connection) -> None:
    """As work of the system in the demo workspace."""
    claims = {"role": "switchboard", "scope": {"system": True, "workspace_id": WORKSPACE}}
    await db.execute("select set_config('request.jwt.claims', $1, false)", json.dumps(claims))
