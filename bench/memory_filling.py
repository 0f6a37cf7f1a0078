"""A workspace with many memories, made of random words and vectors around random topics."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bench.filling import WORKSPACE

EACH = 500
"""Memories of one contact."""

WORDS, TOPICS, SIZE = 20_000, 2_000, 384
LENGTH = 12
"""Words of one memory; word n is asked and said as often as 1 / n."""

MODEL = "bench"

_INDEXES = ("memories_words_idx", "memory_embeddings_embedding_idx")


class Made(NamedTuple):
    """A memory that was stored."""

    id: UUID
    contact_id: UUID
    words: tuple[str, ...]
    vector: NDArray[np.float32]


async def connect(url: str) -> asyncpg.Connection:
    """A connection that writes vectors in their binary form."""
    connection = await asyncpg.connect(url, command_timeout=3600)
    await connection.set_type_codec("halfvec", schema="extensions", format="binary", encoder=_binary, decoder=bytes)
    return connection


def _binary(vector: NDArray[np.float32]) -> bytes:
    """pgvector's halfvec: the number of dimensions, two unused bytes, then halves."""
    return len(vector).to_bytes(2, "big") + b"\0\0" + vector.astype(">f2").tobytes()


async def fill(connection: asyncpg.Connection, memories: int, seed: int = 1) -> list[Made]:
    """Add so many memories to the demo workspace; every thousandth is returned. The indexes are made afterwards."""
    random = np.random.default_rng(seed)
    indexes = [
        await connection.fetchval("select pg_get_indexdef(('public.' || $1)::regclass)", name) for name in _INDEXES
    ]
    await connection.execute("set session_replication_role = replica")
    await connection.execute(f"drop index {', '.join(f'public.{name}' for name in _INDEXES)}")
    kept: list[Made] = []
    with tqdm(total=memories, unit="memory", file=sys.stderr) as progress:
        for rows, vectors in _batches(random, memories):
            await connection.copy_records_to_table(
                "memories",
                schema_name="public",
                records=rows,
                columns=["id", "workspace_id", "contact_id", "kind", "content", "valid_from"],
            )
            await connection.copy_records_to_table(
                "memory_embeddings",
                schema_name="public",
                records=[(row[0], row[1], MODEL, vector) for row, vector in zip(rows, vectors, strict=True)],
                columns=["memory_id", "workspace_id", "model", "embedding"],
            )
            kept += [
                Made(row[0], row[2], tuple(row[4].split()), vectors[place])
                for place, row in enumerate(rows)
                if place % 1000 == 0
            ]
            progress.update(len(rows))
    await connection.execute("set session_replication_role = origin")
    await connection.execute("set maintenance_work_mem = '3GB'")
    for index in tqdm(indexes, unit="index", file=sys.stderr):
        await connection.execute(index)
    await connection.execute("vacuum analyze public.memories, public.memory_embeddings")
    return kept


def _batches(
    random: np.random.Generator, memories: int, size: int = 10_000
) -> Iterator[tuple[list[tuple[Any, ...]], NDArray[np.float32]]]:
    names = np.array([_word(number) for number in range(WORDS)])
    share = 1 / np.arange(1, WORDS + 1)
    topics = random.standard_normal((TOPICS, SIZE), np.float32)
    now, workspace = datetime.now(UTC), UUID(WORKSPACE)
    for start in range(0, memories, size):
        count = min(size, memories - start)
        said = names[random.choice(WORDS, (count, LENGTH), p=share / share.sum())]
        vectors = topics[random.integers(0, TOPICS, count)] + random.standard_normal((count, SIZE), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        contacts = [uuid4() for _ in range(-(-count // EACH))]
        yield (
            [
                (
                    uuid4(),
                    workspace,
                    contacts[place // EACH],
                    "fact",
                    " ".join(said[place]),
                    now - timedelta(minutes=memories - start - place),
                )
                for place in range(count)
            ],
            vectors,
        )


def _word(number: int) -> str:
    """A word that is no English one."""
    letters = "bdfgklmnprtvz"
    word = ""
    while number or len(word) < 6:
        number, letter = divmod(number, len(letters))
        word += letters[letter] + "aeiou"[(number + letter) % 5]
    return word
