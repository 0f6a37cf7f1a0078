"""`switchboard import`: contacts and conversations of a file, sent in batches over the HTTP API."""

import asyncio
import json
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import click
from tqdm import tqdm

from cli import api, options, running
from cli.api import Api, Refusal
from cli.target import ApiTarget
from lib.fields.models import Record
from lib.imports import readers
from lib.imports.items import ImportRequest
from lib.imports.readers import csv_contacts, own_exports
from lib.imports.readers.found import Found, UnreadableFileError

BATCH_ITEMS = 500
BATCH_MESSAGES = 1000
BATCH_BYTES = 1_500_000
"""About a second's work for the database, and below what a function may receive."""

IN_FLIGHT = 2
_HEAD = {"contact": ("external_id", "kind"), "conversation": ("external_id", "contact", "author", "persona")}
_LONG_AGO = "2000-01-01T00:00:00Z"
_LISTS = {"contact": "contacts", "conversation": "conversations", "memory": "memories"}
TRIES = 6
UNFIT = {(400, "invalid_json"), (413, "body_too_large"), (422, "invalid_body")}
"""Refusals of a batch for what is in an item."""


class Totals(Record):
    """The result of an import: items by what became of them, and where the refused ones are listed.

    ``incomplete``: how many of the others have fields that do not fit, and were left out; they are listed, too.
    """

    created: int
    updated: int
    unchanged: int
    refused: int
    incomplete: int
    dry_run: bool
    report: str | None


@dataclass
class Batch:
    """Items that are sent together. ``taken``: how many items of the file they are."""

    items: list[Found] = field(default_factory=list)
    taken: int = 0
    messages: int = 0
    size: int = 0

    @property
    def phase(self) -> str:
        """Batches of one phase may be sent side by side; those of the next need what these store."""
        last = self.items[-1] if self.items else None
        if last is None or last.kind != "contact":
            return "conversation" if last is None else last.kind
        return "group" if last.document.get("participants") else "contact"


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--workspace", "workspace_id", type=click.UUID, required=True)
@click.option("--format", "format_", type=click.Choice(list(readers.FORMATS)), help="By default as the name tells.")
@click.option(
    "--source",
    help="The name of the system that the ids are of; by default the format's, or the file's.",
)
@click.option("--map", "mapped", multiple=True, help='"Column=field" of a CSV file; repeatable.')
@click.option("--persona", "persona_id", type=click.UUID, help="Answers in conversations that name no persona.")
@click.option("--dry-run", is_flag=True, help="Say what would become of each item, and store nothing.")
@click.option("--resume", is_flag=True, help="Begin where the last run of this import broke off.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Where refused items are listed.")
@api.over_http
@options.as_json
def import_file(
    functions: ApiTarget, file: Path, format_: readers.Format | None, mapped: tuple[str, ...], as_json: bool,
    report: Path | None, **values: Any,
) -> None:  # fmt: skip
    """Import contacts and conversations: CSV (contacts), JSON Lines, a zip of `switchboard export`, Chatwoot, Intercom.

    A repeat stores nothing twice. Identities are stored as asserted. Refused items are listed in FILE.refused.jsonl,
    with their line and the reason; the exit status is then 4. So are fields of others that were left out.

    \b
    switchboard import contacts.csv --workspace WORKSPACE --map "E-Mail privat=email" --dry-run
    switchboard import chatwoot.jsonl --workspace WORKSPACE --format chatwoot
    switchboard import export.zip --workspace WORKSPACE
    """
    kind = format_ or readers.format_of(file)
    mapping = dict(_pair(text) for text in mapped)
    if mapping and kind != "csv":
        raise click.UsageError("--map is for CSV files.")
    try:
        if kind == "csv" and not as_json:
            for column, name in csv_contacts.header(file, mapping):
                click.echo(f"{column} -> {name}", err=True)
        sent = Import(file, kind, mapping, report or file.with_name(f"{file.name}.refused.jsonl"), **values)
        totals = api.run(functions, sent.run)
    except UnreadableFileError as unreadable:
        raise running.Failure(str(unreadable), 2) from None
    if as_json:
        click.echo(totals.model_dump_json())
    else:
        click.echo(
            ", ".join(f"{getattr(totals, name)} {name}" for name in ("created", "updated", "unchanged", "refused"))
        )
        if totals.report:
            fields = f", and fields that were left out of {totals.incomplete} items" if totals.incomplete else ""
            click.echo(f"Refused items{fields}: {totals.report}", err=True)
    if totals.refused:
        raise SystemExit(4)


def _source_of(file: Path, kind: readers.Format) -> str:
    """The source of a file of which none is named: two files of unknown systems may have the same ids, and then not of
    the same contacts."""
    return f"{kind}:{re.sub('[^a-z0-9_.:-]', '-', file.name.lower())}"[:64] if kind in ("csv", "jsonl") else kind


