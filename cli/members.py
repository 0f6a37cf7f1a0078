"""`switchboard member …`: the users of a workspace and their roles."""

from typing import TYPE_CHECKING
from uuid import UUID

import click

from cli import options, output, running
from lib.workspaces import members

if TYPE_CHECKING:
    from cli.backend import Backend


@click.group()
def member() -> None:
    """Manage the members of a workspace."""


@member.command("add")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--email", help="A user who has confirmed this email.")
@click.option("--user-id", type=click.UUID, help="A user by id; also changes the role of a member.")
@click.option("--role", type=click.Choice(["owner", "admin", "agent"]), default="agent", show_default=True)
@options.create_user
@options.as_json
def add_member(
    workspace_id: UUID, email: str | None, user_id: UUID | None, role: str, create_user: bool, as_json: bool
) -> None:
    """Make a user a member.

    \b
    switchboard member add WORKSPACE --email agent@example.com
    switchboard member add WORKSPACE --user-id USER --role admin
    """
    if (email is None) == (user_id is None):
        raise click.UsageError("Name the user by --email or by --user-id.")
    if create_user and email is None:
        raise click.UsageError("--create-user needs --email.")
    if user_id is not None:
        grant, known = running.model(members.RoleGrant, {"role": role}), user_id
        made = running.run(lambda database: _grant(database, workspace_id, known, grant))
    else:
        invitation = running.model(members.NewMember, {"email": email, "role": role})
        new_user = email if create_user else None
        made = running.run(lambda database: members.add(database, workspace_id, invitation), new_user=new_user)
    output.one(made, as_json=as_json)


async def _grant(backend: "Backend", workspace_id: UUID, user_id: UUID, grant: members.RoleGrant) -> members.Member:
    """Grant a role, and read the member with the email."""
    await members.put(backend, workspace_id, user_id, grant)
    return await members.read(backend.queries, workspace_id, user_id)


@member.command("remove")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("user_id", metavar="USER", type=click.UUID)
@options.as_json
def remove_member(workspace_id: UUID, user_id: UUID, as_json: bool) -> None:
    """Remove a member; the last owner cannot be removed.

    \b
    switchboard member remove WORKSPACE USER
    """
    running.run(lambda database: members.remove(database, workspace_id, user_id))
    output.done("Removed.", as_json=as_json)


@member.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_members(workspace_id: UUID, as_json: bool) -> None:
    """List a workspace's members.

    \b
    switchboard member list WORKSPACE
    """
    found = running.every(lambda queries, paging: members.list_all(queries, workspace_id, paging))
    output.several(found, ("user_id", "role", "email"), as_json=as_json)
