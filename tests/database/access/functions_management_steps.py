"""The steps of managing workspaces, as every caller."""

from typing import Any

from tests.database.access.callers import (
    ADMIN_2,
    FOR_C,
    IN_ONE,
    MANAGING_ADMIN,
    MANAGING_ADMIN_2,
    MANAGING_AGENT,
    MANAGING_OPERATOR,
    MANAGING_OWNER,
    MEMBERS,
    ONE,
    SERVICE,
    SIGNED_IN,
    SWITCHBOARD,
    TWO,
    Caller,
)
from tests.database.access.functions_api import FORBIDDEN
from tests.database.access.functions_management import (
    ADMINS_OF_ONE,
    LAST_OWNER,
    MANAGERS,
    NO_WORKSPACE,
    READERS,
    in_one,
    in_two,
    not_found,
)
from tests.database.access.matrix import Call, Fails, Function
from tests.database.access.rows import record, uid

_ALL = ("authenticated", "switchboard", "service_role")


def _role(caller: Caller) -> str | None:
    return {MANAGING_AGENT: "agent", MANAGING_ADMIN: "admin", MANAGING_OWNER: "owner", SERVICE: "owner"}.get(caller)


def _calling(caller: Caller) -> str | None:
    named = {
        uid("users", name): f"users.{name}"
        for name in ("stranger", "nameless", "guest", "former", "agent", "admin", "owner", "admin_2")
    }
    return named.get(caller.claims.get("caller", {}).get("user_id", ""))


_EVERYBODY = (*SWITCHBOARD, SERVICE)
NO_ROW = Fails("42501", "new row violates row-level security policy for table")


def _applied(noun: str, one: str) -> Function:
    return Function(
        f"private.apply_to_{noun}(public.{noun}s,jsonb)",
        MANAGERS,
        (
            Call(
                f"""private.apply_to_{noun}({record(f"{noun}s", one)}, '{{"name": "x"}}')""",
                {SWITCHBOARD: None, SERVICE: {"id": f"{noun}s.{one}", "name": "x"}},
            ),
        ),
    )


def _described(noun: str, one: str, outcome: Any) -> Function:
    return Function(
        f"private.describe_{noun}(public.{noun}s)",
        _ALL,
        (
            Call(
                f"private.describe_{noun}({record(f'{noun}s', one)})",
                {(*SIGNED_IN, *_EVERYBODY): {"id": f"{noun}s.{one}", **outcome}},
            ),
        ),
    )


