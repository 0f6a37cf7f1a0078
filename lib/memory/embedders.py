"""Embedders: what turns a text into a vector, by which recall finds what says the same in other words.

A deployment has one, chosen by the setting SWITCHBOARD_EMBEDDINGS, or none. Vectors have 384 numbers and length 1, and
the name of their model: those of two models are never compared.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING, Protocol

from lib import config, log
from lib.fields.models import Record

if TYPE_CHECKING:
    from lib.memory.minilm import MiniLM

SIZE = 384

Vector = tuple[float, ...]


class EmbeddingError(Exception):
    """No vectors: the server cannot be reached, or its answer is of no use. The text names no content."""


class Embedding(Record):
    """The vector of a text, and the model that made it."""

    model: str
    vector: Vector

    def argument(self) -> dict[str, str]:
        """The embedding as the SQL functions take it."""
        return {"model": self.model, "vector": str([round(number, 6) for number in self.vector])}


@dataclass(frozen=True)
class Passage:
    """A memory as it is embedded: its text, the turns before and after it, and the names of who speaks."""

    content: str
    before: str | None = None
    after: str | None = None
    speakers: tuple[str, ...] = ()


class Embedder(Protocol):
    """A model. Its name is stored with each of its vectors."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """A vector for each text. Raises EmbeddingError."""
        ...


class Local:
    """MiniLM in this process. It is loaded at first use, which takes a third of a second."""

    model = "all-MiniLM-L6-v2"

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """A vector for each text, computed in a thread. Raises EmbeddingError if the extra `embeddings` is missing."""
        try:
            return await asyncio.to_thread(_encode, texts)
        except ImportError as missing:
            raise EmbeddingError("not_installed") from missing


def is_local() -> bool:
    """Whether the deployment's embedder runs in this process."""
    return config.settings().switchboard_embeddings == "local"


def model_of(environment: Mapping[str, str]) -> str | None:
    """The model of the embedder that an environment sets for the functions; "" without an embedder, None if unset."""
    embedder = environment.get("SWITCHBOARD_EMBEDDINGS", "").strip()
    if embedder in ("", "none", "local"):
        return {"": None, "none": "", "local": Local.model}[embedder]
    default: str = config.Settings.model_fields["switchboard_embeddings_model"].default
    return environment.get("SWITCHBOARD_EMBEDDINGS_MODEL", "").strip() or default


def chosen() -> Embedder | None:
    """The deployment's embedder; None: recall is by words."""
    settings = config.settings()
    if settings.switchboard_embeddings == "none":
        return None
    if settings.switchboard_embeddings == "local":
        return Local()
    from lib.memory.openai_embeddings import OpenAIEmbeddings  # noqa: PLC0415 (of some deployments)

    key = settings.switchboard_embeddings_key
    return OpenAIEmbeddings(
        str(settings.switchboard_embeddings),
        settings.switchboard_embeddings_model,
        key.get_secret_value() if key else None,
    )


async def embed_query(text: str, names: Sequence[str] = ()) -> Embedding | None:
    """The vector of what is asked, without the names of who speaks; None, with a log line, if the embedder fails.

    Only for a deployment with an embedder: otherwise None too.
    """
    embedder = chosen()
    if embedder is None:
        return None
    try:
        vectors = await embedder.embed([without_names(text, names)])
    except EmbeddingError as failure:
        log.warning("embedding_failed", reason=str(failure))
        return None
    return Embedding(model=embedder.model, vector=vectors[0])


async def within(seconds: float, embedding: Awaitable[Embedding | None], **about: object) -> Embedding | None:
    """An embedding, if there is one in time; else None, with a log line."""
    try:
        async with asyncio.timeout(seconds):
            return await embedding
    except TimeoutError:
        log.warning("embedding_failed", reason="too_slow", **about)
        return None


async def embed_passages(embedder: Embedder, passages: Sequence[Passage]) -> list[Vector]:
    """A vector for each memory: the mean of its text's and of the one with the turns around it.

    Raises EmbeddingError.
    """
    windows = [
        " ".join(part for part in (passage.before, passage.content, passage.after) if part) for passage in passages
    ]
    texts = {
        (text, passage.speakers): without_names(text, passage.speakers)
        for passage, window in zip(passages, windows, strict=True)
        for text in (passage.content, window)
    }
    vectors = dict(zip(texts, await embedder.embed(list(texts.values())), strict=True))
    return [
        _mean(vectors[passage.content, passage.speakers], vectors[window, passage.speakers])
        for passage, window in zip(passages, windows, strict=True)
    ]


def without_names(text: str, names: Sequence[str]) -> str:
    """A text without these names and their possessive s: who said something, recall compares by itself.

    A name would otherwise make all that its bearer said alike. A text of nothing else is left as it is.
    """
    parts = sorted({part for name in names for part in name.split() if len(part) > 1}, key=len, reverse=True)
    if not parts:
        return text
    alternatives = "|".join(map(re.escape, parts))
    bare = re.sub(rf"\b(?:{alternatives})(?:['\u2019]s)?\b", " ", text, flags=re.IGNORECASE)
    return " ".join(bare.split()) or text


def _mean(one: Vector, other: Vector) -> Vector:
    total = [a + b for a, b in zip(one, other, strict=True)]
    length = hypot(*total) or 1.0
    return tuple(round(number / length, 6) for number in total)


def _encode(texts: Sequence[str]) -> list[Vector]:
    return [tuple(map(float, row)) for row in _minilm().encode(texts)]


@functools.cache
def _minilm() -> MiniLM:
    # One text is too little for several threads, which would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from lib.memory.minilm import MiniLM  # noqa: PLC0415 (numpy and 90 MB of weights)

    return MiniLM()
