"""What a run was like, in numbers: nothing here is judged."""

from collections import Counter

from tests.faults.evidence import Evidence, waited_for_the_end


def of(evidence: Evidence) -> dict[str, str]:
    """The figures of a run by their names."""
    saw, turns, answers = evidence.seen, evidence.turns, evidence.answers
    longest: dict[str, float] = {}
    for outage in saw.outages:
        longest[outage.victim] = max(longest.get(outage.victim, 0), outage.over_at - outage.killed_at)
    crashed = {turn_id for turn_id, turn in turns.items() if turn["error_code"] == "lease_expired"}
    ended = [r for r in saw.readings.values() if r.turn in turns and turns[r.turn]["ended"] is not None]
    waits = [waited_for_the_end(reading, turns[reading.turn]) for reading in ended if reading.resumes]
    beyond = [len(r.text) - len(answers.get(r.turn, "")) for r in saw.readings.values() if r.turn in crashed]
    messages = saw.sent.values()
    return {
        "duration": f"{saw.times[-1] - saw.times[0]:.0f} s",
        "kills": counts(Counter(outage.victim for outage in saw.outages)),
        "longest outage after": ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in longest.items()),
        "messages sent": f"{len(messages):,}, {sum(message.attempts - 1 for message in messages):,} sent again",
        "messages acknowledged": f"{sum(1 for message in messages if message.acknowledged):,}",
        "messages given up": f"{sum(1 for message in messages if message.abandoned is not None):,}",
        "turns": counts(Counter(f"{row['status']} {row['error_code'] or ''}".strip() for row in turns.values())),
        "resumes": counts(saw.resumes),
        "readers": f"{len(saw.readings):,}, {sum(1 for r in saw.readings.values() if r.resumes):,} of them resumed",
        "seconds until resumed readers are told the end": spread([max(until - since, 0.0) for since, until in waits]),
        "characters of crashed turns read and not stored": spread(beyond),
        "HTTP answers": counts(saw.statuses),
    }


def spread(values: list[float] | list[int]) -> str:
    """The middle, the last hundredth and the most."""
    ordered = sorted(values)
    if not ordered:
        return "none"
    middle, late = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return f"p50 {middle:.2f}, p99 {late:.2f}, at most {ordered[-1]:.2f}, of {len(ordered):,}"


def counts(counter: Counter[str]) -> str:
    """How often each occurred, the most frequent first."""
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())
