"""What there is to see: two workspaces whose every row has a label.

A row's id follows from its table and label, so declarations name rows and never look them up.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import asyncpg

Row = dict[str, Any]


@dataclass(frozen=True)
class Secret:
    """A column that holds the id of a Vault secret with this text."""

    text: str


def uid(table: str, label: str) -> str:
    """The id of a labelled row; users are rows too, of the table "users"."""
    return str(uuid5(NAMESPACE_OID, f"switchboard access {table}.{label}"))


# Whole seconds: a key is written alike by everybody.
NOW = datetime.now(UTC).replace(microsecond=0)
SOON = (NOW + timedelta(hours=2)).isoformat()
LONG_AGO = (NOW - timedelta(days=400)).isoformat()
LONG_BEFORE = (NOW - timedelta(days=500)).isoformat()

USERS: Mapping[str, Row] = {
    "owner": {"email": "owner@access.test", "email_confirmed_at": LONG_AGO},
    "admin": {"email": "admin@access.test", "email_confirmed_at": LONG_AGO},
    "agent": {"email": "agent@access.test", "email_confirmed_at": LONG_AGO},
    "admin_2": {"email": "admin-2@access.test", "email_confirmed_at": LONG_AGO},
    # Was an agent: still named in a session, no longer a member.
    "former": {"email": "former@access.test", "email_confirmed_at": LONG_AGO},
    # No member, but talks with workspace one under an email of theirs.
    "guest": {"email": "guest@access.test", "email_confirmed_at": LONG_AGO},
    "stranger": {"email": "stranger@access.test"},
    "nameless": {"is_anonymous": True},
}


def _turn(label: str, conversation: str, workspace: str, session: str | None = None, *, active: bool = False) -> Row:
    return {
        "id": uid("turns", label),
        "workspace_id": uid("workspaces", workspace),
        "conversation_id": uid("conversations", conversation),
        "session_id": uid("sessions", session or label),
        "client_message_id": f"{label}-1",
        "status": "active" if active else "completed",
        "deadline": SOON,
        "lease_until": SOON,
        "finished_at": None if active else NOW.isoformat(),
        "taken_over": False,
    }


def _message(label: str, turn: str, role: str, sender: Row, conversation: str, workspace: str) -> Row:
    return {
        "id": uid("messages", label),
        "workspace_id": uid("workspaces", workspace),
        "conversation_id": uid("conversations", conversation),
        "session_id": uid("sessions", turn),
        "turn_id": uid("turns", turn),
        "role": role,
        "text": f"text of {label}",
        **sender,
    }


def _from_contact(label: str) -> Row:
    return {"contact_id": uid("contacts", label)}


def _from_user(label: str) -> Row:
    return {"user_id": uid("users", label)}


def _from_persona(label: str) -> Row:
    return {"persona_id": uid("personas", label)}


def _conversation(label: str, thread: str, proof: str | None, whose: Row, workspace: str = "one") -> Row:
    return {
        "id": uid("conversations", label),
        "workspace_id": uid("workspaces", workspace),
        "persona_id": uid("personas", workspace),
        "space_id": uid("spaces", "chat" if workspace == "one" else "two"),
        "thread_key": thread,
        "proof": proof,
        **whose,
    }


def _session(
    label: str,
    conversation: str,
    whose: Row,
    workspace: str = "one",
    *,
    over: bool = False,
    assigned: str | None = None,
) -> Row:
    return {
        "id": uid("sessions", label),
        "workspace_id": uid("workspaces", workspace),
        "conversation_id": uid("conversations", conversation),
        "persona_id": uid("personas", workspace),
        "assigned_user_id": uid("users", assigned) if assigned else None,
        "status": "completed" if over else "active",
        "ended_at": LONG_AGO if over else None,
        "last_activity_at": LONG_AGO if over else NOW.isoformat(),
        "workflow_state": {},
        **whose,
    }


def _in(workspace: str, **columns: Any) -> Row:
    return {"workspace_id": uid("workspaces", workspace), **columns}


def _persona(label: str, workspace: str | None = None) -> Row:
    return _in(
        workspace or label,
        id=uid("personas", label),
        kind="demo",
        name=f"Persona {label}",
        config={"mode": "async"},
        secret_id=Secret(f"secret of {label}"),
        callback_secret_id=Secret(f"callback of {label}"),
        history_limit=20,
        time_limit_seconds=120,
    )


def _space(label: str, workspace: str, kind: str = "embed", *, enabled: bool = True) -> Row:
    return _in(
        workspace,
        id=uid("spaces", label),
        kind=kind,
        name=f"Space {label}",
        persona_id=uid("personas", workspace),
        allowed_origins=[f"https://{label}.test"],
        hmac_secret_id=Secret(f"hmac of {workspace}"),
        arrivals_per_minute=1200,
        arrivals_per_minute_by_address=120,
        enabled=enabled,
    )


def _identity(label: str, workspace: str, evidence: str) -> Row:
    verified = {"verified_by": "hmac", "verified_at": LONG_AGO} if evidence == "verified" else {}
    return _in(
        workspace,
        id=uid("contact_identities", label),
        contact_id=uid("contacts", label),
        kind="email",
        key=f"{label}@access.test",
        value=f"{label}@access.test",
        evidence=evidence,
        **verified,
    )


def _request(label: str, workspace: str) -> Row:
    return _in(
        workspace, id=uid("requests", label), session_id=uid("sessions", label), origin="LSZH", destination="EGGW"
    )


def _quote(label: str, workspace: str) -> Row:
    return _in(
        workspace,
        id=uid("quotes", label),
        request_id=uid("requests", label),
        session_id=uid("sessions", label),
        operator_key="acme",
        operator="Acme",
        status="received",
        received_at=LONG_AGO,
        amount="12000.00",
        currency="EUR",
    )


def _proposal(label: str, request: str, workspace: str, status: str) -> Row:
    return _in(
        workspace,
        id=uid("proposals", label),
        request_id=uid("requests", request),
        session_id=uid("sessions", request),
        quote_id=uid("quotes", request),
        status=status,
    )


def _step(label: str, workspace: str) -> Row:
    return _in(
        workspace,
        id=uid("workflow_steps", label),
        session_id=uid("sessions", label),
        workflow="charter",
        to_step="understanding_request",
    )


def _ref(label: str, workspace: str) -> Row:
    return _in(
        workspace,
        id=uid("session_refs", label),
        session_id=uid("sessions", label),
        system="avinode",
        kind="trip",
        external_id=f"atrip-{label}",
    )


def _transition(label: str) -> Row:
    return _in(label, id=uid("workflow_transitions", label), workflow="refit", to_step=f"begin_{label}")


def _built_in(number: int, from_step: str | None, to_step: str) -> Row:
    return {
        "id": f"01900000-0000-7000-8000-{number:012x}",
        "workspace_id": None,
        "workflow": "charter",
        "from_step": from_step,
        "to_step": to_step,
    }


_CHARTER = (
    (None, "understanding_request"),
    ("understanding_request", "searching_aircraft"),
    ("searching_aircraft", "requesting_quotes"),
    ("requesting_quotes", "proposal_ready"),
    ("searching_aircraft", "understanding_request"),
    ("requesting_quotes", "understanding_request"),
    ("requesting_quotes", "searching_aircraft"),
    ("proposal_ready", "understanding_request"),
    ("proposal_ready", "searching_aircraft"),
    ("proposal_ready", "requesting_quotes"),
)

_WORKED_ON = (("a", "one"), ("b", "one"), ("guest", "one"), ("agent", "one"), ("c", "two"))
"""Sessions with a request, and all that comes of one."""


def _job(label: str, workspace: str, *, running: bool = False) -> Row:
    return _in(
        workspace,
        id=uid("jobs", label),
        kind="n8n.answer",
        event_id=uid("inbound_events", workspace),
        status="running" if running else "queued",
        attempts=1 if running else 0,
        lease_until=SOON if running else None,
    )


# Conversations: A's lasting one and an arrival under A's email without proof; B's, opened on B's word; the guest's, a
# user and a contact at once; the agent's own with the persona; C's in workspace two. The agent is assigned B's present
# session, not the old one; the former agent is named in A's.
ROWS: Mapping[str, Mapping[str, Row]] = {
    "public.workspaces": {
        "one": {"id": uid("workspaces", "one"), "name": "Workspace one"},
        "two": {"id": uid("workspaces", "two"), "name": "Workspace two"},
    },
    "public.workspace_members": {
        "owner": _in("one", user_id=uid("users", "owner"), role="owner"),
        "admin": _in("one", user_id=uid("users", "admin"), role="admin"),
        "agent": _in("one", user_id=uid("users", "agent"), role="agent"),
        "admin_2": _in("two", user_id=uid("users", "admin_2"), role="admin"),
    },
    "public.personas": {
        "one": _persona("one"),
        "well_one": _persona("well_one", "one"),
        "two": _persona("two"),
        "well_two": _persona("well_two", "two"),
    },
    "public.spaces": {
        "chat": _space("chat", "one"),
        "landing": _space("landing", "one", "landing"),
        "closed": _space("closed", "one", enabled=False),
        "two": _space("two", "two"),
    },
    "public.contacts": {
        "a": _in("one", id=uid("contacts", "a"), first_name="A"),
        "b": _in("one", id=uid("contacts", "b"), first_name="B"),
        "guest": _in("one", id=uid("contacts", "guest"), first_name="Guest"),
        "group_one": _in("one", id=uid("contacts", "group_one"), kind="group", title="Group one"),
        "c": _in("two", id=uid("contacts", "c"), first_name="C"),
        "d": _in("two", id=uid("contacts", "d"), first_name="D"),
        "group_two": _in("two", id=uid("contacts", "group_two"), kind="group", title="Group two"),
        "old_one": _in("one", id=uid("contacts", "old_one"), first_name="Old", merged_into_id=uid("contacts", "b")),
        "old_two": _in("two", id=uid("contacts", "old_two"), first_name="Old", merged_into_id=uid("contacts", "c")),
    },
    "public.contact_merges": {
        label: _in(
            label,
            id=uid("contact_merges", label),
            contact_id=uid("contacts", f"old_{label}"),
            into_id=uid("contacts", into),
        )
        for label, into in (("one", "b"), ("two", "c"))
    },
    "public.contact_conflicts": {
        label: _in(
            label,
            id=uid("contact_conflicts", label),
            contact_id=uid("contacts", contact),
            other_contact_id=uid("contacts", other),
            found_by="asserted",
        )
        for label, contact, other in (("one", "a", "b"), ("two", "c", "d"))
    },
    "public.group_participants": {
        label: _in(
            workspace, group_id=uid("contacts", f"group_{workspace}"), contact_id=uid("contacts", label), role="x"
        )
        for label, workspace in (("b", "one"), ("d", "two"))
    },
    "public.contact_identities": {
        "a": _identity("a", "one", "verified"),
        "b": _identity("b", "one", "asserted"),
        "guest": _identity("guest", "one", "verified"),
        "c": _identity("c", "two", "verified"),
    },
    "public.conversations": {
        "a": _conversation("a", "main", "verified", _from_contact("a")),
        "a_arrival": _conversation("a_arrival", "arrival:1", "asserted", _from_contact("a")),
        "b": _conversation("b", "arrival:2", "asserted", _from_contact("b")),
        "guest": _conversation("guest", "main", "verified", _from_contact("guest") | _from_user("guest")),
        "agent": _conversation("agent", "main", None, _from_user("agent")),
        "c": _conversation("c", "main", "verified", _from_contact("c"), "two"),
    },
    "public.sessions": {
        "a": _session("a", "a", _from_contact("a"), assigned="former"),
        "a_arrival": _session("a_arrival", "a_arrival", _from_contact("a")),
        "b_old": _session("b_old", "b", _from_contact("b"), over=True),
        "b": _session("b", "b", _from_contact("b"), assigned="agent"),
        "guest": _session("guest", "guest", _from_contact("guest") | _from_user("guest")),
        "agent": _session("agent", "agent", _from_user("agent")),
        "c_old": _session("c_old", "c", _from_contact("c"), "two", over=True),
        "c": _session("c", "c", _from_contact("c"), "two"),
    },
    "public.tags": {
        **{
            f"contact_{label}": _in(
                workspace, id=uid("tags", f"contact_{label}"), contact_id=uid("contacts", label), name="vip"
            )
            for label, workspace in (("b", "one"), ("c", "two"))
        },
        **{
            f"session_{label}": _in(
                workspace, id=uid("tags", f"session_{label}"), session_id=uid("sessions", label), name="late"
            )
            for label, workspace in (("a", "one"), ("b", "one"), ("guest", "one"), ("c", "two"))
        },
    },
    "public.workflow_transitions": {
        **{label: _transition(label) for label in ("one", "two")},
        **{f"built_in_{number}": _built_in(number, *steps) for number, steps in enumerate(_CHARTER, 1)},
    },
    "public.requests": {label: _request(label, workspace) for label, workspace in _WORKED_ON},
    "public.quotes": {label: _quote(label, workspace) for label, workspace in _WORKED_ON},
    "public.proposals": {
        **{label: _proposal(label, label, workspace, "sent") for label, workspace in _WORKED_ON},
        **{f"draft_{label}": _proposal(f"draft_{label}", label, workspace, "draft") for label, workspace in _WORKED_ON},
    },
    "public.session_refs": {label: _ref(label, workspace) for label, workspace in _WORKED_ON},
    "public.workflow_steps": {label: _step(label, workspace) for label, workspace in _WORKED_ON},
    "public.contact_moves": {
        label: _in(
            label,
            merge_id=uid("contact_merges", label),
            relation="tags",
            row_id=uid("tags", f"contact_{into}"),
            former=_in(
                label,
                id=uid("tags", f"contact_{into}"),
                contact_id=uid("contacts", f"old_{label}"),
                name="vip",
                created_at=LONG_AGO,
            ),
        )
        for label, into in (("one", "b"), ("two", "c"))
    },
    "public.turns": {
        "a": _turn("a", "a", "one", active=True),
        "a_arrival": _turn("a_arrival", "a_arrival", "one"),
        "b_old": _turn("b_old", "b", "one"),
        "b": _turn("b", "b", "one", active=True),
        "guest": _turn("guest", "guest", "one"),
        "agent": _turn("agent", "agent", "one"),
        "c_old": _turn("c_old", "c", "two"),
        "c": _turn("c", "c", "two", active=True),
    },
    "public.turn_errors": {
        turn: {
            "turn_id": uid("turns", turn),
            "workspace_id": uid("workspaces", workspace),
            "conversation_id": uid("conversations", conversation),
            "detail": "connect to 10.0.0.7:5678 refused",
        }
        for turn, conversation, workspace in (("b_old", "b", "one"), ("c_old", "c", "two"))
    },
    "public.turn_chunks": {
        f"{turn}_{position}": {
            "turn_id": uid("turns", turn),
            "position": position,
            "workspace_id": uid("workspaces", workspace),
            "conversation_id": uid("conversations", turn),
            "piece": "piece",
        }
        for turn, workspace in (("a", "one"), ("b", "one"), ("c", "two"))
        for position in (0, 5)
    },
    "public.messages": {
        "a": _message("a", "a", "contact", _from_contact("a"), "a", "one"),
        "a_arrival": _message("a_arrival", "a_arrival", "contact", _from_contact("a"), "a_arrival", "one"),
        "b_old": _message("b_old", "b_old", "contact", _from_contact("b"), "b", "one"),
        "b_old_answer": _message("b_old_answer", "b_old", "persona", _from_persona("one"), "b", "one"),
        "b": _message("b", "b", "contact", _from_contact("b"), "b", "one"),
        "guest": _message("guest", "guest", "contact", _from_contact("guest"), "guest", "one"),
        "agent": _message("agent", "agent", "user", _from_user("agent"), "agent", "one"),
        "c": _message("c", "c", "contact", _from_contact("c"), "c", "two"),
    },
    "public.session_templates": {
        label: _in(
            label,
            id=uid("session_templates", label),
            name=f"Template {label}",
            persona_id=uid("personas", label),
            first_messages=["Hello."],
        )
        for label in ("one", "two")
    },
    "public.inbound_events": {
        label: _in(
            label, id=uid("inbound_events", label), source="n8n", delivery_key=f"delivery {label}", raw_body="{}"
        )
        for label in ("one", "two")
    },
    "public.jobs": {
        "queued": _job("queued", "one"),
        "running": _job("running", "one", running=True),
        "queued_2": _job("queued_2", "two"),
        "running_2": _job("running_2", "two", running=True),
    },
    "public.rate_limits": {
        # A window that is not over however late it is looked at. Of a subject that is no id agents see nothing.
        **{
            label: _in(label, name="test", subject=f"subject of {label}", taken=5, window_started_at=SOON)
            for label in ("one", "two")
        },
        **{
            f"address_{number}": _in("one", name="test", subject=subject, taken=5, window_started_at=SOON)
            for number, subject in enumerate(("192.0.2.1", "2001:db8:1:2::/64", "::ffff:192.0.2.1"))
        },
        **{
            f"contact_{label}": _in(
                workspace, name="test", subject=uid("contacts", label), taken=5, window_started_at=SOON
            )
            for label, workspace in (("a", "one"), ("c", "two"))
        },
    },
    "public.persona_breakers": {
        label: _in(label, persona_id=uid("personas", label), failures=2) for label in ("one", "two")
    },
    "public.audit_events": {
        **{
            label: _in(label, id=uid("audit_events", label), verb="test.done", object_id=uid("workspaces", label))
            for label in ("one", "two")
        },
        **{
            f"contact_{label}": _in(
                workspace,
                id=uid("audit_events", f"contact_{label}"),
                verb="contact.registered",
                object_id=uid("contacts", label),
            )
            for label, workspace in (("b", "one"), ("c", "two"))
        },
    },
    "private.retired_secrets": {
        f"{kind}_{label}": _in(
            label,
            id=uid("retired_secrets", f"{kind}_{label}"),
            **{f"{kind}_id": uid(f"{kind}s", thing)},
            secret_id=Secret(f"former {kind} secret of {label}"),
            accepted_until=SOON,
        )
        for label, space in (("one", "chat"), ("two", "two"))
        for kind, thing in (("space", space), ("persona", label))
    },
    "private.wakes": {"worker": {"name": "worker", "woken_at": LONG_AGO}},
    "private.sweeps": {"test": {"name": "test", "swept_at": LONG_AGO}},
    "public.session_stats_periods": {
        label: _in(label, unit="day", starts_at=day, part=0) for label, day in (("one", LONG_AGO), ("two", LONG_BEFORE))
    },
    "private.session_stats_marks": {
        label: _in(label, hour=LONG_AGO, id=number) for number, label in enumerate(("one", "two"))
    },
    "private.session_stats_progress": {
        label: _in(label, hours_until=LONG_AGO, days_until=LONG_AGO, months_until=LONG_AGO) for label in ("one", "two")
    },
}

NAMES: Mapping[str, str] = {
    **{uid("users", label): f"users.{label}" for label in USERS},
    **{
        row["id"]: f"{table.split('.')[1]}.{label}"
        for table, labelled in ROWS.items()
        for label, row in labelled.items()
        if isinstance(row.get("id"), str)
    },
}
"""Ids back to table.label."""

WORKSPACES = [uid("workspaces", "one"), uid("workspaces", "two")]


def labels_of(table: str, workspace: str) -> frozenset[str]:
    """The labels of a table's rows that belong to a workspace."""
    column = "id" if table == "public.workspaces" else "workspace_id"
    wanted = uid("workspaces", workspace)
    return frozenset(label for label, row in ROWS[table].items() if row.get(column) == wanted)


