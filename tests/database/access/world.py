"""The labelled rows of two workspaces. The id of a row follows from its table and label, so a table can name it."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import asyncpg

Row = dict[str, Any]

# Whole seconds: a timestamp in a key then has one spelling.
_NOW = datetime.now(UTC).replace(microsecond=0)
_TIMES = {
    "NOW": _NOW.isoformat(),
    "SOON": (_NOW + timedelta(hours=2)).isoformat(),
    "LONG_AGO": (_NOW - timedelta(days=400)).isoformat(),
    "BEFORE": (_NOW - timedelta(days=500)).isoformat(),
    "VECTOR": json.dumps([1] + [0] * 383),
}

# A table with the columns that its rows share; below it, labels with the columns of their own. In a value, `*` is the
# label, `~` its workspace (see `workspace_of`), `table.label` an id and `secret:` a text in Vault. `id` and
# `workspace_id` are added.
#
# Conversations: A's lasting one, and one that opened when A's email was typed without proof; B's, opened without proof;
# the guest's, who is a user and a contact; the agent's own with the persona; C's in workspace two. B's present session
# is assigned to the agent, B's old one is not.
_WORLD = """
auth.users: aud=authenticated
    owner admin agent former guest admin_2: email=*@access.test email_confirmed_at=LONG_AGO
    stranger: email=*@access.test
    nameless: is_anonymous=true
workspaces: name=Workspace-*
    one two:
workspace_members: user_id=users.* role=*
    owner admin agent:
    admin_2: role=admin
api_keys: name=* role=admin hash=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
    admin_key key_two:
    agent_key: role=agent
    ingest_key: role=ingest
    expired_key: expires_at=LONG_AGO
    revoked_key: revoked_at=LONG_AGO
invitations: workspace_name=x email=*@access.test email_key=*@access.test role=agent expires_at=SOON
    one: email_key=guest@access.test invited_by=users.owner
    two: email_key=stranger@access.test invited_by=users.admin_2
    late_one: email_key=former@access.test expires_at=LONG_AGO
    used_one: email_key=agent@access.test accepted_at=NOW
personas: kind=demo name=* config={"mode":"async"} secret_id=secret:persona-* callback_secret_id=secret:callback-*
    one well_one two well_two:
spaces: kind=embed name=* persona_id=personas.~ hmac_secret_id=secret:hmac-~ allowed_origins=["https://*.test"]
    one two:
    landing: kind=landing
    closed: enabled=false
channels: kind=telegram name=* external_id=* persona_id=personas.~ verify_secret_id=secret:verify-* \
        token_secret_id=secret:token-*
    one two:
contacts: first_name=*
    a b guest c d:
    group_one group_two: kind=group title=* first_name=null
    old_one: merged_into_id=contacts.b
    old_two: merged_into_id=contacts.c
import_refs: source=crm kind=contact external_id=*
    one: contact_id=contacts.a
    two: contact_id=contacts.c
contact_merges: contact_id=contacts.old_~ into_id=contacts.b
    one:
    two: into_id=contacts.c
contact_conflicts: found_by=asserted
    one: contact_id=contacts.a other_contact_id=contacts.b
    two: contact_id=contacts.c other_contact_id=contacts.d
group_participants: group_id=contacts.group_~ contact_id=contacts.* role=x
    b d:
contact_identities: contact_id=contacts.* kind=email key=*@access.test value=* evidence=verified
    a guest c: verified_by=hmac verified_at=LONG_AGO
    b: evidence=asserted
conversations: contact_id=contacts.* persona_id=personas.~ space_id=spaces.~ thread_key=main proof=verified
    a c:
    a_arrival: contact_id=contacts.a thread_key=arrival:1 proof=asserted
    b: thread_key=arrival:2 proof=asserted
    guest: user_id=users.*
    agent: user_id=users.* contact_id=null proof=null
    chat_one chat_two: contact_id=contacts.group_~ space_id=null channel=telegram channel_id=channels.~ thread_key=-100
conversation_reads: conversation_id=conversations.* user_id=users.owner read_at=LONG_AGO
    a:
    c: user_id=users.admin_2
