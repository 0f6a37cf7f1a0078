"""Answering in the persona's place, capturing and following, as every caller."""

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
    IN_ONE,
    NOT_ENTERED,
    NOWHERE,
    SIGNED_IN,
    SWITCHBOARD,
    TWO_AT_ONE,
)
from tests.database.access.functions_api import FORBIDDEN, NO_CONVERSATION
from tests.database.access.functions_sessions import NO_CONTACT, NO_MESSAGE
from tests.database.access.functions_turns import NO_SESSION
from tests.database.access.matrix import Call, Fails, Function
from tests.database.access.rows import record, uid

_SWITCHBOARD = ("switchboard",)
_READERS = ("contact", "authenticated")
_READING = (*CONTACTS, *SIGNED_IN)
_ADMINS = (FOR_ADMIN, FOR_OWNER)
_A = (FOR_A, FOR_A_AT_WORK, NOT_ENTERED)
_C = (FOR_C, TWO_AT_ONE)

NO_MEMBER = Fails("PT404", "member_not_found")


def _on(function: str, label: str, more: str = "") -> str:
    return f"{function}('{uid('sessions', label)}'{more})"


def _capture(contact: str, more: str = "") -> str:
    return f"public.capture_message('{uid('contacts', contact)}', 'Said elsewhere', 'contact', 'email'{more})"


def _follow(label: str, more: str = "") -> str:
    return f"public.follow_conversation('{uid('conversations', label)}'{more})"


def _messages(*labels: str) -> dict[str, object]:
    return {"messages": [{"id": f"messages.{label}"} for label in labels]}


_AS_ENTERED = (FOR_AGENT, *_ADMINS)

