"""Foreign rows are answered exactly as rows that do not exist, apart from the ids, in every route that names one.

The routes are lib/routes.py's: a new one with an unknown id in its path, or with a body that is not listed here, fails.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest_asyncio

from lib import routes
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Person, Staff, sign_up

NAMED = tuple(
    route for route in routes.ROUTES
    if "{" in route.path and not set(route.callers) <= {"provider", "cron"} and route.name != "read_reference_file"
)  # fmt: skip

TEXTS = {"chat_id": "main", "operator": "acme", "tag": "vip"}
"""Parameters of paths that are no ids."""

OPEN_TO_ANYBODY = {
    "registration.register_in_space", "registration.register_on_landing", "chat.stream_chat",
    "chat.stream_chat_on_landing", "chat.look",
}  # fmt: skip
"""An open space admits any visitor; a closed one must look like none."""

OF_SESSIONS = {"session_id", "conversation_id", "turn_id", "request_id", "trip_id", "ref_id"}
"""Ids that an agent sees only for assigned sessions."""

WITHOUT_BODY = {
    "chat.cancel_turn", "chat.retry_turn", "sessions.pause_session", "sessions.resume_session",
    "sessions.complete_session", "sessions.fail_session", "sessions.cancel_session", "sessions.recover_session",
    "sessions.take_over_session", "sessions.hand_back_session", "sessions.note_activity", "contacts.unmerge_contact",
    "contacts.dismiss_conflict", "contacts.add_contact_tag", "contacts.add_session_tag", "contacts.sign_out",
    "contacts.check_erasure", "conversations.mark_read",
    "workspaces.accept_invitation", "workspaces.replace_claim_code",
    "workspaces.test_event_subscription", "workspaces.replay_event_delivery",
    "worker.replay_job", "worker.discard_job", "archive.restore_session", "archive.create_export",
}  # fmt: skip

BODIES: Mapping[str, Any] = {
    "registration.register_in_space": {"email": "eve@example.com"},
    "registration.register_on_landing": {"email": "eve@example.com"},
    "chat.stream_chat": {"message": "Hello?"},
    "chat.stream_chat_on_landing": {"message": "Hello?"},
    "chat.ask_persona": {"message": "Hello?"},
    "sessions.say_in_session": {"text": "Hello?"},
    "sessions.assign_session": {"user_id": None},
    "sessions.change_workflow": {"step": "searching_aircraft"},
    "sessions.set_request": {"origin": "LSZH"},
    "sessions.set_quote": {"status": "declined"},
    "sessions.set_proposal": {"title": "x"},
    "conversations.issue_stream_ticket": {"conversation_id": "{conversation_id}"},
    "conversations.tell_presence": {"typing": True},
    "contacts.change_contact": {"first_name": "x"},
    "contacts.tag_contact": {"tags": ["vip"]},
    "contacts.tag_session": {"tags": ["vip"]},
    "contacts.capture_message": {"text": "Hello?", "role": "contact", "source": "email"},
    "contacts.merge_contact": {"into": "00000000-0000-4000-8000-000000000001"},
    "workspaces.change_workspace": {"name": "x"},
    "workspaces.set_allowed_networks": {"allowed_networks": []},
    "workspaces.set_retention": {"messages_days": 365},
    "workspaces.preview_retention": {"messages_days": 365},
    "workspaces.invite_member": {"email": "eve@example.com", "role": "agent"},
    "workspaces.set_member": {"role": "agent"},
    "workspaces.create_api_key": {"name": "x", "role": "ingest"},
    "workspaces.create_space": {"name": "x", "persona_id": "00000000-0000-4000-8000-000000000001"},
    "workspaces.change_space": {"name": "x"},
    "workspaces.rotate_hmac_secret": {},
    "workspaces.create_persona": {"kind": "demo", "name": "x"},
    "workspaces.change_persona": {"name": "x"},
    "workspaces.set_persona_secret": {"secret": "x"},
    "workspaces.rotate_callback_secret": {},
    "workspaces.create_channel": {"kind": "omi", "name": "x"},
    "workspaces.change_channel": {"name": "x"},
    "workspaces.set_verify_secret": {"secret": f"whsec_{'A' * 32}"},
    "workspaces.rotate_verify_secret": {},
    "workspaces.set_channel_token": {"secret": "x"},
    "workspaces.connect_channel": {"url": "https://api.example.com"},
    "workspaces.test_channel": {"to": "42"},
    "workspaces.issue_device_session": {},
    "workspaces.transfer_device_session": {"user_id": None},
    "workspaces.add_device_link": {"uid": "x"},
    "workspaces.change_device_link": {"status": "revoked"},
    "workspaces.create_template": {"name": "x"},
    "workspaces.change_template": {"name": "x"},
    "workspaces.create_answer_template": {"name": "x", "text": "x"},
    "workspaces.change_answer_template": {"name": "x"},
    "workspaces.add_transition": {"workflow": "charter", "to_step": "x"},
    "workspaces.create_event_subscription": {"url": "https://example.com/", "event_types": ["contact.merged"]},
    "workspaces.change_event_subscription": {"enabled": False},
    "workspaces.rotate_signing_secret": {},
    "workspaces.import_batch": {"source": "crm"},
    "memory.remember": {"memories": [{"content": "x"}]},
    "memory.recall": {"query": "x"},
}


def body_of(route: routes.Route) -> Any:
    """A valid body for a route, so that only the ids decide."""
    name = f"{route.function}.{route.name}"
    if route.method in ("GET", "DELETE") or name in WITHOUT_BODY:
        return None
    assert name in BODIES, f"say what {name} takes"
    return BODIES[name]


class Belongings:
    """One row of each kind in a workspace, by the name of its path parameter."""

    def __init__(self, ids: Mapping[str, str]) -> None:
        self.ids = {**TEXTS, **ids}

    @classmethod
    async def of(cls, client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> "Belongings":
        """Create the rows in a workspace."""
        owner = await sign_up(client, workspace, stack, "owner")
        heard = (await Visitor(client, workspace.space_id).say("hello"))[0].data
        session, trip = heard["session_id"], f"TRIP{uuid4().hex[:8]}"
        template = await owner.done("POST", f"/workspaces/{workspace.id}/session-templates", {"name": "Theirs"})
        text = {"name": "Theirs", "text": "x"}
        answer = await owner.done("POST", f"/workspaces/{workspace.id}/answer-templates", text)
        invitation = {"email": f"{uuid4()}@people.test", "role": "agent"}
        invited = await owner.done("POST", f"/workspaces/{workspace.id}/invitations", invitation)
        made = await workspace.row(
            "with r as (insert into public.requests (workspace_id, session_id) values ($1, $2) returning id),"
            " f as (insert into public.session_refs (workspace_id, session_id, system, kind, external_id)"
            " values ($1, $2, 'avinode', 'trip', $3) returning id),"
            " t as (insert into public.workflow_transitions (workspace_id, workflow, to_step)"
            " values ($1, 'charter', 'x') returning id),"
            " o as (insert into public.contacts (workspace_id) values ($1) returning id),"
            " h as (insert into public.channels (workspace_id, kind, name) values ($1, 'standard', 'x') returning id),"
            " k as (insert into public.api_keys (id, workspace_id, name, role, hash)"
            " values (gen_random_uuid(), $1, 'Theirs', 'ingest', repeat('0', 64)) returning id),"
            " c as (insert into public.contact_conflicts (workspace_id, contact_id, other_contact_id, found_by)"
            " select $1, least($4::uuid, id), greatest($4::uuid, id), 'resolve' from o returning id),"
            " v as (insert into public.device_sessions (workspace_id, external_id) values ($1, $3) returning id),"
            " l as (insert into public.device_links (workspace_id, uid, user_id) values ($1, $3, $5) returning id),"
            " s as (insert into public.event_subscriptions (workspace_id, url, event_types)"
            " values ($1, 'https://example.com/', '{contact.merged}') returning id),"
            " e as (insert into public.events (workspace_id, type, data)"
            " values ($1, 'contact.merged', '{}') returning id),"
            " d as (insert into public.event_deliveries (workspace_id, event_id, subscription_id, ordering_key, status)"
            " select $1, e.id, s.id, 'x', 'failed' from e, s returning id),"
            " z as (insert into public.erasures (workspace_id, contact_id, contact_ids)"
            " select $1, id, array[id] from (select gen_random_uuid() as id) x returning id),"
            " j as (insert into public.jobs (workspace_id, kind, status, finished_at)"
            " values ($1, 'x', 'dead', now()) returning id),"
            " x as (insert into public.exports (workspace_id) values ($1) returning id),"
            " m as (insert into public.memories (workspace_id, contact_id, content) values ($1, $4, 'x') returning id)"
            " select s.id::text as event_subscription_id, x.id::text as export_id,"
            " d.id::text as event_delivery_id, z.id::text as erasure_id, j.id::text as job_id,"
            " r.id::text as request_id, f.id::text as ref_id, t.id::text as transition_id,"
            " c.id::text as conflict_id, k.id::text as key_id, h.id::text as channel_id,"
            " v.id::text as device_session_id, l.id::text as device_link_id, m.id::text as memory_id"
            " from r, f, t, c, k, h, s, d, j, v, l, x, m, z",
            workspace.id, UUID(session), trip, UUID(heard["contact_id"]), owner.id,
        )  # fmt: skip
        request = "update public.sessions set request_id = $1 where id = $2"
        await workspace.database.execute(request, UUID(made["request_id"]), UUID(session))
        ids = {name: heard[name] for name in ("session_id", "conversation_id", "turn_id", "contact_id")}
        places = {"space_id": workspace.space_id, "app_id": workspace.landing_id, "persona_id": workspace.persona_id}
        ids |= {name: str(value) for name, value in (places | {"workspace_id": workspace.id}).items()}
        ids |= {"user_id": str(owner.id), "template_id": template["id"], "invitation_id": invited["id"]}
        ids["answer_template_id"] = answer["id"]
        return cls(ids | made | {"trip_id": trip})

    def nothing(self) -> "Belongings":
        """The same parameters with ids that do not exist."""
        made = {name: str(uuid4()) if _is_id(value) else f"TRIP{uuid4().hex[:8]}" for name, value in self.ids.items()}
        return Belongings(made | TEXTS)

    def path(self, route: routes.Route) -> str:
        """The route's path with these ids. Raises KeyError for an unknown parameter."""
        return re.sub(r"\{(\w+)\}", lambda found: self.ids[found[1]], route.path)

    def hide(self, text: str) -> str:
        """A text without these ids."""
        for name, value in self.ids.items():
            text = text.replace(value, f"<{name}>") if name not in TEXTS else text
        return text


