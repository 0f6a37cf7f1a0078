"""`switchboard job …`: background work that is stuck or dead."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.jobs import jobs


@click.group()
def job() -> None:
    """List, inspect, replay and discard jobs."""


@job.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--status", help="queued, running, succeeded, dead or discarded.")
@click.option("--kind", help="Such as persona_answer.")
@click.option("--stuck", is_flag=True, default=None, help="Those not done 15 minutes after they were created.")
@click.option("--limit", type=int, help="Most jobs, 50 by default; the newest first.")
@click.option("--cursor", help="The next_cursor of the JSON output before.")
@options.as_json
def list_jobs(as_json: bool, **values: Any) -> None:
    """List a workspace's jobs.

    \b
    switchboard job list WORKSPACE --status dead
    """
    request = running.model(jobs.JobsRequest, values)
    page = running.run(lambda database: jobs.list_newest(database.queries, request))
    if as_json:
        output.one(page, as_json=True)
        return
    output.several(page.items, ("created_at", "id", "kind", "status", "attempts", "last_error"), as_json=False)


@job.command("show")
@click.argument("job_id", metavar="JOB", type=click.UUID)
@options.as_json
def show_job(job_id: UUID, as_json: bool) -> None:
    """Show a job with the delivery that it is about.

    \b
    switchboard job show JOB --json
    """
    output.one(running.run(lambda database: jobs.read(database.queries, job_id)), as_json=as_json)


@job.command("replay")
@click.argument("job_id", metavar="JOB", type=click.UUID)
@options.as_json
def replay_job(job_id: UUID, as_json: bool) -> None:
    """Try a dead, discarded or waiting job again, within a minute.

    \b
    switchboard job replay JOB
    """
    output.one(running.run(lambda database: jobs.replay(database, job_id)), as_json=as_json)


@job.command("discard")
@click.argument("job_id", metavar="JOB", type=click.UUID)
@options.as_json
def discard_job(job_id: UUID, as_json: bool) -> None:
    """Set a dead or waiting job aside; the jobs behind it go on.

    \b
    switchboard job discard JOB
    """
    output.one(running.run(lambda database: jobs.discard(database, job_id)), as_json=as_json)
