"""Recall for a turn: the memories that fit its message are given to the persona and recorded at the turn."""

import asyncio
from collections.abc import Awaitable

from lib import errors, log
from lib.auth import callers
from lib.database.commands import Rpc
from lib.database.retries import Patience
from lib.fields.models import Record
from lib.memory import embedders
from lib.personas import PersonaTurn, RecalledMemory

RECALL_SECONDS = 0.15
"""Longest time of a turn's recall: a persona answers without memories rather than late."""

EMBEDDING_SECONDS = 0.1
"""Longest time for the vector of the message; after that its words decide alone, as while a model is loaded."""

_PATIENCE = Patience(tries=1, longest_pause=0, try_seconds=RECALL_SECONDS, seconds=RECALL_SECONDS)


_MOST_PLACES = 10_000

_places: set[str] = set()
"""The spaces and personas where this process has recalled: the next message there probably recalls too."""

_early: set["asyncio.Task[embedders.Embedding | None]"] = set()


def embed_early(caller: callers.Caller, place: object, message: str) -> Awaitable[embedders.Embedding | None] | None:
    """Begin a message's vector while its turn is started, if the turn will probably recall; else None.

    One at a time, in this process: messages that are refused then cost little. Without a token there is nothing to
    recall yet.
    """
    if str(place) not in _places or _early or isinstance(caller, callers.Anonymous) or not embedders.is_local():
        return None
    task = asyncio.create_task(embedders.embed_query(message))
    _early.add(task)
    task.add_done_callback(_early.discard)
    return task


class _Memory(Record):
    id: str
    kind: str
    content: str
    valid_from: str
    score: float


class _Recalled(Record):
    memories: tuple[_Memory, ...]


async def recall(
    rpc: Rpc, turn: PersonaTurn, vector: Awaitable[embedders.Embedding | None] | None = None
) -> tuple[RecalledMemory, ...]:
    """Recall the memories that fit a turn's message, the best first, and record them at the turn.

    Only those that the turn's session may know (docs/memory.md). None if the recall fails or takes too long. ``vector``
    is that of the message, if it was begun early.
    """
    if len(_places) < _MOST_PLACES:
        _places.add(turn.space_id or turn.persona_id)
    try:
        async with asyncio.timeout(RECALL_SECONDS):
            embedding = await _embed(turn, vector)
            arguments = {
                "turn_id": turn.turn_id,
                "message": turn.message,
                "embedding": embedding and embedding.argument(),
            }
            recalled = await rpc.call("recall_for_turn", arguments, _Recalled, repeatable=True, patience=_PATIENCE)
    except (TimeoutError, errors.Problem) as failure:
        log.warning("recall_failed", turn_id=turn.turn_id, reason=getattr(failure, "code", "too_slow"))
        return ()
    return tuple(RecalledMemory(**memory.model_dump()) for memory in recalled.memories)


async def _embed(turn: PersonaTurn, vector: Awaitable[embedders.Embedding | None] | None) -> embedders.Embedding | None:
    """The vector of the message, if there is one in time."""
    names = (turn.contact.name,) if turn.contact and turn.contact.name else ()
    if vector is None or embedders.without_names(turn.message, names) != turn.message:
        vector = embedders.embed_query(turn.message, names)
    return await embedders.within(EMBEDDING_SECONDS, vector, turn_id=turn.turn_id)
