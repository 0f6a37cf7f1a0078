"""Messages in the name of a contact: of admins and their keys, each in the contact's own conversation."""

from typing import Any
from uuid import UUID

import aiohttp

from local.stack import Stack
from tests.functions.conftest import Workspace
from tests.functions.people import Person, Staff, resolve, sign_up
from tests.functions.test_api_keys import key_of


async def say(caller: Person, workspace: Workspace, **body: Any) -> dict[str, Any]:
    """The whole answer to a message to the workspace's persona."""
    return await caller.done("POST", f"/personas/{workspace.persona_id}/messages?protocol=json", body)


async def test_an_admin_and_an_admins_key_speak_for_a_contact_in_its_own_conversation(
    workspace: Workspace, staff: Staff
) -> None:
    key = await key_of(staff.owner, workspace, "admin")
    ana, bob = [await resolve(staff.admin, f"telegram:{number}") for number in (1, 2)]
    first = await say(key, workspace, message="I am Ana", contact_id=ana)
    again = await say(staff.admin, workspace, message="Ana again", contact_id=ana)
    other = await say(key, workspace, message="I am Bob", contact_id=bob)
    thread = await say(key, workspace, message="Ana elsewhere", contact_id=ana, thread_key="offer")
    own = await say(key, workspace, message="The key itself")
    assert first["contact_id"] == ana != other["contact_id"]
    assert "contact_id" not in own
    assert first["session_id"] == again["session_id"]
    assert len({said["session_id"] for said in (first, other, thread, own)}) == 4
    rows = await workspace.database.fetch(
        "select m.role, m.contact_id, c.proof, c.user_id from public.messages m"
        " join public.conversations c on c.id = m.conversation_id"
        " where m.session_id = $1 and m.role <> 'persona'",
        UUID(first["session_id"]),
    )
    assert [tuple(row) for row in rows] == [("contact", UUID(ana), "verified", None)] * 2
    spoken = "select actor_id from public.audit_events where object_id = $1 and verb = 'contact.spoken_for'"
    assert [row[0] for row in await workspace.database.fetch(spoken, UUID(bob))] == [key.id]
    # Members find both in what happened with the contact.
    _, journey = await staff.admin.ask("GET", f"/contacts/{ana}/journey")
    assert {item.get("session_id") for item in journey["items"]} >= {first["session_id"], thread["session_id"]}


async def test_only_owners_and_admins_speak_for_persons_of_their_workspace(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, elsewhere: Workspace, staff: Staff
) -> None:
    ana = await resolve(staff.admin, "telegram:1")
    group = await resolve(staff.admin, "telegram:-7", kind="group", title="Family")
    foreign = await resolve(await sign_up(client, elsewhere, stack, "admin"), "telegram:1")
    limited = [staff.agent, *[await key_of(staff.owner, workspace, role) for role in ("agent", "ingest")]]
    path, hello = f"/personas/{workspace.persona_id}/messages", {"message": "Hello?"}
    before = await workspace.counts()
    for caller in limited:
        assert await caller.refused("POST", path, hello | {"contact_id": ana}) == (403, "forbidden")
    assert await staff.other_admin.refused("POST", path, hello | {"contact_id": ana}) == (404, "persona_not_found")
    for contact, refusal in ((foreign, (404, "contact_not_found")), (group, (422, "invalid_body"))):
        assert await staff.admin.refused("POST", path, hello | {"contact_id": contact}) == refusal
    chat = f"/space/{workspace.space_id}/chat/stream"
    assert await staff.admin.refused("POST", chat, hello | {"contact_id": ana}) == (422, "invalid_body")
    assert await workspace.counts() == before