sessions: conversation_id=conversations.* contact_id=contacts.* persona_id=personas.~ status=active
    c:
    a:
    a_arrival: contact_id=contacts.a
    b: assigned_user_id=users.agent opened_by_key_id=api_keys.agent_key
    guest: user_id=users.*
    agent: user_id=users.* contact_id=null
    chat_one chat_two: contact_id=contacts.group_~ channel=telegram
    b_old: conversation_id=conversations.b contact_id=contacts.b status=completed ended_at=LONG_AGO \
        last_activity_at=LONG_AGO
    c_old: conversation_id=conversations.c contact_id=contacts.c status=completed ended_at=LONG_AGO \
        last_activity_at=LONG_AGO
tags: name=vip
    contact_b: contact_id=contacts.b
    contact_c: contact_id=contacts.c
    session_a: session_id=sessions.a
    session_b: session_id=sessions.b
    session_guest: session_id=sessions.guest
    session_c: session_id=sessions.c
workflow_transitions: workflow=refit to_step=begin_*
    one two:
requests: session_id=sessions.* origin=LSZH destination=EGGW
    a b guest agent c:
quotes: session_id=sessions.* request_id=requests.* operator_key=acme operator=Acme status=received \
        received_at=LONG_AGO amount=12000.00 currency=EUR
    a b guest agent c:
proposals: session_id=sessions.* request_id=requests.* quote_id=quotes.* status=sent
    a b guest agent c:
    draft_b: session_id=sessions.b request_id=requests.b quote_id=quotes.b status=draft
    draft_guest: session_id=sessions.guest request_id=requests.guest quote_id=quotes.guest status=draft
    draft_c: session_id=sessions.c request_id=requests.c quote_id=quotes.c status=draft
session_refs: session_id=sessions.* system=avinode kind=trip external_id=trip-*
    a b guest agent c:
workflow_steps: session_id=sessions.* workflow=charter to_step=understanding_request
    a b guest agent c:
session_reasons: session_id=sessions.* status=paused reason=x
    a b guest agent c:
contact_moves: merge_id=contact_merges.~ relation=tags former={}
    one: row_id=tags.contact_b
    two: row_id=tags.contact_c
turns: conversation_id=conversations.* session_id=sessions.* status=completed deadline=SOON lease_until=SOON \
        finished_at=NOW client_message_id=*-1
    a_arrival guest agent:
    a b c: status=active finished_at=null
    b_old: conversation_id=conversations.b
    c_old: conversation_id=conversations.c
turn_errors: turn_id=turns.* persona_id=personas.~ detail=refused
    b_old: conversation_id=conversations.b
    c_old: conversation_id=conversations.c
turn_chunks: turn_id=turns.* conversation_id=conversations.* position=0 piece=piece
    a b c:
messages: conversation_id=conversations.* session_id=sessions.* turn_id=turns.* role=contact text=text-*
    b guest c: contact_id=contacts.*
    a a_arrival: contact_id=contacts.a
    b_old: conversation_id=conversations.b contact_id=contacts.b
    b_old_answer: conversation_id=conversations.b session_id=sessions.b_old turn_id=turns.b_old role=persona \
        persona_id=personas.one
    agent: role=user user_id=users.*
    chat_one chat_two: turn_id=null role=persona persona_id=personas.~ text=hello
message_deliveries: message_id=messages.* conversation_id=conversations.* part=0
    chat_one chat_two:
attachments: message_id=messages.* conversation_id=conversations.* place=0 kind=image
    chat_one chat_two:
device_links: uid=device-* user_id=users.guest
    one two:
device_sessions: external_id=device-* user_id=users.guest linked_with=session_id linked_at=NOW
    one two:
session_templates: name=* persona_id=personas.* first_messages=["Hello."]
    one two:
answer_templates: name=* shortcut=* text=Hello.
    one two:
inbound_events: source=n8n delivery_key=* raw_body="{}"
    one two:
jobs: kind=n8n.answer event_id=inbound_events.~
    queued queued_2:
    running running_2: status=running attempts=1 lease_until=SOON
event_subscriptions: url=https://*.test event_types=["message.created"] secret_id=secret:signing-*
    one two:
events: type=message.created data={"x":1}
    one spare_one: contact_id=contacts.b
    two spare_two: contact_id=contacts.c
event_deliveries: event_id=events.* subscription_id=event_subscriptions.* ordering_key=*
    one two:
