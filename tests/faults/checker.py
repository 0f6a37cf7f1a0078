"""The checker: reads the clients' logs, the database and the parts' logs, and says what is not as it was promised.

It takes nothing from lib/: what was promised is written here once more, in its own words.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.faults import figures, records, server_logs
from tests.faults.evidence import TABLES, Evidence, Reading, Row, Seen, read, waited_for_the_end

SWEEP_MARGIN_SECONDS = 10.0
"""From the sweep's tick to the end of its last turn: the run's own start, and a lock that a killed transaction held."""

RECONNECT_SECONDS = 3.0
"""From Postgres's return to that of the schedules: they try once a second, and a tick meanwhile is missed."""

PROMPT_SECONDS = 20.0
"""How long after the end of a turn, or after they came back, a reader may wait for the last event, outages apart:
one look in half a second, and retries with pauses of at most 2 s."""

LOSS_SECONDS = 3.0
"""How much of what was read a crash of the functions may take back, in seconds of reading while the database
answered: text waits a second for its batch, and a batch that failed waits another."""

PATIENCE_SECONDS = 20.0
GIVE_UP_SECONDS = 10.0
"""Whoever cannot store a whole answer goes on trying for more than 20 s; it may be given up only where the database
was away for at least half of that."""

NO_WRITES = {"postgrest", "postgres", "backend"}
"""While one of these is away nothing can be stored."""


@dataclass
class Rule:
    """One promise: how much was looked at, and what breaks it."""

    promise: str
    checked: int = 0
    broken: list[str] = field(default_factory=list)

    def expect(self, kept: bool, otherwise: str) -> None:
        """Count one thing, and note it where it is not as promised."""
        self.checked += 1
        if not kept:
            self.broken.append(otherwise)


@dataclass(frozen=True)
class Report:
    """What the checker found."""

    rules: tuple[Rule, ...]
    figures: dict[str, str]

    @property
    def broken(self) -> list[str]:
        """Every broken promise."""
        return [f"{rule.promise}: {what}" for rule in self.rules for what in rule.broken]

    def lines(self) -> list[str]:
        """The report as text: figures, the table of rules, and the first of what breaks them."""
        width = max(len(rule.promise) for rule in self.rules)
        lines = [f"{name:>28}  {value}" for name, value in self.figures.items()]
        lines += ["", f"{'promise':<{width}}  checked  broken", f"{'-' * width}  -------  ------"]
        lines += [f"{rule.promise:<{width}}  {rule.checked:>7,}  {len(rule.broken):>6,}" for rule in self.rules]
        for rule in self.rules:
            lines += [f"  ! {rule.promise}: {what}" for what in rule.broken[:10]]
            if len(rule.broken) > 10:
                lines.append(f"  ! … and {len(rule.broken) - 10} more")
        return lines


async def check(folder: Path, logs: Path, connection: asyncpg.Connection) -> Report:
    """Judge a run: its folder, the folder of its stack's logs, and its database as the superuser sees it."""
    run = json.loads((folder / records.RUN).read_text())
    # Read the tables themselves: an index that a crash broke must not hide a row.
    for setting in ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"):
        await connection.execute(f"set {setting} = off")
    tables = {name: [dict(row) for row in await connection.fetch(query)] for name, query in TABLES.items()}
    physical = await _physical(connection)
    evidence = Evidence(read(folder), tables, run["sweep_seconds"])
    levels, of_postgres = server_logs.of_postgres(logs / "postgres.log")
    events, of_functions, given_up = server_logs.of_functions(logs / "gateway.log")
    rules = (
        *_messages(evidence),
        _ends(evidence),
        *_answers(evidence),
        *_readers(evidence),
        *_counters(evidence),
        *_links(evidence),
        physical,
        Rule("The clients met nothing strange", len(evidence.seen.readings), evidence.seen.wrong),
        Rule("What was killed came back", len(evidence.seen.outages), evidence.seen.unrecovered),
        Rule("Postgres logged nothing that no kill explains", levels.total(), of_postgres),
        Rule("The functions logged nothing that no kill explains", events.total(), of_functions),
        _given_up(evidence.seen, given_up),
    )
    of_logs = {"functions' warnings": figures.counts(events), "Postgres's log": figures.counts(levels)}
    return Report(rules, figures.of(evidence) | of_logs)


