"""A migrated database that is reached over direct connections."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
from pydantic import RootModel

from lib.auth import callers
from lib.database import commands
from local import supabase_shim
from tests.servers import Server

PASSWORD = "let-me-in"
SCOPE = callers.Scope(workspace_id=uuid4())
ONCE = commands.Patience(tries=1, longest_pause=0, try_seconds=10, seconds=10)


class Anything(RootModel[Any]):
    """Whatever a function returns."""


class Direct:
    """A migrated database, reached as the functions reach it and as its owner."""

    def __init__(self, server: Server, database: str, owner: asyncpg.Connection) -> None:
        self.server = server
        self.database = database
        self.owner = owner
        self.url = server.cluster.url("switchboard_login", PASSWORD, database)

    async def define(self, body: str, arguments: str = "", returns: str = "jsonb", name: str = "do_it") -> None:
        """Make, or replace, a function that the role switchboard may call."""
        await self.owner.execute(
            f"create or replace function public.{name}({arguments}) returns {returns} language plpgsql volatile"
            f" as $_$ begin {body}; end $_$"
        )
        await self.owner.execute(f"grant execute on function public.{name} to switchboard")

    async def call(self, name: str = "do_it", /, *, patience: commands.Patience = ONCE, **arguments: Any) -> Any:
        """What the functions get from a call; `repeatable` by name is the caller's promise."""
        repeatable = arguments.pop("repeatable", False)
        rpc = commands.acting_as(callers.Anonymous(), SCOPE)
        return (await rpc.call(name, arguments, Anything, repeatable=repeatable, patience=patience)).root

    async def backends(self) -> list[int]:
        """The backends that serve the login in this database."""
        query = "select pid from pg_stat_activity where usename = 'switchboard_login' and datname = $1 order by pid"
        return [row["pid"] for row in await self.owner.fetch(query, self.database)]


@asynccontextmanager
async def opened(server: Server, settings: Callable[..., None]) -> AsyncIterator[Direct]:
    """A direct connection to a database of its own."""
    name = await server.migrated()
    owner = await asyncpg.connect(server.owner_url(name))
    try:
        await supabase_shim.let_in(server.owner_url(name), "switchboard_login", PASSWORD)
        direct = Direct(server, name, owner)
        settings(SWITCHBOARD_DATABASE_URL=direct.url, SWITCHBOARD_DATABASE_CONNECTIONS="2")
        yield direct
    finally:
        await commands.close()
        await owner.close()
        await server.drop(name)
