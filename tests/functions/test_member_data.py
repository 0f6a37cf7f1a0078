"""What members write for themselves, and who they are, no contact reads: over /rest/v1, RPC or a route.

The columns are tests/database/access's; here is what the readable ones and the answers contain.
"""

import asyncio
import hmac
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from lib import routes
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Person, Staff, resolve
from tests.functions.test_access import QUERIES
from tests.functions.test_api_keys import JSON, body_for
from tests.functions.test_isolation import Belongings

MARKER = "said-among-members"
NOTE = {"note": MARKER}
TITLE, REPLY = "Zurich to Luton", "This is Mia."

COLUMNS = """
    select c.relname::text as name, array_agg(a.attname::text order by a.attnum) as columns
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where c.relnamespace = 'public'::regnamespace and has_column_privilege($1, c.oid, a.attnum, 'select')
     group by 1
"""
FUNCTIONS = """
    select p.proname::text as name, coalesce(p.proargnames[1 : p.pronargs], '{}') as arguments
      from pg_proc p
     where p.pronamespace = 'public'::regnamespace and has_function_privilege($1, p.oid, 'execute')
       and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
"""
OPTIONAL = {"after", "only_new", "message_limit"}
Roles = Mapping[str, Mapping[str, str]]
READERS: Mapping[str, Roles] = {
    "contact": {"contact": {}},
    "stranger": {"authenticated": {}},
    # A member of another workspace.
    "other_admin": {"member": {}, "authenticated": {"Read-As": "user"}},
}
"""People of whom the session is, with the roles that they read with and the headers for it."""


async def write_everywhere(workspace: Workspace, staff: Staff, space_id: UUID, email: str) -> str:
    """A contact's session with the marker in all that members write for themselves; the id of the session."""
    admin = staff.admin
    names = ("workspaces set name = $2 where id", "personas set name = $2 where workspace_id",
             "spaces set name = $2 where workspace_id")  # fmt: skip
    for name in names:
        await workspace.database.execute(f"update public.{name} = $1", workspace.id, MARKER)
    contact_id = await resolve(admin, f"email:{email}", source=MARKER, attributes=NOTE)
    template = {"name": MARKER, "metadata": NOTE, "first_messages": ["Welcome."], "workflow_state": NOTE}
    template |= {"workflow": "charter", "workflow_step": "understanding_request"}
    await admin.done("POST", f"/workspaces/{workspace.id}/session-templates", template)
    new = {"contact_id": contact_id, "space_id": str(space_id), "template": MARKER, "context": {"more": MARKER}}
    session_id: str = (await admin.done("POST", "/chat-sessions", new))["session_id"]
    at = f"/chat-sessions/{session_id}"
    trip = {"origin": "LSZH", "details": NOTE, "refs": [{"system": "crm", "kind": "deal", "external_id": MARKER}]}
    quote = {"status": "received", "operator": MARKER, "external_id": MARKER, "details": NOTE}
    mail = {"text": "By mail", "role": "member", "source": MARKER, "metadata": NOTE}
    for method, path, body in (
        ("PUT", f"/contacts/{contact_id}/tags", {"tags": [MARKER]}),
        ("PUT", f"{at}/tags", {"tags": [MARKER]}),
        ("PATCH", f"{at}/assign", {"user_id": str(staff.agent.id)}),
        ("POST", f"{at}/takeover", None),
        ("POST", f"{at}/messages", {"text": REPLY}),
        ("POST", f"/contacts/{contact_id}/messages", mail),
        ("POST", "/memories", {"contact_id": contact_id, "memories": [{"content": f"Drinks tea {MARKER}"}]}),
        ("PATCH", f"{at}/pause", {"reason": MARKER}),
        ("PATCH", f"{at}/resume", None),
        ("PATCH", f"{at}/workflow", {"workflow_state": NOTE, "subject": MARKER}),
        ("PUT", f"{at}/request", trip),
        ("PUT", f"{at}/quotes/{MARKER}", quote),
        ("PUT", f"{at}/proposal", {"status": "draft", "title": TITLE, "details": NOTE}),
        ("PUT", f"{at}/proposal", {"status": "sent"}),
    ):
        await admin.done(method, path, body)
    return session_id


