"""memory: memories are written, recalled, listed and deleted."""

from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.auth.callers import Contact, User
from lib.database import queries
from lib.database.paging import Page
from lib.http import app
from lib.http.app import Created
from lib.memory import memories as domain
from lib.memory import recall as recalls
from lib.memory import turn_memories


async def remember(
    caller: Contact | User, wanted: domain.RememberRequest
) -> Created[domain.RememberResult] | domain.RememberResult:
    """Remember; 200 if all of it was remembered before."""
    remembered = await domain.remember(caller, wanted)
    return Created(remembered) if remembered.created else remembered


async def recall(caller: Contact | User, wanted: recalls.RecallRequest) -> recalls.RecallResult:
    """The memories that fit a text best, of those that the caller may know."""
    return await recalls.recall(caller, wanted)


async def list_memories(caller: Contact | User, search: domain.MemoryFilter) -> Page[domain.Memory]:
    """A page of memories."""
    return await domain.find(caller, search)


async def list_turn_memories(user: User, turn_id: UUID) -> turn_memories.TurnMemories:
    """What a turn knew, for members."""
    return await turn_memories.list_all(queries.reading_as(user), turn_id)


async def forget_memory(caller: Contact | User, memory_id: UUID) -> None:
    """Forget a memory."""
    await domain.forget(caller, memory_id)


_HANDLERS = (remember, recall, list_memories, list_turn_memories, forget_memory)

# A handler has the name of its route.
_serve = app.function("memory", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def memory(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
