"""The steps of the private schema that do a domain function's work, as every caller."""

from tests.database.access.callers import (
    ADMIN_2,
    ADMINS,
    AT_CLOSED,
    BY_TOKEN_IN_ONE,
    CONTACT_A,
    CONTACT_C,
    CONTACTS,
    FOR_A,
    FOR_A_ARRIVAL,
    FOR_A_AT_WORK,
    FOR_AGENT,
    FOR_B,
    FOR_C,
    FOR_C_IN_ONE,
    FOR_GUEST,
    IN_ONE,
    MANAGING,
    NO_SCOPE,
    NOT_ENTERED,
    NOWHERE,
    SIGNED_IN,
    SWITCHBOARD,
    SYSTEM,
    TWO_AT_ONE,
)
from tests.database.access.functions_api import NO_CONVERSATION, NO_JOB, NO_TURN
from tests.database.access.functions_steps import DONE, NO_ROW
from tests.database.access.matrix import Call, Cells, Fails, Function
from tests.database.access.rows import record, uid

_SWITCHBOARD = ("switchboard",)
# A composite foreign key holds what is passed to the entered workspace.
NO_PARENT = Fails("23503", "insert or update on table")
LIMITED = Fails("SB001", "rate_limited")

# Whoever entered nothing can write nothing.
_WRITES: Cells = {SWITCHBOARD: DONE, NOWHERE: NO_ROW}
_ADDRESS = "'192.0.2.1'"


def _refusal(limit: str) -> str:
    named = f'"limit": "{limit}", "subject": "x", "object_id": "{uid("turns", "a")}"'
    return f"""'{{"code": "rate_limited", "status": 429, {named}}}'"""


def _describe(label: str, workspace: str) -> str:
    secret = f"""'{{"secret_id": "{uid("personas", workspace)}"}}'"""
    persona = f"pg_catalog.jsonb_populate_record({record('personas', workspace)}, {secret})"
    asked = f"'{uid('messages', label)}'"
    around = f"{record('conversations', label)}, {record('workspaces', workspace)}, {persona}"
    return f"private.describe_turn({record('turns', label)}, {around}, {asked}, false, '[]')"


