"""Re-embedding: after a change of the embedder, all memories are queued for vectors of the new model.

Memories that have such a vector are passed over, so an interrupted run is resumed by the next one.
"""

from collections.abc import AsyncIterator
from uuid import UUID

from lib.database.management import Database
from lib.fields.models import Record

PAGE = 1000


class Page(Record):
    """How many memories were queued, of how many that were looked at. ``last``: where the next page begins."""

    queued: int
    seen: int
    last: UUID | None


class Progress(Record):
    """The memories of a workspace, and those of them that wait for their vectors."""

    memories: int
    waiting: int


async def queue(database: Database, workspace_id: UUID, model: str) -> AsyncIterator[Page]:
    """Queue a workspace's memories without a vector of this model, page by page."""
    after: UUID | None = None
    while True:
        arguments = {"workspace_id": workspace_id, "model": model, "after": after, "max_memories": PAGE}
        page = await database.call("queue_embeddings", arguments, Page, repeatable=True)
        yield page
        if page.seen < PAGE:
            return
        after = page.last


async def progress(database: Database, workspace_id: UUID) -> Progress:
    """How far the vectors of a workspace are."""
    return await database.call("embedding_progress", {"workspace_id": workspace_id}, Progress, repeatable=True)
