"""Management commands: the scope in which a member changes a workspace, and the interface that runs them.

The routes and the operators' commands call the same functions of lib/workspaces, which call the same SQL functions;
only the caller differs.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from lib.auth import callers
from lib.database import commands

MANAGEMENT_SCOPE = callers.Scope(management=True)

Result = TypeVar("Result", bound=BaseModel)


class Database(Protocol):
    """Runs SQL functions on behalf of a caller: `lib.database.commands.Rpc`, or an operator's service key."""

    async def call(
        self, name: str, arguments: Mapping[str, Any], returns: type[Result], *, repeatable: bool = False
    ) -> Result:
        """As `lib.database.commands.Rpc.call`."""
        ...


def managing_as(user: callers.User) -> commands.Rpc:
    """Commands that change a workspace on behalf of a user; the database checks the user's role in it."""
    return commands.acting_as(user, MANAGEMENT_SCOPE)
