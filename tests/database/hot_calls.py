"""The frequent calls of SQL functions, for a contact of a workspace that bench/filling.py filled."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.filling import WORKSPACE

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
AT_WORK = {"role": "switchboard", "scope": {"workspace_id": WORKSPACE}, "caller": {"kind": "system"}}


@dataclass(frozen=True)
class Call:
    """A call, with the claims of its caller.

    The superuser executes `before`. `first` is a call before this one, whose answer has the `{turn_id}` of `sql`.
    """

    claims: Mapping[str, Any]
    sql: str
    before: str = ""
    first: "Call | None" = None


def quoted(value: object) -> str:
    """A document as an SQL literal."""
    return "'" + json.dumps(value).replace("'", "''") + "'"


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

    def contacts(**filters: object) -> Call:
        return Call(OF_OWNER, f"list_contacts('{WORKSPACE}', {quoted(filters)})")

    def sessions(claims: Mapping[str, Any] = OF_OWNER, **filters: object) -> Call:
        return Call(claims, f"list_sessions({quoted(filters)})")

    def statistics(claims: Mapping[str, Any] = OF_OWNER, **filters: str) -> Call:
        return Call(claims, f"read_session_stats(filters => {quoted(filters)})")

    def resolve(email: str, *, create: bool) -> Call:
        identities = quoted([{"kind": "email", "key": email, "value": email}])
        return Call(MANAGING, f"resolve_contact({identities}, '{WORKSPACE}', {str(create).lower()})")

    return {
        "start_turn": start,
        "finish_turn": Call(
            AT_WORK, "finish_turn('{turn_id}', 'completed', 'An answer.', first_token_ms => 12)", first=start
        ),
        "start_turn, new contact": Call(newcomer, f"start_turn(space_id => '{target['space']}', message => 'Hello')"),
        "resolve, known": resolve(target["email"], create=False),
        "resolve, new": resolve(f"n{key}@growth.test", create=True),
        "contact by identity": contacts(identity={"kind": "email", "key": target["email"]}),
        "contact by id": Call(OF_OWNER, f"read_contact('{target['contact']}')"),
        "activity of a contact": Call(OF_OWNER, f"read_contact_activity('{target['contact']}')"),
        "journey of a contact": Call(OF_OWNER, f"read_contact_journey('{target['contact']}')"),
        "contacts, newest": contacts(),
        "contacts with a rare tag": contacts(tag="vip"),
        "contacts with a common tag": contacts(tag="known"),
        "session by id": Call(OF_OWNER, f"read_session('{target['session']}')"),
        "session by id, for its contact": Call(with_token, f"read_session('{target['session']}')"),
        "sessions, newest": sessions(),
        "sessions by status": sessions(status=["failed"]),
        "sessions by persona": sessions(persona_id=target["persona"]),
        "sessions by contact": sessions(contact_id=target["contact"]),
        "sessions by user": sessions(user_id=OWNER),
        "sessions by space": sessions(space_id=target["space"]),
        "sessions by channel": sessions(channel="whatsapp"),
        "sessions by step": sessions(step="proposal_ready"),
        "sessions by external id": sessions(external_ids=["atrip-10"]),
        "sessions of the last day": sessions(created_after=(now - timedelta(days=1)).isoformat()),
        "sessions active before the middle": sessions(active_before=(now - timedelta(days=days / 2)).isoformat()),
        "sessions with a rare word": sessions(text=f"word{target['number']}"),
        "sessions with a common word": sessions(text="please"),
        "sessions of an agent": sessions(OF_AGENT),
        "sessions of a conversation": sessions(conversation_id=target["conversation"]),
        "statistics": statistics(),
        "statistics of 30 days": statistics(OF_OWNER, **{"from": month_ago}),
        "statistics of four days": statistics(OF_OWNER, **{"from": four_days_ago}),
        "statistics of a space": statistics(space_id=target["space"]),
        "statistics of an agent": statistics(OF_AGENT),
        "statistics of an agent, 30 days": statistics(OF_AGENT, **{"from": month_ago}),
    }