async def tables_of(stack: Stack, workspace: Workspace, reader: Person, roles: Roles) -> dict[str, str]:
    """All that the reader's token selects of each relation, in the columns that the role may read."""
    found = {}
    every = [(role, row) for role in roles for row in await workspace.database.fetch(COLUMNS, role)]
    for role, relation in every:
        headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {reader.token}", **roles[role]}
        url = f"{stack.api_url}/rest/v1/{relation['name']}?select={','.join(relation['columns'])}"
        async with reader.client.get(url, headers=headers) as response:
            found[relation["name"]] = await response.text()
            assert response.status == 200, found[relation["name"]]
    return found


async def results_of(
    stack: Stack, workspace: Workspace, reader: Person, roles: Roles, given: Mapping[str, str]
) -> dict[str, str]:
    """The result of each function that the last of the roles may execute."""
    role = list(roles)[-1]
    headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {reader.token}", **roles[role]}
    found = {}
    for function in await workspace.database.fetch(FUNCTIONS, role):
        body = {name: given[name] for name in function["arguments"] if name not in OPTIONAL and name in given}
        url = f"{stack.api_url}/rest/v1/rpc/{function['name']}"
        async with reader.client.post(url, json=body, headers=headers) as response:
            found[function["name"]] = await response.text()
            allowed = {200, 204} if role == "contact" else {200, 204, 403, 404}
            assert response.status in allowed, found[function["name"]]
    return found


async def answers_of(reader: Person, ours: Belongings, given: Mapping[str, str], *, is_contact: bool) -> dict[str, str]:
    """The answer of each route that identifies its caller, those that end the session last.

    The routes are lib/routes.py's: a new one whose path or body is unknown to test_isolation or test_api_keys fails.
    """
    last = {"chat.cancel_turn", "sessions.change_sessions", "sessions.cancel_session", "memory.forget_memory"}
    bodies: Mapping[str, Any] = {
        "sessions.change_sessions": {"session_ids": [given["session_id"]], "status": "cancelled"},
        "chat.stream_chat": {"message": "Hello"},
        "sessions.start_session": {"space_id": given["space_id"]} if reader.email else None,
        "chat.stream_chat_on_landing": {"message": "Hello"},
        "conversations.issue_stream_ticket": {"conversation_id": given["conversation_id"]},
        "memory.remember": {"session_id": given["session_id"], "memories": [{"content": "Likes tea"}]},
        "memory.recall": {"session_id": given["session_id"], "query": f"tea {MARKER}"},
    }
    ids = {**ours.ids, **given}
    names = {
        f"{route.function}.{route.name}": route for route in routes.ROUTES if {"contact", "user"} & {*route.callers}
    }
    found = {}
    for name in sorted(names, key=lambda name: (name in last, name)):
        route = names[name]
        headers = {"Authorization": f"Bearer {reader.token}", **({} if "contact" in route.callers else JSON)}
        body = bodies.get(name) if "contact" in route.callers else body_for(route, ids)
        path = Belongings(ids).path(route) + QUERIES.get(route.name, "")
        async with reader.client.request(route.method, path, json=body, headers=headers) as response:
            if response.status == 200 and route.streaming and route.function == "conversations":
                # It does not end: what is stored comes at once. The user's current conversation is another one.
                wanted = (REPLY.encode(), b"By mail") if name == "conversations.stream_conversation" else (b"event:",)
                async with asyncio.timeout(10):
                    heard = b""
                    while not all(words in heard for words in wanted):
                        heard += await response.content.readany()
                found[name] = heard.decode()
            else:
                found[name] = await response.text()
            # An answer that is complete is not given anew, and the session is in no archive.
            refusals = {"chat.retry_turn", "archive.read_archive"}
            if "contact" in route.callers:
                assert response.status < 300 or name in refusals, (name, found[name])
            else:
                assert response.status < 500, (name, found[name])
                assert response.status == 403 or not is_contact, (name, found[name])
        if name == "memory.remember":
            ids["memory_id"] = json.loads(found[name])["memories"][0]["id"]
    return found


