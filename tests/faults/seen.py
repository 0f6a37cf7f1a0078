"""What the clients saw and the killer did, put together from their logs.

The checker's own reading: it shares nothing with the clients but the format of the records.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import records
from tests.faults.records import Record


@dataclass
class Sent:
    """A message that a client sent, once or again and again."""

    key: str
    caller: str
    space: str
    text: str
    first_at: float
    attempts: int = 0
    acknowledged: list[Record] = field(default_factory=list)
    abandoned: Record | None = None


@dataclass
class Reading:
    """What one reader of a turn took down; ``faults`` are events that do not follow from those before."""

    reader: int
    turn: str
    text: str = ""
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    """When each piece came, and how much of the text there was with it, in characters."""
    breaks: list[float] = field(default_factory=list)
    """When a stream of this turn ended without its end: the connection broke, or an error said so."""
    final: Record | None = None
    last_event: Record | None = None
    first_resume_at: float | None = None
    resumes: int = 0
    faults: list[str] = field(default_factory=list)

    def take(self, event: Record) -> None:
        """Add an event: a piece must begin exactly where the text ends."""
        self.last_event = event
        if event["name"] == "error":
            self.breaks.append(event["t"])
        if event["name"] != "delta":
            return
        piece, position = event["text"], int(event["id"])
        if position - len(piece) != len(self.text):
            self.faults.append(f"a piece from {position - len(piece)} on where {len(self.text)} had been read")
        if not piece:
            self.faults.append("an empty piece")
        self.text += piece
        self.arrivals.append((event["t"], position))


@dataclass(frozen=True)
class Outage:
    """A kill, when the part was back, and when a message was acknowledged again for the first time after that."""

    victim: str
    killed_at: float
    back_at: float
    over_at: float


@dataclass
class Seen:
    """Everything that the logs tell."""

    sent: dict[str, Sent]
    readings: dict[int, Reading]
    wrong: list[str]
    statuses: dict[str, int]
    outages: list[Outage]
    unrecovered: list[str]
    resumes: dict[str, int]
    first_at: float
    last_at: float

    def down(self, since: float, until: float, victims: set[str] | None = None, tail: float = 0.0) -> float:
        """Seconds of that time in which one of the victims (None: any) was not back to work, and `tail` after."""
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


def read(folder: Path) -> Seen:  # noqa: PLR0912 - one case for each kind of record
    """Read a run's logs."""
    sent: dict[str, Sent] = {}
    readings: dict[int, Reading] = {}
    wrong: list[str] = []
    statuses: dict[str, int] = {}
    resumes = {"final": 0, "early": 0, "broken": 0, "refused": 0}
    acknowledged: list[float] = []
    first_at, last_at = 0.0, 0.0
    for record in records.read(folder / records.CLIENTS):
        first_at, last_at = first_at or record["t"], record["t"]
        match record["kind"]:
            case "sent":
                message = sent.setdefault(
                    record["key"],
                    Sent(record["key"], record["caller"], record["space"], record["message"], record["t"]),
                )
                message.attempts += 1
            case "acknowledged":
                sent[record["key"]].acknowledged.append(record)
                readings[record["reader"]] = Reading(record["reader"], record["turn"])
                acknowledged.append(record["t"])
            case "replay":
                readings[record["reader"]] = Reading(record["reader"], record["turn"])
            case "event" if record.get("reader") in readings:
                readings[record["reader"]].take(record)
            case "event":
                wrong.append(f"an event before the turn's opening: {record}")
            case "broken" if record.get("reader") in readings:
                readings[record["reader"]].breaks.append(record["t"])
            case "resume":
                reading = readings[record["reader"]]
                reading.resumes += 1
                reading.first_resume_at = reading.first_resume_at or record["t"]
            case "resumed":
                resumes[record["ended"]] += 1
            case "abandoned":
                sent[record["key"]].abandoned = record
            case "status":
                name = f"{record['status']} {record.get('code', '')}".strip()
                statuses[name] = statuses.get(name, 0) + 1
            case "wrong":
                wrong.append(record["what"])
    for reading in readings.values():
        if reading.last_event is not None and reading.last_event["name"] in ("done", "error"):
            reading.final = reading.last_event
    outages, unrecovered = _outages(folder, acknowledged, last_at)
    return Seen(sent, readings, wrong, statuses, outages, unrecovered, resumes, first_at, last_at)


def _outages(folder: Path, acknowledged: list[float], last_at: float) -> tuple[list[Outage], list[str]]:
    kills: dict[int, Record] = {}
    back: dict[int, float] = {}
    for record in records.read(folder / records.KILLS):
        if record["kind"] == "kill":
            kills[record["number"]] = record
        else:
            back[record["number"]] = record["t"]
    outages = []
    for number, kill in kills.items():
        back_at = back.get(number, last_at)
        later = bisect_left(acknowledged, back_at)
        over_at = acknowledged[later] if later < len(acknowledged) else back_at
        outages.append(Outage(kill["victim"], kill["t"], back_at, over_at))
    return outages, [f"kill {number}: {kills[number]['victim']} never came back" for number in kills.keys() - back]
