"""Cost of the same requests in a workspace with few messages and in one with many.

Each size is a stack of its own, whose demo workspace is filled in SQL. The stacks take turns, request by request.
Milliseconds are the caller's, over HTTP. CPU is that of Postgres. Buffers are those that the request's statements
touch; they do not depend on the load of the machine. "grows": more than 1.3 times the buffers.
"""

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from string import Template
from typing import Any, NamedTuple
from uuid import uuid4

import aiohttp
import asyncpg
import click
from tqdm import tqdm

from bench import load, rounds, stacks
from bench.filling import WORKSPACE, Size, fill
from bench.stacks import Caller
from local.stack import Stack

AIM = 1.3
SIZE = click.IntRange(400, 20_000_000)
_WARM_UP = "Unmeasured requests of each kind. After twelve, each of PostgREST's ten connections has its plans."

# All data fits into memory: reads from a disk would say more about the disk.
_POSTGRES = {
    "shared_preload_libraries": "pg_stat_statements", "autovacuum": "off",
    "shared_buffers": "1GB", "max_wal_size": "4GB",
}  # fmt: skip

OWNER, AGENT, CONTACT, ANYONE = "owner", "agent", "token", ""


class Operation(NamedTuple):
    """A GET, or a POST of a body. Path and body name fields of a target; CONTACT is also the field of its token."""

    path: str
    caller: str = OWNER
    body: str = "null"


READS = {
    "contacts, newest": Operation("/contacts"),
    "contacts with a rare tag": Operation("/contacts?tag=vip"),
    "contacts with a common tag": Operation("/contacts?tag=known"),
    "contact by email": Operation("/contacts?email=$email"),
    "contact by id": Operation("/contacts/$contact"),
    "activity of a contact": Operation("/contacts/$contact/activity"),
    "journey of a contact": Operation("/contacts/$contact/journey"),
    "session by id": Operation("/chat-sessions/$session"),
    "sessions, newest": Operation("/chat-sessions"),
    "sessions by status": Operation("/chat-sessions?status=failed"),
    "sessions by persona": Operation("/chat-sessions?persona_id=$persona"),
    "sessions by contact": Operation("/chat-sessions?contact_id=$contact"),
    "sessions by user": Operation("/chat-sessions?user_id=$new"),
    "sessions by space": Operation("/chat-sessions?space_id=$space"),
    "sessions by channel": Operation("/chat-sessions?channel=whatsapp"),
    "sessions by step": Operation("/chat-sessions?step=proposal_ready"),
    "sessions of the last day": Operation("/chat-sessions?created_after=$day_ago"),
    "sessions active before the middle": Operation("/chat-sessions?active_before=$middle"),
    "sessions with a rare word": Operation("/chat-sessions?text=word$number"),
    "sessions with a common word": Operation("/chat-sessions?text=please"),
    "sessions of a conversation": Operation("/conversations/$conversation/chat-sessions"),
    "sessions of an agent": Operation("/chat-sessions", AGENT),
    "statistics": Operation("/chat-sessions/stats"),
    "statistics of 30 days": Operation("/chat-sessions/stats?from=$month_ago"),
    "statistics of a space": Operation("/chat-sessions/stats?space_id=$space"),
    "statistics of an agent": Operation("/chat-sessions/stats", AGENT),
    "contact resolved": Operation("/admin/contacts/resolve", OWNER, '{"identities": ["email:$email"]}'),
}
_PROOF = '{"message": "Hello", "email": "$email", "email_hmac": "$hmac"}'
_ARRIVAL = Operation("/space/$space/chat/stream", ANYONE, _PROOF)  # not measured: it brings the token of a contact
_CREATED = f'{{"workspace_id": "{WORKSPACE}", "identities": ["email:$new@growth.test"], "create": true}}'
# Measured last, because they leave rows behind: the newest rows that the reads find are those of the filling.
WRITES = {
    "turn of a known contact": Operation("/space/$space/chat/stream", CONTACT, '{"message": "Hello again"}'),
    "session by id, for its contact": Operation("/chat-sessions/$session", CONTACT),
    "turn of a new contact": Operation("/space/$space/chat/stream", ANYONE, '{"message": "Hello, I am new"}'),
    "contact resolved and created": Operation("/admin/contacts/resolve", OWNER, _CREATED),
}

# Contacts of all ages, all of one space.
TARGETS = """
select row_number() over () as number, t.*
  from (select c.id::text as contact, i.value as email, v.id::text as conversation, c.session_id::text as session,
               v.space_id::text as space, v.persona_id::text as persona,
               row_number() over (order by c.created_at) as place, count(*) over () as found
          from public.contacts c
          join public.contact_identities i on i.contact_id = c.id and i.kind = 'email'
          join public.conversations v on v.contact_id = c.id
          join public.spaces s on s.id = v.space_id and s.name = 'Space 0'
         where v.channel = 'web' and c.session_id is not null) t
 where place % greatest(found / $1, 1) = 0
"""
_BUFFERS = """
select sum(shared_blks_hit + shared_blks_read)
  from pg_stat_statements
 where userid::regrole::text not in ('postgres', 'supabase_admin', 'supabase_auth_admin')
"""


Cost = tuple[float, float, float]
"""One request: milliseconds of its caller, milliseconds of Postgres's CPU, and buffers."""