def _is_id(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text))


Told = tuple[int, dict[str, str], str]


async def told(person: Person, method: str, path: str, body: Any, named: Belongings) -> Told:
    """Status, headers and body of an answer, without the ids, the time, the remaining reads and the request's id."""
    headers = {"Authorization": f"Bearer {person.token}"} if person.token else {}
    content = None if body is None else json.dumps(body)
    if content is not None:
        headers["Content-Type"] = "application/json"
    async with person.client.request(method, path, data=content, headers=headers) as answer:
        kept = {name.lower(): value for name, value in answer.headers.items()}
        for name in ("date", "x-request-id", "content-length", "ratelimit"):
            kept.pop(name, None)
        return answer.status, kept, named.hide(await answer.text())


@pytest_asyncio.fixture
async def theirs(client: aiohttp.ClientSession, elsewhere: Workspace, stack: Stack) -> Belongings:
    """The rows of the other workspace."""
    return await Belongings.of(client, elsewhere, stack)


async def test_every_route_answers_for_foreign_ids_as_for_none(
    workspace: Workspace, elsewhere: Workspace, staff: Staff, ours: Belongings, theirs: Belongings
) -> None:
    before = [await workspace.counts(), await elsewhere.counts()]
    closed = {
        name: str(await elsewhere.add_space(kind, enabled=False))
        for name, kind in (("space_id", "embed"), ("app_id", "landing"))
    }
    wrong, asked = [], 0
    for route in NAMED:
        named = set(re.findall(r"\{(\w+)\}", route.path))
        is_open = f"{route.function}.{route.name}" in OPEN_TO_ANYBODY
        foreign = Belongings(theirs.ids | closed) if is_open else theirs
        tried = [(staff.owner, foreign), (staff.contact, foreign), (staff.anonymous, foreign)]
        if not is_open:
            tried += [(staff.stranger, ours), (staff.other_admin, ours)]
        if named - set(TEXTS) <= OF_SESSIONS:
            tried += [(staff.agent, ours), (staff.contact, ours)]
        for person, what in tried:
            answers = [
                await told(person, route.method, each.path(route), body_of(route), each)
                for each in (what, what.nothing())
            ]
            asked += 1
            if answers[0] != answers[1] or not (answers[0][0] >= 400 or answers[0][0] == 204 or _is_empty(answers[0])):
                wrong.append(_difference(staff, person, f"{route.method} {route.path}", answers))
    assert not wrong, "\n".join(wrong)
    assert asked >= 3 * len(NAMED)
    assert [await workspace.counts(), await elsewhere.counts()] == before


