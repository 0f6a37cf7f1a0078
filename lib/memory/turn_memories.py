"""What a turn knew: the memories that were recalled for its persona, as members see them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from lib.database.queries import Queries
from lib.fields.models import Record


class TurnMemory(Record):
    """A memory that a turn recalled, as it is now. ``rank`` 1 is the best; ``reasons`` say why it was recalled."""

    memory_id: UUID
    rank: int
    score: float
    reasons: dict[str, Any]
    kind: str
    content: str
    importance: float
    valid_from: datetime
    contact_id: UUID | None = None
    """Whom it is about; none on the owner's side."""
    persona_id: UUID | None = None
    """The only persona that recalls it; none: every persona."""


class TurnMemories(Record):
    """What a turn knew, the best first."""

    items: tuple[TurnMemory, ...]


class _Turn(Record):
    id: UUID


async def list_all(queries: Queries, turn_id: UUID) -> TurnMemories:
    """What a turn knew, for the members who read its session. Raises NotFound (turn_not_found)."""
    query = queries.table("turn_memory_details").select("*").eq("turn_id", turn_id).order("rank")
    items = await queries.rows(query, TurnMemory)
    if not items:
        await queries.one(queries.table("turns").select("id").eq("id", turn_id), _Turn, "turn")
    return TurnMemories(items=items)
