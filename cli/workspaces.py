"""`switchboard workspace …`: create, show, update and delete workspaces."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.workspaces import workspaces


@click.group()
def workspace() -> None:
    """Create, show, update and delete workspaces."""


workspace_settings = options.group(
    click.option("--archive-after-days", type=int, help="Days until finished sessions are archived."),
    click.option(
        "--archive-status", "archive_statuses", multiple=True, help="A terminal state to archive; repeatable."
    ),
    click.option("--no-archive-statuses", is_flag=True, help="No session is archived."),
    click.option(
        "--archive-retention",
        type=click.Choice(["keep", "drop"]),
        help="Whether the messages of archived sessions stay in the database, too.",
    ),
    click.option("--session-timeout-hours", type=int, help="Hours until idle sessions time out; 0: never."),
    click.option("--messages-per-minute-by-contact", type=int, help="Most messages of one contact."),
    click.option("--messages-per-minute-by-user", type=int, help="Most messages of one user."),
    click.option("--messages-per-minute-by-space", type=int, help="Most messages in one space."),
    click.option("--messages-per-minute-by-address", type=int, help="Most messages from one network address."),
)


@workspace.command("create")
@click.argument("name")
@click.option("--owner-email", help="The first owner: a user who has confirmed this email.")
@options.create_user
@click.option("--owner-id", type=click.UUID, help="The first owner, by id.")
@options.new_id
@workspace_settings
@options.as_json
def create_workspace(create_user: bool, as_json: bool, **values: Any) -> None:
    """Create a workspace with its first owner.

    \b
    switchboard workspace create "Example Travel" --owner-email owner@example.com --create-user
    """
    if values["owner_email"] is None and values["owner_id"] is None:
        raise click.UsageError("Name the first owner: --owner-email or --owner-id.")
    if create_user and values["owner_email"] is None:
        raise click.UsageError("--create-user needs --owner-email.")
    new = running.model(workspaces.NewWorkspace, values)
    new_user = values["owner_email"] if create_user else None
    made = running.run(lambda database: workspaces.create(database, new), new_user=new_user)
    output.made(made, new, as_json=as_json)


@workspace.command("list")
@options.as_json
def list_workspaces(as_json: bool) -> None:
    """List all workspaces.

    \b
    switchboard workspace list
    """
    found = running.every(workspaces.list_all)
    output.several(found, ("id", "name", "created_at"), as_json=as_json)


@workspace.command("show")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def show_workspace(workspace_id: UUID, as_json: bool) -> None:
    """Show a workspace's settings.

    \b
    switchboard workspace show WORKSPACE --json
    """
    output.one(running.run(lambda database: workspaces.read(database.queries, workspace_id)), as_json=as_json)


@workspace.command("update")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--name")
@click.option(
    "--instance-session-timeout", "no_session_timeout_hours", is_flag=True, help="Use the instance's session timeout."
)
@workspace_settings
@options.as_json
def update_workspace(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Change the given settings.

    \b
    switchboard workspace update WORKSPACE --archive-after-days 30
    """
    changes = running.model(workspaces.WorkspaceChanges, values)
    output.one(running.run(lambda database: workspaces.change(database, workspace_id, changes)), as_json=as_json)


@workspace.command("allow-networks")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--network", "allowed_networks", multiple=True, help="A network such as 10.1.0.0/16; repeatable.")
@click.option("--no-networks", "no_allowed_networks", is_flag=True, help="Only public addresses may be called.")
@options.as_json
def allow_networks(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Set the private networks that the workspace's personas may call; others are removed.

    \b
    switchboard workspace allow-networks WORKSPACE --network 10.1.0.0/16
    """
    networks = running.model(workspaces.AllowedNetworks, values)
    changed = running.run(lambda database: workspaces.set_allowed_networks(database, workspace_id, networks))
    output.one(changed, as_json=as_json)


@workspace.command("delete")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--name", required=True, help="The workspace's exact name, as confirmation.")
@options.as_json
def delete_workspace(workspace_id: UUID, name: str, as_json: bool) -> None:
    """Delete a workspace with everything in it: contacts, conversations, secrets, audit. This cannot be undone.

    \b
    switchboard workspace delete WORKSPACE --name "Example Travel"
    """
    confirmation = running.model(workspaces.DeleteConfirmation, {"name": name})
    running.run(lambda database: workspaces.delete(database, workspace_id, confirmation))
    output.done("Deleted.", as_json=as_json)
