"""Every table as every caller. `Table` in matrix.py says how to read an entry."""

from tests.database.access.callers import (
    ADMIN_2,
    ADMINS,
    AGENT,
    CONTACT_A,
    CONTACT_A_ARRIVAL,
    CONTACT_B,
    CONTACT_C,
    CONTACTS,
    FOR_C,
    GUEST,
    IN_ONE,
    MEMBERS,
    ONE,
    SERVICE,
    SIGNED_IN,
    SWITCHBOARD,
)
from tests.database.access.matrix import Cells, Side, Table
from tests.database.access.rows import LONG_AGO, NOW, ROWS, SOON, uid

NOBODY: Cells = {}
# The service role is for operators' commands: no policy stops it.
OPERATORS: Cells = {SERVICE: "@all"}
ENTERED: Cells = {**OPERATORS, SWITCHBOARD: "", IN_ONE: "@one", FOR_C: "@two"}
MEMBERS_READ: Cells = {SIGNED_IN: "", MEMBERS: "@one", ADMIN_2: "@two"}
ADMINS_READ: Cells = {SIGNED_IN: "", ADMINS: "@one", ADMIN_2: "@two"}

# What makes up a workspace is written by whoever entered to manage it, and by nobody who came in another way.
MANAGED: Cells = {**OPERATORS, SWITCHBOARD: ""}

# Workflows that no workspace made.
_BUILT_IN = " ".join(label for label in ROWS["public.workflow_transitions"] if label.startswith("built_in"))


def _request(side: Side) -> str:
    return uid("requests", "a" if side.workspace == ONE else "c")


def _quote(side: Side) -> str:
    return uid("quotes", "a" if side.workspace == ONE else "c")


