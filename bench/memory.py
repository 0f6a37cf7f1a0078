"""What memory adds to a turn: the same turns of the same contacts, of a persona without memory and of one with it.

A member speaks for contacts who each have this many memories, half of them turns; every tenth turn opens a thread. The
vector of a message is made by the local model, unless `--embeddings none`. Both personas ask the same model over HTTP.
Within a round they take turns.
"""

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import click
import uvloop

from bench import load, rounds, stacks
from bench.cost import TURNS_PER_THREAD
from bench.stacks import Caller
from local.stack import Stack

CONTACTS = 10
HEADS = (
    "chats", "memory", "turns/s (least to most)", "first token, ms p50", "p95", "added, ms p50",
    "CPU ms per turn: server", "Postgres", "recalled",
)  # fmt: skip
_TEXT = """
    the my and you would like to please with about when where train hotel dinner flight coffee meeting doctor ticket
    garden sister brother window piano kitchen island museum camera river festival birthday teacher letter parcel
    bridge summer mountain harbour violin insurance passport vegetarian allergy bicycle contract invoice
"""
VOCABULARY = _TEXT.split()
_random = random.Random(1)  # noqa: S311


class Persona(NamedTuple):
    """A space whose persona has memory or not."""

    name: str
    url: str
    id: str


class Round(NamedTuple):
    """One persona at one number of chats in one round. Delays of first tokens in seconds, CPU in seconds per turn."""

    rate: float
    delays: list[float]
    server_cpu: float
    postgres_cpu: float


def sentence(words: int = 12) -> str:
    """So many random words, some of them frequent."""
    return " ".join(_random.choices(VOCABULARY, [1 / rank for rank, _ in enumerate(VOCABULARY, 3)], k=words))


async def fill(stack: Stack, memories: int) -> list[str]:
    """The ids of contacts with so many memories each, with vectors of the model in random directions."""
    connection = await asyncpg.connect(stack.admin_url)
    workspace = stack.workspace_id
    await connection.execute(
        "update public.workspaces set messages_per_minute_by_user = 1000000, messages_per_minute_by_contact = 1000000,"
        " messages_per_minute_by_space = 1000000 where id = $1", workspace
    )  # fmt: skip
    added = "insert into public.contacts (workspace_id) select $1 from generate_series(1, $2) returning id"
    contacts = [row["id"] for row in await connection.fetch(added, workspace, CONTACTS)]
    await connection.execute("alter table public.memories disable trigger memories_queue_new")
    rows = [
        (workspace, contact, "turn" if number % 2 else "fact", sentence())
        for contact in contacts
        for number in range(memories)
    ]
    columns = ["workspace_id", "contact_id", "kind", "content"]
    await connection.copy_records_to_table("memories", schema_name="public", columns=columns, records=rows)
    await connection.execute(
        "insert into public.memory_embeddings (memory_id, workspace_id, model, embedding)"
        " select m.id, m.workspace_id, 'all-MiniLM-L6-v2', extensions.l2_normalize("
        " (select array_agg(random() - 0.5) from generate_series(1, 384) where m.id is not null)"
        "::real[]::extensions.halfvec(384)) from public.memories m"
    )  # fmt: skip
    await connection.execute("analyze")
    await connection.close()
    return [str(contact) for contact in contacts]


async def measure_round(
    persona: Persona, stack: Stack, token: str, contacts: Sequence[str], chats: int, seconds: float
) -> Round:
    """One round of one persona."""
    delays: list[float] = []
    async with load.client() as http:

        async def chat(until: float) -> None:
            threads = (str(uuid4()) for _ in itertools.count())
            contact, thread = _random.choice(contacts), next(threads)
            for number in itertools.count(1):
                body: dict[str, Any] = {"message": sentence(8), "client_message_id": str(uuid4())}
                body |= {"contact_id": contact, "thread_key": thread}
                delays.append((await load.ask(http, persona.url, body, token)).completed().delay)
                if time.perf_counter() >= until:
                    return
                if number % TURNS_PER_THREAD == 0:
                    contact, thread = _random.choice(contacts), next(threads)

        await asyncio.gather(*(chat(0) for _ in range(chats)))
        delays.clear()
        processes = [stack.pids()[name] for name in ("gateway", "postgres")]
        before = [time.perf_counter(), *map(stacks.cpu_seconds, processes)]
        await asyncio.gather(*(chat(before[0] + seconds) for _ in range(chats)))
        after = [time.perf_counter(), *map(stacks.cpu_seconds, processes)]
    took, *cpu = ((end - begin) / len(delays) for begin, end in zip(before, after, strict=True))
    return Round(1 / took, delays, *cpu)


