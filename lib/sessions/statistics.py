"""Statistics over sessions: how many there are and how they end, how fast answers come, how far contacts get."""

from collections.abc import Mapping
from datetime import date
from typing import Literal
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from lib.auth import callers
from lib.chat.turns import Status as TurnStatus
from lib.database import commands
from lib.fields.models import Body, Record
from lib.fields.types import Label
from lib.sessions.models import Status


class Latency(Record):
    """Milliseconds over ``count`` turns; a percentile is within 5 % of the value of its rank. None where count is 0."""

    count: int
    average: float | None
    p50: float | None
    p95: float | None


class SessionFigures(Record):
    """``ended``: in whatever way, archived ones included. ``success_rate``: how much of that was completed."""

    total: int
    by_status: Mapping[Status, int]
    by_step: Mapping[str, int]
    ended: int
    success_rate: float | None


class TurnFigures(Record):
    """``failures``: turns that failed or timed out, by their ``error_code``."""

    total: int
    by_status: Mapping[TurnStatus, int]
    failures: Mapping[str, int]


class Funnel(Record):
    """Contacts by how far they got."""

    registered: int
    chatted: int
    answered: int
    proposal: int


class GroupFigures(Record):
    """The figures of a part; ``response_ms`` is the average."""

    sessions: int
    ended: int
    success_rate: float | None
    turns: int
    response_ms: float | None


class NamedGroupFigures(GroupFigures):
    """Those of a persona or a space; None is no space. The name where the reader may see it."""

    id: UUID | None
    name: str | None


class DayFigures(GroupFigures, Funnel):
    """Those of a day in UTC."""

    day: date


class Statistics(Record):
    """Figures over the sessions of the days from ``from`` to ``to``; ``active_now`` whatever the days.

    ``scope``: the whole workspace, or only the caller's own and assigned sessions.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    workspace_id: UUID | None
    scope: Literal["workspace", "own"]
    first: date | None = Field(alias="from")
    last: date | None = Field(alias="to")
    active_now: int
    sessions: SessionFigures
    turns: TurnFigures
    response_ms: Latency
    first_token_ms: Latency
    funnel: Funnel
    by_persona: tuple[NamedGroupFigures, ...]
    by_space: tuple[NamedGroupFigures, ...]
    by_day: tuple[DayFigures, ...]


class StatisticsQuery(Body):
    """Over which sessions. Days are in UTC, both included; what is not given narrows nothing down."""

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
    """The figures of a workspace for its owners and admins, else those of the caller's own and assigned sessions.

    Raises Refused (workspace_required) for a member of several workspaces who names none.
    """
    filters = question.model_dump(mode="json", exclude_none=True, exclude={"workspace_id", "first", "last"})
    filters |= {name: day.isoformat() for name, day in (("from", question.first), ("to", question.last)) if day}
    arguments = {"workspace_id": question.workspace_id, "filters": filters}
    return await commands.reading_as(caller).call("read_session_stats", arguments, Statistics, repeatable=True)
