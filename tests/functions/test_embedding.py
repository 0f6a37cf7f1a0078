"""Views that a Supabase client embeds in each other by their names alone."""

from typing import Any
from uuid import UUID

import aiohttp
import pytest

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Staff

FILTER = {
    "session_details": "id", "conversation_messages": "session_id", "contact_details": "session_id",
    "requests": "session_id", "request_details": "id", "conversations": "id", "tags": "session_id",
    "contact_session_details": "id",
}  # fmt: skip


@pytest.mark.parametrize(
    ("who", "view", "embedded", "keys"),
    [
        ("owner", "session_details", "contact_details", {"id": "contact_id"}),
        ("owner", "session_details", "conversation_messages", {"session_id": "session_id"}),
        ("owner", "session_details", "request_details", {"id": "request_id"}),
        ("owner", "session_details", "tags", {"session_id": "session_id"}),
        ("owner", "session_details", "conversations", {"id": "conversation_id"}),
        ("owner", "session_details", "persona_settings", {"id": "persona_id"}),
        ("owner", "session_details", "space_settings", {"id": "space_id"}),
        ("owner", "contact_details", "session_details", {"id": "session_id"}),
        ("owner", "contact_details", "conversations", {"id": "conversation_id"}),
        ("owner", "conversation_messages", "session_details", {"id": "session_id"}),
        ("owner", "conversation_messages", "contact_details", {"id": "contact_id"}),
        ("owner", "request_details", "session_details", {"id": "session_id"}),
        ("contact", "contact_session_details", "conversation_messages", {"session_id": "session_id"}),
        ("contact", "contact_session_details", "request_details", {"id": "request_id"}),
    ],
)
async def test_a_view_embeds_another_by_its_name(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack, who: str, view: str,
    embedded: str, keys: dict[str, str],
) -> None:  # fmt: skip
    visitor = Visitor(client, workspace.space_id, staff.contact.token)
    opened = (await visitor.say("Hello"))[0].data
    session_id = opened["session_id"]
    await staff.owner.done("PUT", f"/chat-sessions/{session_id}/tags/vip")
    request = (await staff.owner.done("PUT", f"/chat-sessions/{session_id}/request", {"origin": "LSZH"}))["request"]
    row = await workspace.row("select * from public.sessions where id = $1", UUID(session_id))
    known = {**row, "session_id": row["id"]}
    name = FILTER[view]
    wanted = {"id": request["id"] if view == "request_details" else session_id, "session_id": session_id}[name]
    headers = {"apikey": stack.publishable_key, "Authorization": f"Bearer {getattr(staff, who).token}"}
    query = {"select": f"id,{embedded}(*)", name: f"eq.{wanted}"}
    async with client.get(f"/rest/v1/{view}", params=query, headers=headers) as response:
        found: list[dict[str, Any]] = await response.json()
        assert response.status == 200, found
    assert found
    rows = [one for each in found for one in _rows(each[embedded])]
    ((column, source),) = keys.items()
    assert {one[column] for one in rows} == {str(known[source])}


def _rows(embedded: Any) -> list[dict[str, Any]]:
    """The embedded rows; of a message of the persona there is no contact."""
    return embedded if isinstance(embedded, list) else [embedded] if embedded else []
