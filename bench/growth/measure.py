"""What a call touches and takes: each as its caller, in a transaction of its own, many times on rows of all ages."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from bench.growth.fill import AGENT, OWNER, WORKSPACE

JSON = dict[str, Any]

WARM = 6
"""Calls before those that count: after five a statement in plpgsql has found its plan."""


CHANGING = ("start_turn", "finish_turn", "start_turn, somebody new", "resolve, new")
"""What leaves rows behind is measured last: the newest that the others read are those of the years of chats."""


@dataclass(frozen=True)
class Call:
    """One call of a function: whose token it is, and how it is called."""

    claims: Mapping[str, Any]
    sql: str
    before: str = ""
    """A statement that makes ready, as the superuser; it is not measured."""
    first: "Call | None" = None
    """A call that comes before, unmeasured: the turn that it answers with stands in ``sql`` as {turn_id}."""


@dataclass
class Cost:
    """What calls of one kind cost, one value each; ``cpu`` is the server's, in milliseconds as the clock's."""

    buffers: list[int] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, buffers: int, milliseconds: float, cpu: float) -> None:
        """Count one call more."""
        self.buffers.append(buffers)
        self.milliseconds.append(milliseconds)
        self.cpu.append(cpu)

    def middle(self) -> tuple[float, float, float]:
        """Medians of buffers, milliseconds and CPU."""
        return statistics.median(self.buffers), statistics.median(self.milliseconds), statistics.median(self.cpu)


@dataclass(frozen=True)
class Target:
    """A contact with what belongs to it."""

    number: int
    contact: str
    email: str
    conversation: str
    session: str
    space: str
    persona: str


Kind = Callable[[Target, int], Call]


class Meter:
    """One connection, over which every call goes: what plpgsql has planned it keeps, as PostgREST's connections do."""

    def __init__(self, connection: asyncpg.Connection, admin: asyncpg.Connection) -> None:
        self.connection = connection
        self.admin = admin
        # The kernel's own count of what the server's process for this connection had, in nanoseconds (Linux).
        self._schedstat = Path(f"/proc/{connection.get_server_pid()}/schedstat")

    def _cpu(self) -> float:
        return int(self._schedstat.read_text().split()[0]) / 1e6

    async def take(self, call: Call) -> tuple[int, float, float]:
        """The buffers, milliseconds and milliseconds of CPU of one call."""
        sql = call.sql
        if call.first is not None:
            answer = json.loads(await self._run(call.first, f"select public.{call.first.sql}"))
            sql = sql.replace("{turn_id}", answer["turn_id"])
        begun, spent = time.perf_counter(), self._cpu()
        # What the statement's node touches includes all that the function it calls does, to the last statement in it.
        explained = await self._run(call, f"explain (analyze, buffers, timing off, format json) select public.{sql}")
        took, spent = time.perf_counter() - begun, self._cpu() - spent
        plan = json.loads(explained)[0]["Plan"]
        return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], took * 1000, spent

    async def _run(self, call: Call, statement: str) -> str:
        """As PostgREST does: claims and role for one transaction. Raises what the function raises."""
        if call.before:
            await self.admin.execute(call.before)
        async with self.connection.transaction():
            await self.connection.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(call.claims))
            await self.connection.execute(f"set local role {call.claims['role']}")
            answer: str = await self.connection.fetchval(statement)
        return answer


async def pick_targets(admin: asyncpg.Connection, most: int) -> list[Target]:
    """Contacts from all the time there is, evenly."""
    rows = await admin.fetch(
        """
        select row_number() over () as number, c.id::text as contact, i.value as email, v.id::text as conversation,
               c.session_id::text as session, v.space_id::text as space, v.persona_id::text as persona
          from (select c.*, row_number() over (order by c.created_at) as place, count(*) over () as n
                  from public.contacts c) c
          join public.contact_identities i on i.contact_id = c.id and i.kind = 'email'
          join public.conversations v on v.contact_id = c.id
         where c.session_id is not null
           and c.place % greatest(c.n / $1, 1) = 0
        """,
        most,
    )
    return [Target(**row) for row in rows]


