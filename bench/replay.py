"""Replay of dialogues through the functions of the running stack: every speaker registers, every line is a turn.

FILE holds dialogues as JSON: `[{sample_id, speakers, sessions: [{turns: [{speaker, text}]}]}]`.
"""

import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never
from uuid import uuid4

import aiohttp
import click
from pydantic import BaseModel, TypeAdapter, ValidationError
from tqdm import tqdm

from bench import load, rounds
from bench.stacks import REPLAY_SPACE
from local.paths import REPOSITORY

OWN = REPOSITORY / "bench" / "data" / "dialogues.json"
COUNTED = ("contacts", "sessions", "turns", "messages")
HEADS = ("dialogues at a time", *COUNTED, "failed", "turns/s", "first token, ms p50", "p95")


class Line(BaseModel):
    """One line of a speaker."""

    speaker: str
    text: str


class Episode(BaseModel):
    """The lines of one occasion."""

    turns: list[Line]


class Dialogue(BaseModel):
    """All episodes between a few speakers."""

    sample_id: str
    speakers: list[str]
    sessions: list[Episode]


DIALOGUES = TypeAdapter(list[Dialogue])


def lines(dialogue: Dialogue, limit: int | None = None) -> list[Line]:
    """The lines that are not blank, in their order; only the first ones with a limit."""
    return [line for episode in dialogue.sessions for line in episode.turns if line.text.strip()][:limit]


@dataclass
class Replay:
    """A replay into one space of a running stack; the service key may count rows. Times in seconds."""

    http: aiohttp.ClientSession
    space_url: str
    rest_url: str
    service_key: str
    first_tokens: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    async def run(self, dialogues: Sequence[Dialogue], limit: int | None, concurrency: int) -> list[str]:
        """Replay some dialogues at a time, each line by line; the cells of the table. Raises ClickException."""
        gate = asyncio.Semaphore(concurrency)
        total = sum(len(lines(dialogue, limit)) for dialogue in dialogues)
        try:
            before, started = [await self._count(name) for name in COUNTED], time.perf_counter()
            with tqdm(total=total, unit="turn", file=sys.stderr) as progress:
                async with asyncio.TaskGroup() as group:
                    for dialogue in dialogues:
                        group.create_task(self._replay(dialogue, lines(dialogue, limit), gate, progress))
            rate = (total - self.failures.total()) / (time.perf_counter() - started)
            added = [await self._count(name) - count for name, count in zip(COUNTED, before, strict=True)]
        except* aiohttp.ClientError as errors:
            raise click.ClickException(repr(errors.exceptions[0])) from errors
        counts = [f"{count:,}" for count in (*added, self.failures.total())]
        delays = [f"{rounds.percentile(self.first_tokens, percent) * 1000:.1f}" for percent in (50, 95)]
        return [str(concurrency), *counts, f"{rate:.0f}", *delays]

    async def _replay(
        self, dialogue: Dialogue, said: Sequence[Line], gate: asyncio.Semaphore, progress: "tqdm[Never]"
    ) -> None:
        async with gate:
            speakers = dict.fromkeys((*dialogue.speakers, *(line.speaker for line in said)))
            tokens = {speaker: await self._register(dialogue, speaker) for speaker in speakers}
            for line in said:
                if failure := await self._say(tokens[line.speaker], line.text):
                    self.failures[failure] += 1
                progress.update()

    async def _register(self, dialogue: Dialogue, speaker: str) -> str:
        name = re.sub(r"[^a-z0-9]+", ".", f"{speaker} {dialogue.sample_id}".lower()).strip(".")
        body = {"email": f"{name}@replay.test", "first_name": speaker[:200], "source": "replay"}
        async with self.http.post(f"{self.space_url}/register", json=body, raise_for_status=True) as answer:
            return str((await answer.json())["token"])

    async def _say(self, token: str, text: str) -> str | None:
        """Send one line, again while it is refused for the moment, and read its answer. Returns the failure."""
        body = {"message": text, "client_message_id": str(uuid4())}
        for _ in range(20):
            answer = await load.ask(self.http, f"{self.space_url}/chat/stream", body, token)
            if answer.status in (409, 429, 503):
                await asyncio.sleep(answer.retry_after)
                continue
            self.first_tokens.extend([answer.delay] if answer.delay else [])
            if b"event: done" in answer.content:
                return None
            code = re.search(rb'"code": ?"(\w+)"', answer.content)
            return f"{answer.status} {code[1].decode() if code else 'stream without an end'}"
        return "refused every time"

    async def _count(self, name: str) -> int:
        """The rows of a table, as PostgREST counts them."""
        bearer = {"apikey": self.service_key, "Authorization": f"Bearer {self.service_key}"}
        headers = bearer | {"Prefer": "count=exact"}
        async with self.http.head(f"{self.rest_url}/{name}", headers=headers, raise_for_status=True) as answer:
            return int(answer.headers["Content-Range"].rpartition("/")[2])


@click.command(help=__doc__)
@click.argument("file", default=OWN, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--concurrency", default=4, show_default=True, type=click.IntRange(1, 64), help="Dialogues at a time.")
@click.option("--limit", type=click.IntRange(1), help="Lines of each dialogue.")
@click.option("--space", default=REPLAY_SPACE, show_default=True, help="The space to chat in.")
@click.option("--functions-url", envvar="SWITCHBOARD_URL", show_envvar=True, required=True)
@click.option("--rest-url", envvar="REST_URL", show_envvar=True, required=True, help="PostgREST, which counts rows.")
@click.option("--service-key", envvar="SERVICE_ROLE_KEY", show_envvar=True, required=True)
def command(
    file: Path, concurrency: int, limit: int | None, space: str, functions_url: str, rest_url: str, service_key: str
) -> None:
    try:
        dialogues = DIALOGUES.validate_json(file.read_bytes())
    except ValidationError as wrong:
        first = wrong.errors()[0]
        raise click.ClickException(f"{file} is not a file of dialogues: {first['loc']}: {first['msg']}") from wrong

    async def run() -> Counter[str]:
        async with load.client() as http:
            replay = Replay(http, f"{functions_url}/space/{space}", rest_url, service_key)
            rounds.show_table(HEADS, [await replay.run(dialogues, limit, concurrency)])
            return replay.failures

    failures = asyncio.run(run())
    for failure, count in failures.most_common():
        click.echo(f"failed: {count:,} {failure}", err=True)
    sys.exit(bool(failures))
