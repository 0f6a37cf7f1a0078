"""A migrated database whose functions are called as commands call them."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
from pydantic import RootModel

from lib.auth import callers
from lib.database import commands
from lib.database.commands import Rpc
from lib.database.retries import Patience
from local import supabase_shim
from tests.database.commands import pgbouncer
from tests.servers import Server

LOGIN, PASSWORD = "switchboard_login", "let-me-in"
SCOPE = callers.Scope(workspace_id=uuid4())
ONCE = Patience(tries=1, longest_pause=0, try_seconds=10, seconds=10)
OURS = commands.acting_as(callers.Anonymous(), SCOPE)


class Anything(RootModel[Any]):
    """Whatever a function returns."""


class Database:
    """A migrated database, reached as the functions reach it and as its owner."""

    def __init__(self, name: str, owner: asyncpg.Connection, url: str, pooled: bool) -> None:
        self.name = name
        self.owner = owner
        self.url = url
        self.pooled = pooled

    async def define(self, body: str, arguments: str = "", returns: str = "jsonb", name: str = "do_it") -> None:
        """Make, or replace, a function that the roles of commands may call."""
        await self.owner.execute(
            f"create or replace function public.{name}({arguments}) returns {returns} language plpgsql volatile"
            f" as $_$ begin {body}; end $_$;"
            f"grant execute on function public.{name} to switchboard, contact, authenticated"
        )

    async def call(
        self, name: str = "do_it", /, *, rpc: Rpc = OURS, patience: Patience = ONCE, **arguments: Any
    ) -> Any:
        """What the functions get from a call; `repeatable` by name is the caller's promise."""
        repeatable = arguments.pop("repeatable", False)
        return (await rpc.call(name, arguments, Anything, repeatable=repeatable, patience=patience)).root

    async def backends(self) -> list[int]:
        """The backends that serve the login in this database."""
        query = "select pid from pg_stat_activity where usename = $1 and datname = $2 order by pid"
        return [row["pid"] for row in await self.owner.fetch(query, LOGIN, self.name)]

    async def cut(self, pid: int) -> None:
        """End a backend."""
        await self.owner.fetchval("select pg_terminate_backend($1)", pid)

    async def clear(self) -> None:
        """Remove what a test has made: functions, which have no comment, and its objects in the schema `scratch`."""
        made = "pronamespace = 'public'::regnamespace and obj_description(oid, 'pg_proc') is null"
        for row in await self.owner.fetch(f"select oid::regprocedure::text as name from pg_proc where {made}"):
            await self.owner.execute(f"drop function {row['name']}")
        await self.owner.execute("drop schema if exists scratch cascade; create schema scratch")
        await self.owner.execute("grant usage on schema scratch to switchboard, authenticated")


@asynccontextmanager
async def opened(server: Server, *, pooled: bool = False) -> AsyncIterator[Database]:
    """A database of its own, reached directly or through a pooler in transaction mode."""
    name = await server.migrated()
    owner = await asyncpg.connect(server.owner_url(name))
    with ExitStack() as stack:
        try:
            await supabase_shim.let_in(server.owner_url(name), LOGIN, PASSWORD)
            url = server.cluster.url(LOGIN, PASSWORD, name)
            if pooled:
                port = stack.enter_context(pgbouncer.running(server, LOGIN, PASSWORD))
                url = url.replace(f":{server.cluster.port}/", f":{port}/")
            database = Database(name, owner, url, pooled)
            await database.clear()
            yield database
        finally:
            await owner.close()
            await server.drop(name)
