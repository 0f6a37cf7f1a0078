"""Replaying dialogues through the real HTTP functions: every speaker registers, every line becomes a turn."""

import asyncio
import json
import os
import re
import statistics
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Never

import aiohttp
import click
from pydantic import ValidationError
from tqdm import tqdm

from bench import dialogues
from bench.dialogues import Dialogue

REPLAY_SPACE = "00000000-0000-7000-8000-000000000006"
"""The demo workspace's space whose persona answers at once (supabase/seed.sql)."""

COUNTED = ("contacts", "conversations", "sessions", "turns", "messages")
TRIES = 20


class ReplayError(Exception):
    """The replay cannot go on: the message says why."""


@dataclass(frozen=True)
class Target:
    """Where to replay: the functions' origin, a space, and the key that may count rows."""

    url: str
    rest_url: str
    space_id: str
    service_key: str

    @classmethod
    def of(cls, env: Mapping[str, str], space_id: str) -> "Target":
        """From the variables of .env.local. Raises ReplayError."""
        try:
            return cls(
                env["SWITCHBOARD_URL"],
                env["API_URL"] + "/rest/v1",
                space_id,
                env["SERVICE_ROLE_KEY"],
            )
        except KeyError as missing:
            raise ReplayError(f"{missing} is not set: start the backend with `make run` or `make up` first.") from None


@dataclass
class Report:
    """What a replay saw. Times in seconds."""

    first_tokens: list[float] = field(default_factory=list)
    answered: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    added: dict[str, int] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)

    def percentile(self, percent: int) -> float:
        """A percentile of the time to the first token."""
        if len(self.first_tokens) < 2:
            return self.first_tokens[0] if self.first_tokens else float("nan")
        return statistics.quantiles(self.first_tokens, n=100, method="inclusive")[percent - 1]

    def lines(self) -> list[str]:
        """The report as a table."""
        rows = [f"{'':14}{'this run':>10}{'in all':>10}"]
        rows += [f"{name:14}{self.added[name]:>10,}{self.held[name]:>10,}" for name in (*COUNTED, "failed turns")]
        rows += [
            "",
            f"answered      {self.answered:>10,}  in {self.seconds:.1f} s: {self.answered / self.seconds:.1f} turns/s",
            f"first token   p50 {self.percentile(50) * 1000:.1f} ms, p95 {self.percentile(95) * 1000:.1f} ms",
        ]
        rows += [f"failed        {count:>10,}  {cause}" for cause, count in self.failures.most_common()]
        return rows


async def replay(target: Target, samples: tuple[Dialogue, ...], concurrency: int, *, quiet: bool = False) -> Report:
    """Replay dialogues, so many at a time; the lines of one dialogue go one after the other, as they were said.

    Raises ReplayError where the functions or the database cannot be reached.
    """
    report = Report()
    gate = asyncio.Semaphore(concurrency)
    total = sum(1 for sample in samples for _ in sample.lines())
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=150)
    try:
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
            before = await _counts(http, target)
            started = time.perf_counter()
            with tqdm(total=total, unit="turn", disable=quiet, file=sys.stderr) as progress:
                async with asyncio.TaskGroup() as group:
                    for sample in samples:
                        group.create_task(_replay_one(http, target, sample, gate, report, progress))
            report.seconds = time.perf_counter() - started
            report.held = await _counts(http, target)
            report.added = {name: count - before[name] for name, count in report.held.items()}
    except* (aiohttp.ClientError, ReplayError) as errors:
        raise ReplayError(str(errors.exceptions[0]) or repr(errors.exceptions[0])) from errors
    return report


async def _replay_one(
    http: aiohttp.ClientSession,
    target: Target,
    sample: Dialogue,
    gate: asyncio.Semaphore,
    report: Report,
    progress: "tqdm[Never]",
) -> None:
    async with gate:
        tokens = {speaker: await _register(http, target, sample, speaker) for speaker in sample.speakers}
        for line in sample.lines():
            if line.speaker not in tokens:
                tokens[line.speaker] = await _register(http, target, sample, line.speaker)
            await _say(http, target, tokens[line.speaker], line.text, report)
            progress.update()