def of_contact(target: Target) -> JSON:
    """The functions, for a contact with its token."""
    caller = {
        "kind": "contact", "contact_id": target.contact, "conversation_id": target.conversation, "proof": "verified",
    }  # fmt: skip
    return {"role": "switchboard", "scope": {"workspace_id": WORKSPACE, "space_id": target.space}, "caller": caller}


OF_OWNER: JSON = {"role": "authenticated", "sub": OWNER}
OF_AGENT: JSON = {"role": "authenticated", "sub": AGENT}
MANAGING: JSON = {"role": "switchboard", "scope": {"management": True}, "caller": {"kind": "user", "user_id": OWNER}}
AT_WORK: JSON = {"role": "switchboard", "scope": {"workspace_id": WORKSPACE}, "caller": {"kind": "system"}}


def quoted(value: object) -> str:
    """As an SQL literal."""
    text = value if isinstance(value, str) else json.dumps(value)
    return "'" + text.replace("'", "''") + "'"


def listing(filters: Callable[[Target], JSON], claims: JSON = OF_OWNER) -> Kind:
    """A page of sessions."""
    return lambda target, _: Call(claims, f"list_sessions({quoted(filters(target))})")


def figures(filters: JSON, claims: JSON = OF_OWNER) -> Kind:
    """Statistics."""
    return lambda *_: Call(claims, f"read_session_stats(filters => {quoted(filters)})")


def _no_active_turn(target: Target) -> str:
    ended = "status = 'completed', finished_at = clock_timestamp()"
    return f"update public.turns set {ended} where conversation_id = '{target.conversation}' and status = 'active'"  # noqa: S608


def _start(target: Target, number: int) -> Call:
    sql = f"start_turn('{target.space}', 'Hello again', client_message_id => 'g{number}-{time.time_ns()}')"
    return Call(of_contact(target), sql, before=_no_active_turn(target))


def _finish(target: Target, number: int) -> Call:
    sql = "finish_turn('{turn_id}', 'completed', 'An answer of a few words.', first_token_ms => 12)"
    return Call(AT_WORK, sql, first=_start(target, number))


def _arrive(target: Target, number: int) -> Call:
    claims = {"role": "switchboard", "scope": {"space_id": target.space}, "caller": {"kind": "anonymous"}}
    return Call(claims, f"start_turn(space_id => '{target.space}', message => 'Hello, I am new {number}')")


def _resolve(identity: Callable[[Target, int], str], *, create: bool) -> Kind:
    def call(target: Target, number: int) -> Call:
        named = [{"kind": "email", "key": identity(target, number), "value": identity(target, number)}]
        return Call(MANAGING, f"resolve_contact({quoted(named)}, '{WORKSPACE}', {str(create).lower()})")

    return call


