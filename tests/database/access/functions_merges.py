"""Merging and parting contacts, and following those that were merged, as every caller."""

from tests.database.access.callers import (
    ADMIN_2,
    CONTACTS,
    FOR_C,
    IN_ONE,
    MEMBERS,
    ONE,
    SERVICE,
    SIGNED_IN,
    SWITCHBOARD,
    TWO,
)
from tests.database.access.functions_contacts import NO_CONTACT, NO_ROW
from tests.database.access.functions_management import (
    MANAGERS,
    NO_WORKSPACE,
    READERS,
    in_one,
    in_two,
    not_found,
)
from tests.database.access.matrix import Call, Fails, Function
from tests.database.access.rows import record, uid

_EVERYBODY = (*SWITCHBOARD, SERVICE)
_SEEING_ONE = (*IN_ONE, SERVICE)
_DESCRIBERS = ("authenticated", "switchboard", "service_role")
_A, _B, _C, _D, _OLD, _OLD_2 = (uid("contacts", label) for label in ("a", "b", "c", "d", "old_one", "old_two"))
_NO_KEY = Fails("23503", "insert or update on table")
_MERGE = record("contact_merges", "one")

MERGES = (
    Function(
        "public.merge_contacts(uuid,uuid,boolean)",
        MANAGERS,
        (
            Call(
                f"public.merge_contacts('{_B}', '{_A}', true)",
                in_one("contact", {"changed": False, "preview": {"into_id": "contacts.a", "tags": ["vip"]}}),
            ),
            Call(
                f"public.merge_contacts('{_B}', '{_A}')",
                in_one("contact", {"changed": True, "merge": {"contact_id": "contacts.b", "into_id": "contacts.a"}}),
            ),
            Call(
                f"public.merge_contacts('{_D}', '{_C}')",
                in_two("contact", {"changed": True, "merge": {"contact_id": "contacts.d"}}),
                foreign=True,
            ),
            # Never across workspaces: what another one has is not there.
            Call(f"public.merge_contacts('{_B}', '{_C}')", in_one("contact", NO_CONTACT), foreign=True),
            Call(f"public.merge_contacts('{_C}', '{_B}')", in_two("contact", NO_CONTACT), foreign=True),
        ),
        enters=True,
    ),
    Function(
        "public.unmerge_contact(uuid)",
        MANAGERS,
        (
            Call(
                f"public.unmerge_contact('{_OLD}')", in_one("contact", {"merge": {"contact_id": "contacts.old_one"}})
            ),
            Call(
                f"public.unmerge_contact('{_OLD_2}')",
                in_two("contact", {"merge": {"contact_id": "contacts.old_two"}}),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.list_contact_conflicts(uuid,public.conflict_status,uuid,integer)",
        READERS,
        (
            Call(
                f"public.list_contact_conflicts('{ONE}')",
                {SIGNED_IN: NO_WORKSPACE, (*MEMBERS, SERVICE): {"items": [{"id": "contact_conflicts.one"}]}},
            ),
            Call(
                f"public.list_contact_conflicts('{TWO}')",
                {SIGNED_IN: NO_WORKSPACE, (ADMIN_2, SERVICE): {"items": [{"id": "contact_conflicts.two"}]}},
                foreign=True,
            ),
        ),
    ),
    Function(
        "public.dismiss_contact_conflict(uuid)",
        MANAGERS,
        (
            Call(
                f"public.dismiss_contact_conflict('{uid('contact_conflicts', 'one')}')",
                in_one("conflict", {"id": "contact_conflicts.one", "status": "dismissed"}),
            ),
            Call(
                f"public.dismiss_contact_conflict('{uid('contact_conflicts', 'two')}')",
                in_two("conflict", {"id": "contact_conflicts.two", "status": "dismissed"}),
                foreign=True,
            ),
            Call(f"public.dismiss_contact_conflict('{ONE}')", {_EVERYBODY: not_found("conflict")}),
        ),
        enters=True,
    ),
    # A contact never sees who stands for whom: to its own token every contact stands for itself.
    Function(
        "private.merge_target(uuid)",
        ("contact", *_DESCRIBERS),
        (
            Call(
                f"private.merge_target('{_OLD}')",
                {
                    (*CONTACTS, *SIGNED_IN, *SWITCHBOARD): "contacts.old_one",
                    (*MEMBERS, *_SEEING_ONE): "contacts.b",
                },
            ),
            Call(
                f"private.merge_target('{_OLD_2}')",
                {
                    (*CONTACTS, *SIGNED_IN, *SWITCHBOARD): "contacts.old_two",
                    (ADMIN_2, FOR_C, SERVICE): "contacts.c",
                },
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.lock_merge_target(uuid)",
        MANAGERS,
        (
            Call(f"private.lock_merge_target('{_OLD}')", {SWITCHBOARD: "contacts.old_one", _SEEING_ONE: "contacts.b"}),
            Call(
                f"private.lock_merge_target('{_OLD_2}')",
                {SWITCHBOARD: "contacts.old_two", (FOR_C, SERVICE): "contacts.c"},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.merged_tables()",
        MANAGERS,
        (
            Call(
                "(private.merged_tables()).relation",
                {_EVERYBODY: ["contact_identities", "conversations", "tags", *["group_participants"] * 2]},
            ),
        ),
    ),
    Function(
        "private.conversation_tables()",
        MANAGERS,
        (Call("(private.conversation_tables()).relation", {_EVERYBODY: ["sessions", "messages"]}),),
    ),
    Function(
        "private.move_with_conversations(uuid[],uuid,uuid,boolean)",
        MANAGERS,
        (
            Call(
                f"private.move_with_conversations(array['{uid('conversations', 'b')}']::uuid[], '{_A}', '{_B}', true)",
                {_EVERYBODY: None},
            ),
        ),
        definer=True,
    ),
    Function(
        "private.open_conflict(uuid,uuid,text)",
        MANAGERS,
        (
            Call(f"private.open_conflict('{_B}', '{_A}', 'asserted')", {_EVERYBODY: None}),
            Call(
                f"private.open_conflict('{_B}', '{_C}', 'asserted')",
                {SWITCHBOARD: None, _SEEING_ONE: _NO_KEY},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.describe_merge(public.contact_merges)",
        MANAGERS,
        (Call(f"private.describe_merge({_MERGE})", {_EVERYBODY: {"id": "contact_merges.one"}}),),
    ),
    Function(
        "private.fields_to_fill(public.contacts,public.contacts)",
        MANAGERS,
        (
            Call(
                f"private.fields_to_fill({record('contacts', 'b')}, {record('contacts', 'group_one')})",
                {_EVERYBODY: {"first_name": "B"}},
            ),
        ),
    ),
    Function(
        "private.preview_merge(public.contacts,public.contacts)",
        MANAGERS,
        (
            Call(
                f"private.preview_merge({record('contacts', 'b')}, {record('contacts', 'a')})",
                {
                    SWITCHBOARD: {"contact_id": "contacts.b", "identities": [], "tags": []},
                    _SEEING_ONE: {"identities": [{"key": "b@access.test"}], "tags": ["vip"]},
                },
            ),
        ),
    ),
    Function(
        "private.contact_name(public.contacts)",
        _DESCRIBERS,
        (Call(f"private.contact_name({record('contacts', 'b')})", {(*SIGNED_IN, *_EVERYBODY): "B"}),),
    ),
    Function(
        "private.lock_contacts(uuid[])",
        MANAGERS,
        (Call(f"private.lock_contacts(array['{_B}', '{_C}']::uuid[])", {_EVERYBODY: None}),),
    ),
    Function(
        "private.merge_into(public.contacts,public.contacts,text)",
        MANAGERS,
        (
            Call(
                f"private.merge_into({record('contacts', 'b')}, {record('contacts', 'a')}, null)",
                {SWITCHBOARD: NO_ROW, _SEEING_ONE: {"contact_id": "contacts.b", "into_id": "contacts.a"}},
            ),
        ),
    ),
    Function(
        "private.merge_visitor(uuid,uuid,text)",
        ("switchboard",),
        (
            # Who is known by something is no visitor.
            Call(
                f"private.merge_visitor('{_B}', '{_A}', 'hmac')",
                {SWITCHBOARD: Fails("P0002", "query returned no rows"), IN_ONE: False},
            ),
        ),
    ),
    Function(
        "private.merged_contacts(uuid)",
        MANAGERS,
        (
            Call(
                f"private.merged_contacts('{_B}')",
                {SWITCHBOARD: "contacts.b", _SEEING_ONE: ["contacts.b", "contacts.old_one"]},
            ),
        ),
    ),
    Function(
        "private.unmerge(public.contact_merges)",
        MANAGERS,
        (
            Call(
                f"private.unmerge({_MERGE})",
                {SWITCHBOARD: NO_ROW, _SEEING_ONE: {"contact_id": "contacts.old_one"}},
            ),
        ),
    ),
    Function(
        "private.return_conversations(public.contact_merges,uuid[])",
        MANAGERS,
        (Call(f"private.return_conversations({_MERGE}, '{{}}')", {_EVERYBODY: None}),),
    ),
    Function(
        "private.enter_contact_as_admin(uuid)",
        MANAGERS,
        (
            Call(f"private.enter_contact_as_admin('{_B}')", in_one("contact", "workspaces.one")),
            Call(f"private.enter_contact_as_admin('{_C}')", in_two("contact", "workspaces.two"), foreign=True),
        ),
        enters=True,
    ),
    Function(
        "private.contact_summary(uuid)",
        _DESCRIBERS,
        (
            Call(
                f"private.contact_summary('{_OLD}')",
                {
                    (*SIGNED_IN, *SWITCHBOARD): None,
                    (*MEMBERS, *_SEEING_ONE): {"name": "Old", "standing_id": "contacts.b"},
                },
            ),
        ),
    ),
    Function(
        "private.describe_conflict(public.contact_conflicts)",
        _DESCRIBERS,
        (
            Call(
                f"private.describe_conflict({record('contact_conflicts', 'one')})",
                {
                    (*SIGNED_IN, *SWITCHBOARD): {"id": "contact_conflicts.one", "contact": None},
                    (*MEMBERS, *_SEEING_ONE): {"contact": {"id": "contacts.a", "name": "A"}},
                },
            ),
        ),
    ),
    Function(
        "private.workspace_of_conflict(uuid)",
        MANAGERS,
        (
            Call(
                f"private.workspace_of_conflict('{uid('contact_conflicts', 'two')}')", {_EVERYBODY: "workspaces.two"}
            ),
            Call(f"private.workspace_of_conflict('{ONE}')", {_EVERYBODY: None}),
        ),
        definer=True,
    ),
)  # fmt: skip
