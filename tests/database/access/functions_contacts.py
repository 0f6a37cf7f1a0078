"""Who is known by what, and finding and tagging contacts, as every caller."""

from typing import Any

from tests.database.access.callers import (
    ADMIN_2,
    ADMINS,
    AGENT,
    IN_ONE,
    MANAGING,
    MANAGING_ADMIN,
    MANAGING_ADMIN_2,
    MANAGING_AGENT,
    MANAGING_OWNER,
    MEMBERS,
    ONE,
    SERVICE,
    SIGNED_IN,
    SWITCHBOARD,
    TWO,
)
from tests.database.access.functions_api import FORBIDDEN
from tests.database.access.functions_management import (
    ADMINS_OF_ONE,
    MANAGERS,
    NO_WORKSPACE,
    READERS,
    in_one,
    in_two,
    not_found,
)
from tests.database.access.matrix import Call, Cells, Fails, Function
from tests.database.access.rows import record, uid

_ALL = ("authenticated", "switchboard", "service_role")
_SWITCHBOARD = ("switchboard",)
_EVERYBODY = (*SWITCHBOARD, SERVICE)
_MEMBERS_OF_ONE = (MANAGING_AGENT, *ADMINS_OF_ONE)

NO_CONTACT, NO_GROUP, NO_SESSION = (not_found(noun) for noun in ("contact", "group", "session"))
UNNAMED = Fails("PT422", "workspace_required")
NO_ROW = Fails("42501", "new row violates row-level security policy for table")

_A, _B, _C = (uid("contacts", label) for label in ("a", "b", "c"))
_BY_EMAIL = """'[{{"kind": "email", "key": "{}@access.test", "value": "x"}}]'"""
_NEW = """'[{"kind": "telegram", "key": "5", "value": "5"}]'"""


def _read(one: Any, two: Any, nobody: Any = NO_CONTACT) -> tuple[Cells, Cells]:
    """What members of workspace one and of two read of their own; everybody else is told nothing."""
    return (
        {SIGNED_IN: nobody, (*MEMBERS, SERVICE): one},
        {SIGNED_IN: nobody, (ADMIN_2, SERVICE): two},
    )


_ALL_OF_ONE = {
    "items": [{"id": f"contacts.{label}"} for label in ("a", "b", "guest", "group_one")],
    "next_cursor": None,
}
_ALL_OF_TWO = {"items": [{"id": f"contacts.{label}"} for label in ("c", "d", "group_two")]}
_LISTED = _read(_ALL_OF_ONE, _ALL_OF_TWO, NO_WORKSPACE)
_SHOWN = _read(
    {"id": "contacts.b", "tags": ["vip"], "groups": [{"contact_id": "contacts.group_one"}]},
    {"id": "contacts.c", "tags": ["vip"], "groups": []},
)
_ACTIVE = _read(
    {"id": "contacts.b", "sessions": {"active": 1, "completed": 1}},
    {"id": "contacts.c", "sessions": {"active": 1, "completed": 1}},
)


def _journey(*events: tuple[str, str]) -> dict[str, Any]:
    """What a contact's journey has, of the contact and of sessions."""
    of_contact = [{"event": f"contact.{what}"} for what in ("created", "registered", "identified")]
    return {
        "items": of_contact + [{"event": event, "session_id": f"sessions.{label}"} for event, label in events],
        "next_cursor": None,
    }


_OF_B = (("session.opened", "b_old"), ("session.completed", "b_old"), ("session.opened", "b"))