async def _register(http: aiohttp.ClientSession, target: Target, sample: Dialogue, speaker: str) -> str:
    name = re.sub(r"[^a-z0-9]+", ".", f"{speaker} {sample.sample_id}".lower()).strip(".")
    body = {"email": f"{name}@replay.test", "first_name": speaker[:200], "source": "replay"}
    async with http.post(f"{target.url}/space/{target.space_id}/register", json=body) as answer:
        if answer.status != 201:
            raise ReplayError(f"{speaker} could not register: {answer.status} {await answer.text()}")
        return str((await answer.json())["token"])


async def _say(http: aiohttp.ClientSession, target: Target, token: str, text: str, report: Report) -> None:
    """Send one line and read its answer to the end; a message that is turned away for now is sent again."""
    body = {"message": text, "client_message_id": str(uuid.uuid4())}
    for _ in range(TRIES):
        sent = time.perf_counter()
        async with http.post(
            f"{target.url}/space/{target.space_id}/chat/stream",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
        ) as answer:
            if answer.status in (409, 429, 503):
                await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))
                continue
            if answer.status != 200:
                report.failures[f"{answer.status} {(await answer.json(content_type=None)).get('code')}"] += 1
                return
            await _listen(answer, sent, report)
            return
    report.failures["turned away every time"] += 1


async def _listen(answer: aiohttp.ClientResponse, sent: float, report: Report) -> None:
    event, first = "", True
    async for raw in answer.content:
        field_name, _, value = raw.decode().rstrip("\n").partition(": ")
        if field_name == "event":
            event = value
            if event == "delta" and first:
                report.first_tokens.append(time.perf_counter() - sent)
                first = False
        elif field_name == "data" and event == "done":
            report.answered += 1
            return
        elif field_name == "data" and event == "error":
            report.failures[json.loads(value)["code"]] += 1
            return
    report.failures["stream without an end"] += 1


async def _counts(http: aiohttp.ClientSession, target: Target) -> dict[str, int]:
    """How many rows the database holds, as PostgREST counts them exactly."""
    headers = {
        "apikey": target.service_key,
        "Authorization": f"Bearer {target.service_key}",
        "Prefer": "count=exact",
    }
    counts = {}
    for name, address in [(table, table) for table in COUNTED] + [("failed turns", "turns?status=in.(failed,timeout)")]:
        async with http.head(f"{target.rest_url}/{address}", headers=headers) as answer:
            if answer.status not in (200, 206):
                raise ReplayError(f"Rows of {name} could not be counted: {answer.status}")
            counts[name] = int(answer.headers["Content-Range"].rpartition("/")[2])
    return counts


def _environment(file: Path) -> dict[str, str]:
    """The variables of .env.local, under those that are set."""
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name: value.strip().strip('"') for name, _, value in pairs} | dict(os.environ)


@click.command(help=__doc__)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--concurrency", default=4, show_default=True, type=click.IntRange(1, 64), help="Dialogues at a time.")
@click.option("--limit", type=click.IntRange(1), help="Only so many lines of each dialogue's episodes, all told.")
@click.option("--space", default=REPLAY_SPACE, help="The space to chat in; the demo workspace's, if not given.")
@click.option(
    "--env-file",
    default=".env.local",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where the URLs and keys are.",
)
def main(file: Path, concurrency: int, limit: int | None, space: str, env_file: Path) -> None:
    try:
        samples = dialogues.read(file)
        if limit is not None:
            samples = tuple(_first_lines(sample, limit) for sample in samples)
        target = Target.of(_environment(env_file), space)
        click.echo(f"{len(samples)} dialogues, {sum(1 for s in samples for _ in s.lines()):,} lines -> {target.url}")
        report = asyncio.run(replay(target, samples, concurrency))
    except ValidationError as wrong:
        raise click.ClickException(
            f"{file} is not a file of dialogues: {wrong.errors()[0]['loc']}: {wrong.errors()[0]['msg']}"
        ) from wrong
    except ReplayError as problem:
        raise click.ClickException(str(problem)) from problem
    click.echo("\n".join(report.lines()))
    if report.failures:
        sys.exit(1)


def _first_lines(sample: Dialogue, limit: int) -> Dialogue:
    episodes, left = [], limit
    for episode in sample.sessions:
        episodes.append(episode.model_copy(update={"turns": episode.turns[:left]}))
        left = max(left - len(episode.turns), 0)
    return sample.model_copy(update={"sessions": tuple(episodes)})


if __name__ == "__main__":
    main()
