"""`switchboard …`: the commands with which operators set workspaces up and look contacts up."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import click

from cli import output, people, presets, running
from cli.output import as_json
from lib.database.management import Database
from lib.database.paging import PageRequest
from lib.workspaces import members, personas, spaces, workspaces
from lib.workspaces.secrets import Rotation

Command = TypeVar("Command", bound=Callable[..., Any])

overlap = click.option(
    "--overlap-seconds", type=int, help="How long older secrets stay accepted: 0 to 604800, 3600 unless set."
)
enabled = click.option("--enable/--disable", "enabled", default=None, help="Whether it answers.")


def _options(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Set workspaces up: members, spaces, personas, their secrets, session templates, steps; and find contacts.

    Works on the project of SUPABASE_URL (or SUPABASE_REST_URL) with SUPABASE_SERVICE_ROLE_KEY; where neither is set, on
    the local backend that `make up` started.

    \b
    Example, from nothing to a chat:
      switchboard workspace create "Example Travel" --owner-email owner@example.com
      switchboard persona create WORKSPACE demo "Concierge"
      switchboard space create WORKSPACE "Website" --persona PERSONA --origin https://www.example.com
    """


# Workspaces -----------------------------------------------------------------------------------------------------------


@main.group()
def workspace() -> None:
    """Make, show, change and delete workspaces."""


workspace_settings = _options(
    click.option("--archive-after-days", type=int, help="Finished sessions are archived after so many days."),
    click.option(
        "--archive-status", "archive_statuses", multiple=True, help="A terminal state to archive; repeatable."
    ),
    click.option("--no-archive-statuses", is_flag=True, help="No session is archived."),
    click.option("--session-timeout-hours", type=int, help="Idle sessions time out after so many hours; 0: never."),
    click.option("--messages-per-minute-by-contact", type=int, help="What one contact may send."),
    click.option("--messages-per-minute-by-user", type=int, help="What one user may send."),
    click.option("--messages-per-minute-by-space", type=int, help="What one space takes."),
    click.option("--messages-per-minute-by-address", type=int, help="What one network address may send."),
)


@workspace.command("create")
@click.argument("name")
@click.option("--owner-email", help="The first owner: a user who has confirmed this email.")
@click.option("--owner-id", type=click.UUID, help="The same by id.")
@click.option("--id", type=click.UUID, help="An id of your choice, so that repeating the command makes nothing twice.")
@workspace_settings
@as_json
def create_workspace(as_json: bool, **values: Any) -> None:
    """Make a workspace with its first owner.

    \b
    switchboard workspace create "Example Travel" --owner-email owner@example.com
    """
    if values["owner_email"] is None and values["owner_id"] is None:
        raise click.UsageError("Name the first owner: --owner-email or --owner-id.")
    new = running.model(workspaces.NewWorkspace, values)
    output.made(running.run(lambda database: workspaces.create(database, new)), new, as_json=as_json)


@workspace.command("list")
@as_json
def list_workspaces(as_json: bool) -> None:
    """Every workspace.

    \b
    switchboard workspace list
    """
    found = running.run(
        lambda database: running.every(lambda paging: workspaces.list_all(database, paging)),
    )
    output.several(found, ("id", "name", "created_at"), as_json=as_json)


@workspace.command("show")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@as_json
def show_workspace(workspace_id: UUID, as_json: bool) -> None:
    """A workspace's settings.

    \b
    switchboard workspace show WORKSPACE --json
    """
    output.one(running.run(lambda database: workspaces.read(database, workspace_id)), as_json=as_json)