rate_limits: name=test taken=5 window_started_at=SOON
    one two: subject=*
    address: subject=192.0.2.1
    network: subject=2001:db8:1:2::/64
    contact_a: subject=contacts.a
    contact_c: subject=contacts.c
persona_breakers: persona_id=personas.* failures=2
    one two:
memories: content=*
    a c: contact_id=contacts.* session_id=sessions.* message_id=messages.* sender_id=contacts.* persona_id=personas.~
    a_arrival: contact_id=contacts.a conversation_id=conversations.*
    b: contact_id=contacts.* conversation_id=conversations.*
    guest group_one group_two: contact_id=contacts.*
    agent: conversation_id=conversations.* kind=turn
    known_one known_two: persona_id=personas.~
    a_internal: contact_id=contacts.a internal=true
    a_former: contact_id=contacts.a superseded_by=memories.a previous_id=memories.a_internal
    c_former: contact_id=contacts.c superseded_by=memories.c previous_id=memories.known_two
memory_embeddings: memory_id=memories.* model=m embedding=VECTOR
    a c:
memories_to_embed: memory_id=memories.* queued_at=BEFORE
    a c:
turn_memories: memory_id=memories.* turn_id=turns.* conversation_id=conversations.* session_id=sessions.* rank=1 \
        score=0.5
    a b c guest agent:
    a_arrival: memory_id=memories.a_arrival
memory_history: memory_id=memories.* contact_id=contacts.* sender_id=contacts.* persona_id=personas.~ kind=fact \
        content=* importance=0.5 internal=false valid_from=NOW created_at=NOW operation=changed \
        conversation_id=conversations.*
    a c:
audit_events: verb=test.done object_id=workspaces.~
    one two:
    contact_b: verb=contact.registered object_id=contacts.b
    contact_c: verb=contact.registered object_id=contacts.c
retention_settings: days=365
    one: place=messages
    two: place=audit
erasures: contact_id=00000000-0000-0000-0000-000000000009 contact_ids=["00000000-0000-0000-0000-000000000009"]
    one two:
session_stats_daily: day=2025-01-02 part=0
    one:
    two: day=2025-01-01
archive_objects: month=2025-01-01 status=stored sha256=x size_bytes=1 row_count=1 session_ids="{}" footer=x
    one two:
session_archives: session_id=sessions.* object_id=archive_objects.~ month=2025-01-01 \
        row_group=0 byte_offset=0 byte_length=1 sha256=x row_count=1 message_count=1
    b_old: conversation_id=conversations.b
    c_old: conversation_id=conversations.c
private.archived_message_ids: session_id=sessions.* message_id=messages.* created_at=LONG_AGO
    b_old: conversation_id=conversations.b
    c_old: conversation_id=conversations.c
exports: status=queued
    one two:
    old_one: expires_at=LONG_AGO
archive_queue: session_id=sessions.* month=2025-01-01 next_attempt_at=LONG_AGO
    b_old c_old:
private.retired_secrets: secret_id=secret:former-* accepted_until=SOON
    space_one space_two: space_id=spaces.~
    persona_one persona_two: persona_id=personas.~
    channel_one channel_two: channel_id=channels.~
private.emptied_sessions: session_id=sessions.* until=LONG_AGO
    b_old c_old:
private.retention_runs: place=jobs
    one two:
private.erasure_salts:
    one two:
private.erase_rules: relation=public.* rule=nothing detail=x
    one two:
private.tombstones: erasure_id=erasures.~ hash=\\x01 erased_at=LONG_AGO
    one two:
private.reads: subject=*
    one two:
private.presences: conversation_id=conversations.a user_id=users.owner typing=false ends_at=SOON
    one:
    two: conversation_id=conversations.c user_id=users.admin_2
private.open_streams: subject=* address=192.0.2.1 ends_at=SOON
    one two:
private.wakes: name=* woken_at=LONG_AGO
    worker:
private.sweeps: name=* swept_at=LONG_AGO
    test:
private.session_stats_marks: created_at=LONG_AGO id=1
    one two:
