"""`switchboard space …`: the places where contacts arrive."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.workspaces import spaces
from lib.workspaces.secrets import Rotation


@click.group()
def space() -> None:
    """Create, update and delete spaces, where contacts arrive."""


space_settings = options.group(
    click.option(
        "--origin", "allowed_origins", multiple=True, help="An origin whose pages may call; repeatable, * for any."
    ),
    click.option(
        "--identity",
        type=click.Choice(["any", "token"]),
        help="Proofs that your server makes: HMACs and identity tokens, or identity tokens only.",
    ),
    click.option("--arrivals-per-minute", type=int, help="Most registrations and first messages."),
    click.option("--arrivals-per-minute-by-address", type=int, help="Most from one network address."),
    running.json_option("--look", "Words and quick replies of the embedded chat"),
    options.enabled,
)


@space.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("name")
@click.option("--persona", "persona_id", type=click.UUID, required=True, help="The persona that answers there.")
@click.option("--kind", type=click.Choice(["embed", "landing"]), default="embed", show_default=True)
@options.new_id
@space_settings
@options.as_json
def create_space(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Add a space to a workspace.

    \b
    switchboard space create WORKSPACE "Website" --persona PERSONA --origin https://www.example.com
    """
    new = running.model(spaces.NewSpace, values)
    output.made(running.run(lambda database: spaces.create(database, workspace_id, new)), new, as_json=as_json)


@space.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_spaces(workspace_id: UUID, as_json: bool) -> None:
    """List a workspace's spaces.

    \b
    switchboard space list WORKSPACE
    """
    found = running.every(lambda queries, paging: spaces.list_all(queries, workspace_id, paging))
    output.several(found, ("id", "kind", "name", "persona_id", "enabled", "has_hmac_secret"), as_json=as_json)


@space.command("update")
@click.argument("space_id", metavar="SPACE", type=click.UUID)
@click.option("--name")
@click.option("--persona", "persona_id", type=click.UUID, help="The persona that answers there.")
@click.option("--no-origins", "no_allowed_origins", is_flag=True, help="Remove all origins: no page may call.")
@space_settings
@options.as_json
def update_space(space_id: UUID, as_json: bool, **values: Any) -> None:
    """Change the given settings. Origins and the look are replaced as a whole.

    \b
    switchboard space update SPACE --origin https://www.example.com --origin https://shop.example.com
    """
    changes = running.model(spaces.SpaceChanges, values)
    output.one(running.run(lambda database: spaces.change(database, space_id, changes)), as_json=as_json)


@space.command("delete")
@click.argument("space_id", metavar="SPACE", type=click.UUID)
@options.as_json
def delete_space(space_id: UUID, as_json: bool) -> None:
    """Delete a space without active or paused sessions. Its conversations and messages stay.

    \b
    switchboard space delete SPACE
    """
    running.run(lambda database: spaces.delete(database, space_id))
    output.done("Deleted.", as_json=as_json)


@space.command("rotate-hmac-secret")
@click.argument("space_id", metavar="SPACE", type=click.UUID)
@options.overlap
@click.option("--remove", is_flag=True, help="Remove the secret: no signature is valid.")
@options.as_json
def rotate_hmac_secret(space_id: UUID, overlap_seconds: int | None, remove: bool, as_json: bool) -> None:
    """Create a new secret for identity tokens and HMACs of emails, and print it once.

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
