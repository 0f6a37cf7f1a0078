"""What a run was like, in numbers: nothing here is judged."""

from collections import Counter

from tests.faults.evidence import Evidence, waited_for_the_end


def of(evidence: Evidence) -> dict[str, str]:
    """The figures of a run by their names."""
    saw = evidence.seen
    kills = Counter(outage.victim for outage in saw.outages)
    statuses = Counter(
        f"{row['status']}{' ' + row['error_code'] if row['error_code'] else ''}" for row in evidence.turns.values()
    )
    lost = [message for message in saw.sent.values() if message.abandoned is not None]
    again = sum(message.attempts - 1 for message in saw.sent.values())
    longest = {
        kind: max(outage.over_at - outage.killed_at for outage in saw.outages if outage.victim == kind)
        for kind in kills
    }
    return {
        "duration": f"{saw.last_at - saw.first_at:.0f} s",
        "kills": f"{kills.total()}: {counts(kills)}",
        "longest outage after": ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in longest.items()),
        "messages sent": f"{len(saw.sent):,}, {again:,} sent again",
        "messages acknowledged": f"{sum(1 for message in saw.sent.values() if message.acknowledged):,}",
        "messages given up": f"{len(lost):,}",
        "turns": counts(statuses),
        "resumes": counts(Counter(saw.resumes)),
        "readers": f"{len(saw.readings):,}, {sum(1 for r in saw.readings.values() if r.resumes):,} of them resumed",
        "end told to who resumed": _delays(evidence),
        "read and not stored": _taken_back(evidence),
        "HTTP answers": counts(Counter(saw.statuses)),
    }


def _delays(evidence: Evidence) -> str:
    """How long readers who resumed waited for the end once the turn had ended, outages included."""
    turns = evidence.turns
    spans = [
        waited_for_the_end(reading, turns[reading.turn])
        for reading in evidence.seen.readings.values()
        if reading.resumes and reading.turn in turns and turns[reading.turn]["ended"] is not None
    ]
    waits = sorted(max(until - since, 0.0) for since, until in spans)
    if not waits:
        return "nobody"
    middle, late = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    return f"after p50 {middle:.2f} s, p99 {late:.1f} s, at most {waits[-1]:.1f} s"


def _taken_back(evidence: Evidence) -> str:
    """What readers of crashed turns had read beyond what is stored."""
    stored = {str(row["turn_id"]): row["text"] for row in evidence.tables["messages"] if row["role"] == "persona"}
    crashed = {turn_id for turn_id, turn in evidence.turns.items() if turn["error_code"] == "lease_expired"}
    beyond = sorted(
        len(reading.text) - len(stored.get(reading.turn, ""))
        for reading in evidence.seen.readings.values()
        if reading.turn in crashed
    )
    if not beyond:
        return "nothing"
    return f"p50 {beyond[len(beyond) // 2]}, most {beyond[-1]} characters, of {len(beyond):,} readers of crashed turns"


def counts(counter: Counter[str]) -> str:
    """How often what was counted occurred, the most frequent first."""
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())