TAKEOVER = (
    Function(
        "public.take_over_session(uuid)",
        _SWITCHBOARD,
        (
            # B's answer is under way, and whoever gives it is asked to stop.
            Call(
                _on("public.take_over_session", "b"),
                {
                    SWITCHBOARD: NO_SESSION, FOR_B: FORBIDDEN,
                    FOR_AGENT: {"taken_over_by": "users.agent", "changed": True, "stopping": True},
                    FOR_ADMIN: {"taken_over_by": "users.admin", "assigned_user_id": "users.agent", "stopping": True},
                    FOR_OWNER: {"taken_over_by": "users.owner", "assigned_user_id": "users.agent", "stopping": True},
                },
            ),
            Call(
                _on("public.take_over_session", "guest"),
                {
                    SWITCHBOARD: NO_SESSION, FOR_GUEST: FORBIDDEN,
                    FOR_ADMIN: {"taken_over_by": "users.admin", "assigned_user_id": "users.admin", "stopping": False},
                    FOR_OWNER: {"taken_over_by": "users.owner", "assigned_user_id": "users.owner", "stopping": False},
                },
            ),
            Call(
                _on("public.take_over_session", "c"),
                {SWITCHBOARD: NO_SESSION, _C: FORBIDDEN, FOR_ADMIN_2: {"taken_over_by": "users.admin_2"}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.hand_back_session(uuid)",
        _SWITCHBOARD,
        (
            Call(
                _on("public.hand_back_session", "b"),
                {SWITCHBOARD: NO_SESSION, FOR_B: FORBIDDEN, _AS_ENTERED: {"taken_over_by": None, "changed": False}},
            ),
            Call(
                _on("public.hand_back_session", "c"),
                {SWITCHBOARD: NO_SESSION, _C: FORBIDDEN, FOR_ADMIN_2: {"session_id": "sessions.c"}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.say_as_member(uuid,text,text)",
        _SWITCHBOARD,
        (
            Call(
                _on("public.say_as_member", "b", ", 'Hello'"),
                {SWITCHBOARD: NO_SESSION, FOR_B: FORBIDDEN, _AS_ENTERED: {"code": "not_taken_over"}},
            ),
            Call(
                _on("public.say_as_member", "c", ", 'Hello'"),
                {SWITCHBOARD: NO_SESSION, _C: FORBIDDEN, FOR_ADMIN_2: {"code": "not_taken_over"}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.assign_session(uuid,uuid)",
        _SWITCHBOARD,
        (
            Call(
                _on("public.assign_session", "a", f", '{uid('users', 'agent')}'"),
                {SWITCHBOARD: NO_SESSION, _A: FORBIDDEN, _ADMINS: {"assigned_user_id": "users.agent", "changed": True}},
            ),
            Call(
                _on("public.assign_session", "b", ", null"),
                {
                    SWITCHBOARD: NO_SESSION, (FOR_B, FOR_AGENT): FORBIDDEN,
                    _ADMINS: {"assigned_user_id": None, "changed": True},
                },
            ),
            Call(
                _on("public.assign_session", "b", f", '{uid('users', 'admin_2')}'"),
                {SWITCHBOARD: NO_SESSION, (FOR_B, FOR_AGENT): FORBIDDEN, _ADMINS: NO_MEMBER},
                foreign=True,
            ),
            Call(
                _on("public.assign_session", "c", f", '{uid('users', 'agent')}'"),
                {SWITCHBOARD: NO_SESSION, _C: FORBIDDEN, FOR_ADMIN_2: NO_MEMBER},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.capture_message(uuid,text,public.message_role,text,text,jsonb,uuid,uuid,uuid,jsonb)",
        _SWITCHBOARD,
        (
            # Not where somebody typed A's email.
            Call(
                _capture("a"),
                {SWITCHBOARD: NO_CONTACT, FOR_AGENT: FORBIDDEN, _ADMINS: {"session_id": "sessions.a", "created": True}},
            ),
            Call(
                _capture("a", f", session_id => '{uid('sessions', 'a_arrival')}'"),
                {SWITCHBOARD: NO_CONTACT, FOR_AGENT: NO_SESSION, _ADMINS: {"session_id": "sessions.a_arrival"}},
            ),
            Call(
                _capture("b"),
                {SWITCHBOARD: NO_CONTACT, _AS_ENTERED: {"session_id": "sessions.b", "message_id": "new"}},
            ),
            Call(_capture("c"), {SWITCHBOARD: NO_CONTACT, FOR_ADMIN_2: {"session_id": "sessions.c"}}, foreign=True),
            Call(
                _capture("a", f", session_id => '{uid('sessions', 'c')}'"),
                {SWITCHBOARD: NO_CONTACT, _AS_ENTERED: NO_SESSION},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.follow_conversation(uuid,uuid,boolean,integer)",
        _READERS,
        (
            Call(
                _follow("a"),
                {
                    _READING: NO_CONVERSATION,
                    (CONTACT_A, *ADMINS): _messages("a") | {"session": {"session_id": "sessions.a"}},
                },
            ),
            Call(
                _follow("a_arrival"), {_READING: NO_CONVERSATION, (CONTACT_A_ARRIVAL, *ADMINS): _messages("a_arrival")}
            ),
            # The agent was not assigned the session before.
            Call(
                _follow("b"),
                {
                    _READING: NO_CONVERSATION, AGENT: _messages("b"),
                    (CONTACT_B, *ADMINS): _messages("b_old", "b_old_answer", "b"),
                },
            ),
            Call(_follow("guest"), {_READING: NO_CONVERSATION, (GUEST, *ADMINS): _messages("guest")}),
            Call(
                _follow("b", f", '{uid('messages', 'b_old')}'"),
                {
                    _READING: NO_CONVERSATION, AGENT: NO_MESSAGE,
                    (CONTACT_B, *ADMINS): {"session": {"session_id": "sessions.b"}},
                },
            ),
            Call(_follow("c"), {_READING: NO_CONVERSATION, (CONTACT_C, ADMIN_2): _messages("c")}, foreign=True),
            Call(
                _follow("a", f", '{uid('messages', 'c')}'"),
                {_READING: NO_CONVERSATION, (CONTACT_A, *ADMINS): NO_MESSAGE},
                foreign=True,
            ),
        ),
    ),
    # Steps ----------------------------------------------------------------------------------------------------------
    Function(
        "private.lock_session_to_work_on(uuid)",
        _SWITCHBOARD,
        (
            Call(
                _on("private.lock_session_to_work_on", "b"),
                {SWITCHBOARD: NO_SESSION, FOR_B: FORBIDDEN, _AS_ENTERED: {"id": "sessions.b"}},
            ),
            Call(
                _on("private.lock_session_to_work_on", "c"),
                {SWITCHBOARD: NO_SESSION, _C: FORBIDDEN, FOR_ADMIN_2: {"id": "sessions.c"}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "private.administers_workspace(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"private.administers_workspace('{uid('workspaces', 'one')}')",
                {SWITCHBOARD: False, _ADMINS: True},
            ),
            Call(f"private.administers_workspace('{uid('workspaces', 'two')}')", {SWITCHBOARD: False}, foreign=True),
        ),
    ),
    Function(
        "private.refuse_taken_over(public.sessions)",
        _SWITCHBOARD,
        (
            Call(
                f"private.refuse_taken_over({record('sessions', 'a')})",
                {SWITCHBOARD: {"code": "taken_over", "session_id": "sessions.a"}},
            ),
        ),
    ),
    Function(
        "private.describe_takeover(uuid,boolean)",
        _SWITCHBOARD,
        (
            Call(
                _on("private.describe_takeover", "b", ", true"),
                {IN_ONE: {"assigned_user_id": "users.agent", "changed": True}, (FOR_C, *NOWHERE): None},
            ),
            Call(
                _on("private.describe_takeover", "c", ", true"),
                {FOR_C: {"session_id": "sessions.c"}, (*IN_ONE, *NOWHERE): None},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.describe_message(public.messages,boolean)",
        _SWITCHBOARD,
        (
            Call(
                f"private.describe_message({record('messages', 'a')}, true)",
                {SWITCHBOARD: {"message_id": "messages.a", "created": True}},
            ),
        ),
    ),
    Function(
        "private.find_follow_up_conversation(uuid,public.member_role)",
        _SWITCHBOARD,
        (
            Call(
                f"private.find_follow_up_conversation('{uid('contacts', 'a')}', 'admin')",
                {IN_ONE: "conversations.a", (FOR_C, *NOWHERE): None},
            ),
            Call(
                f"private.find_follow_up_conversation('{uid('contacts', 'c')}', 'admin')",
                {FOR_C: "conversations.c", (*IN_ONE, *NOWHERE): None},
                foreign=True,
            ),
        ),
    ),
    Function("private.end_takeover()", (), ()),
    Function("private.audit_handed_back()", (), ()),
    Function("private.hand_back_demoted()", (), ()),
)  # fmt: skip
