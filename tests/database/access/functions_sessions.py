"""What finds, starts, changes and times out sessions, as every caller."""

from collections.abc import Mapping

from tests.database.access.callers import (
    ADMIN_2,
    ADMINS,
    AGENT,
    AT_CLOSED,
    CONTACT_A,
    CONTACT_A_ARRIVAL,
    CONTACT_B,
    CONTACT_C,
    CONTACTS,
    FOR_A,
    FOR_A_ARRIVAL,
    FOR_A_AT_WORK,
    FOR_ADMIN,
    FOR_ADMIN_2,
    FOR_AGENT,
    FOR_ANONYMOUS,
    FOR_B,
    FOR_C,
    FOR_C_IN_ONE,
    FOR_FORMER,
    FOR_GUEST,
    FOR_NAMELESS,
    FOR_OWNER,
    FOR_STRANGER,
    GUEST,
    IN_ONE,
    MANAGING,
    MANAGING_ADMIN,
    MANAGING_ADMIN_2,
    MANAGING_AGENT,
    MANAGING_FORMER,
    MANAGING_OPERATOR,
    MANAGING_OWNER,
    NO_SCOPE,
    NOT_ENTERED,
    NOWHERE,
    ONE,
    SERVICE,
    SIGNED_IN,
    SWITCHBOARD,
    SYSTEM,
    TWO,
    TWO_AT_ONE,
)
from tests.database.access.functions_api import FORBIDDEN, NO_CONVERSATION, NO_PERSONA, NO_SPACE, ONLY_SYSTEM
from tests.database.access.functions_management import NO_WORKSPACE
from tests.database.access.functions_turns import NO_SESSION
from tests.database.access.matrix import Call, Cells, Fails, Function
from tests.database.access.rows import record, uid

_SWITCHBOARD = ("switchboard",)
_READERS = ("contact", "authenticated")
_READING = (*CONTACTS, *SIGNED_IN)

NO_CONTACT = Fails("PT404", "contact_not_found")
NO_MESSAGE = Fails("PT404", "message_not_found")

_ADMINS = (FOR_ADMIN, FOR_OWNER)
_CONTACT_A = (FOR_A, FOR_A_AT_WORK, NOT_ENTERED)
_NOBODY = (FOR_ANONYMOUS, SYSTEM, NO_SCOPE, AT_CLOSED)
# A token for a space opens nothing where no space is named.
_AT_A_SPACE = (FOR_A, FOR_A_ARRIVAL, FOR_B, FOR_C, FOR_C_IN_ONE, NOT_ENTERED, TWO_AT_ONE)


def _items(*labels: str) -> dict[str, object]:
    return {"items": [{"id": f"sessions.{label}"} for label in labels], "last": None}


def _change(label: str, status: str) -> str:
    return f"public.change_session_status('{uid('sessions', label)}', '{status}')"


def _change_both(one: str, other: str, status: str) -> str:
    ids = f"array['{uid('sessions', one)}', '{uid('sessions', other)}']::uuid[]"
    return f"public.change_sessions_status({ids}, '{status}')"


def _start(contact: str, persona: str, more: str = "") -> str:
    ids = f"contact_id => '{uid('contacts', contact)}', persona_id => '{uid('personas', persona)}'"
    return f"public.start_session({ids}{more})"


def _list(name: str, label: str) -> str:
    filters = f'{{"{name}": "{uid(name.removesuffix("_id") + "s", label)}"}}'
    return f"public.list_sessions('{filters}')"


_GONE = {"code": "session_not_found"}
_STOPPING = {"code": "turn_in_progress", "stopping": True}
_OVER = {"code": "transition_not_allowed", "session_status": "completed"}
_CANCELLED = {"status": "cancelled", "changed": True}


def _several(**items: Mapping[str, object]) -> dict[str, object]:
    return {"items": [{"id": f"sessions.{label}", **item} for label, item in items.items()]}


_OWN_LISTS: Cells = {
    _READING: _items(),
    CONTACT_A: _items("a"),
    CONTACT_A_ARRIVAL: _items("a_arrival"),
    CONTACT_B: _items("b", "b_old"),
    CONTACT_C: _items("c", "c_old"),
    GUEST: _items("guest"),
    AGENT: _items("agent", "b"),
    ADMINS: _items("a", "a_arrival", "b", "b_old", "guest", "agent"),
    ADMIN_2: _items("c", "c_old"),
}

