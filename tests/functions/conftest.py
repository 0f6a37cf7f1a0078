"""A workspace of its own for every test, and clients of the functions of the running stack."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from local.ports import free_port
from local.processes import tied_options
from local.stack import Stack
from tests import events
from tests.events import Received
from tests.standins import discord, telegram, whatsapp
from tests.standins import openai as openai_standin
from tests.standins.n8n import N8n
from tests.standins.openai import OpenAI

if TYPE_CHECKING:
    from tests.functions.people import Staff
    from tests.functions.test_isolation import Belongings

TABLES = ("contacts", "contact_identities", "conversations", "sessions", "turns", "messages", "inbound_events", "jobs")
CALLBACK_SECRET = "the-secret-of-asynchronous-answers"


async def free_accounts(database: asyncpg.Connection, *others: str | None) -> None:
    """Delete the channels that other tests connected to the stand-ins' accounts, or to these: each has one channel."""
    accounts = [str(telegram.BOT["id"]), whatsapp.NUMBER, discord.APPLICATION, *others]
    await database.execute("delete from public.channels where external_id = any ($1)", accounts)


@dataclass
class Workspace:
    """A workspace with one demo persona, an embedded space and a landing page, and a look into its tables."""

    id: UUID
    persona_id: UUID
    space_id: UUID
    landing_id: UUID
    database: asyncpg.Connection

    async def add_space(self, kind: str = "embed", persona_id: UUID | None = None, **columns: Any) -> UUID:
        """Another space, with the columns given."""
        row = {"workspace_id": self.id, "kind": kind, "name": "x", "persona_id": persona_id or self.persona_id}
        return await self._insert("spaces", row | columns)

    async def add_persona(self, kind: str, config: dict[str, Any], **columns: Any) -> UUID:
        """Another persona, with the columns given."""
        row = {"workspace_id": self.id, "kind": kind, "name": "x", "config": json.dumps(config)}
        return await self._insert("personas", row | columns)

    async def add_channel(
        self, kind: str, secret: str | None, token: str | None = None, *, columns: Mapping[str, Any] | None = None,
        **config: Any,
    ) -> UUID:  # fmt: skip
        """A channel with what verifies its deliveries, and the token of its provider's API."""
        row: dict[str, Any] = {"workspace_id": self.id, "kind": kind, "name": "x", "config": json.dumps(config)}
        for column, text in (("verify_secret_id", secret), ("token_secret_id", token)):
            row[column] = None if text is None else await self.add_secret(text)
        row |= columns or {}
        await free_accounts(self.database, row.get("external_id"))
        return await self._insert("channels", row)

    async def add_secret(self, secret: str) -> UUID:
        """A secret in Vault."""
        made: UUID = await self.database.fetchval("select vault.create_secret($1, $2)", secret, f"test {uuid4()}")
        return made

    async def allow_loopback(self) -> None:
        """Allow this workspace's personas on this machine."""
        await self.database.execute(
            "update public.workspaces set allowed_networks = '{127.0.0.0/8}' where id = $1", self.id
        )

    async def counts(self) -> dict[str, int]:
        """How many rows each table of the domain holds for this workspace."""
        query = "select count(*) from public.{} where workspace_id = $1"
        return {table: await self.database.fetchval(query.format(table), self.id) for table in TABLES}

    async def settled(self, *, later: bool = True) -> list[dict[str, Any]]:
        """The jobs in their order, once none runs or waits (`later`: not even for a later attempt).

        A delivery's jobs run before it is answered only if the machine is quick enough.
        """
        jobs = "select * from public.jobs j where workspace_id = $1"
        behind = "select 1 from public.jobs b where b.workspace_id = $1 and b.ordering_key = j.ordering_key"
        is_due = f"next_attempt_at < now() and not exists ({behind} and b.status = 'queued' and b.seq < j.seq)"
        left = f"{jobs} and (status = 'running' or status = 'queued' and ($2 or {is_due}))"

        async def none_left() -> bool:
            return not await self.database.fetch(left, self.id, later)

        await until(none_left)
        return [dict(job) for job in await self.database.fetch(f"{jobs} order by seq", self.id)]

    async def row(self, query: str, *arguments: Any) -> dict[str, Any]:
        """The one row of a query."""
        (found,) = await self.database.fetch(query, *arguments)
        return dict(found)

    async def _insert(self, table: str, columns: dict[str, Any]) -> UUID:
        names, places = ", ".join(columns), ", ".join(f"${place + 1}" for place in range(len(columns)))
        made: UUID = await self.database.fetchval(
            f"insert into public.{table} ({names}) values ({places}) returning id", *columns.values()
        )
        return made


@dataclass
class Visitor:
    """A visitor of a space, with a token or without."""

    client: aiohttp.ClientSession
    space_id: UUID
    token: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The token, if there is one."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def post(self, message: str, **fields: Any) -> Any:
        """The request of a message; a context manager of the response."""
        path = f"/space/{self.space_id}/chat/stream"
        return self.client.post(path, json={"message": message, **fields}, headers=self.headers)

    async def say(self, message: str, **fields: Any) -> list[Received]:
        """Send a message and read the whole answer; keeps a token that comes with it."""
        async with self.post(message, **fields) as response:
            assert response.status == 200, await response.text()
            heard = await events.read_all(response)
        self.token = heard[0].data.get("token", self.token)
        return heard

    async def resume(self, turn_id: str, after: int | None = None) -> list[Received]:
        """Read a turn again from a position."""
        headers = self.headers | ({} if after is None else {"Last-Event-ID": str(after)})
        async with self.client.get(f"/turns/{turn_id}/stream", headers=headers) as response:
            assert response.status == 200, await response.text()
            return await events.read_all(response)


