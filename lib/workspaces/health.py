"""Health: what `switchboard doctor` finds of a workspace, and when the schedules ran, for owners and admins."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import computed_field

from lib import config
from lib.auth import callers
from lib.database import commands
from lib.fields.models import Record

State = Literal["ok", "warning", "failure"]

FAILURES = {"schedules_missing", "schedules_late", "addresses_missing", "turns_stuck", "jobs_waiting"}
"""Checks that are a failure when they find something; the others are a warning."""


class HealthCheck(Record):
    """A check by its name in `switchboard doctor`; ``examples``: five of the ids or names that were found, at most."""

    name: str
    found: int
    examples: tuple[str, ...]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def state(self) -> State:
        """How bad it is."""
        if not self.found:
            return "ok"
        return "failure" if self.name in FAILURES else "warning"


class Schedule(Record):
    """A schedule of the deployment, with its last run. ``next_run_at`` is null before the first run."""

    name: str
    schedule: str
    active: bool
    last_run_at: datetime | None
    last_status: str | None
    next_run_at: datetime | None


class WorkspaceHealth(Record):
    """What is not as it should be. Checks of schedules and addresses are of the whole deployment."""

    checks: tuple[HealthCheck, ...]
    schedules: tuple[Schedule, ...]


async def examine(user: callers.User, workspace_id: UUID) -> WorkspaceHealth:
    """Examine a workspace; changes nothing. Raises Refused (workspace_not_found, forbidden)."""
    idle_hours = config.settings().chat_session_timeout_hours
    arguments = {"workspace_id": workspace_id, "idle_hours": idle_hours}
    return await commands.reading_as(user).call("workspace_health", arguments, WorkspaceHealth, repeatable=True)
