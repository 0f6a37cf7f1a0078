"""`switchboard workspace retention`: for how long a workspace keeps what."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from cli.workspaces import workspace
from lib.workspaces import retention


@workspace.command("retention")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--messages-days", type=int, help="Messages of sessions that ended so long ago.")
@click.option("--no-messages-days", is_flag=True, help="For good, as with the others.")
@click.option("--raw-events-days", type=int, help="Webhook deliveries and ended jobs; at least 7.")
@click.option("--no-raw-events-days", is_flag=True)
@click.option("--events-days", type=int, help="Events for subscriptions.")
@click.option("--no-events-days", is_flag=True)
@click.option("--audit-days", type=int, help="Audit events.")
@click.option("--no-audit-days", is_flag=True)
@click.option("--addresses-days", type=int, help="Addresses and user agents of sessions that ended so long ago.")
@click.option("--no-addresses-days", is_flag=True)
@click.option("--memory-history-days", type=int, help="Former versions of memories.")
@click.option("--no-memory-history-days", is_flag=True)
@click.option("--preview", is_flag=True, help="Only show what would be deleted now.")
@options.as_json
def set_retention(workspace_id: UUID, preview: bool, as_json: bool, **values: Any) -> None:
    """Show for how many days a workspace keeps what, or change the given ones.

    \b
    switchboard workspace retention WORKSPACE --messages-days 365 --preview
    """
    given = running.model(retention.RetentionSettings, values)
    if preview:
        found = running.run(lambda database: retention.preview(database, workspace_id, given))
        output.one(found, as_json=as_json)
        return
    if not given.model_fields_set:
        output.one(running.run(lambda database: retention.read(database, workspace_id)), as_json=as_json)
        return
    output.one(running.run(lambda database: retention.change(database, workspace_id, given)), as_json=as_json)
