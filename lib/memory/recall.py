"""Recall: the memories that fit a text, of those that the caller may know."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from lib.auth import callers
from lib.database import commands
from lib.fields.models import Body, Record
from lib.fields.types import Label, Message, Moment
from lib.memory import embedders
from lib.memory.memories import Caller, Kind, Memory, Score

EMBEDDING_SECONDS = 2.0
"""Longest time for the vector of the query; after that its words decide alone."""


class RecallRequest(Body):
    """What to recall, and of whose memories.

    A contact or user recalls what the own conversation, or one of the own sessions (``session_id``), may know. A member
    names a session, a contact, or neither: all memories that the member sees.
    """

    query: Message
    names: Annotated[tuple[Label, ...], Field(max_length=20)] = ()
    """Names that the query may contain: its meaning is compared without them."""
    workspace_id: UUID | None = None
    """May be omitted by a member of a single workspace."""
    contact_id: UUID | None = None
    session_id: UUID | None = None
    persona_id: UUID | None = None
    """The persona that recalls: its own memories and those of every persona. The session's unless it is named."""
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1, max_length=20)] | None = None
    """Only memories of these kinds."""
    since: Moment | None = None
    """Only memories that hold, or were said, from then on."""
    until: Moment | None = None
    """Only memories that hold, or were said, before then."""
    min_score: Score | None = None
    """Only memories with this score at least."""
    limit: Annotated[int, Field(ge=1, le=50)] = 10

    def arguments(self) -> dict[str, Any]:
        """Arguments of the SQL function."""
        return {**self.model_dump(mode="json", exclude={"names", "limit"}), "max_memories": self.limit}


class Reasons(Record):
    """Why a memory was recalled."""

    words: tuple[str, ...] = ()
    """Words of the query that it has, without their endings."""
    similarity: float | None = None
    """How near its meaning is, up to 1."""
    neighbour: bool = False
    """Whether the turns around it have words of the query."""
    speaker: str | None = None
    """Who said it, if the query names them."""
    date: bool = False
    """Whether it is of a day, month or year that the query names."""


class RecalledMemory(Memory):
    """A memory that fits. Scores of one query compare with each other; one that fits well has 0.5 or more."""

    score: float
    reasons: Reasons


class RecallResult(Record):
    """The memories that fit best, the best first. ``degraded``: the embedder failed or was too slow, so only words
    were compared."""

    memories: tuple[RecalledMemory, ...]
    degraded: bool = False


async def recall(caller: Caller, wanted: RecallRequest) -> RecallResult:
    """Recall for the caller's session, or for whom a member names.

    Raises Refused: session_not_found, contact_not_found, conversation_not_found (a user without one),
    persona_not_found, workspace_not_found, workspace_required, forbidden (a contact of other agents).
    """
    embedding = await embedders.within(EMBEDDING_SECONDS, embedders.embed_query(wanted.query, wanted.names))
    arguments = {**wanted.arguments(), "embedding": embedding and embedding.argument()}
    rpc = commands.acting_as(caller, callers.Scope.of_caller(caller))
    recalled = await rpc.call("recall_memories", arguments, RecallResult, repeatable=True)
    return recalled.model_copy(update={"degraded": embedding is None and embedders.chosen() is not None})
