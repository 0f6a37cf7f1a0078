"""`switchboard contact …`: looking contacts up, resolving and merging them, as the functions do."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.contacts import contacts, merges


@click.group()
def contact() -> None:
    """Find contacts by what they are known by."""


@contact.command("resolve")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("identities", metavar="IDENTITY...", nargs=-1, required=True)
@click.option("--create", is_flag=True, help="Make the contact where nobody is known, and add what is missing.")
@click.option("--kind", type=click.Choice(["person", "group"]))
@click.option("--first-name")
@click.option("--last-name")
@click.option("--title", help="What a group is called.")
@click.option("--source")
@running.json_option("--attributes", "What else is known of them")
@click.option(
    "--verified-by", help="What stands behind the identities, a provider for instance; else they are asserted."
)
@click.option("--group", "group_id", type=click.UUID, help="The group that a person is a participant of.")
@click.option("--group-role", help="As what.")
@options.as_json
def resolve_contact(
    workspace_id: UUID, identities: tuple[str, ...], verified_by: str | None, as_json: bool, **values: Any
) -> None:
    """The contact known by platform:id.

    \b
    switchboard contact resolve WORKSPACE telegram:42 --create --verified-by telegram
    """
    written = {name: value for name, value in values.items() if name not in ("create", "kind")}
    for name, value in {**written, "verified_by": verified_by}.items():
        if value is not None and not values["create"]:
            raise click.UsageError(f"{running.spelled(name)} needs --create, without which nothing is written.")
    evidence = {"verified_by": verified_by} if verified_by else None
    named = {"workspace_id": workspace_id, "identities": list(identities), "evidence": evidence}
    asked = running.model(contacts.ResolveRequest, {**values, **named})
    output.one(running.run(lambda database: contacts.resolve(database, asked)).contact, as_json=as_json)


@contact.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--email")
@click.option("--identity", help="platform:id")
@click.option("--space", "space_id", type=click.UUID, help="Who has a conversation there.")
@click.option("--session", "session_id", type=click.UUID, help="Whose session it is.")
@click.option("--has-session/--no-session", "has_session", default=None)
@click.option("--tag")
@click.option("--kind", type=click.Choice(["person", "group"]))
@click.option("--text", help="How a name begins.")
@click.option("--limit", type=int, help="How many at most, the newest first: 1 to 200, 50 unless set.")
@options.as_json
def list_contacts(as_json: bool, **values: Any) -> None:
    """A workspace's newest contacts.

    \b
    switchboard contact list WORKSPACE --tag vip
    """
    if values["session_id"] is not None and values["has_session"] is False:
        raise click.UsageError("Either --session or --no-session.")
    search = running.model(contacts.ContactFilter, values)
    page = running.run(lambda database: contacts.find(database, search))
    columns = ("id", "kind", "first_name", "last_name", "title", "tags", "created_at")
    output.several(page.items, columns, as_json=as_json)


@contact.command("show")
@click.argument("contact_id", metavar="CONTACT", type=click.UUID)
@options.as_json
def show_contact(contact_id: UUID, as_json: bool) -> None:
    """A contact with identities, tags, and participants or groups.

    \b
    switchboard contact show CONTACT --json
    """
    output.one(running.run(lambda database: contacts.read(database, contact_id)), as_json=as_json)


@contact.command("merge")
@click.argument("contact_id", metavar="CONTACT", type=click.UUID)
@click.argument("into", metavar="INTO", type=click.UUID)
@click.option("--preview", is_flag=True, help="Only say what moves and what collides.")
@options.as_json
def merge_contact(contact_id: UUID, into: UUID, preview: bool, as_json: bool) -> None:
    """Merge CONTACT into INTO, which stands for both from then on.

    \b
    switchboard contact merge CONTACT INTO --preview
    """
    asked = merges.MergeRequest(into=into, preview=preview)
    done = running.run(lambda database: merges.merge(database, contact_id, asked))
    output.one((done.preview if preview else done.merge) or done, as_json=as_json)


@contact.command("unmerge")
@click.argument("contact_id", metavar="CONTACT", type=click.UUID)
@options.as_json
def unmerge_contact(contact_id: UUID, as_json: bool) -> None:
    """Undo the merge of a contact: what moved goes back as it was.

    \b
    switchboard contact unmerge CONTACT
    """
    done = running.run(lambda database: merges.unmerge(database, contact_id))
    output.one(done.merge or done, as_json=as_json)


@contact.command("conflicts")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--status", type=click.Choice(["open", "merged", "dismissed"]))
@click.option("--limit", type=int, help="How many at most, the newest first: 1 to 200, 50 unless set.")
@options.as_json
def list_conflicts(as_json: bool, **values: Any) -> None:
    """The pairs of contacts that were called the same, for somebody to merge.

    \b
    switchboard contact conflicts WORKSPACE
    """
    search = running.model(merges.ConflictFilter, values)
    page = running.run(lambda database: merges.conflicts(database, search))
    output.several(page.items, ("id", "contact", "other_contact", "found_by", "status", "created_at"), as_json=as_json)
