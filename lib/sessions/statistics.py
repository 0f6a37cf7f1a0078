"""Statistics: numbers of sessions and their outcomes, latencies, and a funnel of contacts."""

from collections.abc import Mapping
from datetime import date
from typing import Literal
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from lib.auth import callers
from lib.chat.turns import Status as TurnStatus
from lib.database import commands
from lib.database.management import Database
from lib.fields.models import Body, Record
from lib.fields.types import Label
from lib.sessions.models import Status


class Latency(Record):
    """Milliseconds over ``count`` turns; percentiles are within 5 %. None if count is 0."""

    count: int
    average: float | None
    p50: float | None
    p95: float | None


class SessionFigures(Record):
    """``ended`` includes archived sessions. ``success_rate`` is the completed share of the ended ones."""

    total: int
    by_status: Mapping[Status, int]
    by_step: Mapping[str, int]
    ended: int
    success_rate: float | None


class TurnFigures(Record):
    """``failures``: failed and timed-out turns by their ``error_code``."""

    total: int
    by_status: Mapping[TurnStatus, int]
    failures: Mapping[str, int]


class Funnel(Record):
    """Contacts by the stage that they reached."""

    registered: int
    chatted: int
    answered: int
    proposal: int


class GroupFigures(Record):
    """The figures of a group; ``response_ms`` is the average."""

    sessions: int
    ended: int
    success_rate: float | None
    turns: int
    response_ms: float | None


class NamedGroupFigures(GroupFigures):
    """The figures of a persona or a space (None: no space). The name only if the reader may see it."""

    id: UUID | None
    name: str | None


class DayFigures(GroupFigures, Funnel):
    """The figures of a day in UTC. ``failures``: failed and timed-out turns by their ``error_code``."""

    day: date
    failures: Mapping[str, int]
    response_p50_ms: float | None
    response_p95_ms: float | None


class Statistics(Record):
    """Figures of the sessions from day ``from`` to day ``to``; ``active_now`` does not depend on the days.

    ``scope``: the whole workspace, or only the caller's own and assigned sessions.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    workspace_id: UUID | None
    scope: Literal["workspace", "own"]
    first: date | None = Field(alias="from")
    last: date | None = Field(alias="to")
    active_now: int
    """Active sessions, whatever the days."""
    sessions: SessionFigures
    """``by_step``: sessions in a workflow; ``ended``: neither active nor paused; ``success_rate``: the completed
    share of ``ended``. Archived sessions are included."""
    turns: TurnFigures
    """``failures``: failed and timed-out turns by their ``error_code``."""
    response_ms: Latency
    """Duration of the turns that a persona completed; a member's answers do not count."""
    first_token_ms: Latency
    """Time to the first token, of the turns that have one."""
    funnel: Funnel
    """Contacts that reached a stage for the first time: ``registered``, ``chatted`` (a session with a turn),
    ``answered`` (a session with a message of the persona or a member), ``proposal`` (a session with a proposal)."""
    by_persona: tuple[NamedGroupFigures, ...]
    """The 100 with the most sessions; ``response_ms`` is the average."""
    by_space: tuple[NamedGroupFigures, ...]
    """The same of spaces."""
    by_day: tuple[DayFigures, ...]
    """The newest 366 days with figures, oldest first, with the funnel, failures and percentiles of `response_ms`."""


class StatisticsQuery(Body):
    """Filters of the statistics. Days are in UTC and inclusive."""

    model_config = ConfigDict(loc_by_alias=True)  # errors name the parameters as they were sent: from, to

    workspace_id: UUID | None = None
    persona_id: UUID | None = None
    space_id: UUID | None = None
    channel: Label | None = None
    first: date | None = Field(default=None, alias="from")
    last: date | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> "StatisticsQuery":
        if self.first is not None and self.last is not None and self.last < self.first:
            raise ValueError("to must not be before from")
        return self


async def read(caller: callers.User, question: StatisticsQuery) -> Statistics:
    """The figures of a workspace for its owners and admins, else of the caller's own and assigned sessions.

    Raises Refused (workspace_required) if a member of several workspaces names none.
    """
    return await read_with(commands.reading_as(caller), question)


async def read_with(database: Database, question: StatisticsQuery) -> Statistics:
    """The figures that the caller of this database may read; an operator's command names the workspace."""
    filters = question.model_dump(mode="json", exclude_none=True, exclude={"workspace_id", "first", "last"})
    filters |= {name: day.isoformat() for name, day in (("from", question.first), ("to", question.last)) if day}
    arguments = {"workspace_id": question.workspace_id, "filters": filters}
    return await database.call("read_session_stats", arguments, Statistics, repeatable=True)