async def measure(
    stack: Stack, personas: Sequence[Persona], memories: int, concurrency: Sequence[int], seconds: float, count: int
) -> tuple[dict[tuple[int, str], list[Round]], dict[str, float]]:
    """All rounds, by number of chats and persona; and how many memories a turn of each recalled."""
    contacts, token = await fill(stack, memories), Caller.member(stack).token
    cases = [(chats, persona) for chats in concurrency for persona in personas]
    found: dict[tuple[int, str], list[Round]] = {(chats, persona.name): [] for chats, persona in cases}
    for counts, (chats, persona) in rounds.interleaved(cases, count):
        one = await measure_round(persona, stack, token, contacts, chats, seconds)
        found[chats, persona.name].extend([one] if counts else [])
    connection = await asyncpg.connect(stack.admin_url)
    query = (
        "select count(m.*)::float / count(distinct t.id) from public.turns t"
        " join public.sessions s on s.id = t.session_id"
        " left join public.turn_memories m on m.turn_id = t.id where s.persona_id = $1"
    )
    recalled = {persona.name: await connection.fetchval(query, persona.id) for persona in personas}
    await connection.close()
    return found, recalled


def rows(found: dict[tuple[int, str], list[Round]], recalled: dict[str, float]) -> Iterator[list[str]]:
    """A row for each number of chats and persona: medians of the rounds, compared within one round."""
    for (chats, name), own in found.items():
        p50, p95 = ([rounds.percentile(one.delays, percent) * 1000 for one in own] for percent in (50, 95))
        off = [rounds.percentile(one.delays, 50) * 1000 for one in found[chats, "off"]]
        added = "" if name == "off" else rounds.spread([a - b for a, b in zip(p50, off, strict=True)], 1)
        cpu = ([getattr(one, name) * 1000 for one in own] for name in ("server_cpu", "postgres_cpu"))
        cells = [f"{statistics.median(values):.1f}" for values in (p50, p95, *cpu)]
        rate = rounds.spread([one.rate for one in own], 0)
        yield [str(chats), name, rate, *cells[:2], added, *cells[2:], f"{recalled[name]:.1f}"]


@click.command(help=__doc__)
@click.option("--seconds", default=3.0, show_default=True, type=click.FloatRange(0.1, 60), help="Of each round.")
@click.option("--rounds", "count", default=5, show_default=True, type=click.IntRange(1, 100))
@click.option("--concurrency", multiple=True, default=(1, 8), show_default=True, type=click.IntRange(1, 256))
@click.option("--memories", default=500, show_default=True, type=click.IntRange(1, 100_000), help="Of each contact.")
@click.option("--embeddings", default="local", show_default=True, type=click.Choice(["local", "none"]))
def command(seconds: float, count: int, concurrency: tuple[int, ...], memories: int, embeddings: str) -> None:
    with (
        stacks.server("model") as (_, model_url),
        stacks.own_stack(functions_env={"SWITCHBOARD_EMBEDDINGS": embeddings}) as stack,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        personas = []
        for name, limit in (("off", 0), ("on", 10)):
            persona, _ = stacks.add_persona(stack, "openai", {"base_url": model_url, "model": "fake"})
            stacks.execute(stack, f"update public.personas set recall_limit = {limit} where id = '{persona}'")  # noqa: S608
            personas.append(Persona(name, f"{stack.api_url}/personas/{persona}/messages", persona))
        found, recalled = runner.run(measure(stack, personas, memories, concurrency, seconds, count))
        rounds.show_table(HEADS, rows(found, recalled))
