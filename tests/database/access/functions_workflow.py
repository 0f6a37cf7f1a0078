"""What moves sessions on and finds them by what they work towards, as every caller."""

from typing import Any

from tests.database.access.callers import (
    ADMIN_2,
    ADMINS,
    AGENT,
    CONTACT_A,
    CONTACT_A_ARRIVAL,
    CONTACT_B,
    CONTACT_C,
    CONTACTS,
    FOR_A,
    FOR_A_AT_WORK,
    FOR_ADMIN,
    FOR_ADMIN_2,
    FOR_AGENT,
    FOR_B,
    FOR_C,
    FOR_GUEST,
    FOR_OWNER,
    GUEST,
    MEMBERS,
    NOT_ENTERED,
    ONE,
    SERVICE,
    SIGNED_IN,
    SWITCHBOARD,
    TWO,
    TWO_AT_ONE,
    Caller,
)
from tests.database.access.functions_api import FORBIDDEN, NO_CONVERSATION
from tests.database.access.functions_management import MANAGERS, READERS, in_one, in_two, not_found
from tests.database.access.functions_sessions import NO_CONTACT
from tests.database.access.functions_turns import NO_SESSION
from tests.database.access.matrix import Call, Cells, Fails, Function
from tests.database.access.rows import uid

_SWITCHBOARD = ("switchboard",)
_OWN = ("contact", "authenticated")
_READING = (*CONTACTS, *SIGNED_IN)
_ADMINS = (FOR_ADMIN, FOR_OWNER)

NO_REQUEST, NO_WORKSPACE, NO_REF, NO_TRANSITION = (
    not_found(noun) for noun in ("request", "workspace", "ref", "transition")
)

_BUILT_IN = "01900000-0000-7000-8000-000000000001"


def _works(signature: str, arguments: str, outcome: dict[str, Any]) -> Function:
    """A function that members who work on a session call; whose session it is may not, nobody else knows of it."""
    name = signature.split("(", maxsplit=1)[0]

    def on(label: str) -> str:
        return f"{name}('{uid('sessions', label)}'{arguments})"

    def of(label: str) -> dict[str, Any]:
        return {"session_id": f"sessions.{label}", **outcome}

    return Function(
        signature,
        _SWITCHBOARD,
        (
            Call(on("b"), {SWITCHBOARD: NO_SESSION, FOR_B: FORBIDDEN, (FOR_AGENT, *_ADMINS): of("b")}),
            Call(on("a"), {SWITCHBOARD: NO_SESSION, (FOR_A, FOR_A_AT_WORK, NOT_ENTERED): FORBIDDEN, _ADMINS: of("a")}),
            Call(on("guest"), {SWITCHBOARD: NO_SESSION, FOR_GUEST: FORBIDDEN, _ADMINS: of("guest")}),
            # The owner's side: whoever talks with the persona there is the member who works on it.
            Call(on("agent"), {SWITCHBOARD: NO_SESSION, (FOR_AGENT, *_ADMINS): of("agent")}),
            Call(
                on("c"), {SWITCHBOARD: NO_SESSION, (FOR_C, TWO_AT_ONE): FORBIDDEN, FOR_ADMIN_2: of("c")}, foreign=True
            ),
        ),
        enters=True,
    )


def _start(contact: str, persona: str) -> str:
    changes = """'{"step": "understanding_request"}'"""
    ids = f"contact_id => '{uid('contacts', contact)}', persona_id => '{uid('personas', persona)}'"
    return f"public.create_or_update_chat_session({changes}, {ids})"


def _items(*labels: str) -> dict[str, object]:
    return {"items": [{"id": f"sessions.{label}"} for label in labels], "last": None}


def _not_starting(caller: Caller) -> Fails:
    """Only contacts and users start sessions at all; whoever may start this one may still not move it on."""
    claims = caller.claims.get("caller") or {}
    return NO_CONTACT if claims.get("kind") == "user" else FORBIDDEN


_STARTERS: Cells = {SWITCHBOARD: _not_starting}

_TRIP = "public.get_chat_sessions_by_trip_id('{{atrip-{label}}}')"

