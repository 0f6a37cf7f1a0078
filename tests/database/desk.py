"""Calling the domain functions as PostgREST does: its login, the role and claims of a token, one transaction a call."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import uuid
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

WORKSPACE = "00000000-0000-7000-8000-000000000001"
PERSONA = "00000000-0000-7000-8000-000000000002"
SPACE = "00000000-0000-7000-8000-000000000003"
LANDING = "00000000-0000-7000-8000-000000000004"

JSON = dict[str, Any]

T = TypeVar("T")

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

ANONYMOUS: JSON = {"kind": "anonymous"}
SYSTEM: JSON = {"role": "switchboard", "scope": {"system": True}, "caller": {"kind": "system"}}
OPERATOR: JSON = {"role": "service_role"}

WANTED = {
    "pause": "paused", "resume": "active", "complete": "completed", "fail": "failed", "cancel": "cancelled",
}  # fmt: skip
"""The verbs of `Desk.change`, and the status that each leads to."""

SECRET = "the customer's own"
"""The secret with which a customer's own server signs emails, after `believe_hmacs`."""


class Raised(Exception):  # noqa: N818
    """A function raised an error: PostgREST would answer the status, and our stable code as the message."""

    def __init__(self, cause: asyncpg.PostgresError) -> None:
        sqlstate: str = cause.sqlstate or ""
        self.code = str(cause.args[0])
        self.status = int(sqlstate[2:]) if sqlstate.startswith("PT") else None
        super().__init__(f"{sqlstate} {cause}")


@dataclass(frozen=True)
class Answer:
    """What PostgREST would send: the status (200 unless the function set one), Retry-After and the body."""

    status: int
    retry_after: int | None
    body: JSON

    def __getitem__(self, name: str) -> Any:
        return self.body[name]


def claims(caller: JSON = ANONYMOUS, space: str = SPACE) -> JSON:
    """The claims that the functions sign for a caller who arrives at a space."""
    return {"role": "switchboard", "scope": {"space_id": space}, "caller": caller}


def on_a_turn(workspace: str = WORKSPACE) -> JSON:
    """The claims that the functions sign for work on something already started."""
    return {"role": "switchboard", "scope": {"workspace_id": workspace}, "caller": {"kind": "system"}}


def with_token(arrived: Answer, space: str = SPACE) -> JSON:
    """The claims of the contact token that an arrival at SPACE received, used at a space."""
    return {
        "role": "switchboard",
        "scope": {"workspace_id": arrived["workspace_id"], "space_id": space},
        "caller": {
            "kind": "contact",
            "contact_id": arrived["contact_id"],
            "conversation_id": arrived["conversation_id"],
            "proof": arrived["proof"],
            "iat": datetime.fromisoformat(arrived["issued_at"]).timestamp(),
            "space_id": SPACE,
        },
    }


def user(user_id: str, email: str | None = None) -> JSON:
    """A caller signed in with Supabase Auth; lib adds the normalised email where the token names one."""
    named = {} if email is None else {"email": email, "email_key": email.lower()}
    return {"kind": "user", "user_id": user_id, **named}


def on_behalf(caller: JSON) -> JSON:
    """The claims with which a caller acts on their own rows."""
    return {"role": "switchboard", "scope": {}, "caller": caller}


def managing(caller: JSON) -> JSON:
    """The claims of a member who manages a workspace."""
    return {"role": "switchboard", "scope": {"management": True}, "caller": caller}


def own_token(caller: JSON) -> JSON:
    """The claims of the caller's own token, as the functions read with it."""
    if caller["kind"] == "contact":
        return {**caller, "role": "contact", "sub": caller["contact_id"]}
    return {"role": "authenticated", "sub": caller["user_id"]}


async def session_view(connection: Connection) -> str:
    """The view of sessions for the role that a connection reads with."""
    is_member = await connection.fetchval("select current_user") == "member"
    return "session_details" if is_member else "contact_session_details"


def signed(email: str, secret: str) -> str:
    """The HMAC that a customer's own server makes of an email."""
    return hmac.new(secret.encode(), email.encode(), hashlib.sha256).hexdigest()