TABLES = (
    Table(
        "public.workspaces",
        new=lambda _: {"name": "Another"},
        change={"name": "changed"},
        select={**ENTERED, **MEMBERS_READ},
        insert=MANAGED,
        update=MANAGED,
        delete=MANAGED,
    ),
    Table(
        "public.workspace_members",
        new=lambda side: {"workspace_id": side.workspace, "user_id": uid("users", "stranger"), "role": "owner"},
        change={"created_at": LONG_AGO},
        select={**ENTERED, **MEMBERS_READ},
        insert=MANAGED,
        update=MANAGED,
        delete=MANAGED,
    ),
    Table(
        "public.personas",
        new=lambda side: {"workspace_id": side.workspace, "kind": "demo", "name": "Another"},
        change={"name": "changed"},
        select={**ENTERED, **MEMBERS_READ},
        insert=MANAGED,
        update=MANAGED,
        delete=MANAGED,
    ),
    Table(
        "public.spaces",
        new=lambda side: {
            "workspace_id": side.workspace, "kind": "embed", "name": "Another", "persona_id": side.persona,
        },
        change={"name": "changed"},
        select={**ENTERED, **MEMBERS_READ},
        insert=MANAGED,
        update=MANAGED,
        delete=MANAGED,
    ),
    Table(
        "public.session_templates",
        new=lambda side: {"workspace_id": side.workspace, "name": "Another", "persona_id": side.persona},
        change={"name": "changed"},
        select={**ENTERED, **MEMBERS_READ},
        insert=MANAGED,
        update=MANAGED,
        delete=MANAGED,
    ),
    Table(
        "public.contacts",
        new=lambda side: {"workspace_id": side.workspace, "first_name": "Another", "session_id": side.session},
        change={"first_name": "changed"},
        # A token is for one conversation, and the session first linked may be another's.
        hidden={"contact": "session_id"},
        # Somebody's word for who they are shows them nothing of the contact.
        select={**ENTERED, **MEMBERS_READ, CONTACTS: "", CONTACT_A: "a", CONTACT_C: "c"},
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.contact_identities",
        new=lambda side: {
            "workspace_id": side.workspace, "contact_id": side.contact, "kind": "phone", "key": "+15550100",
            "value": "555 0100", "evidence": "asserted",
        },
        change={"value": "changed"},
        select={**ENTERED, **MEMBERS_READ},
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.group_participants",
        new=lambda side: {
            "workspace_id": side.workspace, "contact_id": side.contact,
            "group_id": uid("contacts", "group_one" if side.workspace == ONE else "group_two"),
        },
        change={"role": "changed"},
        select={**ENTERED, **MEMBERS_READ},
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.tags",
        new=lambda side: {"workspace_id": side.workspace, "contact_id": side.contact, "name": "another"},
        change={"name": "changed"},
        # Not even whose session it is reads what members call it.
        select={**ENTERED, **ADMINS_READ, AGENT: "contact_b session_b"},
        insert=ENTERED,
        update=ENTERED,
        delete=ENTERED,
    ),
    Table(
        "public.contact_merges",
        new=lambda side: {
            "workspace_id": side.workspace, "contact_id": side.contact,
            "into_id": uid("contacts", "b" if side.workspace == ONE else "d"),
        },
        change={"undone_at": LONG_AGO},
        select={**ENTERED, **MEMBERS_READ},
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.contact_moves",
        new=lambda side: {
            "workspace_id": side.workspace, "merge_id": uid("contact_merges", side.name), "relation": "conversations",
            "row_id": side.conversation, "former": {"contact_id": "another"},
        },
        change={"given": '{"thread_key": "changed"}'},
        select=ENTERED,
        insert=ENTERED,
        update=OPERATORS,
        delete=OPERATORS,
        loose={"row_id": "of any table that moves, and outlives what it names"},
    ),
    Table(
        "public.contact_conflicts",
        new=lambda side: {
            "workspace_id": side.workspace, "contact_id": side.contact, "found_by": "asserted",
            "other_contact_id": uid("contacts", "guest" if side.workspace == ONE else "old_two"),
        },
        change={"found_by": "changed"},
        select={**ENTERED, **MEMBERS_READ},
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.conversations",
        new=lambda side: {
            "workspace_id": side.workspace, "contact_id": side.contact, "persona_id": side.persona,
            "space_id": side.space, "thread_key": "another", "proof": "asserted",
        },
        change={"created_at": LONG_AGO},
        select={
            **ENTERED, **ADMINS_READ, AGENT: "agent b", GUEST: "guest",
            CONTACT_A: "a", CONTACT_A_ARRIVAL: "a_arrival", CONTACT_B: "b", CONTACT_C: "c",
        },
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.sessions",
        new=lambda side: {
            "workspace_id": side.workspace, "conversation_id": side.conversation, "contact_id": side.contact,
            "persona_id": side.persona, "status": "completed", "ended_at": LONG_AGO,
        },
        change={"error_message": "changed"},
        select={
            **ENTERED, **ADMINS_READ, AGENT: "agent b", GUEST: "guest",
            CONTACT_A: "a", CONTACT_A_ARRIVAL: "a_arrival", CONTACT_B: "b b_old", CONTACT_C: "c c_old",
        },
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
        hidden={"contact": "assigned_user_id workflow_state primary_quote_id proposal_id taken_over_by"},
    ),
    Table(
        "public.workflow_transitions",
        new=lambda side: {"workspace_id": side.workspace, "workflow": "refit", "to_step": "another"},
        change={"created_at": LONG_AGO},
        select={
            **OPERATORS, SIGNED_IN: _BUILT_IN, MEMBERS: f"@one {_BUILT_IN}", ADMIN_2: f"@two {_BUILT_IN}",
            SWITCHBOARD: "", IN_ONE: f"@one {_BUILT_IN}", FOR_C: f"@two {_BUILT_IN}",
        },
        insert=MANAGED,
        update=OPERATORS,
        delete=MANAGED,
    ),
    Table(
        "public.requests",
        new=lambda side: {"workspace_id": side.workspace, "session_id": side.session},
        change={"origin": "changed"},
        select={
            **ENTERED, **ADMINS_READ, AGENT: "agent b", GUEST: "guest",
            CONTACTS: "", CONTACT_A: "a", CONTACT_B: "b", CONTACT_C: "c",
        },
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.quotes",
        new=lambda side: {
            "workspace_id": side.workspace, "session_id": side.session, "request_id": _request(side),
            "operator_key": "another", "operator": "Another",
        },
        change={"operator": "changed"},
        # Not even whose session it is sees what operators ask.
        select={**ENTERED, **ADMINS_READ, AGENT: "agent b"},
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.proposals",
        new=lambda side: {
            "workspace_id": side.workspace, "session_id": side.session, "request_id": _request(side),
            "quote_id": _quote(side),
        },
        change={"title": "changed"},
        select={
            **ENTERED, **ADMINS_READ, AGENT: "agent draft_agent b draft_b", GUEST: "guest",
            CONTACTS: "", CONTACT_A: "a", CONTACT_B: "b", CONTACT_C: "c",
        },
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
        hidden={"contact": "quote_id"},
    ),
    Table(
        "public.session_refs",
        new=lambda side: {
            "workspace_id": side.workspace, "session_id": side.session, "system": "avinode", "kind": "trip",
            "external_id": "another",
        },
        change={"external_id": "changed"},
        select={**ENTERED, **ADMINS_READ, AGENT: "agent b"},
        insert=ENTERED,
        update=OPERATORS,
        delete=ENTERED,
    ),
    Table(
        "public.workflow_steps",
        new=lambda side: {
            "workspace_id": side.workspace, "session_id": side.session, "workflow": "charter", "to_step": "another",
        },
        change={"to_step": "changed"},
        select={**ENTERED, **ADMINS_READ, AGENT: "agent b"},
        insert=ENTERED,
        update=OPERATORS,
        delete=OPERATORS,
    ),
    Table(
        "public.turns",
        new=lambda side: {
            "workspace_id": side.workspace, "conversation_id": side.conversation, "session_id": side.session,
            "status": "completed", "deadline": SOON, "lease_until": SOON, "finished_at": NOW.isoformat(),
        },
        change={"error_code": "changed"},
        select={
            **ENTERED, **ADMINS_READ, AGENT: "agent b", GUEST: "guest",
            CONTACT_A: "a", CONTACT_A_ARRIVAL: "a_arrival", CONTACT_B: "b b_old", CONTACT_C: "c c_old",
        },
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.turn_errors",
        new=lambda side: {
            "turn_id": side.turn, "workspace_id": side.workspace, "conversation_id": side.conversation,
            "detail": "another",
        },
        change={"detail": "changed"},
        select={**OPERATORS, **ADMINS_READ},
        insert=ENTERED,
        update=OPERATORS,
        delete=OPERATORS,
    ),
    Table(
        "public.turn_chunks",
        new=lambda side: {
            "turn_id": side.turn, "position": 10, "workspace_id": side.workspace,
            "conversation_id": side.conversation, "piece": "more",
        },
        change={"piece": "changed"},
        select={
            **ENTERED, **ADMINS_READ, AGENT: "b_0 b_5",
            CONTACTS: "", CONTACT_A: "a_0 a_5", CONTACT_B: "b_0 b_5", CONTACT_C: "c_0 c_5",
        },
        insert=ENTERED,
        update=OPERATORS,
        delete=ENTERED,
    ),
    Table(
        "public.messages",
        new=lambda side: {
            "workspace_id": side.workspace, "conversation_id": side.conversation, "session_id": side.session,
            "turn_id": side.turn, "role": "contact", "contact_id": side.contact, "text": "another",
        },
        change={"text": "changed"},
        select={
            **ENTERED, **ADMINS_READ, AGENT: "agent b", GUEST: "guest",
            CONTACT_A: "a", CONTACT_A_ARRIVAL: "a_arrival", CONTACT_B: "b b_old b_old_answer", CONTACT_C: "c",
        },
        insert=ENTERED,
        update=OPERATORS,
        delete=OPERATORS,
        hidden={"contact": "user_id client_message_id"},
    ),
    Table(
        "public.inbound_events",
        new=lambda side: {
            "workspace_id": side.workspace, "source": "n8n", "delivery_key": "another", "raw_body": "{}",
        },
        change={"raw_body": "changed"},
        select={**ENTERED, **ADMINS_READ},
        insert=ENTERED,
        update=OPERATORS,
        delete=OPERATORS,
    ),
    Table(
        "public.jobs",
        new=lambda side: {"workspace_id": side.workspace, "kind": "n8n.answer", "event_id": side.event},
        change={"last_error": "changed"},
        select={**ENTERED, **ADMINS_READ},
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.rate_limits",
        new=lambda side: {"workspace_id": side.workspace, "name": "test", "subject": "another"},
        change={"taken": 77},
        select={**ENTERED, **ADMINS_READ, AGENT: "contact_a"},
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.persona_breakers",
        new=lambda side: {
            "workspace_id": side.workspace,
            "persona_id": uid("personas", "well_one" if side.workspace == ONE else "well_two"),
        },
        change={"refused": 77},
        select={**ENTERED, **MEMBERS_READ},
        insert=ENTERED,
        update=ENTERED,
        delete=OPERATORS,
    ),
    Table(
        "public.audit_events",
        new=lambda side: {"workspace_id": side.workspace, "verb": "test.repeated", "object_id": side.session},
        change={"verb": "changed"},
        select={**OPERATORS, **ADMINS_READ},
        insert=ENTERED,
        update=OPERATORS,
        delete=OPERATORS,
        loose={"object_id": "of any kind, and outlives what it names"},
    ),
    Table(
        "public.session_stats_periods",
        new=lambda side: {"workspace_id": side.workspace, "unit": "hour", "starts_at": SOON, "part": 0},
        change={"sessions": 77},
        select={**OPERATORS, **ADMINS_READ},
        insert=OPERATORS,
        update=OPERATORS,
        delete=OPERATORS,
    ),
    Table(
        "private.session_stats_marks",
        new=lambda side: {"workspace_id": side.workspace, "hour": SOON, "id": 7},
        change={"hour": SOON},
        select=NOBODY,
        insert=NOBODY,
        update=NOBODY,
        delete=NOBODY,
    ),
    Table(
        "private.session_stats_progress",
        new=lambda side: {
            "workspace_id": side.workspace, "hours_until": SOON, "days_until": SOON, "months_until": SOON,
        },
        change={"hours_until": SOON},
        select=NOBODY,
        insert=NOBODY,
        update=NOBODY,
        delete=NOBODY,
    ),
    Table(
        "private.retired_secrets",
        new=lambda side: {
            "workspace_id": side.workspace, "space_id": side.space, "secret_id": uid("vault", "another"),
            "accepted_until": SOON,
        },
        change={"accepted_until": LONG_AGO},
        select=NOBODY,
        insert=NOBODY,
        update=NOBODY,
        delete=NOBODY,
    ),
    Table(
        "private.wakes",
        new=lambda _: {"name": "another"},
        change={"woken_at": SOON},
        select=NOBODY,
        insert=NOBODY,
        update=NOBODY,
        delete=NOBODY,
    ),
    Table(
        "private.sweeps",
        new=lambda _: {"name": "another", "swept_at": LONG_AGO},
        change={"swept_at": SOON},
        select=NOBODY,
        insert=NOBODY,
        update=NOBODY,
        delete=NOBODY,
    ),
)  # fmt: skip