KNOWN = (
    Function(
        "public.resolve_contact(jsonb,uuid,boolean,public.contact_kind,jsonb,text,uuid,text)",
        MANAGERS,
        (
            Call(
                f"public.resolve_contact({_BY_EMAIL.format('a')}, '{ONE}')",
                in_one("workspace", {"created": False, "contact": {"id": "contacts.a"}}),
            ),
            Call(
                f"public.resolve_contact({_BY_EMAIL.format('c')}, '{TWO}')",
                in_two("workspace", {"created": False, "contact": {"id": "contacts.c"}}),
                foreign=True,
            ),
            # What another workspace knows is unknown here.
            Call(
                f"public.resolve_contact({_BY_EMAIL.format('c')}, '{ONE}')",
                in_one("workspace", NO_CONTACT),
                foreign=True,
            ),
            Call(
                f"public.resolve_contact({_NEW}, make => true)",
                {
                    (*SWITCHBOARD, SERVICE): UNNAMED,
                    MANAGING_AGENT: FORBIDDEN,
                    (*ADMINS_OF_ONE, MANAGING_ADMIN_2): {"created": True, "contact": {"id": "new"}},
                },
            ),
        ),
        enters=True,
    ),
    Function(
        "public.list_contacts(uuid,jsonb,text,integer)",
        READERS,
        (
            Call(f"public.list_contacts('{ONE}')", _LISTED[0]),
            Call(f"public.list_contacts('{TWO}')", _LISTED[1], foreign=True),
            Call(
                "public.list_contacts()",
                {(*SIGNED_IN, SERVICE): UNNAMED, MEMBERS: _ALL_OF_ONE, ADMIN_2: _ALL_OF_TWO},
            ),
            # Whoever sees no session of a contact does not learn that there is one.
            Call(
                f"""public.list_contacts('{ONE}', '{{"has_session": true}}')""",
                {
                    SIGNED_IN: NO_WORKSPACE,
                    (*ADMINS, SERVICE): {"items": [{"id": f"contacts.{label}"} for label in ("a", "b", "guest")]},
                    AGENT: {"items": [{"id": "contacts.b"}]},
                },
            ),
            Call(
                f"""public.list_contacts('{ONE}', '{{"session_id": "{uid("sessions", "a")}"}}')""",
                {
                    SIGNED_IN: NO_WORKSPACE,
                    (*ADMINS, SERVICE): {"items": [{"id": "contacts.a"}]},
                    AGENT: {"items": []},
                },
            ),
            Call(
                f"""public.list_contacts('{ONE}', '{{"space_id": "{uid("spaces", "two")}"}}')""",
                {SIGNED_IN: NO_WORKSPACE, (*MEMBERS, SERVICE): {"items": []}},
                foreign=True,
            ),
        ),
    ),
    Function(
        "public.read_contact(uuid)",
        READERS,
        (
            Call(f"public.read_contact('{_B}')", _SHOWN[0]),
            Call(f"public.read_contact('{_C}')", _SHOWN[1], foreign=True),
            Call(
                f"public.read_contact('{uid('contacts', 'group_one')}')",
                {
                    SIGNED_IN: NO_CONTACT,
                    (*MEMBERS, SERVICE): {"kind": "group", "participants": [{"contact_id": "contacts.b"}]},
                },
            ),
        ),
    ),
    Function(
        "public.read_contact_activity(uuid)",
        READERS,
        (
            Call(
                f"public.read_contact_activity('{_B}')",
                {**_ACTIVE[0], AGENT: {"id": "contacts.b", "sessions": {"active": 1}}},
            ),
            Call(f"public.read_contact_activity('{_C}')", _ACTIVE[1], foreign=True),
        ),
    ),
    Function(
        "public.set_contact_tags(uuid,text[])",
        MANAGERS,
        (
            Call(
                f"public.set_contact_tags('{_B}', '{{x}}')",
                {SWITCHBOARD: NO_CONTACT, (*_MEMBERS_OF_ONE, SERVICE): {"tags": ["x"]}},
            ),
            Call(
                f"public.set_contact_tags('{_C}', '{{x}}')",
                {SWITCHBOARD: NO_CONTACT, (MANAGING_ADMIN_2, SERVICE): {"tags": ["x"]}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.set_session_tags(uuid,text[])",
        _SWITCHBOARD,
        (
            Call(
                f"public.set_session_tags('{uid('sessions', 'b')}', '{{x,y}}')",
                {SWITCHBOARD: NO_SESSION, _MEMBERS_OF_ONE: {"tags": ["x", "y"]}},
            ),
            # An agent tags what they see.
            Call(
                f"public.set_session_tags('{uid('sessions', 'a')}', '{{}}')",
                {SWITCHBOARD: NO_SESSION, ADMINS_OF_ONE: {"tags": []}},
            ),
            Call(
                f"public.set_session_tags('{uid('sessions', 'c')}', '{{x}}')",
                {SWITCHBOARD: NO_SESSION, MANAGING_ADMIN_2: {"tags": ["x"]}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
)

CONTACT_STEPS = (
    Function(
        "private.sole_workspace()",
        _ALL,
        (
            Call(
                "private.sole_workspace()",
                {
                    (*SIGNED_IN, *_EVERYBODY): None,
                    (*MEMBERS, *_MEMBERS_OF_ONE): "workspaces.one",
                    (ADMIN_2, MANAGING_ADMIN_2): "workspaces.two",
                },
            ),
        ),
        definer=True,
    ),
    Function(
        "private.named_workspace(uuid)",
        _ALL,
        (
            Call(f"private.named_workspace('{TWO}')", {(*SIGNED_IN, *_EVERYBODY): "workspaces.two"}),
            Call(
                "private.named_workspace(null)",
                {
                    (*SIGNED_IN, *_EVERYBODY): UNNAMED,
                    (*MEMBERS, *_MEMBERS_OF_ONE): "workspaces.one",
                    (ADMIN_2, MANAGING_ADMIN_2): "workspaces.two",
                },
            ),
        ),
    ),
    Function(
        "public.read_contact_journey(uuid,text,integer)",
        READERS,
        (
            Call(
                f"public.read_contact_journey('{_B}')",
                {SIGNED_IN: NO_CONTACT, (*MEMBERS, SERVICE): _journey(*_OF_B), AGENT: _journey(_OF_B[2])},
            ),
            Call(
                f"public.read_contact_journey('{_C}')",
                {SIGNED_IN: NO_CONTACT, (ADMIN_2, SERVICE): {"next_cursor": None}},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.contact_changes(uuid,timestamp with time zone,uuid,integer)",
        READERS,
        (
            Call(
                f"(private.contact_changes('{_B}', '-infinity', '{_B}', 9)).verb",
                {SIGNED_IN: [], (*MEMBERS, SERVICE): ["contact.registered"]},
            ),
            Call(
                f"(private.contact_changes('{_C}', '-infinity', '{_C}', 9)).verb",
                {SIGNED_IN: [], (ADMIN_2, SERVICE): ["contact.registered"]},
                foreign=True,
            ),
        ),
        definer=True,
    ),
    Function(
        "private.workspace_of_contact(uuid)",
        MANAGERS,
        (
            Call(f"private.workspace_of_contact('{_C}')", {_EVERYBODY: "workspaces.two"}),
            Call(f"private.workspace_of_contact('{ONE}')", {_EVERYBODY: None}),
        ),
        definer=True,
    ),
    Function(
        "private.enter_contact(uuid)",
        MANAGERS,
        (
            Call(
                f"private.enter_contact('{_B}')",
                {
                    SWITCHBOARD: NO_CONTACT,
                    MANAGING_AGENT: "agent",
                    MANAGING_ADMIN: "admin",
                    (MANAGING_OWNER, SERVICE): "owner",
                },
            ),
            Call(
                f"private.enter_contact('{_C}')",
                {SWITCHBOARD: NO_CONTACT, MANAGING_ADMIN_2: "admin", SERVICE: "owner"},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "private.describe_contact(public.contacts)",
        _ALL,
        (
            Call(
                f"private.describe_contact({record('contacts', 'b')})",
                {
                    (*SIGNED_IN, *SWITCHBOARD): {"id": "contacts.b", "tags": [], "identities": []},
                    (*MEMBERS, *IN_ONE, SERVICE): {
                        "id": "contacts.b",
                        "tags": ["vip"],
                        "identities": [{"kind": "email", "evidence": "asserted", "asserted_by": "contact"}],
                    },
                },
            ),
        ),
    ),
    Function(
        "private.describe_contacts(public.contacts[])",
        READERS,
        (
            Call(
                f"(private.describe_contacts(array[{record('contacts', 'b')}])).described",
                {
                    SIGNED_IN: [{"id": "contacts.b", "tags": [], "identities": []}],
                    (*MEMBERS, SERVICE): [
                        {
                            "id": "contacts.b",
                            "tags": ["vip"],
                            "identities": [{"kind": "email", "evidence": "asserted", "asserted_by": "contact"}],
                        }
                    ],
                },
            ),
        ),
    ),
    Function(
        "private.contacts_tagged(text,uuid,text,integer)",
        READERS,
        tuple(
            Call(
                "(pg_catalog.unnest(private.contacts_tagged("
                "'select c as contact, c.created_at, c.id from public.contacts c where true',"
                f" '{workspace}', 'vip', 5))).id",
                cells,
                foreign=foreign,
            )
            for workspace, cells, foreign in (
                (ONE, _read(["contacts.b"], None, [])[0], False),
                (TWO, _read(None, ["contacts.c"], [])[1], True),
            )
        ),
    ),
    Function(
        "private.require_contact(uuid)",
        READERS,
        (
            Call(f"private.require_contact('{_B}')", _read({"id": "contacts.b"}, None)[0]),
            Call(f"private.require_contact('{_C}')", _read(None, {"id": "contacts.c"})[1], foreign=True),
        ),
    ),
    Function(
        "private.has_verified_identity(uuid)",
        MANAGERS,
        (
            Call(f"private.has_verified_identity('{_A}')", {SWITCHBOARD: False, (*IN_ONE, SERVICE): True}),
            Call(f"private.has_verified_identity('{_B}')", {_EVERYBODY: False}),
        ),
    ),
    Function(
        "private.lock_identities(uuid,jsonb)",
        MANAGERS,
        (Call(f"private.lock_identities('{ONE}', {_NEW})", {_EVERYBODY: None}),),
    ),
    Function(
        "private.find_contacts(uuid,jsonb)",
        MANAGERS,
        (
            Call(
                f"(private.find_contacts('{ONE}', {_BY_EMAIL.format('a')})).contact_id",
                {SWITCHBOARD: [], (*IN_ONE, SERVICE): "contacts.a"},
            ),
            Call(
                f"(private.find_contacts('{ONE}', {_BY_EMAIL.format('c')})).contact_id", {_EVERYBODY: []}, foreign=True
            ),
        ),
    ),
    Function(
        "private.join_group(uuid,uuid,uuid,text)",
        MANAGERS,
        (
            Call(
                f"private.join_group('{ONE}', '{uid('contacts', 'group_one')}', '{_A}', null)",
                {SWITCHBOARD: NO_GROUP, (*IN_ONE, SERVICE): None},
            ),
            Call(
                f"private.join_group('{ONE}', '{uid('contacts', 'group_two')}', '{_A}', null)",
                {_EVERYBODY: NO_GROUP},
                foreign=True,
            ),
            Call(
                f"private.join_group('{ONE}', '{uid('contacts', 'group_one')}', '{_C}', null)",
                {SWITCHBOARD: NO_GROUP, (*IN_ONE, SERVICE): Fails("23503", "insert or update on table")},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.leave_group(uuid,uuid,uuid)",
        MANAGERS,
        (
            Call(
                f"private.leave_group('{ONE}', '{uid('contacts', 'group_one')}', '{_B}')",
                {SWITCHBOARD: False, (*IN_ONE, SERVICE): True},
            ),
        ),
    ),
    Function(
        "private.replace_tags(uuid,uuid,uuid,text[])",
        MANAGERS,
        (
            Call(
                f"private.replace_tags('{ONE}', '{_B}', null, '{{x}}')",
                {SWITCHBOARD: NO_ROW, (*IN_ONE, SERVICE): True},
            ),
        ),
    ),
    # Of those who come to chat, nobody here has a contact of their own by their user, and no contact is unknown.
    Function(
        "private.contact_of_user(text,text,jsonb)",
        _SWITCHBOARD,
        (Call("private.contact_of_user('x@access.test', 'x@access.test', '{}')", {SWITCHBOARD: None}),),
    ),
    Function(
        "private.link_user(uuid,public.identity_kind,text)",
        _SWITCHBOARD,
        (
            # Only where the caller is a user who entered, and only for the proof that a user brings.
            Call(
                f"private.link_user('{_A}', 'email', 'supabase_auth')", {SWITCHBOARD: None, MANAGING: NO_ROW}
            ),
            Call(f"private.link_user('{_A}', 'email', 'hmac')", {SWITCHBOARD: None}),
        ),
    ),
    Function(
        "private.lock_unidentified_visitor(jsonb,boolean)",
        _SWITCHBOARD,
        (Call(f"(private.lock_unidentified_visitor({_NEW}, true)).id", {SWITCHBOARD: None}),),
    ),
    Function(
        "private.identify_visitor(public.conversations,text,text,text,jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"private.identify_visitor({record('conversations', 'b')}, 'x@x.test', 'x@x.test', null, '{{}}')",
                {SWITCHBOARD: NO_ROW, IN_ONE: {"id": "conversations.b"}},
            ),
        ),
    ),
)  # fmt: skip
