"""How much of what answers a question is recalled, from dialogues with questions and the turns that answer them.

The dialogues are remembered and asked over HTTP, a contact for each, as turns of named speakers. The other methods rank
the same turns: Postgres's text search in the same database, BM25 and MiniLM in this process.
"""

import asyncio
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import click
import numpy as np
from pydantic import BaseModel, TypeAdapter, ValidationError
from tqdm import tqdm

from bench.stacks import Caller
from lib.memory.embedders import Local, without_names
from local.stack import Stack

CUTS = (5, 10, 20)
OURS = "recall"


class Turn(BaseModel):
    """What a speaker said."""

    speaker: str
    dia_id: str
    text: str


class Session(BaseModel):
    """The turns of one day, such as "1:56 pm on 8 May, 2023"."""

    date_time: str
    turns: list[Turn]

    def start(self) -> datetime:
        """The time of its first turn."""
        return datetime.strptime(self.date_time, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)


class Question(BaseModel):
    """A question, and the turns that answer it."""

    question: str
    evidence: list[str]
    category: int

    def turns(self) -> set[str]:
        """The ids of the turns; some files name several in one text."""
        return {name for text in self.evidence for name in re.findall(r"D\d+:\d+", text)}


class Dialogue(BaseModel):
    """A long dialogue of two speakers."""

    sample_id: str
    speakers: list[str]
    sessions: list[Session]
    questions: list[Question]

    def spoken(self) -> list[Turn]:
        """All turns with a text, in their order."""
        return [turn for session in self.sessions for turn in session.turns if turn.text.strip()]

    def asked(self) -> list[Question]:
        """The questions that some of the turns answer."""
        said = {turn.dia_id for turn in self.spoken()}
        return [question for question in self.questions if question.turns() & said]


Ranked = Sequence[str]
Method = Callable[[Dialogue], "list[Ranked]"]


@dataclass
class Recalls:
    """The recall of each method: per dialogue, question and number of hits."""

    found: dict[str, list[tuple[str, int, tuple[float, ...]]]] = field(default_factory=dict)

    def add(self, method: str, dialogue: Dialogue, ranked: Sequence[Ranked]) -> None:
        """Compare the turns that a method ranks first with the evidence."""
        said = {turn.dia_id for turn in dialogue.spoken()}
        for question, names in zip(dialogue.asked(), ranked, strict=True):
            evidence = question.turns() & said
            shares = tuple(len(evidence & set(names[:cut])) / len(evidence) for cut in CUTS)
            self.found.setdefault(method, []).append((dialogue.sample_id, question.category, shares))

    def rows(self, groups: Mapping[str, Callable[[str, int], bool]]) -> Iterator[list[str]]:
        """A row for each method: the mean recall of each group of questions, in percent."""
        for method, found in self.found.items():
            cells = []
            for chosen in groups.values():
                shares = [shares for name, category, shares in found if chosen(name, category)]
                means = [100 * sum(column) / len(shares) for column in zip(*shares, strict=True)]
                cells.append(" / ".join(f"{mean:.1f}" for mean in means))
            yield [method, *cells]


def read(path: Path) -> list[Dialogue]:
    """The dialogues of a file. Raises ClickException."""
    try:
        return TypeAdapter(list[Dialogue]).validate_json(path.read_bytes())
    except ValidationError as wrong:
        raise click.ClickException(f"{path} holds no dialogues with questions: {wrong.errors()[0]['loc']}") from wrong


def remember(owner: Caller, dialogue: Dialogue) -> tuple[str, dict[str, str]]:
    """Remember a dialogue as a new contact's: the contact, and the turns' names by the ids of their memories."""
    contact = owner.post("/contacts", {"first_name": dialogue.sample_id})["id"]
    names: dict[str, str] = {}
    for session in dialogue.sessions:
        turns = [turn for turn in session.turns if turn.text.strip()]
        memories = [
            {
                "kind": "turn",
                "speaker": turn.speaker,
                "content": turn.text,
                "valid_from": (session.start() + timedelta(seconds=place)).isoformat(),
            }
            for place, turn in enumerate(turns)
        ]
        for first in range(0, len(memories), 100):
            batch = memories[first : first + 100]
            if first:
                batch[0] = {**batch[0], "previous_id": list(names)[-1]}
            stored = owner.post("/memories", {"contact_id": contact, "memories": batch})["memories"]
            names |= {memory["id"]: turn.dia_id for memory, turn in zip(stored, turns[first:], strict=False)}
    return contact, names


def recall(owner: Caller, dialogue: Dialogue, contact: str, names: Mapping[str, str]) -> list[Ranked]:
    """The turns that the functions recall for each question."""
    ranked: list[Ranked] = []
    for question in tqdm(dialogue.asked(), desc=dialogue.sample_id, file=sys.stderr):
        body = {"query": question.question, "contact_id": contact, "names": dialogue.speakers, "limit": max(CUTS)}
        ranked.append([names[memory["id"]] for memory in owner.post("/memories/recall", body)["memories"]])
    return ranked


