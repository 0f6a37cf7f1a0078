"""The helpers and steps of the private schema that decide who sees what, as every caller."""

from tests.database.access.callers import (
    ADMIN_2,
    ADMINS,
    AGENT,
    BY_TOKEN_IN_ONE,
    CONTACT_A,
    CONTACT_A_ARRIVAL,
    CONTACT_B,
    CONTACT_C,
    CONTACTS,
    FOR_A_AT_WORK,
    FOR_C,
    FOR_GUEST,
    GUEST,
    IN_ONE,
    MEMBERS,
    NOT_ENTERED,
    NOWHERE,
    ONE,
    SERVICE,
    SIGNED_IN,
    SWITCHBOARD,
    SYSTEM,
    TWO,
    Caller,
)
from tests.database.access.functions_api import FORBIDDEN, NO_SPACE, NOT_AT_WORK, ONLY_SYSTEM, SHUT, signature_of
from tests.database.access.matrix import Call, Cells, Fails, Function, named
from tests.database.access.rows import record, uid

_SWITCHBOARD = ("switchboard",)
_NOBODY = ()

NO_ROW = Fails("42501", "new row violates row-level security policy for table")
NO_HMAC = Fails("PT401", "email_hmac_invalid")
DONE = None
"""What a function gives that gives nothing."""


def _claims(caller: Caller) -> object:
    return named(dict(caller.claims))


# Whoever entered nothing sees nothing.
_SEES_NOTHING: Cells = {NOWHERE: None}