MANAGEMENT_STEPS = (
    Function(
        "private.workspace_of(text,uuid)",
        MANAGERS,
        (
            Call(f"private.workspace_of('space', '{uid('spaces', 'closed')}')", {_EVERYBODY: "workspaces.one"}),
            Call(f"private.workspace_of('persona', '{uid('personas', 'two')}')", {_EVERYBODY: "workspaces.two"}),
            Call(f"private.workspace_of('persona', '{uid('spaces', 'chat')}')", {_EVERYBODY: None}),
        ),
        definer=True,
    ),
    Function(
        "private.caller_role(uuid)",
        MANAGERS,
        (
            Call(f"private.caller_role('{ONE}')", {_EVERYBODY: _role}),
            Call(
                f"private.caller_role('{TWO}')",
                {SWITCHBOARD: None, MANAGING_ADMIN_2: "admin", SERVICE: "owner"},
                foreign=True,
            ),
            Call(f"private.caller_role('{uid('workspaces', 'nowhere')}')", {_EVERYBODY: None}),
        ),
        definer=True,
    ),
    Function(
        "private.enter_to_manage(text,uuid)",
        MANAGERS,
        (
            Call(
                f"private.enter_to_manage('workspace', '{ONE}')",
                {
                    SWITCHBOARD: NO_WORKSPACE,
                    MANAGING_AGENT: "agent",
                    MANAGING_ADMIN: "admin",
                    (MANAGING_OWNER, SERVICE): "owner",
                },
            ),
            Call(
                f"private.enter_to_manage('space', '{uid('spaces', 'two')}')",
                {SWITCHBOARD: not_found("space"), MANAGING_ADMIN_2: "admin", SERVICE: "owner"},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "private.enter_as_admin(text,uuid)",
        MANAGERS,
        (
            Call(
                f"private.enter_as_admin('persona', '{uid('personas', 'one')}')",
                in_one("persona", "workspaces.one"),
            ),
            Call(f"private.enter_as_admin('workspace', '{TWO}')", in_two("workspace", "workspaces.two"), foreign=True),
        ),
        enters=True,
    ),
    Function(
        "private.enter_as_owner(text,uuid)",
        MANAGERS,
        (
            Call(
                f"private.enter_as_owner('space', '{uid('spaces', 'chat')}')",
                {**in_one("space", "workspaces.one"), MANAGING_ADMIN: FORBIDDEN},
            ),
            Call(
                f"private.enter_as_owner('workspace', '{TWO}')",
                {**in_two("workspace", "workspaces.two"), MANAGING_ADMIN_2: FORBIDDEN},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function("private.calling_user()", MANAGERS, (Call("private.calling_user()", {_EVERYBODY: _calling}),)),
    Function(
        "private.is_operator()",
        MANAGERS,
        (Call("private.is_operator()", {SWITCHBOARD: False, (MANAGING_OPERATOR, SERVICE): True}),),
    ),
    Function(
        "private.find_user_by_email(uuid,text)",
        MANAGERS,
        (
            # An admin asks after entering; public.add_member does.
            Call(
                "private.find_user_by_email(null, 'guest@access.test')",
                {SWITCHBOARD: FORBIDDEN, (MANAGING_OPERATOR, SERVICE): "users.guest"},
            ),
            Call(
                f"private.find_user_by_email('{uid('users', 'stranger')}', null)",
                {SWITCHBOARD: FORBIDDEN, (MANAGING_OPERATOR, SERVICE): "users.stranger"},
            ),
            Call(
                "private.find_user_by_email(null, 'stranger@access.test')",
                {SWITCHBOARD: FORBIDDEN, (MANAGING_OPERATOR, SERVICE): None},
            ),
        ),
        definer=True,
    ),
    Function(
        "private.member_emails(uuid)",
        READERS,
        (
            Call(
                f"(private.member_emails('{ONE}')).email",
                {
                    SIGNED_IN: [],
                    (*MEMBERS, SERVICE): ["owner@access.test", "admin@access.test", "agent@access.test"],
                },
            ),
            Call(
                f"(private.member_emails('{TWO}')).email",
                {SIGNED_IN: [], (ADMIN_2, SERVICE): ["admin-2@access.test"]},
                foreign=True,
            ),
        ),
        definer=True,
    ),
    Function(
        "private.new_secret()",
        MANAGERS,
        (Call("pg_catalog.length(private.new_secret())", {_EVERYBODY: 64}),),
    ),
    Function("private.forget_secrets(uuid)", (), (Call("private.forget_secrets()", {}),)),
    Function("private.drop_secrets()", (), (), definer=True),
    Function(
        "private.replace_secret(text,uuid,text,integer)",
        MANAGERS,
        (
            Call(
                f"private.replace_secret('hmac', '{uid('spaces', 'chat')}', 'x', 60)",
                {SWITCHBOARD: FORBIDDEN, (*ADMINS_OF_ONE, SERVICE): True},
            ),
            Call(
                f"private.replace_secret('callback', '{uid('personas', 'two')}', null, 0)",
                {SWITCHBOARD: FORBIDDEN, (MANAGING_ADMIN_2, SERVICE): True},
                foreign=True,
            ),
        ),
        definer=True,
    ),
    Function(
        "private.record_change(uuid,text,uuid,text)",
        MANAGERS,
        (
            Call(
                f"private.record_change('{TWO}', 'test.forged', '{TWO}')",
                {SWITCHBOARD: NO_ROW, FOR_C: None, SERVICE: None},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.page(jsonb,integer,text)",
        READERS,
        (
            Call(
                """private.page('[{"id": "a"}, {"id": "b"}]', 1, 'id')""",
                {(*SIGNED_IN, SERVICE): {"items": [{"id": "a"}], "next_cursor": "a"}},
            ),
            Call("private.page(null, 1, 'id')", {(*SIGNED_IN, SERVICE): {"items": [], "next_cursor": None}}),
        ),
    ),
    _described("workspace", "one", {"name": "Workspace one"}),
    _described("space", "chat", {"has_hmac_secret": False}),
    _described("persona", "one", {"has_secret": False, "has_callback_secret": False, "breaker": {"state": "closed"}}),
    _applied("workspace", "one"),
    _applied("space", "chat"),
    _applied("persona", "one"),
    Function(
        "private.require_another_owner(uuid,uuid)",
        MANAGERS,
        (
            # Of what nobody entered nothing is seen, so no other owner either.
            Call(
                f"private.require_another_owner('{ONE}', '{uid('users', 'admin')}')",
                {SWITCHBOARD: LAST_OWNER, (*IN_ONE, SERVICE): None},
            ),
            Call(
                f"private.require_another_owner('{ONE}', '{uid('users', 'owner')}')",
                {_EVERYBODY: LAST_OWNER},
            ),
        ),
    ),
    Function(
        "private.require_persona(uuid,uuid)",
        MANAGERS,
        (
            Call(
                f"private.require_persona('{ONE}', '{uid('personas', 'one')}')",
                {SWITCHBOARD: not_found("persona"), (*IN_ONE, SERVICE): None},
            ),
            Call(
                f"private.require_persona('{ONE}', '{uid('personas', 'two')}')",
                {_EVERYBODY: not_found("persona")},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.retry_persona(uuid)",
        MANAGERS,
        (
            Call(f"private.retry_persona('{uid('personas', 'one')}')", {_EVERYBODY: None}),
            Call(f"private.retry_persona('{uid('personas', 'two')}')", {_EVERYBODY: None}, foreign=True),
        ),
    ),
    Function(
        "private.put_member(uuid,uuid,public.member_role,public.member_role)",
        MANAGERS,
        (
            # Whoever came in another way than to manage writes no member, whatever they claim to be.
            Call(
                f"private.put_member('{ONE}', '{uid('users', 'guest')}', 'owner', 'owner')",
                {SWITCHBOARD: NO_ROW, SERVICE: {"user_id": "users.guest", "role": "owner"}},
            ),
            Call(
                f"private.put_member('{ONE}', '{uid('users', 'guest')}', 'owner', 'admin')",
                {_EVERYBODY: FORBIDDEN},
            ),
        ),
    ),
)  # fmt: skip