@pytest_asyncio.fixture
async def client(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the one origin.

    It keeps connections for a shorter time than the server (5 s), so that it writes to none that is about to close.
    """
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    async with aiohttp.ClientSession(stack.api_url, connector=connector) as session:
        yield session


@pytest_asyncio.fixture
async def workspace(database: asyncpg.Connection) -> Workspace:
    """A new workspace with a demo persona that answers without delay."""
    return await add_workspace(database)


@pytest_asyncio.fixture
async def elsewhere(database: asyncpg.Connection) -> Workspace:
    """Another workspace."""
    return await add_workspace(database)


async def add_workspace(database: asyncpg.Connection) -> Workspace:
    """Another workspace like the fixture's."""
    workspace_id = await database.fetchval("insert into public.workspaces (name) values ('Test') returning id")
    made = Workspace(workspace_id, uuid4(), uuid4(), uuid4(), database)
    made.persona_id = await made.add_persona("demo", {"delay_ms": 0})
    made.space_id = await made.add_space("embed")
    made.landing_id = await made.add_space("landing")
    return made


@pytest.fixture
def visitor(client: aiohttp.ClientSession, workspace: Workspace) -> Visitor:
    """A visitor without a token in the workspace's space."""
    return Visitor(client, workspace.space_id)


@pytest_asyncio.fixture
async def n8n(stack: Stack) -> AsyncIterator[N8n]:
    """An n8n whose workflows answer as the real one's do."""
    url = f"{stack.api_url}/webhooks/n8n"
    async with N8n(callback_url=url, callback_secret=CALLBACK_SECRET) as running:
        yield running


async def ask_n8n(
    client: aiohttp.ClientSession, workspace: Workspace, url: str, *, time_limit_seconds: int = 20, **config: Any
) -> Visitor:
    """A visitor of a space whose persona is the workflow at this URL."""
    await workspace.allow_loopback()
    persona_id = await workspace.add_persona(
        "n8n",
        {"url": url, **config},
        time_limit_seconds=time_limit_seconds,
        secret_id=await workspace.add_secret("the-header-auth-secret"),
        callback_secret_id=await workspace.add_secret(CALLBACK_SECRET),
    )
    return Visitor(client, await workspace.add_space(persona_id=persona_id))


@pytest_asyncio.fixture
async def openai() -> AsyncIterator[OpenAI]:
    """A model's server."""
    async with OpenAI() as running:
        yield running


async def ask_openai(
    client: aiohttp.ClientSession,
    workspace: Workspace,
    base_url: str,
    *,
    columns: Mapping[str, Any] | None = None,
    **config: Any,
) -> Visitor:
    """A visitor of a space whose persona is the model behind this URL."""
    persona_id = await add_model(workspace, base_url, columns, **config)
    return Visitor(client, await workspace.add_space(persona_id=persona_id))


async def add_model(
    workspace: Workspace, base_url: str, columns: Mapping[str, Any] | None = None, **config: Any
) -> UUID:
    """A persona that is the model behind this URL."""
    await workspace.allow_loopback()
    secret_id = await workspace.add_secret(openai_standin.SECRET)
    config = {"base_url": base_url, "model": openai_standin.MODEL, **config}
    return await workspace.add_persona("openai", config, secret_id=secret_id, **(columns or {}))


@pytest_asyncio.fixture
async def held_visitor(client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI) -> Visitor:
    """A registered contact. An answer begins with `You wrote:` and stays under way until `openai.release()`."""
    visitor = await ask_openai(client, workspace, openai.url("held"))
    async with client.post(f"/space/{visitor.space_id}/register", json={"email": "a@example.com"}) as response:
        visitor.token = (await response.json())["token"]
    return visitor


@pytest_asyncio.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> "Staff":
    """The workspace's members, and other callers."""
    from tests.functions.people import staff_of  # noqa: PLC0415, the module imports this one

    return await staff_of(client, workspace, stack)


@pytest_asyncio.fixture
async def ours(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> "Belongings":
    """A row of each kind in the workspace."""
    from tests.functions.test_isolation import Belongings  # noqa: PLC0415, the module imports this one

    return await Belongings.of(client, workspace, stack)


async def sign_in(client: aiohttp.ClientSession, stack: Stack, email: str) -> str:
    """The access token of a demo user."""
    body = {"email": email, "password": stack.demo_password}
    path = "/auth/v1/token?grant_type=password"
    async with client.post(path, json=body, headers={"apikey": stack.anon_key}) as response:
        assert response.status == 200, await response.text()
        token: str = (await response.json())["access_token"]
        return token


@contextmanager
def another_process(stack: Stack, **changed: str) -> Iterator[str]:
    """The address of a further process of the functions on the same database, with these settings changed."""
    port = free_port()
    with (stack.state_dir / "logs" / f"gateway-{port}.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.gateway"],
            env=stack.gateway_env(port, **changed),
            stdout=output,
            stderr=output,
            **tied_options(signal.SIGKILL),
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(15)


async def until_healthy(url: str) -> None:
    """Return once a process answers."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        while True:
            try:
                async with http.get(f"{url}/healthz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.1)


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    """Return once the database's state is as wanted."""
    async with asyncio.timeout(15):
        while True:
            if await look():
                return
            await asyncio.sleep(0.05)


async def problem(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The problem document of a response, checked for its common members."""
    assert response.headers["content-type"] == "application/problem+json", await response.text()
    document: dict[str, Any] = json.loads(await response.read())
    assert document["status"] == response.status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert response.headers["x-request-id"]
    return document
