"""How long recall takes in workspaces of different sizes, for a contact and for the owner, who searches all."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import asyncpg
import numpy as np
from tqdm import tqdm

from bench import rounds, stacks
from bench.filling import WORKSPACE
from bench.memory_filling import MODEL, Made, connect, fill
from local.stack import Stack

HEADS = ("memories", "recall", "p50, ms", "p95, ms", "CPU p50, ms", "CPU p95, ms", "finds the memory asked for, %")
POSTGRES = {"shared_buffers": "3GB", "max_wal_size": "8GB", "autovacuum": "off"}
WARM_UP = 20

# The words of one call, without HTTP.
_RECALL = """
select array_agg(r.id order by r.score desc)
  from private.recall(row($1::text::uuid, $2::uuid[], null, true)::private.memory_scope, $3, $4::jsonb, 10) r
"""


async def measure(connection: asyncpg.Connection, memories: int, made: Sequence[Made], samples: int) -> list[list[str]]:
    """The rows of one size."""
    random, server = np.random.default_rng(2), connection.get_server_pid()
    await connection.execute("select set_config('switchboard.workspace_id', $1, false)", WORKSPACE)
    rows = []
    for name, has_scope, has_vector in (
        ("a contact's", True, True),
        ("a contact's, by words", True, False),
        ("the owner's", False, True),
        ("the owner's, by words", False, False),
    ):
        seconds: list[float] = []
        spent: list[float] = []
        found = 0
        for number in tqdm(range(WARM_UP + samples), desc=name, file=sys.stderr):
            target = made[int(random.integers(len(made)))]
            near = target.vector + random.standard_normal(len(target.vector)).astype(np.float32) * 0.05
            asked = " ".join(random.choice(target.words, 4, replace=False))
            embedding = json.dumps({"model": MODEL, "vector": str([round(float(value), 5) for value in near])})
            cpu, started = stacks.cpu_seconds(server), time.perf_counter()
            hits = await connection.fetchval(
                _RECALL, WORKSPACE, [target.contact_id] if has_scope else None, asked, embedding if has_vector else None
            )
            if number >= WARM_UP:
                seconds.append(time.perf_counter() - started)
                spent.append(stacks.cpu_seconds(server) - cpu)
                found += target.id in hits
        times = [f"{rounds.percentile(part, percent) * 1000:.1f}" for part in (seconds, spent) for percent in (50, 95)]
        rows.append([f"{memories:,}", name, *times, f"{100 * found / samples:.0f}"])
    return rows


async def grow(stack: Stack, sizes: Sequence[int], samples: int) -> list[list[str]]:
    """The rows of all sizes, the smallest first, in one workspace that grows."""
    rows: list[list[str]] = []
    stored = 0
    made: list[Made] = []
    connection = await connect(stack.admin_url)
    try:
        for size in sorted(sizes):
            made += await fill(connection, size - stored, seed=size)
            stored = size
            rows += await measure(connection, size, made, samples)
    finally:
        await connection.close()
    return rows


def run(sizes: Sequence[int], samples: int) -> None:
    """Print the table, from a stack of its own."""
    with stacks.own_stack(POSTGRES) as stack:
        rounds.show_table(HEADS, asyncio.run(grow(stack, sizes, samples)))
