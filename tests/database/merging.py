"""Merging and parting contacts as a workspace's admin, and looking at everything that belongs to them."""

import uuid
from typing import Any

from tests.database.desk import JSON, WORKSPACE, Answer, Desk, user

OPERATOR: JSON = {"role": "service_role"}

SECRET = "the customer's own"


def managing(user_id: str) -> JSON:
    """The claims that the functions sign for a member who manages."""
    return {"role": "switchboard", "scope": {"management": True}, "caller": user(user_id)}


def reading(user_id: str) -> JSON:
    """The claims of a member's own token."""
    return {"role": "authenticated", "aud": "authenticated", "sub": user_id}


def holding(token: JSON) -> JSON:
    """The claims of the contact token itself, for what is read with it."""
    caller = {name: token["caller"][name] for name in ("contact_id", "conversation_id", "proof")}
    return {"role": "contact", "sub": caller["contact_id"], **caller}


async def member(desk: Desk, role: str = "admin", workspace: str = WORKSPACE) -> str:
    """The user id of a new member."""
    user_id = await desk.sign_up(f"{uuid.uuid4()}@example.test")
    await desk.admin.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, $3)",
        workspace,
        user_id,
        role,
    )
    return user_id


async def merge(desk: Desk, contact: str, into: str, token: JSON = OPERATOR, **more: Any) -> Answer:
    """Merge a contact into another."""
    return await desk.call("merge_contacts", token, contact_id=contact, into_id=into, **more)


async def unmerge(desk: Desk, contact: str, token: JSON = OPERATOR) -> Answer:
    """Undo the merge of a contact."""
    return await desk.call("unmerge_contact", token, contact_id=contact)


async def belongings(desk: Desk) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that belongs to contacts, row by row, whose it is included."""
    queries = {
        "contacts": "select id, first_name, last_name, title, source, attributes, session_id, merged_into_id "
        "from public.contacts order by 1",
        "identities": "select id, contact_id, kind, key, value, evidence from public.contact_identities order by 1",
        "conversations": "select id, contact_id, user_id, thread_key, proof from public.conversations order by 1",
        "sessions": "select id, conversation_id, contact_id, status, message_count from public.sessions order by 1",
        "messages": "select id, conversation_id, session_id, contact_id, text from public.messages order by 1",
        "tags": "select id, contact_id, session_id, name, created_at from public.tags order by 1",
        "participants": "select group_id, contact_id, role, joined_at, left_at "
        "from public.group_participants order by 1, 2",
        "conflicts": "select id, contact_id, other_contact_id, status, closed_at "
        "from public.contact_conflicts order by 1",
    }
    return {name: [tuple(row) for row in await desk.admin.fetch(query)] for name, query in queries.items()}
