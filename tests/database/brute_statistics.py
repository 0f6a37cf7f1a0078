"""What the statistics must say, counted in Python over all the rows there are."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

JSON = dict[str, Any]
Row = dict[str, Any]

CLOSE = 0.05
"""How far a percentile may lie beside the value of that rank."""


class Rows:
    """All rows of a database that figures are made of."""

    def __init__(self, tables: dict[str, list[Row]]) -> None:
        self.conversations = {row["id"]: row for row in tables["conversations"]}
        self.sessions = sorted(tables["sessions"], key=lambda row: (row["created_at"], row["id"].int))
        self.contacts = tables["contacts"]
        self.turns: dict[Any, list[Row]] = defaultdict(list)
        for turn in tables["turns"]:
            self.turns[turn["session_id"]].append(turn)
        self.answered = {row["session_id"] for row in tables["messages"] if row["role"] in ("persona", "member")}

    @classmethod
    async def read(cls, connection: asyncpg.Connection) -> "Rows":
        """As they stand."""
        tables = {}
        for table in ("conversations", "sessions", "contacts", "turns", "messages"):
            tables[table] = [dict(row) for row in await connection.fetch(f"select * from public.{table}")]
        return cls(tables)

    def place(self, session: Row | None) -> tuple[str | None, str | None, str | None]:
        """Persona, space and channel."""
        if session is None:
            return None, None, None
        conversation = self.conversations[session["conversation_id"]]
        space = conversation["space_id"]
        return str(session["persona_id"]), None if space is None else str(space), conversation["channel"]


def day_of(moment: datetime) -> date:
    """In UTC."""
    return moment.astimezone(UTC).date()


def count(rows: Rows, filters: JSON, mine: Callable[[Row], bool], *, whole: bool) -> JSON:
    """The figures over the sessions that are the caller's; `whole`: they are all of a workspace."""
    first, last = str(filters.get("from", "0001-01-01")), str(filters.get("to", "9999-12-31"))

    def wanted(place: tuple[str | None, str | None, str | None]) -> bool:
        names = ("persona_id", "space_id", "channel")
        return all(filters.get(name) in (None, value) for name, value in zip(names, place, strict=True))

    def within(moment: datetime) -> bool:
        return first <= day_of(moment).isoformat() <= last

    pool = [session for session in rows.sessions if mine(session)]
    there = [session for session in pool if wanted(rows.place(session))]
    sessions = [session for session in there if within(session["created_at"])]
    by_id = {session["id"]: session for session in pool}
    stages: dict[str, list[tuple[date, Any]]] = {
        "chatted": _first(pool, lambda session: session["turn_count"] > 0),
        "answered": _first(pool, lambda session: session["id"] in rows.answered),
        "proposal": _first(pool, lambda session: session["proposal_id"] is not None),
    }
    arrivals = (
        [(day_of(contact["created_at"]), by_id.get(contact["session_id"])) for contact in rows.contacts]
        if whole
        else _first(pool, lambda _: True)
    )
    reached = {"registered": arrivals, **stages}
    funnel = {
        stage: [day for day, session in found if wanted(rows.place(session)) and first <= day.isoformat() <= last]
        for stage, found in reached.items()
    }
    turns = [turn for session in sessions for turn in rows.turns[session["id"]]]
    days = {day_of(session["created_at"]) for session in sessions} | {day for found in funnel.values() for day in found}
    return {
        "active_now": sum(session["status"] == "active" for session in there),
        "sessions": {
            "total": len(sessions),
            "by_status": Counter(session["status"] for session in sessions),
            "by_step": Counter(session["workflow_step"] for session in sessions if session["workflow_step"]),
            "ended": sum(_is_over(session) for session in sessions),
            "success_rate": _success(sessions),
        },
        "turns": {
            "total": len(turns),
            "by_status": Counter(turn["status"] for turn in turns),
            "failures": Counter(
                turn["error_code"] or "unknown" for turn in turns if turn["status"] in ("failed", "timeout")
            ),
        },
        "response_ms": [_response(turn) for turn in turns if _is_answered(turn)],
        "first_token_ms": [turn["first_token_ms"] for turn in turns if turn["first_token_ms"] is not None],
        "funnel": {stage: len(found) for stage, found in funnel.items()},
        "by_persona": _grouped(rows, sessions, 0),
        "by_space": _grouped(rows, sessions, 1),
        "by_day": [
            {
                "day": day.isoformat(),
                **{stage: found.count(day) for stage, found in funnel.items()},
                **_part(rows, [session for session in sessions if day_of(session["created_at"]) == day]),
            }
            for day in sorted(days)
        ],
    }


def compare(said: JSON, expected: JSON) -> None:
    """Fails where an answer is not what was counted; percentiles may lie a little beside it."""
    for name in ("response_ms", "first_token_ms"):
        values: list[int] = sorted(expected[name])
        latency = said[name]
        assert latency["count"] == len(values), name
        if not values:
            assert (latency["average"], latency["p50"], latency["p95"]) == (None, None, None)
            continue
        assert math.isclose(latency["average"], sum(values) / len(values), abs_tol=0.051), name
        for percent in (50, 95):
            value = values[math.ceil(percent / 100 * len(values)) - 1]
            assert math.isclose(latency[f"p{percent}"], value, rel_tol=CLOSE, abs_tol=0.051), (name, percent, values)
    for name in ("by_persona", "by_space"):
        items = {item["id"]: {key: item[key] for key in item if key not in ("id", "name")} for item in said[name]}
        assert items == expected[name], name
        assert [item["sessions"] for item in said[name]] == sorted(
            (item["sessions"] for item in said[name]), reverse=True
        )
    for name in ("active_now", "sessions", "turns", "funnel", "by_day"):
        assert said[name] == expected[name], name


def _first(pool: Iterable[Row], has: Callable[[Row], bool]) -> list[tuple[date, Any]]:
    """Of each contact the first session that has something, and its day."""
    found: dict[Any, Row] = {}
    for session in pool:
        if session["contact_id"] is not None and has(session):
            found.setdefault(session["contact_id"], session)
    return [(day_of(session["created_at"]), session) for session in found.values()]


def _is_over(session: Row) -> bool:
    over: bool = session["status"] not in ("active", "paused")
    return over


def _success(sessions: list[Row]) -> float | None:
    over = [session["status_before_archive"] or session["status"] for session in sessions if _is_over(session)]
    return round(over.count("completed") / len(over), 4) if over else None


def _is_answered(turn: Row) -> bool:
    return turn["status"] == "completed" and not turn["taken_over"]


def _response(turn: Row) -> int:
    took: timedelta = turn["finished_at"] - turn["created_at"]
    return round(took.total_seconds() * 1000)


def _part(rows: Rows, sessions: list[Row]) -> JSON:
    turns = [turn for session in sessions for turn in rows.turns[session["id"]]]
    responses = [_response(turn) for turn in turns if _is_answered(turn)]
    return {
        "sessions": len(sessions),
        "ended": sum(_is_over(session) for session in sessions),
        "success_rate": _success(sessions),
        "turns": len(turns),
        "response_ms": _halves_up(sum(responses), len(responses)),
    }


def _halves_up(total: int, number: int) -> float | None:
    """The quotient to one place, as Postgres rounds."""
    return math.floor(total * 10 / number + 0.5) / 10 if number else None


def _grouped(rows: Rows, sessions: list[Row], by: int) -> dict[str | None, JSON]:
    groups: dict[str | None, list[Row]] = defaultdict(list)
    for session in sessions:
        groups[rows.place(session)[by]].append(session)
    return {key: _part(rows, members) for key, members in groups.items()}
