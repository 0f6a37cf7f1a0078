"""`switchboard session …`: list, read, cancel, tag and clean up sessions, and count them."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from cli import options, output, running
from lib.contacts import contacts
from lib.database.paging import Page
from lib.sessions import models, session_details, session_lists, sessions, statistics
from lib.workspaces import settings

if TYPE_CHECKING:
    from cli.backend import Backend

CLEANUP_BUDGET_SECONDS = 600.0


@click.group()
def session() -> None:
    """List, read, cancel, tag and clean up sessions, and count them."""


@session.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--status", multiple=True, help="A status; repeatable.")
@click.option("--persona", "persona_id", type=click.UUID)
@click.option("--contact", "contact_id", type=click.UUID)
@click.option("--space", "space_id", type=click.UUID)
@click.option("--tag")
@click.option("--text", help="Words of its messages.")
@click.option("--email", help="The contact's email.")
@click.option("--external-id", help="An id of another system, such as a trip's.")
@click.option("--limit", type=int, help="Most sessions, 50 by default; the newest first.")
@click.option("--cursor", help="The next_cursor of the JSON output before.")
@options.as_json
def list_sessions(workspace_id: UUID, status: tuple[str, ...], as_json: bool, **values: Any) -> None:
    """List a workspace's newest sessions.

    \b
    switchboard session list WORKSPACE --status active --status paused
    """
    search = running.model(models.SessionFilter, {**values, "status": list(status) or None})
    page = running.run(lambda database: _find(database, workspace_id, search))
    if as_json:
        output.one(page, as_json=True)
        return
    columns = ("id", "status", "persona.name", "contact.name", "contact.email", "message_count", "last_activity_at")
    output.several(page.items, columns, as_json=False)


async def _find(backend: "Backend", workspace_id: UUID, search: models.SessionFilter) -> Page[models.Session]:
    """Sessions of a workspace that exists."""
    await settings.require_workspace(backend.queries, workspace_id)
    return await session_lists.find_as_operator(backend.queries, workspace_id, search)


@session.command("show")
@click.argument("session_id", metavar="SESSION", type=click.UUID)
@click.option("--limit", type=int, help="Most messages, 200 by default.")
@click.option("--before", type=click.UUID, help="Messages before this one.")
@options.as_json
def show_session(session_id: UUID, as_json: bool, **values: Any) -> None:
    """Show a session with turns, messages and timeline.

    \b
    switchboard session show SESSION --json
    """
    page = running.model(models.MessagePageRequest, values)
    shown = running.run(lambda database: session_details.read_as_operator(database.queries, session_id, page))
    output.one(shown, as_json=as_json)


@session.command("cancel")
@click.argument("session_id", metavar="SESSION", type=click.UUID)
@click.option("--reason", help="Why; members read it.")
@options.as_json
def cancel_session(session_id: UUID, reason: str | None, as_json: bool) -> None:
    """Cancel a session; an answer under way is stopped and kept as far as it was delivered.

    \b
    switchboard session cancel SESSION --reason "Sent twice"
    """
    given = running.model(models.StatusReason, {"reason": reason})
    cancelled = running.run(lambda database: sessions.cancel_as_operator(database, session_id, given))
    output.one(cancelled, as_json=as_json)


@session.command("tag")
@click.argument("session_id", metavar="SESSION", type=click.UUID)
@click.argument("tag")
@click.option("--remove", is_flag=True, help="Remove the tag instead.")
@options.as_json
def tag_session(session_id: UUID, tag: str, remove: bool, as_json: bool) -> None:
    """Add a tag to a session, or remove one; shows all of its tags.

    \b
    switchboard session tag SESSION urgent
    """
    named, change = running.model(contacts.NamedTag, {"tag": tag}), contacts.remove_tag if remove else contacts.add_tag
    output.one(running.run(lambda database: change(database, "session", session_id, named)), as_json=as_json)


@session.command("cleanup")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--max-age-hours", type=int, help="Idle hours; by default the workspace's session timeout.")
@click.option(
    "--default-hours",
    type=click.IntRange(0),
    envvar="CHAT_SESSION_TIMEOUT_HOURS",
    default=24,
    show_default=True,
    help="For a workspace without a session timeout; 0: never.",
)
@options.as_json
def clean_up(default_hours: int, as_json: bool, **values: Any) -> None:
    """Time out a workspace's idle sessions now.

    \b
    switchboard session cleanup WORKSPACE --max-age-hours 48
    """
    wanted = running.model(models.CleanupRequest, values)
    swept = running.run(
        lambda database: sessions.clean_up_as_operator(
            database, wanted, default_hours=default_hours, budget_seconds=CLEANUP_BUDGET_SECONDS
        )
    )
    output.one(swept, as_json=as_json)


@session.command("stats")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--from", help="The first day, in UTC: 2026-12-01.")
@click.option("--to", help="The last day.")
@click.option("--persona", "persona_id", type=click.UUID)
@click.option("--space", "space_id", type=click.UUID)
@click.option("--channel")
@options.as_json
def show_statistics(as_json: bool, **values: Any) -> None:
    """Count a workspace's sessions, turns and contacts.

    \b
    switchboard session stats WORKSPACE --from 2026-12-01
    """
    question = running.model(statistics.StatisticsQuery, values)
    output.one(running.run(lambda database: _read_statistics(database, question)), as_json=as_json)


async def _read_statistics(backend: "Backend", question: statistics.StatisticsQuery) -> statistics.Statistics:
    """The figures of a workspace that exists."""
    if question.workspace_id is not None:
        await settings.require_workspace(backend.queries, question.workspace_id)
    return await statistics.read_with(backend, question)