class Desk:
    """One database: `admin` looks and arranges, the methods call."""

    admin: asyncpg.Connection

    def __init__(self, gate_url: str, admin_url: str, connections: int = 5) -> None:
        self.gate_url = gate_url
        self.admin_url = admin_url
        self._connections = connections

    async def __aenter__(self) -> "Desk":
        self.admin = await asyncpg.connect(self.admin_url)
        await _read_json(self.admin)
        self._pool = await asyncpg.create_pool(self.gate_url, min_size=1, max_size=self._connections, init=_read_json)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.close()
        await self.admin.close()

    async def call(self, function: str, token: JSON, **arguments: Any) -> Answer:
        """Call a public function with a token's role and claims. Raises Raised."""
        async with self._pool.acquire() as connection, connection.transaction():
            return await call(connection, function, token, **arguments)

    @contextlib.asynccontextmanager
    async def reading(self, token: JSON) -> AsyncIterator[Connection]:
        """A connection that reads with a token's role and claims, straight from the tables."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(f"set local role {token['role']}")
            await connection.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(token))
            if token["role"] == "authenticated":
                # As PostgREST does before each request.
                await connection.execute("select public.check_request()")
            yield connection

    async def sessions(self, token: JSON, where: str = "true", *values: Any) -> list[JSON]:
        """The sessions that a token reads in the view for its role, newest first."""
        async with self.reading(token) as connection:
            view = await session_view(connection)
            query = f"select to_jsonb(s) from public.{view} s where {where} order by s.created_at desc, s.id desc"
            return [row[0] for row in await connection.fetch(query, *values)]

    def crowd(self, connections: int) -> "Desk":
        """The same database with so many connections, for concurrent calls."""
        return Desk(self.gate_url, self.admin_url, connections)

    @contextlib.asynccontextmanager
    async def as_owner(self) -> AsyncIterator[asyncpg.Connection]:
        """Another connection of the role that runs the schedules, beside `admin`."""
        connection = await asyncpg.connect(self.admin_url)
        try:
            yield connection
        finally:
            await connection.close()

    async def register(
        self, email: str, token: JSON | None = None, *, space: str = SPACE, kind: str = "embed", **more: Any
    ) -> Answer:
        """Register a contact, anonymously unless a token is given."""
        return await self.call(
            "register_contact",
            token or claims(space=space),
            space_id=space,
            space_kind=kind,
            email=email,
            email_key=email.strip().lower(),
            **more,
        )

    async def prove(self, email: str, token: JSON | None = None, **more: Any) -> Answer:
        """Register with proof, after `believe_hmacs`."""
        return await self.register(email, token, email_hmac=signed(email, SECRET), **more)

    async def refused(self, function: str, token: JSON, **arguments: Any) -> tuple[int | None, str]:
        """The status and code with which a call is refused."""
        return await refusal(self.call(function, token, **arguments))

    async def until_waiting(self, count: int = 1) -> None:
        """Return once so many calls wait for a lock."""
        waiting = (
            "select count(*) from pg_stat_activity, pg_sleep(0.01)"
            " where datname = current_database() and wait_event_type = 'Lock'"
        )
        while await self.admin.fetchval(waiting) < count:
            pass

    async def select(self, token: JSON, view: str, where: str = "true", *values: Any) -> list[JSON]:
        """The rows of a view or table of public, as a token shows them."""
        async with self.reading(token) as connection:
            rows = await connection.fetch(f"select to_jsonb(v) from public.{view} v where {where}", *values)
        return [row[0] for row in rows]

    async def row(self, table: str, key: Any) -> JSON:
        """A row of a table of public, as JSON: ids and times are text."""
        found: JSON = (await self.one(f"select to_jsonb(t) from public.{table} t where id = $1", key))[0]
        return found

    async def one(self, query: str, *values: Any) -> tuple[Any, ...]:
        """The only row of a query."""
        (found,) = await self.all(query, *values)
        return found

    async def all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        return [tuple(row) for row in await self.admin.fetch(query, *values)]

    async def arrive(self, name: str = "ann") -> JSON:
        """The claims of the contact token of a new registration."""
        return with_token(await self.register(f"{name}@example.test"))

    async def start(self, token: JSON | None = None, message: str = "Hello", space: str = SPACE, **more: Any) -> Answer:
        """Send a message, without any token unless one is given."""
        if "email" in more:
            more.setdefault("email_key", more["email"].strip().lower())
        return await self.call("start_turn", token or claims(space=space), space_id=space, message=message, **more)

    async def start_session(self, token: JSON, **more: Any) -> Answer:
        """Start a session without a message."""
        return await self.call("start_session", token, **more)

    async def change(self, caller: JSON, session_id: str, verb: str) -> Answer:
        """Pause, resume, complete or cancel a session."""
        arguments = {"session_id": session_id, "status": WANTED[verb]}
        return await self.call("change_session_status", on_behalf(caller), **arguments)

    async def assign(self, caller: JSON, session_id: str, assigned: JSON | None) -> Answer:
        """Assign a session to a user, or to none."""
        user_id = assigned and assigned["user_id"]
        return await self.call("assign_session", on_behalf(caller), session_id=session_id, user_id=user_id)

    async def take_over(self, caller: JSON, session_id: str) -> Answer:
        """Let a member answer in the persona's place."""
        return await self.call("take_over_session", on_behalf(caller), session_id=session_id)

    async def hand_back(self, caller: JSON, session_id: str) -> Answer:
        """End a takeover."""
        return await self.call("hand_back_session", on_behalf(caller), session_id=session_id)

    async def say(self, caller: JSON, session_id: str, text: str = "A person here.", **more: Any) -> Answer:
        """Write to the contact as the member that took the session over."""
        return await self.call("say_as_member", on_behalf(caller), session_id=session_id, text=text, **more)

    async def flush(self, turn: Answer, position: int, piece: str) -> str:
        """Store a piece of an answer; the turn's status."""
        done = await self.call("flush_turn", on_a_turn(), turn_id=turn["turn_id"], position=position, piece=piece)
        status: str = done["status"]
        return status

    async def finish(self, turn: Answer, status: str = "completed", answer: str | None = "Hi", **more: Any) -> Answer:
        """End a turn."""
        return await self.call(
            "finish_turn", on_a_turn(), turn_id=turn["turn_id"], status=status, answer=answer, **more
        )

    async def said(self, session_id: str) -> list[tuple[Any, ...]]:
        """The role and text of each message of a session, in order."""
        query = "select role::text, text from public.messages where session_id = $1 order by created_at, id"
        return await self.all(query, session_id)

    async def audited(self, object_id: str, columns: str = "verb, actor_id::text") -> list[tuple[Any, ...]]:
        """The audit events of an object, in order."""
        query = f"select {columns} from public.audit_events where object_id = $1 order by created_at, id"
        return await self.all(query, object_id)

    async def read(self, turn: Answer, after: int = 0) -> Answer:
        """The state of a turn and its text so far."""
        return await self.call("read_turn", on_a_turn(), turn_id=turn["turn_id"], after=after)

    async def expire(self) -> int:
        """What pg_cron does every minute."""
        expired: int = await self.admin.fetchval("select private.expire_turns()")
        return expired

    async def let_lease_run_out(self, turn: Answer) -> None:
        """Set a turn's lease in the past."""
        await self.admin.execute(
            "update public.turns set lease_until = clock_timestamp() - interval '1 second' where id = $1",
            turn["turn_id"],
        )

    async def end_session(self, session_id: str, status: str) -> None:
        """Put a session into a terminal state, without the function that would."""
        await self.admin.execute(
            "update public.sessions set status = $2::text::public.session_status, ended_at = now(), "
            "archived_at = case when $2 = 'archived' then now() end, status_before_archive = "
            "case when $2 = 'archived' then 'completed'::public.session_status end where id = $1",
            session_id,
            status,
        )

    async def lift_limits(self) -> None:
        """Let any number of contacts arrive and write."""
        await self.admin.execute("update public.spaces set arrivals_per_minute = 1000000")
        await self.admin.execute(
            "update public.workspaces set messages_per_minute_by_contact = 1000000,"
            " messages_per_minute_by_user = 1000000, messages_per_minute_by_space = 1000000"
        )

    async def count(self, table: str, where: str = "true", *values: Any) -> int:
        """How many rows a table of public has."""
        rows: int = await self.admin.fetchval(f"select count(*) from public.{table} where {where}", *values)
        return rows

    async def sign_up(self, email: str | None, *, confirmed: bool = True, anonymous: bool = False) -> str:
        """Make a Supabase Auth user; the user's id."""
        made = str(uuid.uuid4())
        await self.admin.execute(
            "insert into auth.users (id, email, email_confirmed_at, is_anonymous) "
            "values ($1, $2, case when $3 then now() end, $4)",
            made,
            email,
            confirmed and email is not None,
            anonymous,
        )
        return made

    async def member(self, role: str = "admin", workspace: str = WORKSPACE) -> JSON:
        """A new member of a workspace, as a caller."""
        user_id = await self.sign_up(f"{uuid.uuid4()}@example.test")
        await self.join(user_id, role, workspace)
        return user(user_id)

    async def join(self, user_id: str, role: str, workspace: str) -> None:
        """Make a user a member of a workspace."""
        columns = "(workspace_id, user_id, role)"
        insert = f"insert into public.workspace_members {columns} values ($1, $2, $3)"
        await self.admin.execute(insert, workspace, user_id, role)

    async def create(self, caller: JSON, noun: str, **settings: Any) -> Answer:
        """Create a space, persona or template."""
        arguments = {"kind": noun, "workspace_id": WORKSPACE, "settings": settings}
        return await self.call("create_in_workspace", managing(caller), **arguments)

    async def keep_secret(self, value: str, name: str | None = None) -> str:
        """Put a secret into Vault; its id."""
        return str(await self.admin.fetchval("select vault.create_secret($1, $2)", value, name))

    async def everything(self) -> dict[str, int]:
        """The number of rows in each table that an arrival may write to, except the limits'."""
        tables = ("contacts", "contact_identities", "conversations", "sessions", "turns", "messages", "audit_events")
        return {table: await self.count(table) for table in tables}

    async def believe_hmacs(self, secret: str = SECRET) -> None:
        """Let the space accept emails that are signed with this secret."""
        kept = await self.keep_secret(secret)
        await self.admin.execute("update public.spaces set hmac_secret_id = $1 where id = $2", kept, SPACE)

    async def open_workspace(self) -> tuple[str, str]:
        """Another workspace with a persona and a chat space: the ids of the workspace and the space."""
        workspace, space = await self.one(
            "with w as (insert into public.workspaces (name) values ('Other') returning id),"
            " p as (insert into public.personas (workspace_id, kind, name) select id, 'demo', 'x' from w returning *)"
            " insert into public.spaces (workspace_id, kind, name, persona_id)"
            " select workspace_id, 'embed', 'Other', id from p returning workspace_id::text, id::text"
        )
        return workspace, space