def _difference(staff: Staff, person: Person, asked: str, answers: list[Told]) -> str:
    who = next(name for name, one in vars(staff).items() if one is person)
    return f"{asked} as {who}:\n    {answers[0]}\n    {answers[1]}"


def _is_empty(answer: Told) -> bool:
    return answer[0] == 200 and json.loads(answer[2]) == {"items": []}


QUERIES = (
    "/chat-sessions?workspace_id={workspace_id}",
    "/chat-sessions?persona_id={persona_id}",
    "/chat-sessions?contact_id={contact_id}",
    "/chat-sessions?user_id={user_id}",
    "/chat-sessions?space_id={space_id}",
    "/contacts?workspace_id={workspace_id}",
    "/chat-sessions?assigned_user_id={user_id}",
    "/contacts?session_id={session_id}",
    "/contacts?user_id={user_id}",
    "/contacts?space_id={space_id}",
    "/memories?workspace_id={workspace_id}",
    "/memories?contact_id={contact_id}&session_id={session_id}&persona_id={persona_id}",
)

_X = [{"content": "x"}]
_CORRECTION = [{"content": "x", "supersedes": "{memory_id}"}]

NAMING: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "/chat-sessions", {"contact_id": "{contact_id}"}),
    ("POST", "/chat-sessions", {"contact_id": "{contact_id}", "persona_id": "{persona_id}"}),
    ("POST", "/chat-sessions", {"space_id": "{closed_id}"}),
    ("POST", "/chat-sessions", {"contact_id": "{own_contact_id}", "persona_id": "{persona_id}"}),
    ("POST", "/chat-sessions", {"contact_id": "{own_contact_id}", "space_id": "{space_id}"}),
    ("POST", "/chat-sessions", {"contact_id": "{own_contact_id}", "template": "{template_id}"}),
    ("POST", "/chat-sessions", {"space_id": "{own_space_id}", "template": "{template_id}"}),
    ("POST", "/chat-sessions/bulk-status", {"session_ids": ["{session_id}"], "status": "cancelled"}),
    ("POST", "/chat-sessions/cleanup", {"workspace_id": "{workspace_id}", "max_age_hours": 1}),
    ("POST", "/admin/contacts/resolve", {"identities": ["omi:x"], "workspace_id": "{workspace_id}"}),
    ("POST", "/contacts", {"first_name": "x", "workspace_id": "{workspace_id}"}),
    ("POST", "/admin/contacts/resolve", {"identities": ["omi:x"], "create": True, "group_id": "{contact_id}"}),
    ("POST", "/workspaces/{own_workspace_id}/spaces", {"name": "x", "persona_id": "{persona_id}"}),
    ("PATCH", "/spaces/{own_space_id}", {"persona_id": "{persona_id}"}),
    ("POST", "/workspaces/{own_workspace_id}/session-templates", {"name": "x", "persona_id": "{persona_id}"}),
    ("PATCH", "/session-templates/{own_template_id}", {"persona_id": "{persona_id}"}),
    ("POST", "/space/{own_space_id}/chat/stream", {"message": "x", "persona_id": "{persona_id}"}),
    ("POST", "/memories", {"memories": _X, "workspace_id": "{workspace_id}"}),
    ("POST", "/memories", {"memories": _X, "contact_id": "{contact_id}"}),
    ("POST", "/memories", {"memories": _X, "session_id": "{session_id}"}),
    ("POST", "/memories", {"memories": _X, "persona_id": "{persona_id}"}),
    ("POST", "/memories", {"memories": _X, "session_id": "{own_session_id}", "persona_id": "{persona_id}"}),
    ("POST", "/memories", {"memories": _X, "contact_id": "{own_contact_id}", "persona_id": "{persona_id}"}),
    ("POST", "/memories", {"memories": _CORRECTION}),
    ("POST", "/memories", {"memories": _CORRECTION, "contact_id": "{own_contact_id}"}),
    ("POST", "/memories/recall", {"query": "x", "workspace_id": "{workspace_id}"}),
    ("POST", "/memories/recall", {"query": "x", "contact_id": "{contact_id}"}),
    ("POST", "/memories/recall", {"query": "x", "session_id": "{session_id}"}),
    ("POST", "/memories/recall", {"query": "x", "persona_id": "{persona_id}"}),
    ("POST", "/stream-tickets", {"conversation_id": "{conversation_id}"}),
    ("POST", "/stream-tickets", {"turn_id": "{turn_id}"}),
    ("POST", "/stream-tickets", {"workspace_id": "{workspace_id}"}),
)  # fmt: skip


