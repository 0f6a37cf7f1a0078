"""Latency of live streams: from a commit to the client, with few and with many open streams on one process.

Each stream follows a conversation of its own. Messages are committed one after another, each in another conversation;
latency counts from the end of the committing call. "Lost" are messages that a stream did not get exactly once.
Memory is what the process grows by when the streams open. Queries are those of an idle minute.
"""

import asyncio
import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import click
import jwt
from tqdm import tqdm

from bench import rounds, stacks
from bench.filling import WORKSPACE
from lib import config, log
from lib.auth import callers
from lib.database import commands
from lib.fields.models import Record
from local.ports import free_port
from local.processes import tied_options
from local.stack import Stack

HEADS = (
    "mode", "streams", "p50, ms", "p99, ms", "most, ms", "messages", "lost", "kB per stream",
    "queries per stream and minute", "of the process",
)  # fmt: skip
MODES = {"polling": "false", "listening": "true"}

_TEXT = re.compile(rb'event: message\ndata: [^\n]*"text":"m(\d+)"')
_QUERIES = (
    "select coalesce(sum(calls), 0)::integer from pg_stat_statements where query like '%public.\"poll_streams\"%'"
)


class _Arrived(Record):
    workspace_id: UUID
    contact_id: UUID
    conversation_id: UUID
    session_id: UUID


class _Posted(Record):
    message_id: UUID


_REPEATED_WITHIN = 4
"""Seconds after the last message, more than a poll: what is sent twice has come twice then."""