class Import:
    """One import of a file."""

    def __init__(
        self, file: Path, kind: readers.Format, mapping: dict[str, str], report: Path, *, workspace_id: UUID,
        source: str | None, persona_id: UUID | None, dry_run: bool, resume: bool,
    ) -> None:  # fmt: skip
        self._file, self._kind, self._mapping, self._report_path = file, kind, mapping, report
        self._path = f"/workspaces/{workspace_id}/imports"
        source = running.model(ImportRequest, {"source": source or _source_of(file, kind)}).source
        self._head = {"source": source, "persona_id": persona_id and str(persona_id), "dry_run": dry_run}
        self._state_path = file.with_name(f"{file.name}.import-state.json")
        # Of another file, or one that was changed, other items would be skipped than were sent.
        version = [file.stat().st_size, file.stat().st_mtime_ns]
        self._identity = {
            "workspace": str(workspace_id), "source": source, "format": kind, "mapping": mapping, "version": version
        }  # fmt: skip
        self._workspace_id, self._dry_run, self._resume = workspace_id, dry_run, resume
        self._totals: Counter[str] = Counter()
        self._done = 0
        self._named: dict[tuple[str, str], dict[str, Any]] = {}
        """In a dry run, what stands for the contacts and conversations that would be stored, by kind and id."""

    async def run(self, http: Api) -> Totals:
        """Send the whole file. Raises Refusal, Failure and UnreadableFileError."""
        skipped = self._begun() if self._resume else 0
        flying: deque[tuple[asyncio.Task[None], int]] = deque()
        phase, self._done = "", skipped
        with (
            self._report_path.open("a" if skipped else "w") as report,
            tqdm(total=self._total(), initial=skipped, unit=" items", disable=None) as bar,
        ):
            self._report, self._bar = report, bar

            async def land(most: int) -> None:
                while len(flying) > most:
                    task, taken = flying[0]
                    await task
                    flying.popleft()
                    self._done += taken
                    bar.update(taken)
                    self._save()

            try:
                for batch in _batches(self._found(skipped)):
                    await land(0 if batch.phase != phase else IN_FLIGHT - 1)
                    phase = batch.phase
                    flying.append((asyncio.create_task(self._send(http, batch.items)), batch.taken))
                await land(0)
            finally:
                for task, _ in flying:
                    task.cancel()
        if not self._totals["refused"] and not self._totals["incomplete"] and not skipped:
            self._report_path.unlink()
        self._state_path.unlink(missing_ok=True)
        names = ("created", "updated", "unchanged", "refused", "incomplete")
        listed = str(self._report_path) if self._report_path.exists() else None
        return Totals(**{name: self._totals[name] for name in names}, dry_run=self._dry_run, report=listed)

    def _total(self) -> int | None:
        if self._kind == "switchboard":
            manifest = own_exports.verify(self._file)
            if manifest.workspace_id == str(self._workspace_id):
                raise UnreadableFileError("The file is an export of this workspace, which has its contents already.")
            return sum(manifest.counts.get(kind, 0) for kind in ("contacts", "sessions", "memories"))
        with self._file.open("rb") as file:
            return sum(1 for _ in file)

    def _found(self, skipped: int) -> Iterator[Found]:
        for number, found in enumerate(readers.FORMATS[self._kind](self._file, self._mapping)):
            if number >= skipped:
                yield found

    async def _send(self, http: Api, items: list[Found]) -> None:
        """Send items; a batch that is refused as a whole is sent in halves."""
        sound = [item for item in items if item.fault is None]
        for item in items:
            if item.fault is not None:
                self._note(item, {"status": "refused", "code": "unreadable", "reason": item.fault})
        if not sound:
            return
        body: dict[str, Any] = dict(self._head)
        stand_ins = self._stand_ins(sound)
        for kind, name in _LISTS.items():
            body[name] = stand_ins[kind] + [item.document for item in sound if item.kind == kind]
        try:
            result = await _patiently(http, self._path, body)
        except Refusal as refused:
            if (refused.status, refused.code) not in UNFIT:
                raise
            if len(sound) > 1:
                await self._send(http, sound[: len(sound) // 2])
                await self._send(http, sound[len(sound) // 2 :])
            else:
                self._note(sound[0], {"status": "refused", "code": refused.code, "reason": str(refused)})
            return
        for kind, name in _LISTS.items():
            of_kind = (item for item in sound if item.kind == kind)
            for item, outcome in zip(of_kind, result[name][len(stand_ins[kind]) :], strict=True):
                self._note(item, outcome)

    def _stand_ins(self, items: list[Found]) -> dict[str, list[dict[str, Any]]]:
        """What the items of a dry run name, as little of it as can be sent: nothing was stored before."""
        named: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _LISTS}

        def add(kind: str, external_id: Any) -> None:
            known = self._named.get((kind, str(external_id)))
            if known is not None:
                named[kind][str(external_id)] = known
                add("contact", known.get("contact"))

        for item in items if self._dry_run else ():
            if item.kind != "contact":
                add("contact", item.document.get("contact"))
                add("conversation", item.document.get("conversation"))
        return {kind: list(documents.values()) for kind, documents in named.items()}

    def _note(self, item: Found, outcome: dict[str, Any]) -> None:
        if self._dry_run and outcome["status"] != "refused" and item.kind != "memory":
            head = {name: item.document[name] for name in _HEAD[item.kind] if name in item.document}
            more = {"sessions": [{"created_at": _LONG_AGO}]} if item.kind == "conversation" else {}
            self._named[item.kind, str(item.document["external_id"])] = {**head, **more}
        self._totals[outcome["status"]] += 1
        if left_out := outcome.get("dropped"):
            self._totals["incomplete"] += 1
            outcome = {"code": "left_out", "reason": f"stored without what does not fit: {', '.join(left_out)}"}
        if "code" in outcome:
            entry = {"line": item.line, "kind": item.kind, "external_id": item.document.get("external_id")}
            self._report.write(json.dumps({**entry, "code": outcome["code"], "reason": outcome.get("reason")}) + "\n")

    def _begun(self) -> int:
        """How many items the last run has sent."""
        try:
            state = json.loads(self._state_path.read_text())
        except FileNotFoundError:
            return 0
        except ValueError:
            raise running.Failure(
                f"{self._state_path} cannot be read; without --resume all is sent again.", 2
            ) from None
        if {name: state.get(name) for name in self._identity} != self._identity:
            raise running.Failure(f"{self._state_path} is of another import, or the file has changed.", 2)
        self._totals.update(state["totals"])
        return int(state["done"])

    def _save(self) -> None:
        self._report.flush()
        if not self._dry_run:
            state = {**self._identity, "done": self._done, "totals": dict(self._totals)}
            # In one step: a run may be killed here, and the next one reads it.
            new = self._state_path.with_name(f"{self._state_path.name}.new")
            new.write_text(json.dumps(state))
            new.replace(self._state_path)


async def _patiently(http: Api, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a batch, which is sent again while the functions are not available: a repeat changes nothing."""
    for tried in range(TRIES):
        try:
            return await http.ask("POST", path, body)
        except (aiohttp.ClientError, TimeoutError):
            if tried == TRIES - 1:
                raise
        except Refusal as refused:
            if tried == TRIES - 1 or (refused.status < 500 and refused.status != 429):
                raise
        await asyncio.sleep(2**tried)
    raise AssertionError("the last try returns or raises")


def _batches(found: Iterable[Found]) -> Iterator[Batch]:
    """Batches within the limits, each of one phase."""
    batch = Batch()
    for item in found:
        for part, is_last in _parts(item):
            said, size = _messages(part.document), len(json.dumps(part.document))
            full = batch.messages + said > BATCH_MESSAGES or batch.size + size > BATCH_BYTES
            full = full or len(batch.items) >= BATCH_ITEMS
            if batch.items and (full or Batch([part]).phase != batch.phase):
                yield batch
                batch = Batch()
            batch.items.append(part)
            batch.taken += is_last
            batch.messages += said
            batch.size += size
    if batch.items:
        yield batch


def _parts(item: Found) -> Iterator[tuple[Found, bool]]:
    """An item, in several parts if it has more messages than a batch; the last one ends it."""
    is_small = _messages(item.document) <= BATCH_MESSAGES and len(json.dumps(item.document)) <= BATCH_BYTES
    if item.kind != "conversation" or is_small:
        yield item, True
        return
    sessions = item.document.get("sessions") or [{"messages": item.document.get("messages", [])}]
    head = {name: value for name, value in item.document.items() if name not in ("sessions", "messages")}
    parts = [part for session in sessions for part in _parts_of_session(session)]
    for number, part in enumerate(parts, 1):
        yield Found(item.kind, {**head, "sessions": [part]}, item.line), number == len(parts)


def _parts_of_session(session: dict[str, Any]) -> Iterator[dict[str, Any]]:
    messages = [{"external_id": f"#{place}", **message} for place, message in enumerate(session.get("messages", ()))]
    began = session.get("created_at") or min((str(message.get("created_at")) for message in messages), default=None)
    turns = {turn["external_id"]: turn for turn in session.get("turns", ())}
    groups: list[list[dict[str, Any]]] = [[]]
    size = 0
    for message in messages:
        size += len(json.dumps(message))
        if groups[-1] and (len(groups[-1]) >= BATCH_MESSAGES or size > BATCH_BYTES // 2):
            groups.append([])
            size = 0
        groups[-1].append(message)
    for number, group in enumerate(groups):
        named = {message.get("turn") for message in group}
        own = [turn for turn in turns.values() if turn["external_id"] in named or (number == 0 and not messages)]
        more = session if number == 0 else {"external_id": session.get("external_id")}
        part = {**more, "created_at": began, "messages": group, "turns": own}
        yield {name: value for name, value in part.items() if value is not None}


def _messages(document: dict[str, Any]) -> int:
    parts = (document, *document.get("sessions", ()))
    return sum(len(part.get("messages", ())) for part in parts if isinstance(part, dict))


def _pair(text: str) -> tuple[str, str]:
    column, equals, name = text.rpartition("=")
    if not equals or not column or not name:
        raise click.UsageError(f'--map is "Column=field", not "{text}".')
    return column, name
