"""`switchboard contact erase`, `erasures`, `check-erasure`, `export-erasures`, `replay-erasures`."""

from typing import IO, TYPE_CHECKING
from uuid import UUID

import click

from cli import options, output, running
from cli.contacts import contact
from lib.contacts import erasures
from lib.contacts.erasures import Erasure

if TYPE_CHECKING:
    from cli.backend import Backend


@contact.command("erase")
@click.argument("contact_id", metavar="CONTACT", type=click.UUID)
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.as_json
def erase_contact(contact_id: UUID, yes: bool, as_json: bool) -> None:
    """Erase a contact, and all that was merged with it, everywhere; shows the receipt. This cannot be undone.

    \b
    switchboard contact erase CONTACT --yes
    """
    if not yes:
        click.confirm("Erase the contact for good?", abort=True, err=True)
    output.one(running.run(lambda database: erasures.erase(database, database, contact_id)), as_json=as_json)


@contact.command("erasures")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--status", type=click.Choice(["running", "finished"]))
@click.option("--limit", type=int, help="Most erasures listed, newest first: 1 to 200, 50 by default.")
@options.as_json
def list_erasures(workspace_id: UUID, status: str | None, limit: int | None, as_json: bool) -> None:
    """List the receipts of a workspace's erasures.

    \b
    switchboard contact erasures WORKSPACE
    """
    search = running.model(erasures.ErasureFilter, {"workspace_id": workspace_id, "status": status, "limit": limit})
    page = running.run(lambda database: erasures.find(database.queries, search))
    output.several(page.items, ("id", "contact_id", "created_at", "status", "finished_at"), as_json=as_json)


@contact.command("check-erasure")
@click.argument("erasure_id", metavar="ERASURE", type=click.UUID)
@options.as_json
def check_erasure(erasure_id: UUID, as_json: bool) -> None:
    """Count again what is left of an erased contact.

    \b
    switchboard contact check-erasure ERASURE
    """
    output.one(running.run(lambda database: erasures.check(database, erasure_id)), as_json=as_json)


@contact.command("export-erasures")
@click.argument("file", type=click.File("w"))
@options.as_json
def export_erasures(file: IO[str], as_json: bool) -> None:
    """Write all erasures with their hashed identities to a file (JSON Lines), to be kept beside the backups.

    \b
    switchboard contact export-erasures erasures.jsonl
    """
    kept = running.run(erasures.export)
    file.writelines(erasure.model_dump_json() + "\n" for erasure in kept)
    output.document({"erasures": len(kept)}, as_json=as_json)


@contact.command("replay-erasures")
@click.argument("file", type=click.File("r"))
@options.as_json
def replay_erasures(file: IO[str], as_json: bool) -> None:
    """Erase again, after a backup was restored, what such a file names; shows the receipts.

    \b
    switchboard contact replay-erasures erasures.jsonl
    """
    kept = [erasures.KeptErasure.model_validate_json(line) for line in file if line.strip()]

    async def replay_all(database: "Backend") -> list[Erasure]:
        return [await erasures.replay(database, each) for each in kept]

    output.several(running.run(replay_all), ("id", "contact_id", "created_at", "status"), as_json=as_json)