WORK = (
    # Refusals and limits --------------------------------------------------------------------------------------------
    Function(
        "private.refuse(jsonb)",
        _SWITCHBOARD,
        (Call("""private.refuse('{"code": "x", "status": 409}')""", {SWITCHBOARD: {"code": "x"}}),),
    ),
    Function(
        "private.raise_refusal(jsonb)",
        _SWITCHBOARD,
        (Call("""private.raise_refusal('{"code": "x"}')""", {SWITCHBOARD: Fails("SB001", "x")}),),
    ),
    Function(
        "private.count_refusal(jsonb)", _SWITCHBOARD, (Call(f"private.count_refusal({_refusal('test')})", _WRITES),)
    ),
    Function(
        "private.limit_subject(text)",
        _SWITCHBOARD,
        (Call("private.limit_subject('2001:db8:1:2:3::4')", {SWITCHBOARD: "2001:db8:1:2::/64"}),),
    ),
    Function(
        "private.record_audit(text,uuid,uuid,text)",
        _SWITCHBOARD,
        (Call(f"private.record_audit('test.done', '{uid('turns', 'a')}', null, null)", _WRITES),),
    ),
    # Contacts and conversations -------------------------------------------------------------------------------------
    Function(
        "private.find_or_create_contact(public.identity_kind,text,text,text,jsonb)",
        _SWITCHBOARD,
        (
            Call(
                "private.find_or_create_contact('email', 'a@access.test', 'a@access.test', null, '{}')",
                {IN_ONE: "contacts.a", FOR_C: "new", NOWHERE: NO_ROW},
            ),
            Call(
                "private.find_or_create_contact('email', 'c@access.test', 'c@access.test', 'hmac', '{}')",
                {IN_ONE: "new", FOR_C: "contacts.c", NOWHERE: NO_ROW},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.create_contact(jsonb)",
        _SWITCHBOARD,
        (Call("private.create_contact('{}')", {SWITCHBOARD: "new", NOWHERE: NO_ROW}),),
    ),
    Function(
        "private.find_or_create_conversation(uuid,uuid,uuid,uuid,text,public.proof)",
        _SWITCHBOARD,
        (
            Call(
                f"private.find_or_create_conversation('{uid('contacts', 'a')}', null, '{uid('personas', 'one')}', "
                f"'{uid('spaces', 'chat')}', 'main', 'verified')",
                {IN_ONE: {"id": "conversations.a"}, FOR_C: NO_PARENT, NOWHERE: NO_ROW},
            ),
            Call(
                f"private.find_or_create_conversation('{uid('contacts', 'c')}', null, '{uid('personas', 'two')}', "
                f"'{uid('spaces', 'two')}', 'main', 'verified')",
                {IN_ONE: NO_PARENT, FOR_C: {"id": "conversations.c"}, NOWHERE: NO_ROW},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.find_or_create_session(public.conversations,jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"private.find_or_create_session({record('conversations', 'a')}, '{{}}')",
                {IN_ONE: {"id": "sessions.a"}, FOR_C: NO_ROW, NOWHERE: NO_ROW},
            ),
            Call(
                f"private.find_or_create_session({record('conversations', 'c')}, '{{}}')",
                {IN_ONE: NO_ROW, FOR_C: {"id": "sessions.c"}, NOWHERE: NO_ROW},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.open_conversation(public.spaces,text,text,text,text,text,jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"private.open_conversation({record('spaces', 'chat')}, null, null, null, null, null, '{{}}')",
                {
                    IN_ONE: {"id": "new"},
                    (FOR_A, FOR_A_AT_WORK): {"id": "conversations.a"},
                    FOR_A_ARRIVAL: {"id": "conversations.a_arrival"},
                    FOR_B: {"id": "conversations.b"},
                    FOR_GUEST: {"id": "conversations.guest"},
                    FOR_AGENT: {"id": "conversations.agent"},
                    FOR_C_IN_ONE: NO_CONVERSATION,
                    FOR_C: {"id": "conversations.c"},
                    (NOT_ENTERED, TWO_AT_ONE): NO_CONVERSATION,
                    (NO_SCOPE, AT_CLOSED, *MANAGING): NO_ROW,
                },
            ),
            Call(
                f"private.open_conversation({record('spaces', 'two')}, null, null, null, null, null, '{{}}')",
                {
                    # The space is another workspace's, and a new conversation there would need its persona.
                    BY_TOKEN_IN_ONE: NO_PARENT,
                    (FOR_A, FOR_A_AT_WORK): {"id": "conversations.a"},
                    FOR_A_ARRIVAL: {"id": "conversations.a_arrival"},
                    FOR_B: {"id": "conversations.b"},
                    FOR_C_IN_ONE: NO_CONVERSATION,
                    SYSTEM: NO_PARENT,
                    FOR_C: {"id": "conversations.c"},
                    (NOT_ENTERED, TWO_AT_ONE): NO_CONVERSATION,
                    (NO_SCOPE, AT_CLOSED, *MANAGING): NO_ROW,
                },
                foreign=True,
            ),
        ),
    ),
    # Turns ----------------------------------------------------------------------------------------------------------
    Function(
        "private.close_turn(public.turns,public.turn_status,text,jsonb,text,text,integer)",
        _SWITCHBOARD,
        (
            Call(
                f"private.close_turn({record('turns', 'a')}, 'failed', null, null, 'persona_failed', null, null)",
                {IN_ONE: {"changed": True, "status": "failed", "text_length": 10}, (FOR_C, *NOWHERE): None},
            ),
            Call(
                f"private.close_turn({record('turns', 'c')}, 'failed', null, null, 'persona_failed', null, null)",
                {FOR_C: {"changed": True, "status": "failed", "text_length": 10}, (*IN_ONE, *NOWHERE): None},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.turn_state(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"private.turn_state('{uid('turns', 'a')}')", {IN_ONE: {"status": "active"}, (FOR_C, *NOWHERE): None}
            ),
            Call(
                f"private.turn_state('{uid('turns', 'c')}')",
                {FOR_C: {"status": "active"}, (*IN_ONE, *NOWHERE): None},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.turn_history(uuid,uuid,integer)",
        _SWITCHBOARD,
        (
            Call(
                f"private.turn_history('{uid('conversations', 'b')}', '{uid('messages', 'b')}', 20)",
                {
                    IN_ONE: [[{"text": "text of b_old"}, {"text": "text of b_old_answer"}]],
                    (FOR_C, *NOWHERE): [[]],
                },
            ),
            Call(
                f"private.turn_history('{uid('conversations', 'c')}', null, 20)",
                {FOR_C: [[{"text": "text of c"}]], (*IN_ONE, *NOWHERE): [[]]},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.describe_turn(public.turns,public.conversations,public.workspaces,public.personas,uuid,boolean,jsonb)",
        _SWITCHBOARD,
        (
            # What it is not given, the secret, it finds in the entered workspace only.
            Call(
                _describe("a", "one"),
                {
                    IN_ONE: {"turn_id": "turns.a", "persona": {"secret": "secret of one"}},
                    (FOR_C, *NOWHERE): {"persona": {"secret": None}},
                },
            ),
            Call(
                _describe("c", "two"),
                {
                    FOR_C: {"turn_id": "turns.c", "persona": {"secret": "secret of two"}},
                    (*IN_ONE, *NOWHERE): {"persona": {"secret": None}},
                },
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.require_turn(uuid)",
        ("contact", "authenticated", "switchboard"),
        (
            Call(
                f"private.require_turn('{uid('turns', 'a')}')",
                {
                    (*CONTACTS, *SIGNED_IN, FOR_C, *NOWHERE): NO_TURN,
                    (CONTACT_A, *ADMINS, *IN_ONE): {"id": "turns.a"},
                },
            ),
            Call(
                f"private.require_turn('{uid('turns', 'c')}')",
                {
                    (*CONTACTS, *SIGNED_IN, *IN_ONE, *NOWHERE): NO_TURN,
                    (CONTACT_C, ADMIN_2, FOR_C): {"id": "turns.c"},
                },
                foreign=True,
            ),
        ),
    ),
    # Jobs and archive -----------------------------------------------------------------------------------------------
    Function(
        "private.job_state(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"private.job_state('{uid('jobs', 'running')}')",
                {IN_ONE: {"status": "running"}, (FOR_C, *NOWHERE): NO_JOB},
            ),
            Call(
                f"private.job_state('{uid('jobs', 'running_2')}')",
                {FOR_C: {"status": "running"}, (*IN_ONE, *NOWHERE): NO_JOB},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.archive_workspace(integer)",
        _SWITCHBOARD,
        (Call("private.archive_workspace(10)", {(*IN_ONE, FOR_C): 1, NOWHERE: 0}),),
    ),
)  # fmt: skip
