"""Embedders: MiniLM's vectors are those of its reference, names say nothing, and a server's failure degrades."""

import math
from collections.abc import Sequence

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lib.memory import embedders
from lib.memory.embedders import EmbeddingError, Local, Passage, without_names
from lib.memory.openai_embeddings import OpenAIEmbeddings
from tests.unit.conftest import Configure


def _item(index: int, *numbers: float) -> dict[str, object]:
    return {"index": index, "embedding": [*numbers, *[0.0] * (384 - len(numbers))]}


async def test_minilm_computes_the_published_similarities() -> None:
    # huggingface.co/sentence-transformers/all-MiniLM-L6-v2: 0.943 and 0.257, as computed with torch.
    texts = ["That is a happy person", "That is a very happy person", "Today is a sunny day"]
    happy, very_happy, sunny = await Local().embed(texts)
    assert [sum(a * b for a, b in zip(happy, other, strict=True)) for other in (very_happy, sunny)] == pytest.approx(
        [0.9429, 0.2569], abs=1e-4
    )


async def test_a_text_has_the_same_vector_in_every_batch() -> None:
    texts = [f"{'very ' * (number % 3)}short" for number in range(34)]
    together = await Local().embed(texts)
    assert len(together) == len(texts)
    for place in (1, 31, 33):
        (alone,) = await Local().embed([texts[place]])
        assert together[place] == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "names", "bare"),
    [
        ("When did Ana's dog meet Bo Berg?", ["Ana", "Bo Berg"], "When did dog meet ?"),
        ("ANA sang", ["Ana"], "sang"),
        ("Banana bread", ["Ana"], "Banana bread"),
        ("Ana", ["Ana"], "Ana"),
        ("Где Анна?", ["Анна"], "Где ?"),
        ("No names", [], "No names"),
    ],
)
def test_names_of_speakers_are_taken_out(text: str, names: Sequence[str], bare: str) -> None:
    assert without_names(text, names) == bare


class Echo:
    """An embedder whose vectors count words."""

    model = "echo"

    def __init__(self) -> None:
        self.texts: list[str] = []

    async def embed(self, texts: Sequence[str]) -> list[embedders.Vector]:
        self.texts += texts
        return [(float(len(text.split())), 1.0) for text in texts]


async def test_a_memory_is_embedded_alone_and_with_the_turns_around_it() -> None:
    echo = Echo()
    vectors = await embedders.embed_passages(
        echo, [Passage("Ana left", "Did Ana leave?", "Oh", ("Ana",)), Passage("alone")]
    )
    assert echo.texts == ["left", "Did leave? left Oh", "alone"]
    assert all(math.hypot(*vector) == pytest.approx(1) for vector in vectors)
    assert vectors[0] == pytest.approx((5 / math.hypot(5, 2), 2 / math.hypot(5, 2)), abs=1e-6)


@pytest.mark.parametrize(
    ("status", "document", "reason"),
    [
        (200, {"data": [_item(1, 0.0, 2.0), _item(0, 3.0)]}, None),
        (200, {"data": [_item(0)]}, "wrong_size"),
        (200, {"data": [_item(0, *[0.0] * 1536), _item(1)]}, "wrong_size"),
        (200, {"error": "x"}, "bad_answer"),
        (200, {"data": [_item(0, math.nan), _item(1, math.inf)]}, "bad_answer"),
        (500, {}, "status 500"),
    ],
)  # fmt: skip
async def test_a_server_is_asked_for_vectors_of_our_size(status: int, document: object, reason: str | None) -> None:
    received = []

    async def answer(request: web.Request) -> web.Response:
        received.append((request.headers["Authorization"], await request.json()))
        return web.json_response(document, status=status)

    application = web.Application()
    application.router.add_post("/v1/embeddings", answer)
    async with TestServer(application) as server:
        embedder = OpenAIEmbeddings(str(server.make_url("/v1")), "small", "key")
        if reason is None:
            first, second = await embedder.embed(["a", "b" * 8_000])
            assert (first[:2], second[:2]) == ((1.0, 0.0), (0.0, 1.0))
        else:
            with pytest.raises(EmbeddingError, match=reason):
                await embedder.embed(["a", "b" * 8_000])
    asked = {"model": "small", "input": ["a", "b" * 2_000], "dimensions": 384, "encoding_format": "float"}
    assert received == [("Bearer key", asked)]


async def test_a_query_whose_embedder_fails_is_not_embedded_and_that_is_logged(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(SWITCHBOARD_EMBEDDINGS="http://127.0.0.1:9/v1")
    assert await embedders.embed_query("x") is None
    assert "embedding_failed" in capsys.readouterr().err
    configure(SWITCHBOARD_EMBEDDINGS="none")
    assert (embedders.chosen(), await embedders.embed_query("x")) == (None, None)
    assert capsys.readouterr().err == ""