async def wait_for_vectors(stack: Stack) -> None:
    """Wait until every memory has its vector."""
    connection = await asyncpg.connect(stack.admin_url)
    try:
        waiting = await connection.fetchval("select count(*) from public.memories_to_embed")
        with tqdm(total=waiting, unit="vector", file=sys.stderr) as progress:
            while waiting:
                await asyncio.sleep(1)
                left = await connection.fetchval("select count(*) from public.memories_to_embed")
                progress.update(waiting - left)
                waiting = left
    finally:
        await connection.close()


async def text_search(stack: Stack, dialogue: Dialogue, query: str) -> list[Ranked]:
    """The turns by Postgres's text search; `query` makes a tsquery of the question, $2."""
    connection = await asyncpg.connect(stack.admin_url)
    turns = [(turn.dia_id, f"{turn.speaker}: {turn.text}") for turn in dialogue.spoken()]
    try:
        await connection.execute("create temporary table turn (name text, words tsvector)")
        await connection.executemany("insert into turn values ($1, to_tsvector('english', $2))", turns)
        return [
            [
                row["name"]
                for row in await connection.fetch(
                    f"select name from turn, lateral (select {query} as asked) q where words @@ asked"  # noqa: S608
                    " order by ts_rank(words, asked) desc limit $1",
                    max(CUTS),
                    question.question,
                )
            ]
            for question in dialogue.asked()
        ]
    finally:
        await connection.close()


async def stems(stack: Stack, texts: Sequence[str]) -> list[list[str]]:
    """The English stems of texts, without common words, as Postgres makes them."""
    connection = await asyncpg.connect(stack.admin_url)
    try:
        rows = await connection.fetch(
            "select array(select l.lexeme from unnest(to_tsvector('english', t.text)) l,"
            " unnest(l.positions)) as words from unnest($1::text[]) with ordinality t (text, place) order by place",
            texts,
        )
    finally:
        await connection.close()
    return [row["words"] for row in rows]


async def bm25(stack: Stack, dialogue: Dialogue, k1: float = 1.2, b: float = 0.75) -> list[Ranked]:
    """The turns by BM25."""
    turns = dialogue.spoken()
    documents = [Counter(words) for words in await stems(stack, [f"{turn.speaker}: {turn.text}" for turn in turns])]
    questions = await stems(stack, [question.question for question in dialogue.asked()])
    lengths = [sum(document.values()) for document in documents]
    average = sum(lengths) / len(lengths)
    frequency = Counter(word for document in documents for word in document)

    def score(question: Sequence[str], place: int) -> float:
        document = documents[place]
        norm = k1 * (1 - b + b * lengths[place] / average)
        return sum(
            math.log(1 + (len(documents) - frequency[word] + 0.5) / (frequency[word] + 0.5))
            * document[word] * (k1 + 1) / (document[word] + norm)
            for word in question
        )  # fmt: skip

    return [
        [turns[place].dia_id for place in sorted(range(len(turns)), key=lambda place: -score(question, place))]
        for question in questions
    ]


async def minilm(dialogue: Dialogue) -> list[Ranked]:
    """The turns by MiniLM, of texts without the speakers' names."""
    turns = dialogue.spoken()
    said, asked = [
        np.array(await Local().embed([without_names(text, dialogue.speakers) for text in texts]), np.float32)
        for texts in ([turn.text for turn in turns], [question.question for question in dialogue.asked()])
    ]
    return [[turns[place].dia_id for place in order[: max(CUTS)]] for order in np.argsort(-(asked @ said.T), axis=1)]


def run(stack: Stack, dialogues: Sequence[Dialogue], *, compared: bool) -> Recalls:
    """Measure a running stack with a local embedder; `compared` with the other methods."""
    recalls, owner = Recalls(), Caller.member(stack)
    if compared:
        methods: dict[str, Callable[[Dialogue], Any]] = {
            "Postgres, all words": lambda dialogue: asyncio.run(
                text_search(stack, dialogue, "websearch_to_tsquery('english', $2)")
            ),
            "Postgres, any word, ts_rank": lambda dialogue: asyncio.run(
                text_search(stack, dialogue, "replace(plainto_tsquery('english', $2)::text, ' & ', ' | ')::tsquery")
            ),
            "BM25": lambda dialogue: asyncio.run(bm25(stack, dialogue)),
            "MiniLM": lambda dialogue: asyncio.run(minilm(dialogue)),
        }
        for name, method in methods.items():
            for dialogue in tqdm(dialogues, desc=name, file=sys.stderr):
                recalls.add(name, dialogue, method(dialogue))
    remembered = [remember(owner, dialogue) for dialogue in tqdm(dialogues, desc="remember", file=sys.stderr)]
    asyncio.run(wait_for_vectors(stack))
    for dialogue, (contact, names) in zip(dialogues, remembered, strict=True):
        recalls.add(OURS, dialogue, recall(owner, dialogue, contact, names))
    return recalls