"""


def uid(table: str, label: str) -> str:
    """The id of a labelled row."""
    return str(uuid5(NAMESPACE_OID, f"{table}.{label}"))


def workspace_of(label: str) -> str:
    """The workspace of a labelled row: two for what is C's, D's or named after it, otherwise one."""
    if label.startswith("built_in"):
        return "none"
    return "two" if re.search(r"(^|_)(c|d|two|2)(_|$)", label) else "one"


def column_values(text: str, label: str) -> Row:
    """The columns that a line of text gives a row."""
    return dict(_column(word, label) for word in text.split())


def _column(word: str, label: str) -> tuple[str, Any]:
    name, value = word.split("=", 1)
    value = value.replace("*", label).replace("~", workspace_of(label))
    if reference := re.fullmatch(r"([a-z_]+)\.([a-z_0-9]+)", value):
        return name, uid(*reference.groups()) if reference[1] in _NAMED else value
    try:
        return name, json.loads(value)
    except ValueError:
        return name, _TIMES.get(value, value)


def _rows() -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for line in re.sub(r"\\\n\s*", "", _WORLD).strip().splitlines():
        head, columns = line.split(":", 1)
        if not line.startswith(" "):
            table, shared = head if "." in head else f"public.{head}", columns
            continue
        for label in head.split():
            ids = {"id": uid(table.split(".")[1], label), "workspace_id": uid("workspaces", workspace_of(label))}
            row = ids | column_values(shared, label) | column_values(columns, label)
            found.setdefault(table, {})[label] = row
    return found


_NAMED = frozenset(line.split(":")[0].split(".")[-1] for line in _WORLD.splitlines() if re.match(r"\S", line))
ROWS = _rows()
# The workflow that no workspace made, with the ids that the migrations give it.
ROWS["public.workflow_transitions"] |= {
    f"built_in_{number}": {"id": f"01900000-0000-7000-8000-{number:012x}"} for number in range(1, 12)
}
NAMES = {row["id"]: (table, label) for table, rows in ROWS.items() for label, row in rows.items()}
"""Ids back to table and label."""
PUBLIC = tuple(table for table in ROWS if table.startswith("public."))


def with_ids(sql: str) -> str:
    """SQL in which every `table.label` is replaced by the id, quoted outside of JSON."""
    tables = {table.split(".")[1]: rows for table, rows in ROWS.items()}
    return re.sub(
        rf"""(['"]?)\b({"|".join(tables)})\.(\w+)\b""",
        lambda found: f"{found[1] or chr(39)}{tables[found[2]][found[3]]['id']}{'' if found[1] else chr(39)}",
        sql,
    )


async def insert_statement(connection: asyncpg.Connection, table: str, row: Row) -> str:
    """SQL that inserts a row, without the columns that the table does not have."""
    known = await connection.fetch(
        "select attname::text from pg_attribute where attrelid = $1::text::regclass and attnum > 0", table
    )
    columns = ", ".join(name for (name,) in known if name in row)
    values = json.dumps(row).replace("'", "''")
    # The literal is typed in the from clause, which reads no table.
    return f"insert into {table} ({columns}) select {columns} from jsonb_populate_record(null::{table}, '{values}')"


async def load(connection: asyncpg.Connection, tables: tuple[str, ...]) -> None:
    """Insert the users, the Vault secrets and the rows of some tables, as the superuser."""
    for table in tables:
        # Triggers would queue the memories.
        mode = "replica" if table == "public.memories" else "origin"
        await connection.execute(f"set session_replication_role = {mode}")
        for row in ROWS[table].values():
            if table == "public.workflow_transitions" and "workspace_id" not in row:
                continue
            ready = dict(row)
            for column, value in row.items():
                if isinstance(value, str) and value.startswith("secret:"):
                    secret = await connection.fetchval("select vault.create_secret($1)", value.removeprefix("secret:"))
                    ready[column] = str(secret)
            await connection.execute(await insert_statement(connection, table, ready))


async def remove(connection: asyncpg.Connection) -> None:
    """Delete the public rows of both workspaces, the users and the secrets that `load` inserted."""
    async with connection.transaction():
        await connection.execute("delete from public.workspaces where id = any ($1::uuid[])", _ids("public.workspaces"))
        await connection.execute("delete from auth.users where id = any ($1::uuid[])", _ids("auth.users"))


def _ids(table: str) -> list[str]:
    return [row["id"] for row in ROWS[table].values()]