def _messages(evidence: Evidence) -> Iterable[Rule]:
    """Every acknowledged message is there once; no message is there twice; what was refused is not there."""
    once = Rule("Every acknowledged message is stored once")
    twice = Rule("No message is stored twice")
    refused = Rule("A refused message is not stored")
    by_key: defaultdict[str, list[Row]] = defaultdict(list)
    by_text: defaultdict[str, list[Row]] = defaultdict(list)
    for turn in evidence.tables["turns"]:
        by_key[str(turn["client_message_id"])].append(turn)
    for row in evidence.tables["messages"]:
        if row["role"] != "persona":
            by_text[row["text"]].append(row)
    for key, message in evidence.seen.sent.items():
        turns, rows = by_key[key], by_text[message.text]
        if message.acknowledged:
            told = {(ack["turn"], ack["session"], ack["conversation"]) for ack in message.acknowledged}
            stored = {(str(turn["id"]), str(turn["session_id"]), str(turn["conversation_id"])) for turn in turns}
            said = {(str(row["turn_id"]), str(row["session_id"]), str(row["conversation_id"])) for row in rows}
            once.expect(
                told == stored == said and len(turns) == len(rows) == 1,
                f"{key}: told {told}, turns {stored}, messages {said}",
            )
        twice.expect(len(turns) <= 1 and len(rows) <= 1, f"{key}: {len(turns)} turns, {len(rows)} messages")
        if message.abandoned is not None and message.abandoned["refused_only"] and not message.acknowledged:
            refused.expect(not turns and not rows, f"{key}: {len(turns)} turns, {len(rows)} messages")
    for key in by_key.keys() - evidence.seen.sent.keys():
        twice.expect(False, f"a turn with the client message id {key}, which nobody sent")
    return once, twice, refused


def _ends(evidence: Evidence) -> Rule:
    rule = Rule("Every turn ends within its lease and the sweep after it")
    for turn in evidence.turns.values():
        if turn["status"] == "active":
            rule.expect(False, f"{turn['id']} is active")
            continue
        due = _swept_by(turn["lease"], evidence) + SWEEP_MARGIN_SECONDS
        rule.expect(
            turn["ended"] <= due,
            f"{turn['id']} ended {turn['ended'] - turn['lease']:.1f} s after its lease had run out",
        )
    return rule


def _swept_by(lease: float, evidence: Evidence) -> float:
    """The first tick of the sweep after a lease that Postgres was there for."""
    every = evidence.sweep_seconds

    def tick(after: float) -> float:
        return math.ceil(after / 60) * 60 if every == 60 else after + every

    at = tick(lease)
    for outage in sorted(evidence.seen.outages, key=lambda outage: outage.killed_at):
        back = outage.back_at + RECONNECT_SECONDS
        # A run that was killed under way counts as missed, too.
        if outage.victim in ("postgres", "backend") and outage.killed_at - SWEEP_MARGIN_SECONDS <= at <= back:
            at = tick(back)
    return at


def _answers(evidence: Evidence) -> Iterable[Rule]:
    """What the personas said is stored at most once, whole where the turn was completed."""
    single = Rule("A turn has one answer at most, a completed one exactly one")
    expected = Rule("An answer is what the persona said to this message")
    audited = Rule("A turn that was not completed is audited once")
    texts: defaultdict[str, list[Row]] = defaultdict(list)
    asked = {str(row["turn_id"]): row["text"] for row in evidence.tables["messages"] if row["role"] != "persona"}
    for row in evidence.tables["messages"]:
        if row["role"] == "persona":
            texts[str(row["turn_id"])].append(row)
    audits = Counter(str(row["object_id"]) for row in evidence.tables["audit"])
    for turn_id, turn in evidence.turns.items():
        rows, completed = texts[turn_id], turn["status"] == "completed"
        single.expect(
            len(rows) == 1 if completed else len(rows) <= 1, f"{turn_id} ({turn['status']}) has {len(rows)} answers"
        )
        audited.expect(
            audits[turn_id] == (not completed), f"{turn_id} ({turn['status']}) has {audits[turn_id]} audit events"
        )
        for row in rows:
            single.expect(row["partial"] != completed, f"{turn_id} ({turn['status']}): partial is {row['partial']}")
            begins = f"You wrote: {asked.get(turn_id)}"
            if turn["persona_kind"] == "demo":
                begins = f"You said: “{asked.get(turn_id)}”."
            whole = row["text"] == begins if turn["persona_kind"] == "n8n" else row["text"].startswith(begins)
            expected.expect(
                whole if completed else begins.startswith(row["text"]) or row["text"].startswith(begins),
                f"{turn_id}: stored {row['text']!r:.200}, should begin {begins!r:.200}",
            )
    return single, expected, audited