async def _archive_earlier_session(workspace: Workspace, conversation_id: UUID) -> None:
    """A session of the conversation whose messages are in the archive only."""
    await workspace.database.execute(
        "with s as (insert into public.sessions"
        " (workspace_id, conversation_id, contact_id, persona_id, status, ended_at)"
        " select workspace_id, id, contact_id, persona_id, 'completed', now() from public.conversations where id = $1"
        " returning *)"
        " insert into public.session_archives (object_id, session_id, workspace_id, conversation_id, month, row_group,"
        " byte_offset, byte_length, sha256, row_count, message_count, messages_dropped)"
        " select gen_random_uuid(), id, workspace_id, conversation_id, '2026-01-01', 0, 0, 0, $2, 3, 2, true from s",
        conversation_id,
        MARKER,
    )


@pytest.mark.parametrize("who", READERS)
async def test_a_contact_reads_nothing_that_members_wrote_for_themselves_or_that_names_one(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack, ours: Belongings, who: str
) -> None:
    space_id = await workspace.add_space(hmac_secret_id=await workspace.add_secret("shop-secret"))
    email = f"{uuid4()}@example.com"
    session_id = await write_everywhere(workspace, staff, space_id, email)
    signature = hmac.digest(b"shop-secret", email.encode(), "sha256").hex()
    arrival = {"email": email, "email_hmac": signature}
    async with client.post(f"/space/{space_id}/register", json=arrival) as response:
        registered = await response.json()
    assert registered["session"]["id"] == session_id
    opened = (await Visitor(client, space_id, registered["token"]).say("hello"))[0].data
    await _archive_earlier_session(workspace, UUID(opened["conversation_id"]))

    reader = Person(client, uuid4(), "", registered["token"]) if who == "contact" else getattr(staff, who)
    if who != "contact":
        for table in ("conversations", "sessions"):
            own = f"update public.{table} set user_id = $2 where contact_id = $1"
            await workspace.database.execute(own, UUID(registered["contact"]["id"]), reader.id)
    request = await workspace.row("select request_id from public.sessions where id = $1", UUID(session_id))
    ids = {name: opened[name] for name in ("session_id", "conversation_id", "turn_id")}
    given = ids | {
        "space_id": str(space_id),
        "app_id": str(workspace.landing_id),
        "thread_key": "main",
        "chat_id": "main",
    }
    given |= {"request_id": str(request["request_id"]), "query": "hello"}
    roles = READERS[who]
    read = await tables_of(stack, workspace, reader, roles)
    read |= await results_of(stack, workspace, reader, roles, given)
    read |= await answers_of(reader, ours, given, is_contact=who == "contact")

    members = [str(person.id) for person in (staff.owner, staff.admin, staff.agent)]
    hidden = (MARKER, *members, *(person.email for person in (staff.owner, staff.admin, staff.agent)))
    assert [(name, text) for name, text in read.items() if any(word in text for word in hidden)] == []
    # What is meant for the contact is there, and what is hidden was written.
    assert TITLE in read["proposals"]
    shown = ("messages", "follow_conversation", "sessions.read_session", "conversations.list_messages")
    assert all(REPLY in read[name] for name in shown)
    (archived,) = json.loads(read["conversations.list_messages"])["archived"]
    assert (archived.keys(), archived["message_count"]) == ({"session_id", "message_count", "stored_at"}, 2)
    events = {event["event"] for event in json.loads(read["session_events"])}
    assert "session.taken_over" in events
    assert not events & {"session.tagged", "session.assigned"}
    stored = await workspace.row(
        "select s.metadata::text as session, s.assigned_user_id, s.taken_over_by, r.details::text as request,"
        " c.attributes::text as contact, string_agg(m.metadata::text, ' ') as messages"
        "  from public.sessions s join public.requests r on r.id = s.request_id"
        "  join public.contacts c on c.id = s.contact_id join public.messages m on m.session_id = s.id"
        " where s.id = $1 group by s.id, r.id, c.id",
        UUID(session_id),
    )
    assert all(MARKER in stored[name] for name in ("session", "request", "contact", "messages"))
