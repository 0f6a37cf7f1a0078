"""Stopping turns and recovering sessions, as every caller: who may see one may act on it."""

from tests.database.access.callers import (
    FOR_A,
    FOR_A_AT_WORK,
    FOR_ADMIN,
    FOR_ADMIN_2,
    FOR_AGENT,
    FOR_B,
    FOR_C,
    FOR_C_IN_ONE,
    FOR_OWNER,
    IN_ONE,
    MANAGING_ADMIN,
    MANAGING_ADMIN_2,
    MANAGING_AGENT,
    MANAGING_OWNER,
    NOT_ENTERED,
    NOWHERE,
    SWITCHBOARD,
    TWO_AT_ONE,
)
from tests.database.access.functions_api import NO_TURN
from tests.database.access.matrix import Call, Fails, Function
from tests.database.access.rows import record, uid

_SWITCHBOARD = ("switchboard",)
_ADMINS = (FOR_ADMIN, FOR_OWNER, MANAGING_ADMIN, MANAGING_OWNER)
# What the token's holder may do does not hang on what was entered before.
_A = (FOR_A, FOR_A_AT_WORK, NOT_ENTERED, *_ADMINS)
_B = (FOR_B, FOR_AGENT, MANAGING_AGENT, *_ADMINS)
_C = (FOR_C, TWO_AT_ONE, FOR_ADMIN_2, MANAGING_ADMIN_2)

NO_SESSION = Fails("PT404", "session_not_found")


def _turn(label: str) -> str:
    return f"'{uid('turns', label)}'"


def _session(label: str) -> str:
    return f"'{uid('sessions', label)}'"


# Who is a member is seen in the workspace that was entered.
_A_AS_ENTERED = (FOR_A, FOR_A_AT_WORK, NOT_ENTERED, FOR_ADMIN, FOR_OWNER)
_C_AS_ENTERED = (FOR_C, FOR_C_IN_ONE, TWO_AT_ONE)


TURNS = (
    Function(
        "public.cancel_turn(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"public.cancel_turn({_turn('a')})",
                {SWITCHBOARD: NO_TURN, _A: {"turn_id": "turns.a", "status": "active"}},
            ),
            Call(
                f"public.cancel_turn({_turn('b')})",
                {SWITCHBOARD: NO_TURN, _B: {"turn_id": "turns.b", "status": "active"}},
            ),
            # The agent was not assigned this session of the same conversation.
            Call(
                f"public.cancel_turn({_turn('b_old')})",
                {SWITCHBOARD: NO_TURN, (FOR_B, *_ADMINS): {"turn_id": "turns.b_old", "status": "completed"}},
            ),
            Call(
                f"public.cancel_turn({_turn('c')})",
                {SWITCHBOARD: NO_TURN, _C: {"turn_id": "turns.c", "status": "active"}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.recover_session(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"public.recover_session({_session('a')})",
                {SWITCHBOARD: NO_SESSION, _A: {"session_id": "sessions.a", "changed": False}},
            ),
            Call(
                f"public.recover_session({_session('b')})",
                {SWITCHBOARD: NO_SESSION, _B: {"session_id": "sessions.b", "changed": False}},
            ),
            Call(
                f"public.recover_session({_session('b_old')})",
                {
                    SWITCHBOARD: NO_SESSION,
                    (FOR_B, *_ADMINS): {"code": "transition_not_allowed", "session_id": "sessions.b_old"},
                },
            ),
            Call(
                f"public.recover_session({_session('c')})",
                {SWITCHBOARD: NO_SESSION, _C: {"session_id": "sessions.c"}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "private.may_access_session(public.sessions)",
        _SWITCHBOARD,
        (
            Call(f"private.may_access_session({record('sessions', 'a')})", {SWITCHBOARD: False, _A_AS_ENTERED: True}),
            Call(
                f"private.may_access_session({record('sessions', 'c')})",
                {SWITCHBOARD: False, _C_AS_ENTERED: True},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.enter_session(uuid)",
        _SWITCHBOARD,
        (
            Call(f"private.enter_session({_session('a')})", {SWITCHBOARD: NO_SESSION, _A: None}),
            Call(f"private.enter_session({_session('c')})", {SWITCHBOARD: NO_SESSION, _C: None}, foreign=True),
        ),
        definer=True,
        enters=True,
    ),
    Function(
        "private.enter_turn(uuid)",
        _SWITCHBOARD,
        (
            Call(f"private.enter_turn({_turn('a')})", {SWITCHBOARD: NO_TURN, _A: {"id": "turns.a"}}),
            Call(f"private.enter_turn({_turn('c')})", {SWITCHBOARD: NO_TURN, _C: {"id": "turns.c"}}, foreign=True),
        ),
        definer=True,
        enters=True,
    ),
    Function(
        "private.stop_turn(public.turns)",
        _SWITCHBOARD,
        (
            # True: there is nothing to stop, as far as the caller can see.
            Call(f"private.stop_turn({record('turns', 'a')})", {IN_ONE: False, (FOR_C, *NOWHERE): True}),
            Call(f"private.stop_turn({record('turns', 'c')})", {FOR_C: False, (*IN_ONE, *NOWHERE): True}, foreign=True),
        ),
    ),
    Function(
        "private.refuse_transition(public.sessions)",
        _SWITCHBOARD,
        (
            Call(
                f"private.refuse_transition({record('sessions', 'a')})",
                {SWITCHBOARD: {"code": "transition_not_allowed", "session_id": "sessions.a"}},
            ),
        ),
    ),
)  # fmt: skip
