"""`switchboard persona …`: the responders of a workspace and their secrets."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.workspaces import personas
from lib.workspaces.secrets import Rotation


@click.group()
def persona() -> None:
    """Create, update and delete personas, the responders."""


persona_settings = options.group(
    running.json_option("--config", "The settings of the kind"),
    click.option("--session-policy", type=click.Choice(["per_conversation", "per_message"])),
    click.option(
        "--turn-policy", type=click.Choice(["refuse", "interrupt"]), help="Effect of a message during an answer."
    ),
    click.option("--history-limit", type=int, help="Most earlier messages that it receives."),
    click.option("--time-limit-seconds", type=int, help="Longest time of one turn."),
    click.option("--breaker-failures", type=int, help="Failures that open its circuit breaker; 0: never."),
    click.option("--breaker-seconds", type=int, help="How long the breaker stays open."),
    running.image_option("--picture", "What visitors see beside the name"),
    click.option(
        "--fallback", "fallback_persona_id", type=click.UUID, help="The persona that answers if this one cannot."
    ),
    click.option("--collect-seconds", type=int, help="How long to wait for more messages; 0 to 30."),
    click.option("--memory-model", type=click.Choice(["per_contact", "shared"]), help="What contacts recall."),
    click.option("--recall-limit", type=int, help="Most memories that it receives; 0: memory is off."),
    click.option("--remember-turns/--no-remember-turns", default=None, help="Whether turns are remembered unchanged."),
    options.enabled,
)  # fmt: skip


@persona.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("kind")
@click.argument("name")
@options.new_id
@persona_settings
@options.as_json
def create_persona(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Add a persona to a workspace. docs/personas.md has the kinds and their settings.

    \b
    switchboard persona create WORKSPACE n8n "Concierge" --config concierge.json
    """
    new = running.model(personas.NewPersona, values)
    output.made(running.run(lambda database: personas.create(database, workspace_id, new)), new, as_json=as_json)


@persona.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_personas(workspace_id: UUID, as_json: bool) -> None:
    """List a workspace's personas.

    \b
    switchboard persona list WORKSPACE
    """
    found = running.every(lambda queries, paging: personas.list_all(queries, workspace_id, paging))
    columns = ("id", "kind", "name", "enabled", "has_secret", "has_callback_secret", "breaker.state")
    output.several(found, columns, as_json=as_json)


@persona.command("update")
@click.argument("persona_id", metavar="PERSONA", type=click.UUID)
@click.option("--name")
@click.option("--no-picture", "no_picture", is_flag=True, help="Remove the picture.")
@click.option("--no-fallback", "no_fallback_persona_id", is_flag=True, help="No fallback.")
@persona_settings
@options.as_json
def update_persona(persona_id: UUID, as_json: bool, **values: Any) -> None:
    """Change the given settings. The config is replaced as a whole.

    \b
    switchboard persona update PERSONA --time-limit-seconds 60 --turn-policy interrupt
    """
    changes = running.model(personas.PersonaChanges, values)
    changed = running.run(lambda database: personas.change(database.queries, database, persona_id, changes))
    output.one(changed, as_json=as_json)


@persona.command("delete")
@click.argument("persona_id", metavar="PERSONA", type=click.UUID)
@options.as_json
def delete_persona(persona_id: UUID, as_json: bool) -> None:
    """Delete a persona that no space or template names and that never had a conversation.

    \b
    switchboard persona delete PERSONA
    """
    running.run(lambda database: personas.delete(database, persona_id))
    output.done("Deleted.", as_json=as_json)


@persona.command("set-secret")
@click.argument("persona_id", metavar="PERSONA", type=click.UUID)
@click.option("--remove", is_flag=True, help="Remove the secret.")
@options.as_json
def set_persona_secret(persona_id: UUID, remove: bool, as_json: bool) -> None:
    """Set the secret that the persona sends with its calls, read from standard input or a prompt.

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
@options.overlap
@click.option("--remove", is_flag=True, help="Remove the secret: no asynchronous answer is accepted.")
@options.as_json
def rotate_callback_secret(persona_id: UUID, overlap_seconds: int | None, remove: bool, as_json: bool) -> None:
    """Create a new secret for asynchronous answers, and print it once.

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
