"""What a workspace has before a member opens the page."""

from typing import Any
from uuid import UUID

import aiohttp

from tests.e2e.dashboards import Dashboard


async def chat(dashboard: Dashboard, email: str, message: str) -> dict[str, Any]:
    """A person's message and the whole answer to it: the turn's ``session_id``, ``contact_id``."""
    url = f"{dashboard.stack.api_url}/space/{dashboard.workspace.space_id}/chat/stream"
    headers = {"Accept": "application/json"}
    async with (
        aiohttp.ClientSession(headers=headers) as client,
        client.post(url, json={"email": email, "message": message}) as response,
    ):
        said: dict[str, Any] = await response.json()
        assert response.status == 200, said
    row = await dashboard.workspace.database.fetchrow(
        "select id as session_id, contact_id from public.sessions where id = $1", UUID(said["session_id"])
    )
    assert row is not None
    return said | dict(row)


async def add_contact(dashboard: Dashboard, first_name: str, last_name: str, email: str) -> UUID:
    """A contact whose email is only asserted."""
    database, workspace = dashboard.workspace.database, dashboard.workspace
    contact_id: UUID = await database.fetchval(
        "insert into public.contacts (workspace_id, first_name, last_name) values ($1, $2, $3) returning id",
        workspace.id, first_name, last_name,
    )  # fmt: skip
    await database.execute(
        "insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)"
        " values ($1, $2, 'email', $3, $3, 'asserted')",
        workspace.id, contact_id, email,
    )  # fmt: skip
    return contact_id


async def add_sessions(dashboard: Dashboard, contact_id: UUID, count: int) -> None:
    """So many completed sessions of a contact, a minute apart, without messages."""
    database, workspace = dashboard.workspace.database, dashboard.workspace
    conversation_id = await database.fetchval(
        "insert into public.conversations (workspace_id, contact_id, persona_id, space_id, channel, thread_key, proof)"
        " values ($1, $2, $3, $4, 'web', 'main', 'asserted') returning id",
        workspace.id, contact_id, workspace.persona_id, workspace.space_id,
    )  # fmt: skip
    async with database.transaction():
        # No trigger counts each of them.
        await database.execute("set local session_replication_role = replica")
        await database.execute(
            "insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id, space_id, status,"
            " created_at, last_activity_at, ended_at, subject)"
            " select $1, $2, $3, $4, $5, 'completed', at, at, at, 'Subject ' || n"
            " from generate_series(1, $6::integer) n"
            " cross join lateral (select now() - n * interval '1 minute' as at) t",
            workspace.id, conversation_id, contact_id, workspace.persona_id, workspace.space_id, count,
        )  # fmt: skip
    await database.execute("analyze public.sessions")