def record(table: str, label: str) -> str:
    """SQL for a labelled row as a composite value, without reading the table."""
    known = {name: value for name, value in ROWS[f"public.{table}"][label].items() if not isinstance(value, Secret)}
    written = json.dumps(known).replace("'", "''")
    return f"pg_catalog.jsonb_populate_record(null::public.{table}, '{written}')"


async def load(connection: asyncpg.Connection, leave_out: tuple[str, ...] = ()) -> list[UUID]:
    """Insert users, Vault secrets and every table's rows, as the superuser; the secrets' ids."""
    made: list[UUID] = []
    for label, user in USERS.items():
        await _insert(connection, "auth.users", {"id": uid("users", label), "aud": "authenticated", **user})
    for table, labelled in ROWS.items():
        for row in labelled.values() if table not in leave_out else ():
            if row.get("workspace_id", table) is None:
                continue  # No workspace's: the migrations put it there.
            ready = dict(row)
            for column, value in row.items():
                if isinstance(value, Secret):
                    made.append(await connection.fetchval("select vault.create_secret($1)", value.text))
                    ready[column] = str(made[-1])
            await _insert(connection, table, ready)
    return made


async def remove(connection: asyncpg.Connection, secrets: list[UUID]) -> None:
    """Take away what `load` inserted, whatever hangs on it."""
    async with connection.transaction():
        await connection.execute("set local session_replication_role = replica")
        for table in ROWS:
            if table.startswith("public."):
                column = "id" if table == "public.workspaces" else "workspace_id"
                await connection.execute(f"delete from {table} where {column} = any ($1::uuid[])", WORKSPACES)
        await connection.execute("delete from vault.secrets where id = any ($1)", secrets)
        await connection.execute(
            "delete from auth.users where id = any ($1::uuid[])", [uid("users", label) for label in USERS]
        )


async def _insert(connection: asyncpg.Connection, table: str, row: Row) -> None:
    columns = ", ".join(row)
    await connection.execute(
        f"insert into {table} ({columns}) select {columns} from jsonb_populate_record(null::{table}, $1::text::jsonb)",
        json.dumps(row),
    )
