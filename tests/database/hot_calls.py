"""The frequent calls of functions and queries of views, for a contact of a workspace that bench/filling.py filled."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from bench.filling import WORKSPACE
from lib.contacts.contacts import Contact
from lib.imports.batches import Batch
from lib.imports.items import ImportedContact, ImportedConversation

OWNER = "00000000-0000-4000-8000-00000000e0e0"
AGENT = "00000000-0000-4000-8000-00000000a0a0"
MEMBERS = f"""
insert into auth.users (id, email, email_confirmed_at) values
    ('{OWNER}', 'owner@growth.test', now()), ('{AGENT}', 'agent@growth.test', now());
insert into public.workspace_members (workspace_id, user_id, role) values
    ('{WORKSPACE}', '{OWNER}', 'owner'), ('{WORKSPACE}', '{AGENT}', 'agent');
"""

OF_OWNER = {"role": "authenticated", "sub": OWNER}
OF_AGENT = {"role": "authenticated", "sub": AGENT}
MANAGING = {"role": "switchboard", "scope": {"management": True}, "caller": {"kind": "user", "user_id": OWNER}}
OPERATOR = {"role": "service_role"}
AT_WORK = {"role": "switchboard", "scope": {"workspace_id": WORKSPACE}, "caller": {"kind": "system"}}


PAGE = 51
"""One row more than a page shows, as the functions ask for."""

COLUMNS = ", ".join(Contact.model_fields)
"""Those that a list of contacts shows."""


@dataclass(frozen=True)
class Call:
    """A call of a function, or a statement with its values, with the claims of its caller.

    The superuser executes `before`. `first` is a call before this one, whose answer has the `{turn_id}` of `sql`.
    """

    claims: Mapping[str, Any]
    sql: str
    before: str = ""
    first: "Call | None" = None
    values: tuple[Any, ...] = ()


def quoted(value: object) -> str:
    """A document as an SQL literal."""
    return "'" + json.dumps(value).replace("'", "''") + "'"


def contact_query(view: str, condition: str = "true", columns: str = "*") -> Call:
    """The statement that PostgREST sends for a page of contacts: they are the answer, newest first."""
    rows = f"select {columns} from public.{view} where workspace_id = '{WORKSPACE}' and {condition}"
    page = f"{rows} order by created_at desc, id desc limit {PAGE}"
    return Call(OF_OWNER, f"with page as ({page}) select json_agg(page) from page")


def session_query(
    claims: Mapping[str, Any],
    where: str,
    *values: object,
    joined: str = "",
    view: str = "",
    moment: str = "created_at",
) -> Call:
    """The statement that PostgREST sends for a page of sessions, with its values as parameters."""
    first = len(values) + 1
    page = f"order by s.{moment} desc, s.id desc limit ${first} offset ${first + 1}"
    source = f"select s.* from public.{view}session_details s {joined} where {where} {page}"
    body = "select coalesce(json_agg(t), '[]')::text from (select * from pgrst_source) t"
    return Call(claims, f"with pgrst_source as ({source}) {body}", values=(*values, PAGE, 0))


def embedded(table: str, condition: str, limit: int, join: str = "left") -> str:
    """How PostgREST joins the rows of another table to those of a view."""
    rows = f"select e.id from public.{table} e where e.session_id = s.id and {condition} limit {limit}"
    required = "true" if join == "left" else f"{table}_rows is not null"
    return f"{join} join lateral (select json_agg(x) as {table}_rows from ({rows}) x) {table} on {required}"


def imported(key: int) -> Call:
    """An import of messages, new by the key, into conversations that only its first call finds new."""
    said = {"role": "contact", "text": "Hello", "created_at": "2024-03-01T10:00:00Z", "attachments": [{"kind": "file"}]}
    messages = [{**said, "external_id": f"{key}{n}"} for n in range(10)]
    batch = Batch(UUID(WORKSPACE), "crm")
    for n in range(20):
        name = {"external_id": str(n)}
        batch.add_contacts([(n, ImportedContact.model_validate({**name, "identities": [f"email:{n}@crm.test"]}))])
        talk = {**name, "contact": str(n), "persona": "Persona 0", "messages": messages}
        batch.add_conversation(n, ImportedConversation.model_validate(talk))
    rows = json.loads(json.dumps(batch.rows, default=str))
    return Call(MANAGING, f"import_batch('{WORKSPACE}', 'crm', {quoted(rows)})")


def of(target: Mapping[str, Any], days: int) -> dict[str, Call]:
    """By name, for a contact with its conversation, session, space and persona."""
    contact = {"kind": "contact", "contact_id": target["contact"], "conversation_id": target["conversation"]}
    contact |= {"proof": "verified"}
    scope = {"workspace_id": WORKSPACE, "space_id": target["space"]}
    as_contact = {"role": "switchboard", "scope": scope, "caller": contact}
    with_token = {**contact, "role": "contact", "sub": target["contact"], "workspace_id": WORKSPACE}
    newcomer = {"role": "switchboard", "scope": {"space_id": target["space"]}, "caller": {"kind": "anonymous"}}
    now, key = datetime.now(UTC), time.time_ns()
    month_ago, four_days_ago = ((now - timedelta(days=past)).date().isoformat() for past in (30, 3))
    ended = f"""
        update public.turns set status = 'completed', finished_at = clock_timestamp()
         where conversation_id = '{target["conversation"]}' and status = 'active'"""
    start = Call(as_contact, f"start_turn('{target['space']}', 'Hello', client_message_id => 'g{key}')", ended)

    def sessions(where: str, *values: object, claims: Mapping[str, Any] = OF_OWNER, joined: str = "") -> Call:
        return session_query(claims, f"s.workspace_id = $1 and {where}", WORKSPACE, *values, joined=joined)

    unread = f"select id, created_at from public.unread_sessions('{WORKSPACE}')"
    unread += f" order by created_at desc, id desc limit {PAGE}"

    def by_activity(where: str, *values: object) -> Call:
        shown = f"s.workspace_id = $1 and {where}"
        return session_query(OF_OWNER, shown, WORKSPACE, *values, moment="last_activity_at")

    def session(claims: Mapping[str, Any], view: str = "") -> Call:
        rows = [embedded("turns", "true", 200), embedded("messages", "true", 201)]
        return session_query(claims, "s.id = $1", target["session"], joined=" ".join(rows), view=view)

    def statistics(claims: Mapping[str, Any] = OF_OWNER, **filters: str) -> Call:
        return Call(claims, f"read_session_stats(filters => {quoted(filters)})")

    def resolve(
        kind: str, name: str, *, create: bool, claims: Mapping[str, Any] = MANAGING, of: str = "person"
    ) -> Call:
        identities = quoted([{"kind": kind, "key": name, "value": name}])
        return Call(claims, f"resolve_contact({identities}, '{WORKSPACE}', {create}, '{of}')")

    return {
        "start_turn": start,
        "finish_turn": Call(
            AT_WORK, "finish_turn('{turn_id}', 'completed', 'An answer.', first_token_ms => 12)", first=start
        ),
        "import": imported(key),
        "start_turn, new contact": Call(newcomer, f"start_turn(space_id => '{target['space']}', message => 'Hello')"),
        "resolve, known": resolve("email", target["email"], create=False),
        "resolve, known, as an operator": resolve("email", target["email"], create=True, claims=OPERATOR),
        "resolve, new": resolve("email", f"n{key}@growth.test", create=True),
        "resolve, new, as an operator": resolve("phone", f"+1555{key}", create=True, claims=OPERATOR),
        "resolve, new group": resolve("telegram", f"-{key}", create=True, of="group"),
        "contact by identity": contact_query("contact_identities", f"kind = 'email' and key = '{target['email']}'"),
        "contact by id": contact_query("contact_details", f"id = '{target['contact']}'"),
        "activity of a contact": contact_query("contact_activity", f"id = '{target['contact']}'"),
        "timeline of a contact": Call(OF_OWNER, f"read_contact_timeline('{target['contact']}')"),
        "contacts, newest": contact_query("contact_details", "merged_into_id is null", COLUMNS),
        "contacts with a rare tag": contact_query("contacts_by_tag", "tag = 'vip'", COLUMNS),
        "contacts with a common tag": contact_query("contacts_by_tag", "tag = 'known'", COLUMNS),
        "session by id": session(OF_OWNER),
        "session by id, for its contact": session(with_token, "contact_"),
        "events of a session": Call(OF_OWNER, f"session_events('{target['session']}')"),
        "sessions, newest": sessions("true"),
        "sessions, unread": Call(OF_OWNER, f"with page as ({unread}) select json_agg(page) from page"),
        "inbox": by_activity("s.status = any ($2)", ["active", "paused"]),
        "inbox, unassigned": by_activity("s.status = any ($2) and s.assigned_user_id is null", ["active", "paused"]),
        "inbox, mine": by_activity("s.assigned_user_id = $2", AGENT),
        "inbox, unread": by_activity("s.unread is true and s.last_activity_at > $2", now - timedelta(days=30)),
        "inbox, with ended ones": by_activity("true"),
        "sessions by status": sessions("s.status = any ($2)", ["failed"]),
        "sessions by persona": sessions("s.persona_id = $2", target["persona"]),
        "sessions by contact": sessions("s.contact_id = $2", target["contact"]),
        "sessions by user": sessions("s.user_id = $2", OWNER),
        "sessions by space": sessions("s.space_id = $2", target["space"]),
        "sessions by channel": sessions("s.channel = $2", "whatsapp"),
        "sessions by step": sessions("s.workflow_step = $2", "proposal_ready"),
        "sessions of the last day": sessions("s.created_at >= $2", now - timedelta(days=1)),
        "sessions active before the middle": sessions(
            "s.last_activity_at < $2 and s.created_at < $2", now - timedelta(days=days / 2)
        ),
        "sessions with a common word": sessions(
            "true",
            "please",
            joined=embedded("message_words", "e.words @@ websearch_to_tsquery('simple', $2)", 1, "inner"),
        ),
        "sessions of an agent": sessions("(s.user_id = $2 or s.assigned_user_id = $2)", AGENT, claims=OF_AGENT),
        "no session by status": sessions("s.status = any ($2)", ["paused"]),
        "no session by persona": sessions("s.persona_id = $2", OWNER),
        "no session by space": sessions("s.space_id = $2", OWNER),
        "no session by channel": sessions("s.channel = $2", "telegram"),
        "no session by workflow": sessions("s.workflow = $2", "refund"),
        "no session by quote": sessions("s.primary_quote_id is not null"),
        "no session taken over": sessions("s.taken_over_at is not null"),
        "sessions of a conversation": session_query(OF_OWNER, "s.conversation_id = $1", target["conversation"]),
        "search for a rare word": Call(OF_OWNER, f"search_sessions('{WORKSPACE}', 'word{target['number']}')"),
        "search for an external id": Call(OF_OWNER, f"search_sessions('{WORKSPACE}', external_ids => '{{atrip-10}}')"),
        "statistics": statistics(),
        "statistics of 30 days": statistics(OF_OWNER, **{"from": month_ago}),
        "statistics of four days": statistics(OF_OWNER, **{"from": four_days_ago}),
        "statistics of a space": statistics(space_id=target["space"]),
        "statistics of an agent": statistics(OF_AGENT),
        "statistics of an agent, 30 days": statistics(OF_AGENT, **{"from": month_ago}),
    }
