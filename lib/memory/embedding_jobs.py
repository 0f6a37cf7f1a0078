"""Jobs that make the vectors of memories.

A memory that is new or changed waits in `memories_to_embed`, as does the turn before a new one, and one job for each
workspace makes the vectors of all that wait. Storing a vector twice changes nothing, so a job that dies is repeated.
"""

import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from lib.auth import callers
from lib.database import commands
from lib.fields.models import Record
from lib.jobs import queue
from lib.memory import embedders
from lib.memory.embedders import Passage

BATCH = 32
SECONDS = 10.0
"""How long one run of a job begins new batches; then it makes room for others."""


class _Waiting(Record):
    id: UUID
    # As text: equal to the microsecond on its way back.
    queued_at: str
    content: str
    before: str | None
    after: str | None
    speakers: tuple[str, ...]

    def passage(self) -> Passage:
        return Passage(self.content, self.before, self.after, self.speakers)


class _Batch(Record):
    memories: tuple[_Waiting, ...]


class _Stored(Record):
    stored: int


async def embed(job: queue.Job) -> None:
    """Make the vectors of a workspace's waiting memories; without an embedder they go on waiting.

    Raises RetryLater if the embedder fails, and Postponed if some wait after SECONDS.
    """
    embedder = embedders.chosen()
    if embedder is None:
        return
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    end = time.monotonic() + SECONDS
    while batch := (await rpc.call("memories_to_embed", {"max_memories": BATCH}, _Batch, repeatable=True)).memories:
        if time.monotonic() > end:
            raise queue.Postponed(0)
        try:
            vectors = await embedders.embed_passages(embedder, [memory.passage() for memory in batch])
        except embedders.EmbeddingError as failure:
            raise queue.RetryLater(str(failure)) from failure
        embeddings: list[Mapping[str, Any]] = [
            {"id": memory.id, "queued_at": memory.queued_at, "vector": str(list(vector))}
            for memory, vector in zip(batch, vectors, strict=True)
        ]
        await rpc.call(
            "store_embeddings", {"model": embedder.model, "embeddings": embeddings}, _Stored, repeatable=True
        )


HANDLERS: queue.Handlers = {"embed_memories": embed}