def _readers(evidence: Evidence) -> Iterable[Rule]:
    """What readers put together is what is stored, and every reader was told the end."""
    whole = Rule("Pieces and resumed rest follow each other without gap or overlap")
    same = Rule("What a reader has of an ended turn is exactly the stored text")
    crash = Rule("After a crash the stored text is what was read, less the last moment")
    told = Rule("Every reader is told how the turn ended, as it is stored")
    prompt = Rule("Every resume answers in bounded time")
    stored, turns = evidence.answers, evidence.turns
    for reading in evidence.seen.readings.values():
        turn, text = turns.get(reading.turn), stored.get(reading.turn, "")
        whole.expect(not reading.faults, f"{reading.turn}, reader {reading.reader}: {reading.faults[:3]}")
        if turn is None:
            told.expect(False, f"{reading.turn} does not exist")
            continue
        told.expect(
            _is_told(reading, turn, text), f"{reading.turn} ({turn['status']} {turn['error_code']}): {reading.final}"
        )
        if turn["error_code"] == "lease_expired":
            crash.expect(*_crash(reading, turn, text, evidence.seen))
        else:
            same.expect(reading.text == text, f"{reading.turn}: read {reading.text!r:.200}, stored {text!r:.200}")
        if reading.final is not None and turn["ended"] is not None:
            since, until = waited_for_the_end(reading, turn)
            waited = until - since - evidence.seen.down(since, until)
            prompt.expect(waited <= PROMPT_SECONDS, f"{reading.turn}: {waited:.1f} s")
    return whole, same, crash, told, prompt


def _is_told(reading: Reading, turn: Row, text: str) -> bool:
    """Whether the last event is the turn's end as it is stored."""
    final = reading.final
    if final is None:
        return False
    if turn["status"] in ("completed", "cancelled"):
        return (final["name"], final.get("status"), final.get("text_length")) == ("done", turn["status"], len(text))
    return (final["name"], final.get("code")) == ("error", turn["error_code"])


def _crash(reading: Reading, turn: Row, text: str, saw: Seen) -> tuple[bool, str]:
    """The rule of a crash: a reader has all that is stored, and beyond it only what came in the last moment.

    The stored text is the beginning of what was read. What was read beyond it had arrived less than LOSS_SECONDS
    before the stream broke, not counting the time in which nothing could be stored.
    """
    if not reading.text.startswith(text):
        return False, f"{reading.turn}: read {reading.text!r:.200}, stored {text!r:.200}"
    beyond = [at for at, position in reading.arrivals if position > len(text)]
    if not beyond:
        return True, ""
    first = min(beyond)
    died = next((at for at in reading.breaks if at >= first), turn["lease"])
    kept_back = died - first - saw.down(first, died, NO_WRITES, tail=2.0)
    return kept_back <= LOSS_SECONDS, f"{reading.turn}: {kept_back:.1f} s of what was read are not stored"