async def operations(admin: asyncpg.Connection, size_days: int) -> dict[str, Kind]:
    """What is measured, by name; what the database does not know is left out."""
    query = await admin.fetchval(
        "select prosrc from pg_proc where oid = 'private.session_query(jsonb, jsonb)'::regprocedure"
    )
    known = {
        row["proname"]
        for row in await admin.fetch("select proname from pg_proc where pronamespace = 'public'::regnamespace")
    }
    day_ago = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    half = (datetime.now(UTC) - timedelta(days=size_days / 2)).isoformat()
    month = (datetime.now(UTC) - timedelta(days=30)).date().isoformat()
    # Days that a small workspace has, too: what is told is as much in both.
    four_days = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
    nothing = await admin.fetchval("select gen_random_uuid()::text")
    kinds: dict[str, Kind] = {
        "start_turn": _start,
        "finish_turn": _finish,
        "start_turn, somebody new": _arrive,
        "resolve, known": _resolve(lambda target, _: target.email, create=False),
        "resolve, new": _resolve(lambda target, number: f"n{number}-{time.time_ns()}@growth.test", create=True),
        "contact by identity": lambda target, _: Call(
            OF_OWNER, f"list_contacts('{WORKSPACE}', {quoted({'identity': {'kind': 'email', 'key': target.email}})})"
        ),
        "contact by id": lambda target, _: Call(OF_OWNER, f"read_contact('{target.contact}')"),
        "a contact's activity": lambda target, _: Call(OF_OWNER, f"read_contact_activity('{target.contact}')"),
        "contacts, newest": lambda *_: Call(OF_OWNER, f"list_contacts('{WORKSPACE}')"),
        "contacts with a rare tag": _tagged("vip"),
        "contacts with a common tag": _tagged("known"),
        "session by id": lambda target, _: Call(OF_OWNER, f"read_session('{target.session}')"),
        "a contact's token reads its session": lambda target, _: Call(
            {**of_contact(target)["caller"], "role": "contact", "sub": target.contact, "workspace_id": WORKSPACE},
            f"read_session('{target.session}')",
        ),
        "sessions, newest": listing(lambda _: {}),
        "sessions by status": listing(lambda _: {"status": ["failed"]}),
        "sessions by persona": listing(lambda target: {"persona_id": target.persona}),
        "sessions by contact": listing(lambda target: {"contact_id": target.contact}),
        "sessions by user": listing(lambda _: {"user_id": nothing}),
        "sessions by space": listing(lambda target: {"space_id": target.space}),
        "sessions by channel": listing(lambda _: {"channel": "whatsapp"}),
        "sessions of the last day": listing(lambda _: {"created_after": day_ago}),
        "sessions active before the middle": listing(lambda _: {"active_before": half}),
        "sessions with a rare word": listing(lambda target: {"text": f"word{target.number}"}),
        "sessions with a common word": listing(lambda _: {"text": "please"}),
        "sessions assigned to an agent": listing(lambda _: {}, OF_AGENT),
        "a conversation's sessions": listing(lambda target: {"conversation_id": target.conversation}),
        "statistics, everything": figures({}),
        "statistics, 30 days": figures({"from": month}),
        "statistics, four days": figures({"from": four_days}),
        "statistics, a space": lambda target, _: figures({"space_id": target.space})(target, _),
        "statistics, an agent's own": figures({}, OF_AGENT),
        "statistics, an agent's own, 30 days": figures({"from": month}, OF_AGENT),
    }
    for name, value in {"step": "proposal_ready", "external_id": "atrip-10"}.items():
        if f"'{name}'" in query:
            kinds[f"sessions by {name}"] = _by(name, value)
    for name in sorted(name for name in known if "journey" in name):
        kinds["a contact's journey"] = _of_contact_alone(name)
    return kinds


def _tagged(tag: str) -> Kind:
    return lambda *_: Call(OF_OWNER, f"list_contacts('{WORKSPACE}', {quoted({'tag': tag})})")


def _by(name: str, value: str) -> Kind:
    return listing(lambda _: {name: value})


def _of_contact_alone(function: str) -> Kind:
    return lambda target, _: Call(OF_OWNER, f"{function}('{target.contact}')")


@dataclass(frozen=True)
class Database:
    """One that is filled: its URL for the superuser, and how many days it holds."""

    url: str
    days: int


async def measure(
    databases: Sequence[Database], samples: int, only: str, report: Callable[[str], None]
) -> list[dict[str, Cost]]:
    """The cost of every operation whose name has ``only`` in it, in each database.

    They take turns, call by call, so that what else runs on the machine disturbs them alike.
    """
    async with AsyncExitStack() as stack:

        async def connect(database: Database) -> asyncpg.Connection:
            # Without a cache of statements each is planned as PostgREST's are.
            connection = await asyncpg.connect(database.url, statement_cache_size=0)
            stack.push_async_callback(connection.close)
            return connection

        admins = [await connect(database) for database in databases]
        meters = [Meter(await connect(database), admin) for database, admin in zip(databases, admins, strict=True)]
        targets = [await pick_targets(admin, WARM + samples) for admin in admins]
        kinds = [await operations(admin, database.days) for database, admin in zip(databases, admins, strict=True)]
        found: list[dict[str, Cost]] = [{} for _ in databases]
        asked = [name for name in kinds[0] if only in name]
        for name in sorted(asked, key=lambda name: name in CHANGING):
            for number in range(WARM + samples):
                for place, meter in enumerate(meters):
                    target = targets[place][number % len(targets[place])]
                    taken = await meter.take(kinds[place][name](target, number))
                    if number >= WARM:
                        found[place].setdefault(name, Cost()).add(*taken)
            report(f"  {name}")
        return [{name: costs[name] for name in asked} for costs in found]