WORKFLOW = (
    _works(
        "public.update_chat_session_workflow(uuid,jsonb)",
        """, '{"step": "understanding_request"}'""",
        {"workflow": "charter", "workflow_step": "understanding_request", "changed": True},
    ),
    _works(
        "public.update_chat_session_with_trip_info(uuid,jsonb)",
        """, '{"origin": "LSGG", "refs": []}'""",
        {"request": {"id": "new", "origin": "LSGG"}, "changed": True},
    ),
    _works("public.update_chat_session_activity(uuid)", "", {"status": "active", "changed": True}),
    _works(
        "public.update_chat_session_with_proposal(uuid,jsonb)",
        """, '{"status": "draft"}'""",
        {"proposal": {"id": "new", "status": "draft"}, "changed": True},
    ),
    _works(
        "public.update_chat_session_with_quote(uuid,text,jsonb)",
        """, 'acme', '{"status": "requested"}'""",
        {"quote": {"id": "new", "status": "requested"}, "quote_counts": {"expected": 1}, "changed": True},
    ),
    Function(
        "public.remove_chat_session_ref(uuid,uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"public.remove_chat_session_ref('{uid('sessions', 'b')}', '{uid('session_refs', 'b')}')",
                {SWITCHBOARD: NO_SESSION, FOR_B: FORBIDDEN, (FOR_AGENT, *_ADMINS): {"removed": True}},
            ),
            Call(
                f"public.remove_chat_session_ref('{uid('sessions', 'b')}', '{uid('session_refs', 'c')}')",
                {SWITCHBOARD: NO_SESSION, FOR_B: FORBIDDEN, (FOR_AGENT, *_ADMINS): NO_REF},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.create_or_update_chat_session(jsonb,uuid,uuid,uuid,text,jsonb,jsonb,text)",
        _SWITCHBOARD,
        (
            Call(
                _start("b", "one"),
                {
                    **_STARTERS, FOR_A_AT_WORK: NO_CONTACT,
                    # B's live session is another conversation's, opened on B's word: this is a new one.
                    (FOR_AGENT, *_ADMINS): {"session_id": "new", "created": True, "workflow": "charter"},
                },
            ),
            Call(
                _start("a", "one"),
                {
                    **_STARTERS,
                    _ADMINS: {"session_id": "sessions.a", "created": False, "workflow_step": "understanding_request"},
                    FOR_AGENT: FORBIDDEN,
                },
            ),
            Call(
                _start("c", "two"),
                {**_STARTERS, FOR_A_AT_WORK: NO_CONTACT, FOR_ADMIN_2: {"session_id": "sessions.c"}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    # Finding --------------------------------------------------------------------------------------------------------
    Function(
        "public.get_active_chat_session(uuid)",
        _OWN,
        (
            Call(
                f"public.get_active_chat_session('{uid('conversations', 'b')}')",
                {_READING: NO_CONVERSATION, (CONTACT_B, AGENT, *ADMINS): {"id": "sessions.b"}},
            ),
            Call(
                f"public.get_active_chat_session('{uid('conversations', 'c')}')",
                {_READING: NO_CONVERSATION, (CONTACT_C, ADMIN_2): {"id": "sessions.c"}},
                foreign=True,
            ),
        ),
    ),
    Function(
        "public.get_chat_session_by_request(uuid)",
        _OWN,
        (
            Call(
                f"public.get_chat_session_by_request('{uid('requests', 'b')}')",
                {_READING: NO_REQUEST, (CONTACT_B, AGENT, *ADMINS): {"id": "sessions.b"}},
            ),
            Call(
                f"public.get_chat_session_by_request('{uid('requests', 'c')}')",
                {_READING: NO_REQUEST, (CONTACT_C, ADMIN_2): {"id": "sessions.c"}},
                foreign=True,
            ),
        ),
    ),
    Function(
        "public.get_chat_sessions_by_trip_id(text[],uuid,integer,timestamp with time zone,uuid,integer)",
        _OWN,
        (
            Call(_TRIP.format(label="b"), {_READING: _items(), (AGENT, *ADMINS): _items("b")}),
            # Whose session it is knows nothing of references.
            Call(_TRIP.format(label="guest"), {_READING: _items(), ADMINS: _items("guest")}),
            Call(_TRIP.format(label="c"), {_READING: _items(), ADMIN_2: _items("c")}, foreign=True),
            Call(
                f"public.get_chat_sessions_by_trip_id('{{atrip-c}}', '{TWO}')",
                {_READING: _items(), ADMIN_2: _items("c")},
                foreign=True,
            ),
        ),
    ),
    Function(
        "public.get_user_active_chat_sessions(integer,timestamp with time zone,uuid,integer)",
        _OWN,
        (
            Call(
                "public.get_user_active_chat_sessions()",
                {
                    _READING: _items(), CONTACT_A: _items("a"), CONTACT_A_ARRIVAL: _items("a_arrival"),
                    CONTACT_B: _items("b"), CONTACT_C: _items("c"), GUEST: _items("guest"),
                    AGENT: _items("agent", "b"),
                },
                foreign=True,
            ),
        ),
    ),
    # A workspace's own workflows ------------------------------------------------------------------------------------
    Function(
        "public.list_workflow_transitions(uuid,uuid,integer)",
        READERS,
        (
            Call(
                f"public.list_workflow_transitions('{ONE}', '01900000-0000-7000-8000-000000000009')",
                {
                    SIGNED_IN: NO_WORKSPACE,
                    (*MEMBERS, SERVICE): {
                        "items": [
                            {"id": "workflow_transitions.built_in_10", "built_in": True},
                            {"id": "workflow_transitions.one", "built_in": False},
                        ],
                        "next_cursor": None,
                    },
                },
            ),
            Call(
                f"public.list_workflow_transitions('{TWO}', null, 1)",
                {
                    SIGNED_IN: NO_WORKSPACE,
                    (ADMIN_2, SERVICE): {"items": [{"id": "workflow_transitions.built_in_1"}]},
                },
                foreign=True,
            ),
        ),
    ),
    Function(
        "public.add_workflow_transition(uuid,jsonb)",
        MANAGERS,
        (
            Call(
                f"""public.add_workflow_transition('{ONE}', '{{"workflow": "refit", "to_step": "begin_two"}}')""",
                in_one("workspace", {"id": "new", "created": True}),
            ),
            Call(
                f"""public.add_workflow_transition('{TWO}', '{{"workflow": "refit", "to_step": "begin_two"}}')""",
                in_two("workspace", {"id": "workflow_transitions.two", "created": False}),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.remove_workflow_transition(uuid,uuid)",
        MANAGERS,
        (
            Call(
                f"public.remove_workflow_transition('{ONE}', '{uid('workflow_transitions', 'one')}')",
                in_one("workspace", {"removed": True}),
            ),
            Call(
                f"public.remove_workflow_transition('{ONE}', '{_BUILT_IN}')",
                in_one("workspace", NO_TRANSITION),
            ),
            Call(
                f"public.remove_workflow_transition('{ONE}', '{uid('workflow_transitions', 'two')}')",
                in_one("workspace", NO_TRANSITION),
                foreign=True,
            ),
        ),
        enters=True,
    ),
)  # fmt: skip