@dataclass
class Site:
    """A filled stack, and contacts of all ages with what the requests name of them."""

    api_url: str
    postgres: int
    admin: asyncpg.Connection
    http: aiohttp.ClientSession
    tokens: dict[str, str]
    targets: list[dict[str, Any]]

    @classmethod
    async def open(cls, stack: Stack, size: Size, samples: int, started: contextlib.AsyncExitStack) -> "Site":
        """Fill a stack; connections are closed with `started`."""
        admin = await asyncpg.connect(stack.admin_url, command_timeout=None)
        started.push_async_callback(admin.close)
        await admin.execute("create extension pg_stat_statements; update cron.job set active = false; notify pg_cron")
        agent_id = await admin.fetchval("select id from auth.users where email = 'agent@demo.test'")
        await fill(admin, size, agent_id)
        owner, now = Caller.member(stack), datetime.now(UTC)
        times = {
            "day_ago": f"{now - timedelta(days=1):%FT%TZ}",
            "middle": f"{now - timedelta(days=size.days / 2):%FT%TZ}",
            "month_ago": f"{now - timedelta(days=30):%F}",
        }
        targets = [{**row, **times} for row in await admin.fetch(TARGETS, samples)]
        secret = owner.post(f"/spaces/{targets[0]['space']}/hmac-secret", {})["secret"].encode()
        for target in targets:
            target["hmac"] = hmac.new(secret, target["email"].encode(), hashlib.sha256).hexdigest()
        tokens = {OWNER: owner.token, AGENT: Caller.member(stack, "agent@demo.test").token}
        http = await started.enter_async_context(load.client())
        return cls(stack.api_url, stack.pids()["postgres"], admin, http, tokens, targets)

    async def measure(self, operation: Operation, target: dict[str, Any]) -> Cost:
        """One request. Raises ClickException when it is refused."""
        if operation.caller == CONTACT and CONTACT not in target:
            await self.measure(_ARRIVAL, target)
        fields = target | {"new": uuid4()}
        url, body = (Template(text).substitute(fields) for text in (self.api_url + operation.path, operation.body))
        token = (self.tokens | target).get(operation.caller)
        await self.admin.execute("select pg_stat_statements_reset()")
        cpu, started = stacks.cpu_seconds(self.postgres), time.perf_counter()
        answer = await load.ask(self.http, url, json.loads(body), token)
        took, cpu = time.perf_counter() - started, stacks.cpu_seconds(self.postgres) - cpu
        if answer.status >= 400 or b"event: error" in answer.content:
            raise click.ClickException(f"{url}: {answer.status} {answer.content.decode()}")
        target.update({CONTACT: answer.token} if answer.token else {})
        return took * 1000, cpu * 1000, float(await self.admin.fetchval(_BUFFERS))


async def measure(filled: Mapping[Size, Stack], samples: int, warm_up: int, only: str) -> dict[str, list[list[Cost]]]:
    """The costs of every operation whose name contains `only`, for each size."""
    asked = {name: operation for name, operation in (READS | WRITES).items() if only in name}
    async with contextlib.AsyncExitStack() as started:
        sites = [await Site.open(stack, size, warm_up + samples, started) for size, stack in filled.items()]
        found: dict[str, list[list[Cost]]] = {name: [[] for _ in sites] for name in asked}
        requests = list(itertools.product(asked.items(), range(warm_up + samples)))
        for (name, operation), number in tqdm(requests, unit="request", file=sys.stderr):
            for site, costs in zip(sites, found[name], strict=True):
                cost = await site.measure(operation, site.targets[number % len(site.targets)])
                costs.extend([cost] if number >= warm_up else [])
    return found


def rows(found: Mapping[str, Sequence[Sequence[Cost]]]) -> Iterator[list[str]]:
    """A row for each operation: medians at each size, and the ratio of the last to the first."""
    for name, sizes in found.items():
        ms, cpu, buffers = ([statistics.median(cost[part] for cost in costs) for costs in sizes] for part in range(3))
        ratio = buffers[-1] / buffers[0]
        cells = [*(f"{value:.1f}" for value in (*ms, *cpu)), f"{cpu[-1] / cpu[0]:.2f}"]
        yield [name, *cells, *(f"{value:,.0f}" for value in buffers), f"{ratio:.2f}", "grows" if ratio > AIM else ""]


@click.command(help=__doc__)
@click.option("--messages", multiple=True, default=(10_000, 1_000_000), show_default=True, type=SIZE, help="A size.")
@click.option("--a-day", default=2000, show_default=True, type=click.IntRange(100), help="Messages a day.")
@click.option("--turns", default=2, show_default=True, type=click.IntRange(1, 100), help="Of two messages, a session.")
@click.option("--samples", default=30, show_default=True, type=click.IntRange(1, 1000), help="Requests of each kind.")
@click.option("--warm-up", default=12, show_default=True, type=click.IntRange(0, 100), help=_WARM_UP)
@click.option("--only", default="", help="Operations whose name contains this.")
def command(messages: tuple[int, ...], a_day: int, turns: int, samples: int, warm_up: int, only: str) -> None:
    sizes = [Size(number // (turns * 2), max(number // a_day, 1), turns) for number in messages]
    with contextlib.ExitStack() as started:
        filled = {size: started.enter_context(stacks.own_stack(_POSTGRES)) for size in sizes}
        found = asyncio.run(measure(filled, samples, warm_up, only))
    ms, cpu, buffers = ([f"{what} at {number:,}" for number in messages] for what in ("ms", "CPU ms", "buffers"))
    rounds.show_table(["operation", *ms, *cpu, "ratio", *buffers, "ratio", ""], rows(found))
