"""The statistics, counted in Python over all rows."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Any

import asyncpg

JSON = dict[str, Any]
Row = dict[str, Any]
Place = tuple[str | None, str | None, str | None]

CLOSE = 0.05
"""Largest relative error of a percentile."""


class Rows:
    """All rows that the figures depend on."""

    def __init__(self, tables: dict[str, list[Row]]) -> None:
        self.sessions = sorted(tables["sessions"], key=lambda row: (row["created_at"], row["id"].int))
        self.contacts = tables["contacts"]
        self.turns: dict[Any, list[Row]] = defaultdict(list)
        for turn in tables["turns"]:
            self.turns[turn["session_id"]].append(turn)
        self.answered = {row["session_id"] for row in tables["messages"] if row["role"] in ("persona", "member")}

    @classmethod
    async def read(cls, connection: asyncpg.Connection) -> "Rows":
        names = ("sessions", "contacts", "turns", "messages")
        return cls(
            {name: [dict(row) for row in await connection.fetch(f"select * from public.{name}")] for name in names}
        )

    def place(self, session: Row | None) -> Place:
        """Persona, space and channel."""
        if session is None:
            return None, None, None
        return str(session["persona_id"]), _text(session["space_id"]), session["channel"]


def count(rows: Rows, filters: JSON, mine: Callable[[Row], bool], *, whole: bool) -> JSON:
    """The figures of the sessions that are the caller's; `whole`: of all sessions and contacts."""
    first, last = str(filters.get("from", "0001-01-01")), str(filters.get("to", "9999-12-31"))

    def wanted(session: Row | None) -> bool:
        asked = (filters.get(name) for name in ("persona_id", "space_id", "channel"))
        return all(value in (None, has) for value, has in zip(asked, rows.place(session), strict=True))

    def within(day: date) -> bool:
        return first <= day.isoformat() <= last

    pool = [session for session in rows.sessions if mine(session)]
    by_id = {session["id"]: session for session in pool}
    sessions = [session for session in pool if wanted(session) and within(_day(session))]
    reached: dict[str, Iterable[tuple[date, Row | None]]] = {
        "registered": ((_day(contact), by_id.get(contact["session_id"])) for contact in rows.contacts)
        if whole
        else _first(pool, lambda _: True),
        "chatted": _first(pool, lambda session: session["turn_count"] > 0),
        "answered": _first(pool, lambda session: session["id"] in rows.answered),
        "proposal": _first(pool, lambda session: session["proposal_id"] is not None),
    }
    funnel = {
        stage: [day for day, session in found if wanted(session) and within(day)] for stage, found in reached.items()
    }
    turns = [turn for session in sessions for turn in rows.turns[session["id"]]]
    days = {_day(session) for session in sessions}.union(*funnel.values())
    return {
        "active_now": sum(session["status"] == "active" for session in pool if wanted(session)),
        "sessions": {
            "total": len(sessions),
            "by_status": Counter(session["status"] for session in sessions),
            "by_step": Counter(session["workflow_step"] for session in sessions if session["workflow_step"]),
            **{name: _part(rows, sessions)[name] for name in ("ended", "success_rate")},
        },
        "turns": {
            "total": len(turns),
            "by_status": Counter(turn["status"] for turn in turns),
            "failures": _failures(turns),
        },
        "response_ms": _responses(turns),
        "first_token_ms": [turn["first_token_ms"] for turn in turns if turn["first_token_ms"] is not None],
        "funnel": {stage: len(found) for stage, found in funnel.items()},
        "by_persona": _grouped(rows, sessions, lambda session: rows.place(session)[0]),
        "by_space": _grouped(rows, sessions, lambda session: rows.place(session)[1]),
        "by_day": [
            {
                "day": day.isoformat(),
                **{stage: found.count(day) for stage, found in funnel.items()},
                **_of_day(rows, [session for session in sessions if _day(session) == day]),
            }
            for day in sorted(days)
        ],
    }