ACCESS = (
    Function(
        "private.uuid7()", ("switchboard", "service_role"), (Call("private.uuid7()", {(*SWITCHBOARD, SERVICE): "new"}),)
    ),
    Function(
        "private.claims()",
        ("contact", "authenticated", "switchboard", "service_role"),
        (Call("private.claims()", {(*CONTACTS, *SIGNED_IN, *SWITCHBOARD, SERVICE): _claims}),),
    ),
    Function(
        "private.member_workspaces()",
        ("authenticated",),
        (
            Call(
                "private.member_workspaces()",
                {SIGNED_IN: [], MEMBERS: ["workspaces.one"], ADMIN_2: ["workspaces.two"]},
            ),
        ),
        definer=True,
    ),
    Function(
        "private.admin_workspaces()",
        ("authenticated",),
        (
            Call(
                "private.admin_workspaces()",
                {SIGNED_IN: [], ADMINS: ["workspaces.one"], ADMIN_2: ["workspaces.two"]},
            ),
        ),
        definer=True,
    ),
    Function(
        "private.own_conversations()",
        ("authenticated",),
        (
            Call(
                "private.own_conversations()",
                {SIGNED_IN: [], AGENT: ["conversations.agent", "conversations.b"], GUEST: ["conversations.guest"]},
            ),
        ),
        definer=True,
    ),
    Function(
        "private.own_sessions()",
        ("authenticated",),
        (
            Call(
                "private.own_sessions()",
                {SIGNED_IN: [], AGENT: ["sessions.agent", "sessions.b"], GUEST: ["sessions.guest"]},
            ),
        ),
        definer=True,
    ),
    Function(
        "private.own_requests()",
        ("authenticated",),
        (
            Call(
                "private.own_requests()",
                {SIGNED_IN: [], AGENT: ["requests.agent", "requests.b"], GUEST: ["requests.guest"]},
            ),
        ),
        definer=True,
    ),
    Function(
        "private.own_active_turns()",
        ("authenticated",),
        (Call("private.own_active_turns()", {SIGNED_IN: [], AGENT: ["turns.b"]}),),
        definer=True,
    ),
    Function(
        "private.token_conversation()",
        ("contact",),
        (
            Call(
                "private.token_conversation()",
                {
                    CONTACT_A: "conversations.a", CONTACT_A_ARRIVAL: "conversations.a_arrival",
                    CONTACT_B: "conversations.b", CONTACT_C: "conversations.c",
                },
            ),
        ),
        definer=True,
    ),
    Function(
        "private.verified_contact()",
        ("contact",),
        (
            Call(
                "private.verified_contact()",
                {CONTACT_A: "contacts.a", (CONTACT_A_ARRIVAL, CONTACT_B): None, CONTACT_C: "contacts.c"},
            ),
        ),
    ),
    Function(
        "private.persona_of_space(uuid)",
        ("authenticated",),
        (
            Call(f"private.persona_of_space('{uid('spaces', 'chat')}')", {SIGNED_IN: "personas.one"}),
            Call(f"private.persona_of_space('{uid('spaces', 'two')}')", {SIGNED_IN: "personas.two"}, foreign=True),
            Call(f"private.persona_of_space('{uid('spaces', 'closed')}')", {SIGNED_IN: None}),
        ),
        definer=True,
    ),
    # Entering -------------------------------------------------------------------------------------------------------
    Function(
        "private.workspace_of_space(uuid)",
        _SWITCHBOARD,
        (
            Call(f"private.workspace_of_space('{uid('spaces', 'chat')}')", {SWITCHBOARD: "workspaces.one"}),
            Call(
                f"private.workspace_of_space('{uid('spaces', 'two')}')", {SWITCHBOARD: "workspaces.two"}, foreign=True
            ),
            Call(f"private.workspace_of_space('{uid('spaces', 'closed')}')", {SWITCHBOARD: None}),
        ),
        definer=True,
    ),
    Function(
        "private.enter()",
        _SWITCHBOARD,
        (
            Call(
                "private.enter()",
                {FOR_A_AT_WORK: "workspaces.one", **NOT_AT_WORK},
            ),
        ),
        enters=True,
    ),
    Function(
        "private.enter_space(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"private.enter_space('{uid('spaces', 'chat')}')",
                {(*BY_TOKEN_IN_ONE, NOT_ENTERED): DONE, FOR_C: NO_SPACE, **SHUT},
            ),
            Call(
                f"private.enter_space('{uid('spaces', 'two')}')",
                {SWITCHBOARD: NO_SPACE, FOR_C: DONE},
                foreign=True,
            ),
            Call(f"private.enter_space('{uid('spaces', 'landing')}')", {SWITCHBOARD: NO_SPACE}),
            Call(f"private.enter_space('{uid('spaces', 'closed')}')", {SWITCHBOARD: NO_SPACE}),
        ),
        enters=True,
    ),
    Function(
        "private.require_system()",
        _SWITCHBOARD,
        (Call("private.require_system()", {**ONLY_SYSTEM, SYSTEM: DONE}),),
        enters=True,
    ),
    Function(
        "private.enter_workspace(uuid)",
        _SWITCHBOARD,
        (
            Call(f"private.enter_workspace('{ONE}')", {**ONLY_SYSTEM, SYSTEM: DONE}),
            Call(f"private.enter_workspace('{TWO}')", {**ONLY_SYSTEM, SYSTEM: DONE}, foreign=True),
        ),
        enters=True,
    ),
    Function(
        "private.entered_workspace()",
        _SWITCHBOARD,
        (
            Call(
                "private.entered_workspace()", {IN_ONE: "workspaces.one", FOR_C: "workspaces.two", NOWHERE: None}
            ),
        ),
    ),
    # Secrets and proof ----------------------------------------------------------------------------------------------
    Function(
        "private.persona_secret(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"private.persona_secret('{uid('personas', 'one')}')",
                {IN_ONE: "secret of one", FOR_C: None, **_SEES_NOTHING},
            ),
            Call(
                f"private.persona_secret('{uid('personas', 'two')}')",
                {IN_ONE: None, FOR_C: "secret of two", **_SEES_NOTHING},
                foreign=True,
            ),
        ),
        definer=True,
    ),
    Function(
        "private.hmac_sha256(bytea,bytea)",
        _SWITCHBOARD,
        (
            Call(
                # RFC 4231, test case 2.
                "private.hmac_sha256('Jefe', 'what do ya want for nothing?')",
                {SWITCHBOARD: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
            ),
        ),
    ),
    Function(
        "private.email_is_signed(uuid,text,text,text)",
        _SWITCHBOARD,
        (
            Call(
                f"private.email_is_signed('{uid('spaces', 'chat')}', 'x@y.test', 'x@y.test', "
                f"'{signature_of('x@y.test', 'hmac of one')}')",
                {IN_ONE: True, (FOR_C, *NOWHERE): False},
            ),
            Call(
                f"private.email_is_signed('{uid('spaces', 'two')}', 'x@y.test', 'x@y.test', "
                f"'{signature_of('x@y.test', 'hmac of two')}')",
                {FOR_C: True, (*IN_ONE, *NOWHERE): False},
                foreign=True,
            ),
            # One that was replaced and is accepted yet.
            Call(
                f"private.email_is_signed('{uid('spaces', 'chat')}', 'x@y.test', 'x@y.test', "
                f"'{signature_of('x@y.test', 'former space secret of one')}')",
                {IN_ONE: True, (FOR_C, *NOWHERE): False},
            ),
        ),
        definer=True,
    ),
    Function(
        "private.email_is_confirmed(uuid,text)",
        _SWITCHBOARD,
        (
            Call(
                f"private.email_is_confirmed('{uid('users', 'guest')}', 'guest@access.test')", {SWITCHBOARD: True}
            ),
            Call(
                f"private.email_is_confirmed('{uid('users', 'stranger')}', 'stranger@access.test')",
                {SWITCHBOARD: False},
            ),
            Call(f"private.email_is_confirmed('{uid('users', 'guest')}', 'a@access.test')", {SWITCHBOARD: False}),
        ),
        definer=True,
    ),
    Function(
        "private.email_proof(uuid,text,text,text)",
        _SWITCHBOARD,
        (
            Call(
                f"private.email_proof('{uid('spaces', 'chat')}', 'x@y.test', 'x@y.test', "
                f"'{signature_of('x@y.test', 'hmac of one')}')",
                {IN_ONE: "hmac", (FOR_C, *NOWHERE): NO_HMAC},
            ),
            Call(
                f"private.email_proof('{uid('spaces', 'two')}', 'x@y.test', 'x@y.test', "
                f"'{signature_of('x@y.test', 'hmac of two')}')",
                {FOR_C: "hmac", (*IN_ONE, *NOWHERE): NO_HMAC},
                foreign=True,
            ),
            Call(
                f"private.email_proof('{uid('spaces', 'chat')}', 'guest@access.test', 'guest@access.test', null)",
                {SWITCHBOARD: None, FOR_GUEST: "supabase_auth"},
            ),
        ),
    ),
    Function(
        "private.is_member(uuid)",
        _SWITCHBOARD,
        (
            Call(f"private.is_member('{uid('users', 'agent')}')", {IN_ONE: True, (FOR_C, *NOWHERE): False}),
            Call(f"private.is_member('{uid('users', 'former')}')", {SWITCHBOARD: False}),
            Call(
                f"private.is_member('{uid('users', 'admin_2')}')",
                {FOR_C: True, (*IN_ONE, *NOWHERE): False},
                foreign=True,
            ),
        ),
    ),
    # What no caller may run -----------------------------------------------------------------------------------------
    Function("private.expire_turns(integer)", _NOBODY, (Call("private.expire_turns()", {}),)),
    Function("private.call_function(text)", _NOBODY, (Call("private.call_function('worker')", {}),)),
    # Work without a caller ------------------------------------------------------------------------------------------
    Function(
        "private.callback_secret(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"private.callback_secret('{uid('turns', 'a')}')",
                {**ONLY_SYSTEM, SYSTEM: {
                        "workspace_id": "workspaces.one",
                        "secrets": ["callback of one", "former persona secret of one"],
                    }},
            ),
            Call(
                f"private.callback_secret('{uid('turns', 'c')}')",
                {**ONLY_SYSTEM, SYSTEM: {
                        "workspace_id": "workspaces.two",
                        "secrets": ["callback of two", "former persona secret of two"],
                    }},
                foreign=True,
            ),
        ),
        definer=True,
    ),
    Function(
        "private.claim_due_jobs(integer,integer,uuid)",
        _SWITCHBOARD,
        (
            Call(
                "private.claim_due_jobs(10, 60, null)",
                {**ONLY_SYSTEM, SYSTEM: [{"id": "jobs.queued"}, {"id": "jobs.queued_2"}]},
            ),
            Call(
                f"private.claim_due_jobs(10, 60, '{uid('jobs', 'queued_2')}')",
                {**ONLY_SYSTEM, SYSTEM: [{"id": "jobs.queued_2", "workspace_id": "workspaces.two"}]},
                foreign=True,
            ),
        ),
        definer=True,
    ),
    Function(
        "private.event_of_job(public.jobs)",
        _SWITCHBOARD,
        (
            Call(
                f"private.event_of_job({record('jobs', 'running')})",
                {**ONLY_SYSTEM, SYSTEM: {"id": "inbound_events.one", "raw_body": "{}"}},
            ),
            Call(
                f"private.event_of_job({record('jobs', 'running_2')})",
                {**ONLY_SYSTEM, SYSTEM: {"id": "inbound_events.two"}},
                foreign=True,
            ),
        ),
        definer=True,
    ),
    Function(
        "private.workspaces_to_archive()",
        _SWITCHBOARD,
        (
            Call(
                "private.workspaces_to_archive()", {**ONLY_SYSTEM, SYSTEM: ["workspaces.one", "workspaces.two"]}
            ),
        ),
        definer=True,
    ),
    Function(
        "private.wake(text)",
        _SWITCHBOARD,
        (Call("private.wake('worker')", {SWITCHBOARD: FORBIDDEN, SYSTEM: True}),),
        definer=True,
    ),
)  # fmt: skip
