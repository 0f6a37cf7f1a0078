"""The functions of the public schema that serve a request, as every caller.

`Call` in matrix.py says how to read an outcome.
"""

import hashlib
import hmac

from tests.database.access.callers import (
    ADMIN_2,
    ADMINS,
    AGENT,
    AT_A_SPACE,
    BY_TOKEN_IN_ONE,
    CONTACT_A,
    CONTACT_B,
    CONTACT_C,
    CONTACTS,
    FOR_A,
    FOR_A_ARRIVAL,
    FOR_A_AT_WORK,
    FOR_ADMIN,
    FOR_AGENT,
    FOR_ANONYMOUS,
    FOR_B,
    FOR_C,
    FOR_C_IN_ONE,
    FOR_GUEST,
    FOR_OWNER,
    FOR_USERS_AT_ONE,
    NO_WAY_IN,
    NOT_ENTERED,
    SIGNED_IN,
    SWITCHBOARD,
    SYSTEM,
)
from tests.database.access.matrix import Call, Cells, Fails, Function
from tests.database.access.rows import uid

_SWITCHBOARD = ("switchboard",)

NO_SPACE = Fails("PT404", "space_not_found")
NO_TURN = Fails("PT404", "turn_not_found")
NO_JOB = Fails("PT404", "job_not_found")
NO_CONVERSATION = Fails("PT404", "conversation_not_found")
NO_PERSONA = Fails("PT404", "persona_not_found")
FORBIDDEN = Fails("PT403", "forbidden")
# A turn of A is under way, and so is one of B.
BUSY = {"code": "turn_in_progress", "retry_after": 1}

OPENS_ONE = (*BY_TOKEN_IN_ONE, NOT_ENTERED)
# Without a scope that opens the space nothing is found, not even that something is there.
SHUT: Cells = {(SYSTEM, FOR_A_AT_WORK, *NO_WAY_IN): NO_SPACE}
# Nor without one that opens the workspace; and a space is for arriving there.
NOT_AT_WORK: Cells = {(SYSTEM, *NO_WAY_IN): NO_SPACE, AT_A_SPACE: FORBIDDEN}
ONLY_SYSTEM: Cells = {SWITCHBOARD: FORBIDDEN}

IN_W1, IN_W2 = {"workspace_id": "workspaces.one"}, {"workspace_id": "workspaces.two"}


def signature_of(email: str, secret: str) -> str:
    """What a customer's server sends as email_hmac."""
    return hmac.new(secret.encode(), email.encode(), hashlib.sha256).hexdigest()


def _register(space: str, kind: str, label: str, email_hmac: str | None = None) -> str:
    email = f"{label}@access.test"
    signed = f", email_hmac => '{email_hmac}'" if email_hmac else ""
    return (
        f"public.register_contact('{uid('spaces', space)}', '{kind}', '{email}', '{email}'{signed}, "
        """client => '{"address": "192.0.2.1"}')"""
    )


def _start(space: str, more: str = "") -> str:
    return f"public.start_turn('{uid('spaces', space)}', 'hello'{more})"


def _turn(function: str, label: str, more: str) -> str:
    return f"public.{function}('{uid('turns', label)}', {more})"


_ASSERTED = {
    **IN_W1,
    "contact_id": "contacts.a",
    "conversation_id": "new",
    "session_id": "new",
    "proof": "asserted",
}
_READS_A = {"turn_id": "turns.a", "text": "piecepiece", "session_id": "sessions.a", "contact_id": "contacts.a"}

