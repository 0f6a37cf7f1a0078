"""Jobs as admins see them: listed, inspected, replayed and discarded."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from lib.database.management import Database
from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields.models import Record
from lib.workspaces import settings

JobStatus = Literal["queued", "running", "succeeded", "dead", "discarded"]


class JobsRequest(NewestPageRequest):
    """Which jobs are requested. ``stuck``: those not done 15 minutes after they were created."""

    workspace_id: UUID | None = None
    status: JobStatus | None = None
    kind: str | None = None
    stuck: bool | None = None


class Job(Record):
    """A job. ``attempts`` are those that count towards ``max_attempts``; ``waits_for`` is the first job of the same
    ``ordering_key`` that must end before this one begins."""

    id: UUID
    workspace_id: UUID
    kind: str
    status: JobStatus
    stuck: bool
    ordering_key: str | None
    waits_for: UUID | None
    attempts: int
    max_attempts: int
    next_attempt_at: datetime | None
    last_error: str | None
    created_at: datetime
    finished_at: datetime | None


class InboundEvent(Record):
    """A webhook delivery as it came. ``headers`` are those that hold no secret."""

    id: UUID
    source: str
    delivery_key: str
    headers: Mapping[str, str]
    raw_body: str
    received_at: datetime


class JobDetail(Job):
    """A job with its payload and the delivery that it is about."""

    payload: Mapping[str, Any]
    event: InboundEvent | None


class JobState(Record):
    """A job after a change; ``next_attempt_at`` while it is queued."""

    status: JobStatus
    next_attempt_at: datetime | None


async def list_newest(queries: Queries, request: JobsRequest) -> Page[Job]:
    """A page of a workspace's jobs, the newest first; none for agents.

    Raises NotFound (workspace_not_found) and Refused (workspace_required).
    """
    workspace_id = await settings.named_or_only_workspace(queries, request.workspace_id)
    query = queries.table("job_details").select(",".join(Job.model_fields)).eq("workspace_id", workspace_id)
    for name in ("status", "kind", "stuck"):
        if (value := getattr(request, name)) is not None:
            query = query.eq(name, value)
    page = await queries.newest(query, Job, request)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page


async def read(queries: Queries, job_id: UUID) -> JobDetail:
    """A job. Raises NotFound (job_not_found), also for agents."""
    event = f"event:inbound_events({','.join(InboundEvent.model_fields)})"
    return await queries.one(queries.table("job_details").select(f"*,{event}").eq("id", job_id), JobDetail, "job")


async def replay(database: Database, job_id: UUID) -> JobState:
    """Have a dead, discarded or waiting job tried now, with all of its attempts.

    Raises Refused (job_not_found, forbidden, transition_not_allowed: it runs or has succeeded).
    """
    return await database.call("replay_job", {"job_id": job_id}, JobState, repeatable=True)


async def discard(database: Database, job_id: UUID) -> JobState:
    """Set a dead or waiting job aside; the jobs behind it go on. Raises as replay."""
    return await database.call("discard_job", {"job_id": job_id}, JobState, repeatable=True)