class Loop:
    """An event loop for synchronous tests: hypothesis calls the rules of a state machine one by one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, awaitable: Awaitable[T]) -> T:
        """Wait for the answer."""
        return self._loop.run_until_complete(awaitable)

    def close(self) -> None:
        """End the loop."""
        self._loop.close()


def explore(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Run so many random orders of a state machine's rules. Raises what a rule raises."""
    checks = list(HealthCheck)
    chosen = settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(machine, settings=chosen)


async def refusal(calling: Awaitable[Any]) -> tuple[int | None, str]:
    """The status and code that a call raises."""
    try:
        answer = await calling
    except Raised as raised:
        return raised.status, raised.code
    raise AssertionError(f"answered {answer}")


async def call(connection: Connection, function: str, token: JSON, **arguments: Any) -> Answer:
    """Call a public function in the transaction that the connection is in. Raises Raised."""
    await connection.execute(f"set local role {token['role']}")
    await connection.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(token))
    await connection.execute("select set_config('response.status', '', true), set_config('response.headers', '', true)")
    given = ", ".join(f'"{name}" => ${number}' for number, name in enumerate(arguments, 1))
    try:
        body = await connection.fetchval(f"select public.{function}({given})", *arguments.values())
    except asyncpg.PostgresError as error:
        raise Raised(error) from error
    said = await connection.fetchrow("select current_setting('response.status'), current_setting('response.headers')")
    assert said is not None
    headers = {name: value for header in json.loads(said[1] or "[]") for name, value in header.items()}
    wait = headers.get("Retry-After")
    return Answer(int(said[0] or 200), None if wait is None else int(wait), body)


async def _read_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