REQUESTS = (
    Function(
        "public.register_contact(uuid,public.space_kind,text,text,text,text,text,text,text,text,jsonb,jsonb)",
        _SWITCHBOARD,
        (
            # An email that somebody types opens a conversation of its own, whoever's it is.
            Call(_register("chat", "embed", "a"), {OPENS_ONE: _ASSERTED, FOR_C: NO_SPACE, **SHUT}),
            # A token is for its one space, also where both are of one workspace.
            Call(_register("landing", "landing", "a"), {SWITCHBOARD: NO_SPACE}),
            Call(
                _register("chat", "embed", "a", signature_of("a@access.test", "hmac of one")),
                {
                    OPENS_ONE: {"contact_id": "contacts.a", "conversation_id": "conversations.a", "proof": "verified"},
                    FOR_C: NO_SPACE,
                    **SHUT,
                },
            ),
            # The other workspace's secret signs nothing here.
            Call(
                _register("chat", "embed", "a", signature_of("a@access.test", "hmac of two")),
                {OPENS_ONE: Fails("PT401", "email_hmac_invalid"), FOR_C: NO_SPACE, **SHUT},
                foreign=True,
            ),
            # Only who has confirmed the email in Supabase Auth needs no more proof.
            Call(
                _register("chat", "embed", "guest"),
                {
                    OPENS_ONE: {"contact_id": "contacts.guest", "conversation_id": "new", "proof": "asserted"},
                    FOR_GUEST: {
                        "contact_id": "contacts.guest", "conversation_id": "conversations.guest", "proof": "verified"
                    },
                    FOR_C: NO_SPACE,
                    **SHUT,
                },
            ),
            # C is known in workspace two only: in workspace one the same email is somebody new.
            Call(
                _register("chat", "embed", "c"),
                {OPENS_ONE: {**IN_W1, "contact_id": "new", "conversation_id": "new"}, FOR_C: NO_SPACE, **SHUT},
                foreign=True,
            ),
            Call(
                _register("two", "embed", "c"),
                {OPENS_ONE: NO_SPACE, FOR_C: {**IN_W2, "contact_id": "contacts.c", "conversation_id": "new"}, **SHUT},
                foreign=True,
            ),
            Call(_register("closed", "embed", "a"), {SWITCHBOARD: NO_SPACE}),
        ),
        enters=True,
    ),
    Function(
        "public.space_origins(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"public.space_origins('{uid('spaces', 'chat')}')",
                {OPENS_ONE: {"origins": ["https://chat.test"]}, FOR_C: NO_SPACE, **SHUT},
            ),
            Call(
                f"public.space_origins('{uid('spaces', 'two')}')",
                {OPENS_ONE: NO_SPACE, FOR_C: {"origins": ["https://two.test"]}, **SHUT},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.start_turn(uuid,text,uuid,text,text,text,text,text,uuid,jsonb,jsonb,boolean)",
        _SWITCHBOARD,
        (
            # Everybody reaches the conversation that is theirs, or a new one.
            Call(
                _start("chat"),
                {
                    OPENS_ONE: {"conversation_id": "new", "turn_id": "new", **IN_W1},
                    FOR_ANONYMOUS: {"conversation_id": "new", "contact_id": "new", "proof": "asserted", "history": []},
                    FOR_USERS_AT_ONE: {"conversation_id": "new", "history": [], "proof": "verified"},
                    (FOR_ADMIN, FOR_OWNER): {
                        "conversation_id": "new", "contact_id": None, "proof": None, "history": [],
                    },
                    FOR_AGENT: {"conversation_id": "conversations.agent", "contact_id": None},
                    FOR_GUEST: {"conversation_id": "conversations.guest", "contact_id": "contacts.guest"},
                    (FOR_A, FOR_B, NOT_ENTERED): BUSY,
                    FOR_A_ARRIVAL: {
                        "conversation_id": "conversations.a_arrival",
                        "history": [{"text": "text of a_arrival"}],
                        "persona": {"id": "personas.one", "secret": "secret of one"},
                    },
                    FOR_C_IN_ONE: NO_CONVERSATION,
                    FOR_C: NO_SPACE,
                    **SHUT,
                },
            ),
            # A client message id is a conversation's own: only A finds the turn that it started.
            Call(
                _start("chat", ", client_message_id => 'a-1'"),
                {
                    OPENS_ONE: {"repeat": False, "turn_id": "new"},
                    (FOR_A, NOT_ENTERED): {"repeat": True, "turn_id": "turns.a"},
                    FOR_B: BUSY,
                    FOR_C_IN_ONE: NO_CONVERSATION,
                    FOR_C: NO_SPACE,
                    **SHUT,
                },
            ),
            # Whoever types A's email talks as A, in a conversation that holds nothing of A's.
            Call(
                _start("chat", ", email => 'a@access.test', email_key => 'a@access.test'"),
                {
                    OPENS_ONE: {**IN_W1},
                    FOR_ANONYMOUS: {
                        "contact_id": "contacts.a", "conversation_id": "new", "proof": "asserted", "history": [],
                    },
                    (FOR_A, FOR_B, NOT_ENTERED): BUSY,
                    FOR_C_IN_ONE: NO_CONVERSATION,
                    FOR_C: NO_SPACE,
                    **SHUT,
                },
            ),
            Call(
                _start("two"),
                {OPENS_ONE: NO_SPACE, FOR_C: {"code": "turn_in_progress"}, **SHUT},
                foreign=True,
            ),
            Call(
                _start("chat", f", persona_id => '{uid('personas', 'two')}'"),
                {OPENS_ONE: NO_PERSONA, FOR_C_IN_ONE: NO_CONVERSATION, FOR_C: NO_SPACE, **SHUT},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.flush_turn(uuid,integer,text)",
        _SWITCHBOARD,
        (
            Call(
                _turn("flush_turn", "a", "10, 'more'"),
                {FOR_A_AT_WORK: {"status": "active", "stop": False}, **NOT_AT_WORK},
            ),
            Call(
                _turn("flush_turn", "c", "10, 'more'"),
                {FOR_A_AT_WORK: NO_TURN, **NOT_AT_WORK},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.finish_turn(uuid,public.turn_status,text,jsonb,text,text,integer)",
        _SWITCHBOARD,
        (
            Call(
                _turn("finish_turn", "a", "'completed', 'answer'"),
                {FOR_A_AT_WORK: {"changed": True, "status": "completed", "message_id": "new"}, **NOT_AT_WORK},
            ),
            Call(
                _turn("finish_turn", "c", "'completed', 'answer'"),
                {FOR_A_AT_WORK: NO_TURN, **NOT_AT_WORK},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.read_active_turn(uuid,text)",
        ("contact", "authenticated"),
        (
            # A contact's conversation is in the token; the guest's and the agent's have no turn under way.
            Call(
                f"public.read_active_turn('{uid('spaces', 'chat')}', 'main')",
                {
                    (*CONTACTS, *SIGNED_IN): {"turn": None},
                    CONTACT_A: {"turn": {"turn_id": "turns.a", "status": "active", "text": "piecepiece"}},
                    CONTACT_B: {"turn": {"turn_id": "turns.b", "status": "active", "text": "piecepiece"}},
                    CONTACT_C: {"turn": {"turn_id": "turns.c", "status": "active", "text": "piecepiece"}},
                },
            ),
            Call(
                f"public.read_active_turn('{uid('spaces', 'two')}', 'main')",
                {
                    (*CONTACTS, *SIGNED_IN): {"turn": None},
                    CONTACT_A: {"turn": {"turn_id": "turns.a"}},
                    CONTACT_B: {"turn": {"turn_id": "turns.b"}},
                    CONTACT_C: {"turn": {"turn_id": "turns.c"}},
                },
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.read_turn(uuid,integer)",
        ("contact", "authenticated", "switchboard"),
        (
            Call(
                _turn("read_turn", "a", "0"),
                {
                    (*CONTACTS, *SIGNED_IN): NO_TURN,
                    (CONTACT_A, *ADMINS): _READS_A,
                    FOR_A_AT_WORK: _READS_A,
                    **NOT_AT_WORK,
                },
            ),
            Call(
                _turn("read_turn", "b", "0"),
                {
                    (*CONTACTS, *SIGNED_IN): NO_TURN,
                    (CONTACT_B, AGENT, *ADMINS): {"turn_id": "turns.b", "text": "piecepiece"},
                    FOR_A_AT_WORK: {"turn_id": "turns.b"},
                    **NOT_AT_WORK,
                },
            ),
            # The agent was not assigned this session of the same conversation.
            Call(
                _turn("read_turn", "b_old", "0"),
                {
                    (*CONTACTS, *SIGNED_IN): NO_TURN,
                    (CONTACT_B, *ADMINS): {
                        "turn_id": "turns.b_old", "text": "text of b_old_answer", "message_id": "messages.b_old_answer",
                    },
                    FOR_A_AT_WORK: {"turn_id": "turns.b_old"},
                    **NOT_AT_WORK,
                },
            ),
            Call(
                _turn("read_turn", "c", "0"),
                {
                    (*CONTACTS, *SIGNED_IN): NO_TURN,
                    (CONTACT_C, ADMIN_2): {"turn_id": "turns.c", "contact_id": "contacts.c"},
                    FOR_A_AT_WORK: NO_TURN,
                    **NOT_AT_WORK,
                },
                foreign=True,
            ),
        ),
        enters=True,
    ),
)  # fmt: skip