SESSIONS = (
    Function(
        "public.list_sessions(jsonb,integer,timestamp with time zone,uuid,integer)",
        _READERS,
        (
            Call("public.list_sessions()", _OWN_LISTS),
            Call(
                _list("workspace_id", "two"),
                {_READING: _items(), CONTACT_C: _items("c", "c_old"), ADMIN_2: _items("c", "c_old")},
                foreign=True,
            ),
            Call(
                _list("conversation_id", "b"),
                {_READING: NO_CONVERSATION, (CONTACT_B, *ADMINS): _items("b", "b_old"), AGENT: _items("b")},
            ),
            Call(
                _list("contact_id", "a"),
                {_READING: _items(), CONTACT_A: _items("a"), CONTACT_A_ARRIVAL: _items("a_arrival"),
                 ADMINS: _items("a", "a_arrival")},
            ),
            Call(
                """public.list_sessions('{"text": "b_old"}')""",
                {_READING: _items(), (CONTACT_B, *ADMINS): _items("b_old")},
            ),
            Call(
                """public.list_sessions('{"text": "text", "status": ["active"]}')""",
                {
                    **_OWN_LISTS, CONTACT_B: _items("b"), CONTACT_C: _items("c"), ADMIN_2: _items("c"),
                    ADMINS: _items("a", "a_arrival", "b", "guest", "agent"),
                },
            ),
        ),
    ),
    Function(
        "public.read_session(uuid,uuid,integer)",
        _READERS,
        (
            Call(
                f"public.read_session('{uid('sessions', 'b')}')",
                {
                    _READING: NO_SESSION,
                    (CONTACT_B, AGENT, *ADMINS): {
                        "id": "sessions.b", "messages": [{"id": "messages.b"}], "turns": [{"id": "turns.b"}],
                    },
                },
            ),
            Call(
                f"public.read_session('{uid('sessions', 'b')}', '{uid('messages', 'b_old')}')",
                {_READING: NO_SESSION, (CONTACT_B, AGENT, *ADMINS): NO_MESSAGE},
            ),
            Call(
                f"public.read_session('{uid('sessions', 'c')}')",
                {_READING: NO_SESSION, (CONTACT_C, ADMIN_2): {"id": "sessions.c"}},
                foreign=True,
            ),
        ),
    ),
    Function(
        "public.change_session_status(uuid,public.session_status)",
        _SWITCHBOARD,
        (
            Call(
                _change("b", "paused"),
                {
                    SWITCHBOARD: NO_SESSION, FOR_B: FORBIDDEN,
                    (FOR_AGENT, *_ADMINS): {"status": "paused", "changed": True},
                },
            ),
            Call(
                _change("guest", "cancelled"),
                {SWITCHBOARD: NO_SESSION, (FOR_GUEST, *_ADMINS): {"status": "cancelled", "changed": True}},
            ),
            Call(
                _change("guest", "completed"),
                {SWITCHBOARD: NO_SESSION, FOR_GUEST: FORBIDDEN, _ADMINS: {"status": "completed", "changed": True}},
            ),
            # A's answer is under way, and whoever gives it is asked to stop.
            Call(
                _change("a", "cancelled"),
                {SWITCHBOARD: NO_SESSION, (*_CONTACT_A, *_ADMINS): {"code": "turn_in_progress", "stopping": True}},
            ),
            Call(
                _change("c", "paused"),
                {SWITCHBOARD: NO_SESSION, (FOR_C, TWO_AT_ONE): FORBIDDEN, FOR_ADMIN_2: {"session_id": "sessions.c"}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.change_sessions_status(uuid[],public.session_status)",
        _SWITCHBOARD,
        (
            Call(
                _change_both("b", "guest", "cancelled"),
                {
                    SWITCHBOARD: _several(b=_GONE, guest=_GONE),
                    FOR_B: _several(b=_STOPPING, guest=_GONE),
                    FOR_AGENT: _several(b=_STOPPING, guest=_GONE),
                    FOR_GUEST: _several(b=_GONE, guest=_CANCELLED),
                    _ADMINS: _several(b=_STOPPING, guest=_CANCELLED),
                },
            ),
            Call(
                _change_both("c_old", "a", "paused"),
                {
                    SWITCHBOARD: _several(c_old=_GONE, a=_GONE),
                    _CONTACT_A: _several(c_old=_GONE, a={"code": "forbidden"}),
                    _ADMINS: _several(c_old=_GONE, a={"status": "paused", "changed": True}),
                    (FOR_C, TWO_AT_ONE): _several(c_old={"code": "forbidden"}, a=_GONE),
                    FOR_ADMIN_2: _several(c_old=_OVER, a=_GONE),
                },
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.start_session(uuid,uuid,uuid,text,jsonb,jsonb,text)",
        _SWITCHBOARD,
        (
            Call(
                _start("a", "one"),
                {
                    SWITCHBOARD: NO_CONTACT,
                    (*_NOBODY, *_AT_A_SPACE): FORBIDDEN,
                    (FOR_A_AT_WORK, *_ADMINS): {"session_id": "sessions.a", "created": False},
                    # It is the workspace's, and not assigned to the agent.
                    FOR_AGENT: FORBIDDEN,
                },
            ),
            Call(
                _start("a", "one", f", space_id => '{uid('spaces', 'chat')}'"),
                {
                    SWITCHBOARD: NO_CONTACT,
                    (*_NOBODY, FOR_AGENT): FORBIDDEN,
                    (FOR_A_AT_WORK, FOR_C, TWO_AT_ONE): NO_SPACE,
                    (FOR_A, NOT_ENTERED, *_ADMINS): {"session_id": "sessions.a", "created": False},
                    FOR_A_ARRIVAL: {"session_id": "sessions.a_arrival", "created": False},
                },
            ),
            Call(
                _start("c", "two"),
                {
                    SWITCHBOARD: NO_CONTACT,
                    (*_NOBODY, *_AT_A_SPACE): FORBIDDEN,
                    FOR_ADMIN_2: {"session_id": "sessions.c"},
                },
                foreign=True,
            ),
            Call(
                _start("a", "two"),
                {
                    SWITCHBOARD: NO_CONTACT,
                    (*_NOBODY, *_AT_A_SPACE): FORBIDDEN,
                    (FOR_A_AT_WORK, *_ADMINS, FOR_AGENT): NO_PERSONA,
                },
            ),
            Call(
                _start("a", "one", ", thread_key => 'new'"),
                {
                    SWITCHBOARD: NO_CONTACT,
                    (*_NOBODY, *_AT_A_SPACE): FORBIDDEN,
                    FOR_A_AT_WORK: Fails("PT422", "thread_key_not_allowed"),
                    (*_ADMINS, FOR_AGENT): {"session_id": "new", "created": True},
                },
            ),
            # Whether there is such a template is for members only.
            *(
                Call(
                    f"public.start_session(space_id => '{uid('spaces', 'chat')}', template => '{template}')",
                    {
                        SWITCHBOARD: FORBIDDEN, (NO_SCOPE, TWO_AT_ONE, *MANAGING, FOR_A_AT_WORK, FOR_C): NO_SPACE,
                        (FOR_ANONYMOUS, SYSTEM, NO_SCOPE, AT_CLOSED): FORBIDDEN,
                        _ADMINS: outcome, FOR_AGENT: for_agent,
                    },
                )
                for template, outcome, for_agent in (
                    ("Template one", {"session_id": "new", "created": True}, {"session_id": "sessions.agent"}),
                    ("Template two", *[Fails("PT404", "template_not_found")] * 2),
                )
            ),
        ),
        enters=True,
    ),
    Function(
        "public.expire_idle_sessions(integer,integer,integer)",
        _SWITCHBOARD,
        (Call("public.expire_idle_sessions()", {**ONLY_SYSTEM, SYSTEM: {"timed_out": 0, "remaining": False}}),),
        enters=True,
    ),
    Function(
        "public.clean_up_sessions(uuid,integer,integer)",
        _SWITCHBOARD,
        (
            Call(
                f"public.clean_up_sessions('{ONE}', 24)",
                {SWITCHBOARD: NO_WORKSPACE, MANAGING_AGENT: FORBIDDEN,
                 (MANAGING_ADMIN, MANAGING_OWNER): {"timed_out": 0, "remaining": False}},
            ),
            Call(
                f"public.clean_up_sessions('{TWO}', 24)",
                {SWITCHBOARD: NO_WORKSPACE, MANAGING_ADMIN_2: {"timed_out": 0}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    # Steps ----------------------------------------------------------------------------------------------------------
    Function(
        "private.expire_idle_sessions(integer,integer)",
        _SWITCHBOARD,
        (
            # A's and B's answers are under way; C's too.
            Call(
                "private.expire_idle_sessions(-1, 10)",
                {IN_ONE: {"timed_out": 3, "remaining": False}, (FOR_C, *NOWHERE): {"timed_out": 0}},
            ),
        ),
    ),
    Function(
        "private.workspaces_with_idle_sessions(integer)",
        _SWITCHBOARD,
        (Call("(private.workspaces_with_idle_sessions(24)).workspace_id", {**ONLY_SYSTEM, SYSTEM: []}),),
        definer=True,
    ),
    Function(
        "private.start_sweep(text,integer)",
        _SWITCHBOARD,
        (Call("private.start_sweep('test', 6)", {**ONLY_SYSTEM, SYSTEM: True}),),
        definer=True,
    ),
    Function(
        "private.end_sweep(text)",
        _SWITCHBOARD,
        (Call("private.end_sweep('test')::text", {**ONLY_SYSTEM, SYSTEM: ""}),),
        definer=True,
    ),
    Function(
        "private.enter_contact_as_member(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"private.enter_contact_as_member('{uid('contacts', 'a')}')::text",
                {SWITCHBOARD: NO_CONTACT, FOR_ADMIN: "admin", FOR_OWNER: "owner", FOR_AGENT: "agent"},
            ),
            Call(
                f"private.enter_contact_as_member('{uid('contacts', 'c')}')::text",
                {SWITCHBOARD: NO_CONTACT, FOR_ADMIN_2: "admin"},
                foreign=True,
            ),
        ),
        definer=True,
        enters=True,
    ),
    Function(
        "private.open_conversation_for_contact(uuid,public.spaces,uuid,text)",
        _SWITCHBOARD,
        (
            Call(
                f"private.open_conversation_for_contact('{uid('contacts', 'a')}', null, '{uid('personas', 'one')}', null)",
                {IN_ONE: {"id": "conversations.a"}, (FOR_C, *NOWHERE): NO_PERSONA},
            ),
            Call(
                f"private.open_conversation_for_contact('{uid('contacts', 'c')}', null, '{uid('personas', 'two')}', null)",
                {FOR_C: {"id": "conversations.c"}, (*IN_ONE, *NOWHERE): NO_PERSONA},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.may_work_on_session(public.sessions)",
        _SWITCHBOARD,
        (
            Call(
                f"private.may_work_on_session({record('sessions', 'b')})",
                {SWITCHBOARD: False, (FOR_AGENT, *_ADMINS): True},
            ),
            Call(f"private.may_work_on_session({record('sessions', 'a')})", {SWITCHBOARD: False, _ADMINS: True}),
        ),
    ),
    Function(
        "private.calling_actor()",
        ("switchboard", "service_role"),
        (
            Call(
                "private.calling_actor()",
                {
                    (*SWITCHBOARD, SERVICE): None,
                    (*_CONTACT_A, FOR_A_ARRIVAL): "contacts.a",
                    FOR_B: "contacts.b",
                    (FOR_C, FOR_C_IN_ONE, TWO_AT_ONE): "contacts.c",
                    FOR_STRANGER: "users.stranger",
                    FOR_NAMELESS: "users.nameless",
                    (FOR_GUEST, MANAGING_OPERATOR): "users.guest",
                    (FOR_FORMER, MANAGING_FORMER): "users.former",
                    (FOR_AGENT, MANAGING_AGENT): "users.agent",
                    (FOR_ADMIN, MANAGING_ADMIN): "users.admin",
                    (FOR_OWNER, MANAGING_OWNER): "users.owner",
                    (FOR_ADMIN_2, MANAGING_ADMIN_2): "users.admin_2",
                },
            ),
        ),
    ),
    Function("private.audit_resumed_session()", (), ()),
    Function("private.set_first_message_at()", (), ()),
    Function(
        "private.sessions_saying(uuid,text,integer)",
        ("authenticated",),
        (
            Call(
                f"private.sessions_saying('{ONE}', 'b_old_answer')",
                {SIGNED_IN: [[]], ADMINS: [["sessions.b_old"]]},
            ),
            Call(
                f"private.sessions_saying('{TWO}', 'text')", {SIGNED_IN: [[]], ADMIN_2: [["sessions.c"]]}, foreign=True
            ),
        ),
        definer=True,
    ),
    Function(
        "private.session_changes(uuid)",
        _READERS,
        (
            Call(f"(private.session_changes('{uid('sessions', 'a')}')).verb", {_READING: []}),
            Call(f"(private.session_changes('{uid('sessions', 'c')}')).verb", {_READING: []}, foreign=True),
        ),
        definer=True,
    ),
    Function(
        "private.session_query(jsonb,jsonb)",
        _READERS,
        (
            Call(
                "private.session_query('{}', private.claims()) like 'select s.% from public.sessions s where s.%'",
                {_READING: True},
            ),
        ),
    ),
    Function(
        "private.describe_sessions(text)",
        _READERS,
        (
            Call(
                "private.describe_sessions(private.sessions_for(private.claims()))",
                {caller: [outcome["items"]] for caller, outcome in _OWN_LISTS.items()},
            ),
        ),
    ),
)  # fmt: skip
