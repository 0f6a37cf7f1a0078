"""Retention: for how many days a workspace keeps what, and what a run would delete."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field

from lib.database.management import Database
from lib.fields.models import Body, Record

Days = Annotated[int, Field(strict=True, ge=1, le=36_500)]


class RetentionSettings(Body):
    """For how many days a workspace keeps what; null: forever."""

    messages_days: Days | None = None
    """Messages of sessions that ended so long ago, also archived ones."""
    raw_events_days: Annotated[int, Field(strict=True, ge=7, le=36_500)] | None = 30
    """Webhook deliveries as they came, and jobs that have ended."""
    events_days: Days | None = 30
    """Events for subscriptions, and their deliveries."""
    audit_days: Days | None = None
    addresses_days: Days | None = None
    """Addresses and user agents of sessions that ended so long ago."""
    memory_history_days: Days | None = None
    """Former versions of memories."""

    def days(self, *, exclude_unset: bool = False) -> dict[str, int | None]:
        """The days by place, as the database takes them."""
        given = self.model_dump(exclude_unset=exclude_unset)
        return {name.removesuffix("_days"): value for name, value in given.items()}


class RetentionRun(Record):
    """A run of the retention: how many rows it deleted, by place. ``finished_at`` is null while it goes on."""

    started_at: datetime
    finished_at: datetime | None
    deleted: Mapping[str, int]


class Retention(Record):
    """For how many days a workspace keeps what, and its last run."""

    workspace_id: UUID
    messages_days: int | None
    raw_events_days: int | None
    events_days: int | None
    audit_days: int | None
    addresses_days: int | None
    memory_history_days: int | None
    last_run: RetentionRun | None


class ExpiredRows(Record):
    """What a run would delete in a place. ``oldest`` is the time that counts, of messages the end of their session."""

    rows: int
    oldest: datetime | None


class RetentionPreview(Record):
    """What a run would delete now, by place."""

    places: Mapping[str, ExpiredRows]


class RetentionProgress(Record):
    """A run under way: ``deleted`` rows by place."""

    finished: bool
    deleted: Mapping[str, int]


async def read(database: Database, workspace_id: UUID) -> Retention:
    """A workspace's settings, by default those of a new one. Raises Refused (workspace_not_found), and
    BackendUnavailable, as all of these functions do."""
    return await database.call("read_retention", {"workspace_id": workspace_id}, Retention, repeatable=True)


async def replace(database: Database, workspace_id: UUID, new: RetentionSettings) -> Retention:
    """Replace all settings; what is not named gets its default. Raises Refused (workspace_not_found, forbidden)."""
    arguments = {"workspace_id": workspace_id, "days": new.days()}
    return await database.call("set_retention", arguments, Retention, repeatable=True)


async def change(database: Database, workspace_id: UUID, given: RetentionSettings) -> Retention:
    """Change the settings that are given. Raises as replace."""
    arguments = {"workspace_id": workspace_id, "days": given.days(exclude_unset=True)}
    return await database.call("set_retention", arguments, Retention, repeatable=True)


async def preview(database: Database, workspace_id: UUID, others: RetentionSettings) -> RetentionPreview:
    """What a run would delete now, by the stored settings, or with the days that are given. Raises as replace."""
    arguments = {"workspace_id": workspace_id, "days": others.days(exclude_unset=True)}
    return await database.call("preview_retention", arguments, RetentionPreview, repeatable=True)


async def apply(system: Database, workspace_id: UUID, *, seconds: float) -> RetentionProgress:
    """Delete batch after batch until the run is finished or the time ends; the next call goes on."""
    end = time.monotonic() + seconds
    while True:
        arguments = {"workspace_id": workspace_id}
        progress = await system.call("apply_retention", arguments, RetentionProgress)
        if progress.finished or time.monotonic() > end:
            return progress
