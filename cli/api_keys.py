"""`switchboard api-key …`: the credentials of machines."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.workspaces import api_keys


@click.group("api-key")
def api_key() -> None:
    """Manage a workspace's API keys, with which machines call the functions."""


@api_key.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("name")
@click.option("--role", type=click.Choice(["admin", "agent", "ingest"]), default="ingest", show_default=True)
@click.option("--expires-at", help="A time with its offset, or a day; without it the key does not expire.")
@options.as_json
def create_api_key(workspace_id: UUID, as_json: bool, **values: Any) -> None:
    """Create an API key, and print it once. ingest: registers and resolves contacts and sends messages only.

    \b
    switchboard api-key create WORKSPACE "n8n" --role admin --expires-at 2027-12-31
    """
    new = running.model(api_keys.NewApiKey, values)
    output.one(running.run(lambda database: api_keys.create(database, workspace_id, new)), as_json=as_json)


@api_key.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@options.as_json
def list_api_keys(workspace_id: UUID, as_json: bool) -> None:
    """List a workspace's API keys, also revoked ones.

    \b
    switchboard api-key list WORKSPACE
    """
    found = running.every(lambda queries, paging: api_keys.list_all(queries, workspace_id, paging))
    columns = ("id", "prefix", "role", "name", "expires_at", "last_used_at", "revoked_at")
    output.several(found, columns, as_json=as_json)


@api_key.command("revoke")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("key_id", metavar="KEY", type=click.UUID)
@options.as_json
def revoke_api_key(workspace_id: UUID, key_id: UUID, as_json: bool) -> None:
    """Revoke an API key at once.

    \b
    switchboard api-key revoke WORKSPACE KEY
    """
    running.run(lambda database: api_keys.revoke(database, workspace_id, key_id))
    output.done("Revoked.", as_json=as_json)