async def test_foreign_ids_in_queries_and_bodies_are_answered_as_none(
    workspace: Workspace, elsewhere: Workspace, staff: Staff, ours: Belongings, theirs: Belongings
) -> None:
    own = {f"own_{name}": value for name, value in ours.ids.items()}
    shut = {"closed_id": str(await elsewhere.add_space("embed", enabled=False))}
    foreign = Belongings(theirs.ids | shut)
    before = [await workspace.counts(), await elsewhere.counts()]
    wrong = []
    for method, path, body in (*(("GET", query, None) for query in QUERIES), *NAMING):
        for person in (staff.owner, staff.agent, staff.stranger, staff.contact):
            answers = [
                await told(person, method, fill(path, each.ids | own), fill(body, each.ids | own), each)
                for each in (foreign, foreign.nothing())
            ]
            if answers[0] != answers[1]:
                wrong.append(_difference(staff, person, f"{method} {path} {body}", answers))
    assert not wrong, "\n".join(wrong)
    assert [await workspace.counts(), await elsewhere.counts()] == before


def fill(what: Any, ids: Mapping[str, str]) -> Any:
    """A text, or a body, with ids in place of their names in braces."""
    if isinstance(what, str):
        return re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], what)
    if isinstance(what, dict):
        return {name: fill(value, ids) for name, value in what.items()}
    return [fill(value, ids) for value in what] if isinstance(what, list) else what


async def test_an_owner_reads_all_of_it(
    client: aiohttp.ClientSession, elsewhere: Workspace, theirs: Belongings, stack: Stack
) -> None:
    """Otherwise a route that refuses every caller would pass the other tests."""
    owner = await sign_up(client, elsewhere, stack, "owner")
    refused = []
    for route in NAMED:
        if route.method != "GET" or "user" not in route.callers or route.streaming or route.name == "read_archive":
            continue  # the session has no archive; test_archive.py reads one
        status, *_ = await told(owner, "GET", theirs.path(route), None, theirs)
        if status >= 400:
            refused.append(f"{route.path}: {status}")
    assert not refused, "\n".join(refused)