def compare(said: JSON, expected: JSON) -> None:
    """Raise AssertionError unless the answer equals the count; percentiles may be off by `CLOSE`."""
    for name in ("response_ms", "first_token_ms"):
        values: list[int] = sorted(expected[name])
        latency = said[name]
        assert latency["count"] == len(values), name
        if not values:
            assert (latency["average"], latency["p50"], latency["p95"]) == (None, None, None)
            continue
        assert math.isclose(latency["average"], sum(values) / len(values), abs_tol=0.051), name
        for percent in (50, 95):
            _compare_percentile(latency[f"p{percent}"], values, percent)
    for name in ("by_persona", "by_space"):
        told = {item["id"]: {key: item[key] for key in item if key not in ("id", "name")} for item in said[name]}
        assert told == expected[name], name
        sizes = [item["sessions"] for item in said[name]]
        assert sizes == sorted(sizes, reverse=True)
    said = said | {"by_day": [dict(day) for day in said["by_day"]]}
    for day, counted in zip(said["by_day"], expected["by_day"], strict=True):
        values = sorted(counted.pop("response_values"))
        for percent in (50, 95):
            _compare_percentile(day.pop(f"response_p{percent}_ms"), values, percent)
    for name in ("active_now", "sessions", "turns", "funnel", "by_day"):
        assert said[name] == expected[name], (name, said[name], expected[name])


def _compare_percentile(said: float | None, values: list[int], percent: int) -> None:
    if not values:
        assert said is None
        return
    value = values[math.ceil(percent / 100 * len(values)) - 1]
    assert said is not None
    assert math.isclose(said, value, rel_tol=CLOSE, abs_tol=0.051), (percent, values)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _day(row: Row) -> date:
    moment: datetime = row["created_at"]
    return moment.astimezone(UTC).date()


def _first(pool: list[Row], has: Callable[[Row], bool]) -> list[tuple[date, Row | None]]:
    """Each contact's first session that has it, with its day."""
    found: dict[Any, Row] = {}
    for session in pool:
        if session["contact_id"] is not None and has(session):
            found.setdefault(session["contact_id"], session)
    return [(_day(session), session) for session in found.values()]


def _responses(turns: Iterable[Row]) -> list[int]:
    return [
        round((turn["finished_at"] - turn["created_at"]).total_seconds() * 1000)
        for turn in turns
        if turn["status"] == "completed" and not turn["taken_over"]
    ]


def _failures(turns: Iterable[Row]) -> Counter[str]:
    return Counter(turn["error_code"] or "unknown" for turn in turns if turn["status"] in ("failed", "timeout"))


def _of_day(rows: Rows, sessions: list[Row]) -> JSON:
    turns = [turn for session in sessions for turn in rows.turns[session["id"]]]
    return _part(rows, sessions) | {"failures": _failures(turns), "response_values": _responses(turns)}


def _part(rows: Rows, sessions: list[Row]) -> JSON:
    turns = [turn for session in sessions for turn in rows.turns[session["id"]]]
    responses = _responses(turns)
    ended = [s["status_before_archive"] or s["status"] for s in sessions if s["status"] not in ("active", "paused")]
    return {
        "sessions": len(sessions),
        "ended": len(ended),
        "success_rate": round(ended.count("completed") / len(ended), 4) if ended else None,
        "turns": len(turns),
        # To one place, rounded as Postgres does.
        "response_ms": math.floor(sum(responses) * 10 / len(responses) + 0.5) / 10 if responses else None,
    }


def _grouped(rows: Rows, sessions: list[Row], by: Callable[[Row], str | None]) -> dict[str | None, JSON]:
    groups: dict[str | None, list[Row]] = defaultdict(list)
    for session in sessions:
        groups[by(session)].append(session)
    return {key: _part(rows, members) for key, members in groups.items()}
