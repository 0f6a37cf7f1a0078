"""The functions that manage workspaces, and their steps, as every caller."""

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
from tests.database.access.matrix import Call, Cells, Fails, Function
from tests.database.access.rows import record, uid

_MANAGING = ("switchboard", "service_role")
_READING = ("authenticated", "service_role")
_ALL = ("authenticated", "switchboard", "service_role")

ADMINS_OF_ONE = (MANAGING_ADMIN, MANAGING_OWNER)
NO_WORKSPACE = Fails("PT404", "workspace_not_found")
NO_USER = Fails("PT404", "user_not_found")
LAST_OWNER = Fails("PT409", "last_owner")


def _not_found(noun: str) -> Fails:
    return Fails("PT404", f"{noun}_not_found")


def _in_one(noun: str, outcome: Any) -> Cells:
    """Only those who manage workspace one; an agent is told no, everybody else nothing."""
    return {SWITCHBOARD: _not_found(noun), MANAGING_AGENT: FORBIDDEN, (*ADMINS_OF_ONE, SERVICE): outcome}


def _in_two(noun: str, outcome: Any) -> Cells:
    return {SWITCHBOARD: _not_found(noun), (MANAGING_ADMIN_2, SERVICE): outcome}


def _change(signature: str, noun: str, more: str, outcomes: tuple[Any, Any]) -> Function:
    """A function that takes a space or persona first."""
    name = signature.split("(", maxsplit=1)[0]
    one, two = ("chat", "two") if noun == "space" else ("one", "two")
    return Function(
        signature,
        _MANAGING,
        (
            Call(f"{name}('{uid(f'{noun}s', one)}'{more})", _in_one(noun, outcomes[0])),
            Call(f"{name}('{uid(f'{noun}s', two)}'{more})", _in_two(noun, outcomes[1]), foreign=True),
        ),
        enters=True,
    )


_CALLS_OF_ADD = f"public.add_member('{ONE}', '{{}}', 'agent')"
_NEW_SPACE = '{{"kind": "embed", "name": "x", "persona_id": "{}"}}'
_DONE = {"removed": True}