@workspace.command("update")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--name")
@click.option(
    "--instance-session-timeout", "no_session_timeout_hours", is_flag=True, help="They time out as the instance says."
)
@workspace_settings
@as_json
def update_workspace(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Change the settings that are given.

    \b
    switchboard workspace update WORKSPACE --archive-after-days 30
    """
    changes = running.model(workspaces.WorkspaceChanges, values)
    output.one(running.run(lambda database: workspaces.change(database, workspace_id, changes)), as_json=as_json)


@workspace.command("delete")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--name", required=True, help="The workspace's name, as it is written: so that no other one is meant.")
@as_json
def delete_workspace(workspace_id: UUID, name: str, as_json: bool) -> None:
    """Delete a workspace with everything in it: contacts, conversations, secrets, audit. Nothing brings it back.

    \b
    switchboard workspace delete WORKSPACE --name "Example Travel"
    """
    confirmation = running.model(workspaces.DeleteConfirmation, {"name": name})
    running.run(lambda database: workspaces.delete(database, workspace_id, confirmation))
    output.done("Deleted.", as_json=as_json)


# Members --------------------------------------------------------------------------------------------------------------


@main.group()
def member() -> None:
    """Say who works in a workspace."""


@member.command("add")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--email", help="A user who has confirmed this email.")
@click.option("--user-id", type=click.UUID, help="The same by id; gives a member another role too.")
@click.option("--role", type=click.Choice(["owner", "admin", "agent"]), default="agent", show_default=True)
@as_json
def add_member(workspace_id: UUID, email: str | None, user_id: UUID | None, role: str, as_json: bool) -> None:
    """Make a user a member.

    \b
    switchboard member add WORKSPACE --email agent@example.com
    switchboard member add WORKSPACE --user-id USER --role admin
    """
    if (email is None) == (user_id is None):
        raise click.UsageError("Name the user by --email or by --user-id.")
    if user_id is not None:
        grant, known = running.model(members.RoleGrant, {"role": role}), user_id
        made = running.run(lambda database: _grant(database, workspace_id, known, grant))
    else:
        invitation = running.model(members.NewMember, {"email": email, "role": role})
        made = running.run(lambda database: members.add(database, workspace_id, invitation))
    output.one(made, as_json=as_json)


async def _grant(database: Database, workspace_id: UUID, user_id: UUID, grant: members.RoleGrant) -> members.Member:
    """Give a user a role, and show the member as the list does: the answer has no email where it was not asked by."""
    made = await members.put(database, workspace_id, user_id, grant)
    # The list is in the order of ids, and a page begins behind its cursor.
    page = await members.list_all(database, workspace_id, PageRequest(limit=1, cursor=UUID(int=user_id.int - 1)))
    return next((listed for listed in page.items if listed.user_id == user_id), made)


@member.command("remove")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("user_id", metavar="USER", type=click.UUID)
@as_json
def remove_member(workspace_id: UUID, user_id: UUID, as_json: bool) -> None:
    """Take a member out; the last owner stays.

    \b
    switchboard member remove WORKSPACE USER
    """
    running.run(lambda database: members.remove(database, workspace_id, user_id))
    output.done("Removed.", as_json=as_json)


@member.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@as_json
def list_members(workspace_id: UUID, as_json: bool) -> None:
    """A workspace's members.

    \b
    switchboard member list WORKSPACE
    """
    found = running.run(
        lambda database: running.every(lambda paging: members.list_all(database, workspace_id, paging)),
    )
    output.several(found, ("user_id", "role", "email"), as_json=as_json)


# Spaces ---------------------------------------------------------------------------------------------------------------


@main.group()
def space() -> None:
    """Make, change and delete spaces, where contacts arrive."""


space_settings = _options(
    click.option("--origin", "allowed_origins", multiple=True, help="Whose pages may call; repeatable, * for any."),
    click.option("--arrivals-per-minute", type=int, help="Registrations and first messages that it takes."),
    click.option("--arrivals-per-minute-by-address", type=int, help="The same from one network address."),
    enabled,
)


@space.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("name")
@click.option("--persona", "persona_id", type=click.UUID, required=True, help="Who answers there.")
@click.option("--kind", type=click.Choice(["embed", "landing"]), default="embed", show_default=True)
@click.option("--id", type=click.UUID, help="An id of your choice, so that repeating the command makes nothing twice.")
@space_settings
@as_json
def create_space(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Add a space to a workspace.

    \b
    switchboard space create WORKSPACE "Website" --persona PERSONA --origin https://www.example.com
    """
    new = running.model(spaces.NewSpace, values)
    output.made(running.run(lambda database: spaces.create(database, workspace_id, new)), new, as_json=as_json)


@space.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@as_json
def list_spaces(workspace_id: UUID, as_json: bool) -> None:
    """A workspace's spaces.

    \b
    switchboard space list WORKSPACE
    """
    found = running.run(
        lambda database: running.every(lambda paging: spaces.list_all(database, workspace_id, paging)),
    )
    output.several(found, ("id", "kind", "name", "persona_id", "enabled", "has_hmac_secret"), as_json=as_json)


@space.command("update")
@click.argument("space_id", metavar="SPACE", type=click.UUID)
@click.option("--name")
@click.option("--persona", "persona_id", type=click.UUID, help="Who answers there.")
@click.option("--no-origins", "no_allowed_origins", is_flag=True, help="No page may call any more.")
@space_settings
@as_json
def update_space(space_id: UUID, as_json: bool, **values: Any) -> None:
    """Change the settings that are given. Origins are replaced as a whole.

    \b
    switchboard space update SPACE --origin https://www.example.com --origin https://shop.example.com
    """
    changes = running.model(spaces.SpaceChanges, values)
    output.one(running.run(lambda database: spaces.change(database, space_id, changes)), as_json=as_json)


@space.command("delete")
@click.argument("space_id", metavar="SPACE", type=click.UUID)
@as_json
def delete_space(space_id: UUID, as_json: bool) -> None:
    """Delete a space where no session is active or paused. What was said there stays.

    \b
    switchboard space delete SPACE
    """
    running.run(lambda database: spaces.delete(database, space_id))
    output.done("Deleted.", as_json=as_json)


@space.command("rotate-hmac-secret")
@click.argument("space_id", metavar="SPACE", type=click.UUID)
@overlap
@click.option("--remove", is_flag=True, help="Believe no signature any more.")
@as_json
def rotate_hmac_secret(space_id: UUID, overlap_seconds: int | None, remove: bool, as_json: bool) -> None:
    """Make the secret under which emails are signed anew, and print it this once.

    \b
    switchboard space rotate-hmac-secret SPACE --overlap-seconds 86400
    """
    if remove and overlap_seconds is not None:
        raise click.UsageError("Either --overlap-seconds or --remove.")
    if remove:
        running.run(lambda database: spaces.remove_hmac_secret(database, space_id))
        output.done("Removed.", as_json=as_json)
        return
    rotation = running.model(Rotation, {"overlap_seconds": overlap_seconds})
    output.one(running.run(lambda database: spaces.rotate_hmac_secret(database, space_id, rotation)), as_json=as_json)


# Personas -------------------------------------------------------------------------------------------------------------


@main.group()
def persona() -> None:
    """Make, change and delete personas, who answer."""


persona_settings = _options(
    running.json_option("--config", "The kind's settings"),
    click.option("--session-policy", type=click.Choice(["per_conversation", "per_message"])),
    click.option("--turn-policy", type=click.Choice(["refuse", "interrupt"]), help="A message during an answer."),
    click.option("--history-limit", type=int, help="How many earlier messages it is given."),
    click.option("--time-limit-seconds", type=int, help="How long one turn may take."),
    click.option("--breaker-failures", type=int, help="Failures that open its circuit breaker; 0: never."),
    click.option("--breaker-seconds", type=int, help="How long the breaker stays open."),
    enabled,
)  # fmt: skip


@persona.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("kind")
@click.argument("name")
@click.option("--id", type=click.UUID, help="An id of your choice, so that repeating the command makes nothing twice.")
@persona_settings
@as_json
def create_persona(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Add a persona to a workspace. docs/personas.md has the kinds and their settings.

    \b
    switchboard persona create WORKSPACE n8n "Concierge" --config concierge.json
    """
    new = running.model(personas.NewPersona, values)
    output.made(running.run(lambda database: personas.create(database, workspace_id, new)), new, as_json=as_json)


@persona.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@as_json
def list_personas(workspace_id: UUID, as_json: bool) -> None:
    """A workspace's personas.

    \b
    switchboard persona list WORKSPACE
    """
    found = running.run(
        lambda database: running.every(lambda paging: personas.list_all(database, workspace_id, paging)),
    )
    columns = ("id", "kind", "name", "enabled", "has_secret", "has_callback_secret", "breaker.state")
    output.several(found, columns, as_json=as_json)


@persona.command("update")
@click.argument("persona_id", metavar="PERSONA", type=click.UUID)
@click.option("--name")
@persona_settings
@as_json
def update_persona(persona_id: UUID, as_json: bool, **values: Any) -> None:
    """Change the settings that are given. The config is replaced as a whole.

    \b
    switchboard persona update PERSONA --time-limit-seconds 60 --turn-policy interrupt
    """
    changes = running.model(personas.PersonaChanges, values)
    changed = running.run(lambda database: personas.change(database, database, persona_id, changes))
    output.one(changed, as_json=as_json)


@persona.command("delete")
@click.argument("persona_id", metavar="PERSONA", type=click.UUID)
@as_json
def delete_persona(persona_id: UUID, as_json: bool) -> None:
    """Delete a persona that no space names and that never had a conversation.

    \b
    switchboard persona delete PERSONA
    """
    running.run(lambda database: personas.delete(database, persona_id))
    output.done("Deleted.", as_json=as_json)


@persona.command("set-secret")
@click.argument("persona_id", metavar="PERSONA", type=click.UUID)
@click.option("--remove", is_flag=True, help="Send no secret any more.")
@as_json
def set_persona_secret(persona_id: UUID, remove: bool, as_json: bool) -> None:
    """Keep what the persona sends with its calls; read from standard input, or asked for.

    \b
    switchboard persona set-secret PERSONA < secret.txt
    """
    if remove:
        running.run(lambda database: personas.remove_secret(database, persona_id))
        output.done("Removed.", as_json=as_json)
        return
    given = running.secret()
    running.run(lambda database: personas.set_secret(database, persona_id, given))
    output.done("Kept.", as_json=as_json)


@persona.command("rotate-callback-secret")
@click.argument("persona_id", metavar="PERSONA", type=click.UUID)
@overlap
@click.option("--remove", is_flag=True, help="Take no asynchronous answer any more.")
@as_json
def rotate_callback_secret(persona_id: UUID, overlap_seconds: int | None, remove: bool, as_json: bool) -> None:
    """Make the secret of asynchronous answers anew, and print it this once.

    \b
    switchboard persona rotate-callback-secret PERSONA --overlap-seconds 86400
    """
    if remove and overlap_seconds is not None:
        raise click.UsageError("Either --overlap-seconds or --remove.")
    if remove:
        running.run(lambda database: personas.remove_callback_secret(database, persona_id))
        output.done("Removed.", as_json=as_json)
        return
    rotation = running.model(Rotation, {"overlap_seconds": overlap_seconds})
    made = running.run(lambda database: personas.rotate_callback_secret(database, persona_id, rotation))
    output.one(made, as_json=as_json)


main.add_command(people.contact)
main.add_command(presets.template)
main.add_command(presets.transition)


if __name__ == "__main__":
    main(prog_name="switchboard")
