"""`switchboard channel …`: the places where providers' deliveries arrive, and their secrets."""

from typing import Any, TextIO
from uuid import UUID

import click

from cli import api, options, output, running
from cli.target import ApiTarget
from lib.channels import connecting
from lib.channels.connecting import TestOutcome
from lib.workspaces import channels
from lib.workspaces.secrets import Rotation


@click.group()
def channel() -> None:
    """Create, update and delete channels, where providers' deliveries arrive."""


channel_settings = options.group(
    click.option("--persona", "persona_id", type=click.UUID, help="The persona that answers there."),
    click.option("--external-id", help="The provider's id: a bot's, a phone number's, an application's."),
    running.json_option("--config", "The settings of the kind"),
    options.enabled,
)


@channel.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("kind", type=click.Choice(["telegram", "whatsapp", "discord", "omi", "avinode", "standard"]))
@click.argument("name")
@options.new_id
@channel_settings
@options.as_json
def create_channel(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Add a channel to a workspace. docs/webhooks.md has the kinds and their settings.

    \b
    switchboard channel create WORKSPACE telegram "Concierge bot" --persona PERSONA
    """
    new = running.model(channels.NewChannel, values)
    output.made(running.run(lambda database: channels.create(database, workspace_id, new)), new, as_json=as_json)


@channel.command("connect")
@click.argument("kind", type=click.Choice(["telegram", "whatsapp", "discord"]))
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--persona", "persona_id", type=click.UUID, required=True, help="The persona that answers.")
@click.option("--token-file", "token", type=click.File("r"), required=True, help="The API's token: a file, or -.")
@click.option("--url", envvar="SWITCHBOARD_PUBLIC_URL", required=True, help="The functions' public address.")
@click.option("--external-id", help="WhatsApp: the phone number's id.")
@click.option("--app-secret-file", "app_secret", type=click.File("r"), help="WhatsApp: the app's secret: a file.")
@click.option("--account", "account_id", help="WhatsApp: the business account's id, to subscribe the app to it.")
@click.option("--chat", "chat_id", help="A chat that gets a test message.")
@click.option("--api-base", help="Another address of the provider's API.")
@options.as_json
def connect_channel(workspace_id: UUID, as_json: bool, token: TextIO, app_secret: TextIO | None, **values: Any) -> None:
    """Connect a bot, a phone number or an application: store its token, and have its provider deliver here. Repeatable.

    \b
    switchboard channel connect telegram WORKSPACE --persona PERSONA --token-file - --url https://api.example.com
    """
    secrets = {"token": token.read().strip(), "app_secret": app_secret and app_secret.read().strip()}
    asked = running.model(connecting.NewConnection, values | secrets)
    connected = running.run(lambda database: connecting.set_up(database, database.queries, workspace_id, asked))
    output.one(connected, as_json=as_json)
    if connected.verify_token is not None:
        click.echo("Enter webhook_url and verify_token in Meta's dashboard: WhatsApp, Configuration.", err=True)


@channel.command("test")
@click.argument("channel_id", metavar="CHANNEL", type=click.UUID)
@click.option("--to", required=True, help="A chat's id, WhatsApp: a number, Discord: a channel's id.")
@api.over_http
@options.as_json
def test_channel(channel_id: UUID, to: str, functions: ApiTarget, as_json: bool) -> None:
    """Send a test message through a channel, by the HTTP API, and print what the provider says.

    \b
    switchboard channel test CHANNEL --to 42
    """
    path = f"/channels/{channel_id}/test"
    outcome = TestOutcome.model_validate(api.run(functions, lambda http: http.ask("POST", path, {"to": to})))
    output.one(outcome, as_json=as_json)
    click.get_current_context().exit(0 if outcome.outcome == "sent" else 1)


@channel.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_channels(workspace_id: UUID, as_json: bool) -> None:
    """List a workspace's channels.

    \b
    switchboard channel list WORKSPACE
    """
    found = running.every(lambda queries, paging: channels.list_all(queries, workspace_id, paging))
    columns = ("id", "kind", "name", "external_id", "persona_id", "enabled", "has_verify_secret", "has_token")
    output.several(found, columns, as_json=as_json)


@channel.command("show")
@click.argument("channel_id", metavar="CHANNEL", type=click.UUID)
@options.as_json
def show_channel(channel_id: UUID, as_json: bool) -> None:
    """Show a channel.

    \b
    switchboard channel show CHANNEL
    """
    output.one(running.run(lambda database: channels.read(database.queries, channel_id)), as_json=as_json)


@channel.command("update")
@click.argument("channel_id", metavar="CHANNEL", type=click.UUID)
@click.option("--name")
@click.option("--no-persona", "no_persona_id", is_flag=True, help="No persona answers there.")
@click.option("--no-external-id", "no_external_id", is_flag=True, help="Deliveries need the channel in their URL.")
@channel_settings
@options.as_json
def update_channel(channel_id: UUID, as_json: bool, **values: Any) -> None:
    """Change the given settings. The config is replaced as a whole.

    \b
    switchboard channel update CHANNEL --disable
    """
    changes = running.model(channels.ChannelChanges, values)
    changed = running.run(lambda database: channels.change(database.queries, database, channel_id, changes))
    output.one(changed, as_json=as_json)


@channel.command("delete")
@click.argument("channel_id", metavar="CHANNEL", type=click.UUID)
@options.as_json
def delete_channel(channel_id: UUID, as_json: bool) -> None:
    """Delete a channel and its secrets. What arrived there stays.

    \b
    switchboard channel delete CHANNEL
    """
    running.run(lambda database: channels.delete(database, channel_id))
    output.done("Deleted.", as_json=as_json)


@channel.command("set-verify-secret")
@click.argument("channel_id", metavar="CHANNEL", type=click.UUID)
@options.as_json
def set_verify_secret(channel_id: UUID, as_json: bool) -> None:
    """Set what deliveries are verified with, read from standard input or a prompt: WhatsApp's app secret, Discord's
    public key, a secret of Standard Webhooks. Of WhatsApp, print the verify token for Meta's dashboard once.

    \b
    switchboard channel set-verify-secret CHANNEL < secret.txt
    """
    given = running.secret()
    kept = running.run(lambda database: channels.set_verify_secret(database.queries, database, channel_id, given))
    output.one(kept, as_json=as_json)


@channel.command("rotate-verify-secret")
@click.argument("channel_id", metavar="CHANNEL", type=click.UUID)
@options.overlap
@options.as_json
def rotate_verify_secret(channel_id: UUID, overlap_seconds: int | None, as_json: bool) -> None:
    """Create a new secret that Telegram, Omi, Avinode or a sender of Standard Webhooks must send, and print it once.

    \b
    switchboard channel rotate-verify-secret CHANNEL --overlap-seconds 86400
    """
    rotation = running.model(Rotation, {"overlap_seconds": overlap_seconds})
    made = running.run(lambda database: channels.rotate_verify_secret(database.queries, database, channel_id, rotation))
    output.one(made, as_json=as_json)


@channel.command("set-token")
@click.argument("channel_id", metavar="CHANNEL", type=click.UUID)
@options.as_json
def set_channel_token(channel_id: UUID, as_json: bool) -> None:
    """Set the token that is sent to the provider's API, read from standard input or a prompt.

    \b
    switchboard channel set-token CHANNEL < token.txt
    """
    given = running.secret()
    running.run(lambda database: channels.set_token(database, channel_id, given))
    output.done("Kept.", as_json=as_json)
