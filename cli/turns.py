"""`switchboard turn …`: what went wrong with turns."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.workspaces import turn_errors


@click.group()
def turn() -> None:
    """See what went wrong with turns."""


@turn.command("errors")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--session", "session_id", type=click.UUID, help="Only those of a session.")
@click.option("--persona", "persona_id", type=click.UUID, help="Only those of a persona.")
@click.option("--limit", type=int, help="Most errors, 50 by default; the newest first.")
@click.option("--cursor", help="The next_cursor of the JSON output before.")
@options.as_json
def list_turn_errors(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """List what went wrong with a workspace's turns, in the words of its personas' servers.

    \b
    switchboard turn errors WORKSPACE --persona PERSONA
    """
    request = running.model(turn_errors.TurnErrorsRequest, values)
    page = running.run(lambda database: turn_errors.list_newest(database.queries, workspace_id, request))
    if as_json:
        output.one(page, as_json=True)
        return
    output.several(page.items, ("created_at", "session_id", "id", "code", "detail"), as_json=False)