CHANGES = (
    Function(
        "public.create_workspace(jsonb,uuid,text)",
        _MANAGING,
        (
            Call(
                f"""public.create_workspace('{{"name": "x"}}', '{uid('users', 'guest')}')""",
                {SWITCHBOARD: FORBIDDEN, (MANAGING_OPERATOR, SERVICE): {"id": "new", "name": "x"}},
            ),
            Call(
                """public.create_workspace('{"name": "x"}', null, 'nobody@access.test')""",
                {SWITCHBOARD: FORBIDDEN, (MANAGING_OPERATOR, SERVICE): NO_USER},
            ),
            # Of operators' commands nobody is the owner by themselves.
            Call(
                """public.create_workspace('{"name": "x"}')""",
                {SWITCHBOARD: FORBIDDEN, MANAGING_OPERATOR: {"id": "new"}, SERVICE: NO_USER},
            ),
            Call(
                f"""public.create_workspace('{{"id": "{TWO}", "name": "x"}}', '{uid('users', 'guest')}')""",
                {SWITCHBOARD: FORBIDDEN, (MANAGING_OPERATOR, SERVICE): Fails("PT409", "id_taken")},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.change_workspace(uuid,jsonb)",
        _MANAGING,
        (
            Call(
                f"""public.change_workspace('{ONE}', '{{"name": "x", "allowed_networks": ["10.0.0.0/8"]}}')""",
                _in_one("workspace", {"id": "workspaces.one", "name": "x", "allowed_networks": []}),
            ),
            Call(
                f"""public.change_workspace('{TWO}', '{{"name": "x"}}')""",
                _in_two("workspace", {"id": "workspaces.two", "name": "x"}),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.set_member(uuid,uuid,public.member_role)",
        _MANAGING,
        (
            Call(
                f"public.set_member('{ONE}', '{uid('users', 'guest')}', 'agent')",
                _in_one("workspace", {"user_id": "users.guest", "role": "agent"}),
            ),
            Call(
                f"public.set_member('{ONE}', '{uid('users', 'guest')}', 'admin')",
                {**_in_one("workspace", {"role": "admin"}), MANAGING_ADMIN: FORBIDDEN},
            ),
            Call(
                f"public.set_member('{ONE}', '{uid('users', 'owner')}', 'agent')",
                {**_in_one("workspace", LAST_OWNER), MANAGING_ADMIN: FORBIDDEN},
            ),
            Call(f"public.set_member('{ONE}', '{uid('users', 'nameless')}', 'agent')", _in_one("workspace", NO_USER)),
            Call(
                f"public.set_member('{TWO}', '{uid('users', 'guest')}', 'agent')",
                _in_two("workspace", {"role": "agent"}),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.add_member(uuid,text,public.member_role)",
        _MANAGING,
        (
            Call(
                _CALLS_OF_ADD.format("guest@access.test"),
                _in_one("workspace", {"user_id": "users.guest", "role": "agent"}),
            ),
            # A refusal that is kept: it is counted, and in the audit. An operator's is neither.
            Call(
                _CALLS_OF_ADD.format("nobody@access.test"),
                {**_in_one("workspace", {"code": "user_not_found"}), SERVICE: NO_USER},
            ),
            # Not confirmed.
            Call(
                _CALLS_OF_ADD.format("stranger@access.test"),
                {**_in_one("workspace", {"code": "user_not_found"}), SERVICE: NO_USER},
            ),
            Call(_CALLS_OF_ADD.format("owner@access.test"), _in_one("workspace", Fails("PT409", "member_exists"))),
            Call(
                f"public.add_member('{TWO}', 'guest@access.test', 'agent')",
                _in_two("workspace", {"role": "agent"}),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.remove_member(uuid,uuid)",
        _MANAGING,
        (
            # An agent may leave.
            Call(
                f"public.remove_member('{ONE}', '{uid('users', 'agent')}')",
                {**_in_one("workspace", _DONE), MANAGING_AGENT: _DONE},
            ),
            Call(
                f"public.remove_member('{ONE}', '{uid('users', 'owner')}')",
                {**_in_one("workspace", LAST_OWNER), MANAGING_ADMIN: FORBIDDEN},
            ),
            Call(
                f"public.remove_member('{ONE}', '{uid('users', 'admin_2')}')",
                _in_one("workspace", Fails("PT404", "member_not_found")),
                foreign=True,
            ),
            Call(
                f"public.remove_member('{TWO}', '{uid('users', 'admin_2')}')",
                _in_two("workspace", _DONE),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.create_space(uuid,jsonb)",
        _MANAGING,
        (
            Call(
                f"public.create_space('{ONE}', '{_NEW_SPACE.format(uid('personas', 'one'))}')",
                _in_one("workspace", {"id": "new", "workspace_id": "workspaces.one", "persona_id": "personas.one"}),
            ),
            Call(
                f"public.create_space('{ONE}', '{_NEW_SPACE.format(uid('personas', 'two'))}')",
                _in_one("workspace", _not_found("persona")),
                foreign=True,
            ),
            Call(
                f"public.create_space('{TWO}', '{_NEW_SPACE.format(uid('personas', 'two'))}')",
                _in_two("workspace", {"workspace_id": "workspaces.two"}),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    _change(
        "public.change_space(uuid,jsonb)",
        "space",
        """, '{"name": "x", "hmac_secret_id": null}'""",
        ({"id": "spaces.chat", "name": "x", "has_hmac_secret": True}, {"id": "spaces.two"}),
    ),
    _change("public.rotate_hmac_secret(uuid,integer)", "space", ", 60", ({}, {})),
    _change("public.remove_hmac_secret(uuid)", "space", "", (_DONE, _DONE)),
    Function(
        "public.create_persona(uuid,jsonb)",
        _MANAGING,
        (
            Call(
                f"""public.create_persona('{ONE}', '{{"kind": "demo", "name": "x"}}')""",
                _in_one("workspace", {"id": "new", "workspace_id": "workspaces.one", "has_secret": False}),
            ),
            Call(
                f"""public.create_persona('{ONE}', '{{"id": "{uid('personas', 'two')}", "kind": "x", "name": "x"}}')""",
                _in_one("workspace", Fails("PT409", "id_taken")),
                foreign=True,
            ),
            Call(
                f"""public.create_persona('{TWO}', '{{"kind": "demo", "name": "x"}}')""",
                _in_two("workspace", {"workspace_id": "workspaces.two"}),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    _change(
        "public.change_persona(uuid,jsonb)",
        "persona",
        """, '{"name": "x", "kind": "n8n", "secret_id": null}'""",
        ({"id": "personas.one", "name": "x", "kind": "demo", "has_secret": True}, {"id": "personas.two"}),
    ),
    _change("public.set_persona_secret(uuid,text)", "persona", ", 'x'", ({"set": True}, {"set": True})),
    _change("public.remove_persona_secret(uuid)", "persona", "", (_DONE, _DONE)),
    _change("public.rotate_callback_secret(uuid,integer)", "persona", ", 60", ({}, {})),
    _change("public.remove_callback_secret(uuid)", "persona", "", (_DONE, _DONE)),
)  # fmt: skip


def _read(signature: str, noun: str, labels: tuple[str, str], more: str = "", *, listed: bool = False) -> Function:
    """A function that members call themselves, under their policies, for something of each workspace."""
    name = signature.split("(", maxsplit=1)[0]

    def outcome(label: str) -> Any:
        return {"next_cursor": None} if listed else {"id": f"{noun}s.{label}"}

    return Function(
        signature,
        _READING,
        tuple(
            Call(
                f"{name}('{uid(f'{noun}s', label)}'{more})",
                {SIGNED_IN: _not_found(noun), (*readers, SERVICE): outcome(label)},
                foreign=label == labels[1],
            )
            for label, readers in zip(labels, (MEMBERS, (ADMIN_2,)), strict=True)
        ),
    )


READS = (
    Function(
        "public.list_workspaces(uuid,integer)",
        _READING,
        (
            Call(
                "public.list_workspaces()",
                {
                    SIGNED_IN: {"items": []},
                    MEMBERS: {"items": [{"id": "workspaces.one"}]},
                    ADMIN_2: {"items": [{"id": "workspaces.two"}]},
                    SERVICE: {"items": [{"id": "workspaces.one"}, {"id": "workspaces.two"}]},
                },
                foreign=True,
            ),
        ),
    ),
    _read("public.read_workspace(uuid)", "workspace", ("one", "two")),
    _read("public.read_space(uuid)", "space", ("closed", "two")),
    _read("public.read_persona(uuid)", "persona", ("one", "two")),
    _read("public.list_spaces(uuid,uuid,integer)", "workspace", ("one", "two"), listed=True),
    _read("public.list_personas(uuid,uuid,integer)", "workspace", ("one", "two"), listed=True),
    _read("public.list_members(uuid,uuid,integer)", "workspace", ("one", "two"), listed=True),
)


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
        _MANAGING,
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
        _MANAGING,
        (
            Call(f"private.workspace_of('space', '{uid('spaces', 'closed')}')", {_EVERYBODY: "workspaces.one"}),
            Call(f"private.workspace_of('persona', '{uid('personas', 'two')}')", {_EVERYBODY: "workspaces.two"}),
            Call(f"private.workspace_of('persona', '{uid('spaces', 'chat')}')", {_EVERYBODY: None}),
        ),
        definer=True,
    ),
    Function(
        "private.caller_role(uuid)",
        _MANAGING,
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
        _MANAGING,
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
                {SWITCHBOARD: _not_found("space"), MANAGING_ADMIN_2: "admin", SERVICE: "owner"},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "private.enter_as_admin(text,uuid)",
        _MANAGING,
        (
            Call(
                f"private.enter_as_admin('persona', '{uid('personas', 'one')}')",
                _in_one("persona", "workspaces.one"),
            ),
            Call(f"private.enter_as_admin('workspace', '{TWO}')", _in_two("workspace", "workspaces.two"), foreign=True),
        ),
        enters=True,
    ),
    Function("private.calling_user()", _MANAGING, (Call("private.calling_user()", {_EVERYBODY: _calling}),)),
    Function(
        "private.is_operator()",
        _MANAGING,
        (Call("private.is_operator()", {SWITCHBOARD: False, (MANAGING_OPERATOR, SERVICE): True}),),
    ),
    Function(
        "private.find_user(uuid,text)",
        _MANAGING,
        (
            # An admin asks after entering; public.add_member does.
            Call(
                "private.find_user(null, 'guest@access.test')",
                {SWITCHBOARD: FORBIDDEN, (MANAGING_OPERATOR, SERVICE): "users.guest"},
            ),
            Call(
                f"private.find_user('{uid('users', 'stranger')}', null)",
                {SWITCHBOARD: FORBIDDEN, (MANAGING_OPERATOR, SERVICE): "users.stranger"},
            ),
            Call(
                "private.find_user(null, 'stranger@access.test')",
                {SWITCHBOARD: FORBIDDEN, (MANAGING_OPERATOR, SERVICE): None},
            ),
        ),
        definer=True,
    ),
    Function(
        "private.member_emails(uuid)",
        _READING,
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
        _MANAGING,
        (Call("pg_catalog.length(private.new_secret())", {_EVERYBODY: 64}),),
    ),
    Function("private.forget_secrets(uuid)", (), (Call("private.forget_secrets()", {}),)),
    Function(
        "private.replace_secret(text,uuid,text,integer)",
        _MANAGING,
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
        _MANAGING,
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
        _READING,
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
    _described("persona", "one", {"has_secret": False, "has_callback_secret": False}),
    _applied("workspace", "one"),
    _applied("space", "chat"),
    _applied("persona", "one"),
    Function(
        "private.require_another_owner(uuid,uuid)",
        _MANAGING,
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
        _MANAGING,
        (
            Call(
                f"private.require_persona('{ONE}', '{uid('personas', 'one')}')",
                {SWITCHBOARD: _not_found("persona"), (*IN_ONE, SERVICE): None},
            ),
            Call(
                f"private.require_persona('{ONE}', '{uid('personas', 'two')}')",
                {_EVERYBODY: _not_found("persona")},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.put_member(uuid,uuid,public.member_role,public.member_role)",
        _MANAGING,
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