def _counters(evidence: Evidence) -> Iterable[Rule]:
    counters = Rule("A session's counters equal its rows")
    live = Rule("A conversation has one live session at most")
    policy = Rule("A session that is for one message ends with its turn")
    turns = Counter(row["session_id"] for row in evidence.tables["turns"])
    messages = Counter(row["session_id"] for row in evidence.tables["messages"])
    lives = Counter(
        row["conversation_id"] for row in evidence.tables["sessions"] if row["status"] in ("active", "paused")
    )
    per_message = {row["session_id"]: row for row in evidence.turns.values() if row["session_policy"] == "per_message"}
    for session in evidence.tables["sessions"]:
        counted = (turns[session["id"]], messages[session["id"]])
        says = (session["turn_count"], session["message_count"])
        counters.expect(says == counted, f"{session['id']} says {says}, has {counted}")
        if (turn := per_message.get(session["id"])) is not None:
            policy.expect(
                session["status"] == turn["status"] and turns[session["id"]] == 1,
                f"{session['id']} is {session['status']}, its turn {turn['status']}",
            )
    for conversation, count in lives.items():
        live.expect(count == 1, f"{conversation} has {count}")
    return counters, live, policy


def _links(evidence: Evidence) -> Iterable[Rule]:
    links = Rule("Every message belongs to its turn and session, every contact to a session of its own")
    queues = Rule("Nothing is left over: no piece, no stuck job, no impossible limit")
    turns = {row["id"]: row for row in evidence.tables["turns"]}
    sessions = {row["id"]: row for row in evidence.tables["sessions"]}
    for row in evidence.tables["messages"]:
        turn = turns.get(row["turn_id"])
        links.expect(turn is not None and turn["session_id"] == row["session_id"], f"message {row['id']} has no turn")
    for row in evidence.tables["turns"]:
        session = sessions.get(row["session_id"])
        links.expect(
            session is not None and session["conversation_id"] == row["conversation_id"],
            f"turn {row['id']}: no session",
        )
    for row in evidence.tables["contacts"]:
        session = sessions.get(row["session_id"])
        links.expect(
            session is not None
            and (session["contact_id"], session["workspace_id"]) == (row["id"], row["workspace_id"]),
            f"contact {row['id']} points to {row['session_id']}",
        )
    for row in evidence.tables["chunks"]:
        turn = turns.get(row["turn_id"])
        queues.expect(turn is not None and turn["status"] == "active", f"a piece of the ended turn {row['turn_id']}")
    for row in evidence.tables["limits"]:
        kept = row["taken"] >= 0 and row["refused"] >= 0 and not row["ahead"]
        queues.expect(kept, f"limit {row['name']} of {row['subject']}: {row['taken']}, {row['refused']}")
    for row in evidence.tables["jobs"]:
        kept = row["attempts"] <= row["max_attempts"] and not row["stuck"]
        queues.expect(kept, f"job {row['id']} ({row['kind']}) is {row['status']} after {row['attempts']} attempts")
    return links, queues


def _given_up(saw: Seen, times: list[float]) -> Rule:
    rule = Rule("An answer is given up only in a long outage")
    for at in times:
        away = saw.down(at - PATIENCE_SECONDS, at, NO_WRITES)
        rule.expect(away >= GIVE_UP_SECONDS, f"one at {at:.1f}, after {away:.1f} s without the database")
    return rule


async def _physical(connection: asyncpg.Connection) -> Rule:
    """Postgres's own look at its files: every index agrees with its table, every table page can be read."""
    rule = Rule("Tables and indexes are physically sound (amcheck)")
    async with connection.transaction():
        await connection.execute("create extension if not exists amcheck with schema extensions")
        relations = await connection.fetch(
            """
            select c.oid, c.relname, c.relkind::text
              from pg_class c
              left join pg_am a on a.oid = c.relam
             where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'auth'::regnamespace)
               and ((c.relkind = 'i' and a.amname = 'btree') or c.relkind = 'r')
            """
        )
        for oid, name, kind in relations:
            look = "bt_index_check($1::oid::regclass, true)" if kind == "i" else "verify_heapam($1::oid::regclass)"
            try:
                async with connection.transaction():
                    faults = await connection.fetch(f"select * from extensions.{look}", oid)
                rule.expect(kind == "i" or not faults, f"{name}: {faults[:3]}")
            except asyncpg.PostgresError as error:
                rule.expect(False, f"{name}: {error}")
    return rule
