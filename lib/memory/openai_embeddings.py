"""Embeddings from any server with OpenAI's `POST /embeddings`.

    {"model": "…", "input": ["…", …], "dimensions": 384, "encoding_format": "float"}
    -> {"data": [{"index": 0, "embedding": [0.1, …]}, …]}

https://platform.openai.com/docs/api-reference/embeddings/create
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from math import hypot

from pydantic import FiniteFloat, ValidationError

from lib.fields.models import Record
from lib.memory.embedders import SIZE, EmbeddingError, Vector
from lib.outbound import client

# The operator has configured the address, not a workspace.
_ANYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_LIMITS = client.Limits(
    connect_seconds=2, first_byte_seconds=10, idle_seconds=5, total_seconds=15, max_bytes=16 * 1024 * 1024
)

MAX_LENGTH = 2_000
"""Characters of a text that are embedded: in any script fewer tokens than the 8,191 that OpenAI's models take. For one
text that is too long the server would refuse all of its batch, again and again."""


class _Item(Record):
    index: int
    embedding: tuple[FiniteFloat, ...]


class _Answer(Record):
    data: tuple[_Item, ...]


class OpenAIEmbeddings:
    """A model of an OpenAI-compatible server."""

    def __init__(self, base_url: str, model: str, key: str | None) -> None:
        self.model = model
        self._url = f"{base_url.rstrip('/')}/embeddings"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """A vector of length 1 for each text. Raises EmbeddingError."""
        asked = {
            "model": self.model,
            "input": [text[:MAX_LENGTH] for text in texts],
            "dimensions": SIZE,
            "encoding_format": "float",
        }
        try:
            async with client.post(
                self._url, json=asked, headers=self._headers, limits=_LIMITS, allowed=_ANYWHERE
            ) as answer:
                if answer.status != 200:
                    raise EmbeddingError(f"status {answer.status}")
                body = b"".join([chunk async for chunk in answer.chunks()])
        except client.OutboundError as failure:
            raise EmbeddingError(failure.code) from failure
        try:
            items = _Answer.model_validate_json(body).data
        except ValidationError:
            raise EmbeddingError("bad_answer") from None
        vectors = {item.index: item.embedding for item in items}
        if sorted(vectors) != list(range(len(texts))) or any(len(vector) != SIZE for vector in vectors.values()):
            raise EmbeddingError("wrong_size")
        return [_unit(vectors[index]) for index in range(len(texts))]


def _unit(vector: Sequence[float]) -> Vector:
    length = hypot(*vector) or 1.0
    return tuple(round(number / length, 6) for number in vector)
