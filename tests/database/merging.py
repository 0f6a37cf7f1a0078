"""Resolving, merging and unmerging contacts, and reading everything that belongs to them."""

from typing import Any

from lib.fields import identities
from tests.database.desk import JSON, OPERATOR, WORKSPACE, Answer, Desk


async def resolve(desk: Desk, *texts: str, token: JSON = OPERATOR, **more: Any) -> Answer:
    """Resolve identities as lib/contacts does."""
    named = tuple(identities.parse(text) for text in texts)
    asked = {"workspace_id": WORKSPACE, "kind": identities.contact_kind(named), **more}
    return await desk.call("resolve_contact", token, identities=identities.documents(named), **asked)


async def made(desk: Desk, *texts: str, **more: Any) -> str:
    """The contact of some identities, created where there is none."""
    found: str = (await resolve(desk, *texts, make=True, **more))["contact"]["id"]
    return found


async def merge(desk: Desk, contact: str, into: str, token: JSON = OPERATOR, **more: Any) -> Answer:
    """Merge a contact into another."""
    return await desk.call("merge_contacts", token, contact_id=contact, into_id=into, **more)


async def unmerge(desk: Desk, contact: str, token: JSON = OPERATOR) -> Answer:
    """Undo the merge of a contact."""
    return await desk.call("unmerge_contact", token, contact_id=contact)


async def belongings(desk: Desk) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that belongs to contacts, row by row, with the contact."""
    queries = {
        "contacts": "id, first_name, last_name, title, source, attributes, session_id, merged_into_id",
        "contact_identities": "id, contact_id, kind, key, value, evidence",
        "conversations": "id, contact_id, user_id, thread_key, proof",
        "sessions": "id, conversation_id, contact_id, status, message_count",
        "messages": "id, conversation_id, session_id, contact_id, text",
        "tags": "id, contact_id, session_id, name, created_at",
        "group_participants": "group_id, contact_id, role, joined_at, left_at",
        "memories": "id, contact_id, conversation_id, scope_id, content",
        "memory_history": "id, contact_id, memory_id",
        "contact_conflicts": "id, contact_id, other_contact_id, status, closed_at",
    }
    return {
        table: [tuple(row) for row in await desk.admin.fetch(f"select {columns} from public.{table} order by 1, 2")]
        for table, columns in queries.items()
    }


async def rows_seen(desk: Desk, token: JSON) -> dict[str, int]:
    """How many rows of some tables a token shows."""
    async with desk.reading(token) as connection:
        return {
            table: await connection.fetchval(f"select count(*) from public.{table}")
            for table in ("contacts", "conversations", "sessions", "messages")
        }