@dataclass
class Streams:
    """The open streams, and when each of them got which message."""

    http: aiohttp.ClientSession
    received: dict[int, list[float]] = field(default_factory=dict)
    opened: int = 0

    async def follow(self, url: str, token: str, number: int) -> None:
        """Follow one conversation, as a client with an address of its own."""
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": f"10.0.{number // 250}.{number % 250}"}
        async with self.http.get(f"{url}?after=latest", headers=headers, raise_for_status=True) as response:
            async for chunk in response.content.iter_any():
                now = time.perf_counter()
                self.opened += b"event: session" in chunk
                for found in _TEXT.findall(chunk):
                    self.received.setdefault(int(found), []).append(now)


@contextlib.contextmanager
def server(stack: Stack, listens: str) -> Iterator[tuple[int, str]]:
    """A process of the functions: its id and its origin."""
    port = free_port()
    settings = {
        "SWITCHBOARD_LISTEN": listens,
        "SWITCHBOARD_LOG_LEVEL": "WARNING",
        "SWITCHBOARD_TRUSTED_PROXIES": "1",
        "CONVERSATION_STREAM_SECONDS": "840",
    }
    command, environment = [sys.executable, "-m", "local.gateway"], stack.gateway_env(port, **settings)
    with subprocess.Popen(command, env=environment, **tied_options(signal.SIGTERM)) as process:
        try:
            yield process.pid, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def streaming(url: str, guests: list[tuple[_Arrived, str]]) -> AsyncIterator[Streams]:
    """A stream for each of these contacts, all open."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(None)) as http:
        streams = Streams(http)
        paths = (f"{url}/conversations/{arrived.conversation_id}/stream" for arrived, _ in guests)
        tasks = [
            asyncio.create_task(streams.follow(path, token, number))
            for number, (path, (_, token)) in enumerate(zip(paths, guests, strict=True))
        ]
        try:
            while streams.opened < len(tasks):
                await asyncio.sleep(0.05)
                for task in tasks:
                    if task.done():
                        task.result()
            yield streams
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def arrive(number: int) -> tuple[_Arrived, str]:
    """A new contact with a conversation, and its token."""
    space = UUID(stacks.REPLAY_SPACE)
    rpc = commands.acting_as(callers.Anonymous(), callers.Scope(space_id=space))
    email = f"{uuid4()}@live.test"
    arguments = {"space_id": space, "space_kind": "embed", "email": email, "email_key": email}
    arrived = await rpc.call("register_contact", arguments, _Arrived)
    now = time.time()
    claims = {
        "iss": "switchboard", "aud": "contact", "role": "contact", "sub": str(arrived.contact_id), "iat": now,
        "workspace_id": str(arrived.workspace_id), "contact_id": str(arrived.contact_id), "proof": "asserted",
        "conversation_id": str(arrived.conversation_id), "space_id": str(space), "exp": int(now) + 3_600,
    }  # fmt: skip
    return arrived, jwt.encode(claims, str(os.environ["SUPABASE_JWT_SECRET"]))


async def measure(stack: Stack, mode: str, count: int, messages: int, rate: float, idle: float) -> list[str]:
    """The row of one mode with so many streams."""
    admin = await asyncpg.connect(stack.admin_url)
    owner = await admin.fetchval("select user_id from public.workspace_members where workspace_id = $1", WORKSPACE)
    rpc = commands.acting_as(callers.User(owner, None, ""), callers.Scope())
    guests = [await arrive(number) for number in range(count)]
    with server(stack, MODES[mode]) as (process, url):
        await _until_healthy(url)
        async with streaming(url, guests[:1]):
            pass
        before = _memory(process)
        async with streaming(url, guests) as streams:
            await asyncio.sleep(2)
            grown = _memory(process) - before
            await admin.execute("select pg_stat_statements_reset()")
            await asyncio.sleep(idle)
            queries = await admin.fetchval(_QUERIES) * 60 / idle
            committed: dict[int, float] = {}
            for number in tqdm(range(messages), desc=f"{mode}, {count}", file=sys.stderr):
                arrived, _ = guests[number * 7919 % count]
                said = {"text": f"m{number}", "role": "member", "source": "bench", "session_id": arrived.session_id}
                await rpc.call("capture_message", {"contact_id": arrived.contact_id, **said}, _Posted)
                committed[number] = time.perf_counter()
                # From half to one and a half of the mean, in step with no poll.
                await asyncio.sleep((0.5 + number * 0.618 % 1) / rate)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(8):
                    while len(streams.received) < messages:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            await asyncio.sleep(_REPEATED_WITHIN)
    await admin.close()
    took = [(streams.received[n][0] - at) * 1000 for n, at in committed.items() if n in streams.received]
    lost = sum(len(streams.received.get(number, ())) != 1 for number in committed)
    latency = [f"{rounds.percentile(took, percent):.0f}" for percent in (50, 99)]
    return [
        mode, f"{count:,}", *latency, f"{max(took):.0f}", f"{messages:,}", str(lost), f"{grown / count / 1024:.0f}",
        f"{queries / count:.2f}", f"{queries:.0f}",
    ]  # fmt: skip


@click.command(help=__doc__)
@click.option("--streams", multiple=True, default=(1, 100, 1000), show_default=True, type=click.IntRange(1, 5000))
@click.option("--messages", default=400, show_default=True, type=click.IntRange(1), help="Messages for each row.")
@click.option("--rate", default=20.0, show_default=True, type=click.FloatRange(0.1), help="Messages a second.")
@click.option("--idle", default=30.0, show_default=True, type=click.FloatRange(1), help="Seconds without messages.")
def command(streams: tuple[int, ...], messages: int, rate: float, idle: float) -> None:
    with stacks.own_stack({"shared_preload_libraries": "pg_stat_statements"}) as stack:
        stacks.execute(
            stack,
            "create extension if not exists pg_stat_statements",
            "update public.spaces set arrivals_per_minute = 1000000, arrivals_per_minute_by_address = 1000000",
        )
        found = []
        for mode, count in itertools.product(MODES, streams):
            os.environ |= stack.functions_env | {"SWITCHBOARD_LISTEN": MODES[mode]}
            config.settings.cache_clear()
            log.silence()
            found.append(asyncio.run(_measured(stack, mode, count, messages, rate, idle)))
    rounds.show_table(HEADS, found)


async def _measured(*arguments: Any) -> list[str]:
    try:
        return await measure(*arguments)
    finally:
        await commands.close()


async def _until_healthy(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with http.get(f"{url}/healthz", raise_for_status=True):
                    return
            await asyncio.sleep(0.1)


def _memory(process: int) -> int:
    """The resident memory of a process, in bytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024
