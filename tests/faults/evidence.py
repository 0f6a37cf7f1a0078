"""All that there is to judge: what the clients saw and the killer did, by their logs, and what the database holds.

This is the checker's own reading: it shares nothing with the clients but the format of the records.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import records
from tests.faults.records import Record

Row = dict[str, Any]

TABLES: dict[str, str] = {
    "turns": """
        select t.id, t.conversation_id, t.session_id, t.client_message_id, t.status::text, t.error_code,
               extract(epoch from t.finished_at)::float8 as ended, extract(epoch from t.lease_until)::float8 as lease,
               p.kind as persona_kind, p.session_policy::text
          from public.turns t
          left join public.sessions s on s.id = t.session_id
          left join public.personas p on p.id = s.persona_id""",
    "messages": "select id, turn_id, session_id, conversation_id, role::text, text, partial from public.messages",
    "sessions": """
        select id, conversation_id, contact_id, workspace_id, status::text, turn_count, message_count
          from public.sessions""",
    "contacts": "select id, workspace_id, session_id from public.contacts",
    "chunks": "select turn_id from public.turn_chunks",
    "limits": "select name, subject, taken, refused, window_started_at > now() as ahead from public.rate_limits",
    "jobs": """
        select id, kind, status::text, attempts, max_attempts, lease_until < now() - interval '2 minutes' as stuck
          from public.jobs""",
    "audit": "select verb, object_id, code from public.audit_events where verb like 'turn.%'",
}


@dataclass
class Sent:
    """A message that a client sent, once or several times."""

    text: str
    attempts: int = 0
    acknowledged: list[Record] = field(default_factory=list)
    abandoned: Record | None = None


@dataclass
class Reading:
    """What one reader read of a turn. `faults` are pieces that do not follow from those before."""

    reader: int
    turn: str
    text: str = ""
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """The time of each piece, and the length of the text with it, in characters."""
    breaks: list[float] = field(default_factory=list)
    """Times when a stream of this turn ended without its end: the connection broke, or an error said so."""
    last_event: Record | None = None
    first_resume_at: float | None = None
    resumes: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def final(self) -> Record | None:
        """The last event, where it is an end."""
        return self.last_event if self.last_event and self.last_event["name"] in ("done", "error") else None

    def take(self, event: Record) -> None:
        """Add an event: a piece must begin exactly where the text ends."""
        self.last_event = event
        if event["name"] == "error":
            self.breaks.append(event["t"])
        if event["name"] == "delta":
            piece, position = event["text"], int(event["id"])
            if not piece or position - len(piece) != len(self.text):
                self.faults.append(f"{piece!r} at {position - len(piece)} after {len(self.text)} characters")
            self.text += piece
            self.arrivals.append((event["t"], position))


@dataclass(frozen=True)
class Outage:
    """A kill, the return of the part, and the first message that was acknowledged after that."""

    victim: str
    killed_at: float
    back_at: float
    over_at: float


@dataclass
class Seen:
    """What the logs of clients and killer tell."""

    sent: dict[str, Sent] = field(default_factory=dict)
    readings: dict[int, Reading] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    resumes: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)
    unrecovered: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def down(self, since: float, until: float, victims: set[str] | None = None, tail: float = 0.0) -> float:
        """Seconds of that time in which one of the victims (None: any) was not back at work, and `tail` after."""
        spans = sorted(
            (max(outage.killed_at, since), min(outage.over_at + tail, until))
            for outage in self.outages
            if victims is None or outage.victim in victims
        )
        total, end = 0.0, since
        for begin, over in spans:
            if over > max(begin, end):
                total += over - max(begin, end)
                end = over
        return total

    def take(self, record: Record) -> None:
        """Add a record of the clients' log."""
        match record["kind"]:
            case "sent":
                self.sent.setdefault(record["key"], Sent(record["message"])).attempts += 1
            case "acknowledged" | "replay":
                self.readings[record["reader"]] = Reading(record["reader"], record["turn"])
                if record["kind"] == "acknowledged":
                    self.sent[record["key"]].acknowledged.append(record)
            case "event" if record.get("reader") in self.readings:
                self.readings[record["reader"]].take(record)
            case "event":
                self.wrong.append(f"an event before the turn's opening: {record}")
            case "broken" if record.get("reader") in self.readings:
                self.readings[record["reader"]].breaks.append(record["t"])
            case "resume":
                reading = self.readings[record["reader"]]
                reading.resumes += 1
                reading.first_resume_at = reading.first_resume_at or record["t"]
            case "resumed":
                self.resumes[record["ended"]] += 1
            case "abandoned":
                self.sent[record["key"]].abandoned = record
            case "status":
                self.statuses[f"{record['status']} {record.get('code', '')}".strip()] += 1
            case "wrong":
                self.wrong.append(record["what"])
        self.times.append(record["t"])


def read(folder: Path) -> Seen:
    """Read the logs of a run."""
    seen = Seen()
    for record in records.read(folder / records.CLIENTS):
        seen.take(record)
    acknowledged = sorted(record["t"] for message in seen.sent.values() for record in message.acknowledged)
    events = list(records.read(folder / records.KILLS))
    back = {record["number"]: record["t"] for record in events if record["kind"] == "back"}
    for kill in (record for record in events if record["kind"] == "kill"):
        if kill["number"] not in back:
            seen.unrecovered.append(f"kill {kill['number']}: {kill['victim']} never came back")
        back_at = back.get(kill["number"], seen.times[-1])
        later = bisect_left(acknowledged, back_at)
        over_at = acknowledged[later] if later < len(acknowledged) else back_at
        seen.outages.append(Outage(kill["victim"], kill["t"], back_at, over_at))
    return seen


@dataclass(frozen=True)
class Evidence:
    """All that there is to judge."""

    seen: Seen
    tables: dict[str, list[Row]]
    sweep_seconds: int

    @property
    def turns(self) -> dict[str, Row]:
        """Every turn by its id."""
        return {str(row["id"]): row for row in self.tables["turns"]}

    @property
    def answers(self) -> dict[str, str]:
        """The stored answer of every turn that has one."""
        return {str(row["turn_id"]): row["text"] for row in self.tables["messages"] if row["role"] == "persona"}


def waited_for_the_end(reading: Reading, turn: Row) -> tuple[float, float]:
    """The time from which a reader could be told the end (the turn had ended, and they were there), and its telling."""
    since = max(turn["ended"], reading.first_resume_at or 0.0)
    return since, reading.final["t"] if reading.final else since
