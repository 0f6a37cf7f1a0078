"""`switchboard contact …`: create, change, find, resolve, tag, sign out and merge contacts."""

from typing import Any
from uuid import UUID

import click

from cli import options, output, running
from lib.contacts import contacts, merges


@click.group()
def contact() -> None:
    """Create, change, find, resolve, tag, sign out and merge contacts."""


@contact.command("resolve")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("identities", metavar="IDENTITY...", nargs=-1, required=True)
@click.option("--create", is_flag=True, help="Create an unknown contact, and add missing identities.")
@click.option("--kind", type=click.Choice(["person", "group"]))
@click.option("--first-name")
@click.option("--last-name")
@click.option("--title", help="The name of a group.")
@click.option("--source")
@running.json_option("--attributes", "Further data of the contact")
@click.option(
    "--verified-by", help="Who verified the identities, for example a provider; by default they are asserted."
)
@click.option("--group", "group_id", type=click.UUID, help="The group that the person joins.")
@click.option("--group-role", help="The person's role in the group.")
@options.as_json
def resolve_contact(
    workspace_id: UUID, identities: tuple[str, ...], verified_by: str | None, as_json: bool, **values: Any
) -> None:
    """Show the contact with these identities (platform:id).

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


profile = options.group(
    click.option("--first-name"),
    click.option("--last-name"),
    click.option("--title", help="The name of a group."),
    click.option("--source"),
)
verified_by = click.option("--verified-by", help="Who verified the given identities; by default they are asserted.")


@contact.command("create")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.argument("identities", metavar="[IDENTITY]...", nargs=-1)
@click.option("--kind", type=click.Choice(["person", "group"]))
@profile
@running.json_option("--attributes", "Further data of the contact")
@verified_by
@options.as_json
def create_contact(verified_by: str | None, as_json: bool, **values: Any) -> None:
    """Create a contact, also without identities (platform:id).

    \b
    switchboard contact create WORKSPACE email:ann@example.com --first-name Ann
    """
    evidence = {"verified_by": verified_by} if verified_by else None
    new = running.model(contacts.NewContact, {**values, "evidence": evidence})
    output.one(running.run(lambda database: contacts.create(database, new)), as_json=as_json)


@contact.command("update")
@click.argument("contact_id", metavar="CONTACT", type=click.UUID)
@profile
@click.option("--no-first-name", is_flag=True)
@click.option("--no-last-name", is_flag=True)
@click.option("--no-title", is_flag=True)
@click.option("--no-source", is_flag=True)
@running.json_option("--attributes", "A JSON merge patch of the attributes: null removes a member")
@click.option("--no-attributes", is_flag=True)
@click.option("--add-identity", "add_identities", multiple=True, help="platform:id; repeatable.")
@click.option("--remove-identity", "remove_identities", multiple=True, help="platform:id; repeatable.")
@verified_by
@options.as_json
def update_contact(contact_id: UUID, verified_by: str | None, as_json: bool, **values: Any) -> None:
    """Change a contact's names, attributes and identities.

    \b
    switchboard contact update CONTACT --last-name Lee --add-identity "phone:+49 30 123456"
    """
    evidence = {"verified_by": verified_by} if verified_by else None
    changes = running.model(contacts.ContactChanges, {**values, "evidence": evidence})
    output.one(running.run(lambda database: contacts.change(database, contact_id, changes)), as_json=as_json)


@contact.command("tag")
@click.argument("contact_id", metavar="CONTACT", type=click.UUID)
@click.argument("tag")
@click.option("--remove", is_flag=True, help="Remove the tag instead.")
@options.as_json
def tag_contact(contact_id: UUID, tag: str, remove: bool, as_json: bool) -> None:
    """Add a tag to a contact, or remove one; shows all of its tags.

    \b
    switchboard contact tag CONTACT vip
    """
    named, change = running.model(contacts.NamedTag, {"tag": tag}), contacts.remove_tag if remove else contacts.add_tag
    output.one(running.run(lambda database: change(database, "contact", contact_id, named)), as_json=as_json)


@contact.command("list")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--email")
@click.option("--identity", help="platform:id")
@click.option("--user", "user_id", type=click.UUID, help="The contact of this Supabase user.")
@click.option("--space", "space_id", type=click.UUID, help="Contacts with a conversation in this space.")
@click.option("--session", "session_id", type=click.UUID, help="The contact of this session.")
@click.option("--has-session/--no-session", "has_session", default=None)
@click.option("--tag")
@click.option("--kind", type=click.Choice(["person", "group"]))
@click.option("--text", help="The beginning of a name.")
@click.option("--limit", type=int, help="Most contacts listed, newest first: 1 to 200, 50 by default.")
@options.as_json
def list_contacts(as_json: bool, **values: Any) -> None:
    """List a workspace's newest contacts.

    \b
    switchboard contact list WORKSPACE --tag vip
    """
    if values["session_id"] is not None and values["has_session"] is False:
        raise click.UsageError("Either --session or --no-session.")
    search = running.model(contacts.ContactFilter, values)
    page = running.run(lambda database: contacts.find(database.queries, search))
    columns = ("id", "kind", "name", "email", "tags", "created_at")
    output.several(page.items, columns, as_json=as_json)


@contact.command("show")
@click.argument("contact_id", metavar="CONTACT", type=click.UUID)
@options.as_json
def show_contact(contact_id: UUID, as_json: bool) -> None:
    """Show a contact with identities, tags, and participants or groups.

    \b
    switchboard contact show CONTACT --json
    """
    output.one(running.run(lambda database: contacts.read(database.queries, contact_id)), as_json=as_json)


@contact.command("sign-out")
@click.argument("contact_id", metavar="CONTACT", type=click.UUID)
@options.as_json
def sign_out_contact(contact_id: UUID, as_json: bool) -> None:
    """Revoke all tokens of a contact, on every device.

    \b
    switchboard contact sign-out CONTACT
    """
    output.one(running.run(lambda database: contacts.sign_out(database, contact_id)), as_json=as_json)


@contact.command("merge")
@click.argument("contact_id", metavar="CONTACT", type=click.UUID)
@click.argument("into", metavar="INTO", type=click.UUID)
@click.option("--preview", is_flag=True, help="Only show what would move and collide.")
@options.as_json
def merge_contact(contact_id: UUID, into: UUID, preview: bool, as_json: bool) -> None:
    """Merge CONTACT into INTO, the merge target.

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
    """Undo the merge of a contact: everything that moved goes back.

    \b
    switchboard contact unmerge CONTACT
    """
    done = running.run(lambda database: merges.unmerge(database, contact_id))
    output.one(done.merge or done, as_json=as_json)


@contact.command("conflicts")
@click.argument("workspace_id", metavar="WORKSPACE", type=click.UUID)
@click.option("--status", type=click.Choice(["open", "merged", "dismissed"]))
@click.option("--limit", type=int, help="Most contacts listed, newest first: 1 to 200, 50 by default.")
@options.as_json
def list_conflicts(as_json: bool, **values: Any) -> None:
    """List the pairs of contacts that were reported as the same.

    \b
    switchboard contact conflicts WORKSPACE
    """
    search = running.model(merges.ConflictFilter, values)
    page = running.run(lambda database: merges.conflicts(database.queries, search))
    output.several(page.items, ("id", "contact", "other_contact", "found_by", "status", "created_at"), as_json=as_json)
