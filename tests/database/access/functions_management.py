"""The functions that manage workspaces, as every caller."""

from typing import Any

from tests.database.access.callers import (
    ADMIN_2,
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
)
from tests.database.access.functions_api import FORBIDDEN
from tests.database.access.matrix import Call, Cells, Fails, Function
from tests.database.access.rows import uid

MANAGERS = ("switchboard", "service_role")
READERS = ("authenticated", "service_role")

ADMINS_OF_ONE = (MANAGING_ADMIN, MANAGING_OWNER)
NO_WORKSPACE = Fails("PT404", "workspace_not_found")
NO_USER = Fails("PT404", "user_not_found")
LAST_OWNER = Fails("PT409", "last_owner")


def not_found(noun: str) -> Fails:
    """What somebody is told who may not know of it."""
    return Fails("PT404", f"{noun}_not_found")


def in_one(noun: str, outcome: Any) -> Cells:
    """Only those who manage workspace one; an agent is told no, everybody else nothing."""
    return {SWITCHBOARD: not_found(noun), MANAGING_AGENT: FORBIDDEN, (*ADMINS_OF_ONE, SERVICE): outcome}


def in_two(noun: str, outcome: Any) -> Cells:
    """Only those who manage workspace two."""
    return {SWITCHBOARD: not_found(noun), (MANAGING_ADMIN_2, SERVICE): outcome}


def _change(signature: str, noun: str, more: str, outcomes: tuple[Any, Any]) -> Function:
    """A function that takes a space or persona first."""
    name = signature.split("(", maxsplit=1)[0]
    one, two = ("chat", "two") if noun == "space" else ("one", "two")
    return Function(
        signature,
        MANAGERS,
        (
            Call(f"{name}('{uid(f'{noun}s', one)}'{more})", in_one(noun, outcomes[0])),
            Call(f"{name}('{uid(f'{noun}s', two)}'{more})", in_two(noun, outcomes[1]), foreign=True),
        ),
        enters=True,
    )


def _delete(noun: str, free: str, used: Fails | None) -> Function:
    """A function that takes a space or persona away; admins are told no, as agents are."""
    name = f"public.delete_{noun}"
    in_use = "chat" if noun == "space" else "one"
    only_owners: Cells = {MANAGING_ADMIN: FORBIDDEN}
    return Function(
        f"{name}(uuid)",
        MANAGERS,
        (
            Call(f"{name}('{uid(f'{noun}s', free)}')", {**in_one(noun, _DONE), **only_owners}),
            Call(f"{name}('{uid(f'{noun}s', in_use)}')", {**in_one(noun, used), **only_owners}),
            Call(
                f"{name}('{uid(f'{noun}s', 'two')}')",
                {**in_two(noun, used), MANAGING_ADMIN_2: FORBIDDEN},
                foreign=True,
            ),
        ),
        enters=True,
    )


_CALLS_OF_ADD = f"public.add_member('{ONE}', '{{}}', 'agent')"
_NEW_SPACE = '{{"kind": "embed", "name": "x", "persona_id": "{}"}}'
_DONE = {"removed": True}

CHANGES = (
    Function(
        "public.create_workspace(jsonb,uuid,text)",
        MANAGERS,
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
        MANAGERS,
        (
            Call(
                f"""public.change_workspace('{ONE}', '{{"name": "x", "allowed_networks": ["10.0.0.0/8"]}}')""",
                in_one("workspace", {"id": "workspaces.one", "name": "x", "allowed_networks": []}),
            ),
            Call(
                f"""public.change_workspace('{TWO}', '{{"name": "x"}}')""",
                in_two("workspace", {"id": "workspaces.two", "name": "x"}),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.delete_workspace(uuid,text)",
        MANAGERS,
        (
            Call(
                f"public.delete_workspace('{ONE}', 'Workspace one')",
                {**in_one("workspace", _DONE), MANAGING_ADMIN: FORBIDDEN},
            ),
            Call(
                f"public.delete_workspace('{ONE}', 'workspace one')",
                {**in_one("workspace", Fails("PT409", "wrong_name")), MANAGING_ADMIN: FORBIDDEN},
            ),
            Call(
                f"public.delete_workspace('{TWO}', 'Workspace two')",
                {**in_two("workspace", _DONE), MANAGING_ADMIN_2: FORBIDDEN},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.set_member(uuid,uuid,public.member_role)",
        MANAGERS,
        (
            Call(
                f"public.set_member('{ONE}', '{uid('users', 'guest')}', 'agent')",
                in_one("workspace", {"user_id": "users.guest", "role": "agent"}),
            ),
            Call(
                f"public.set_member('{ONE}', '{uid('users', 'guest')}', 'admin')",
                {**in_one("workspace", {"role": "admin"}), MANAGING_ADMIN: FORBIDDEN},
            ),
            Call(
                f"public.set_member('{ONE}', '{uid('users', 'owner')}', 'agent')",
                {**in_one("workspace", LAST_OWNER), MANAGING_ADMIN: FORBIDDEN},
            ),
            Call(f"public.set_member('{ONE}', '{uid('users', 'nameless')}', 'agent')", in_one("workspace", NO_USER)),
            Call(
                f"public.set_member('{TWO}', '{uid('users', 'guest')}', 'agent')",
                in_two("workspace", {"role": "agent"}),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.add_member(uuid,text,public.member_role)",
        MANAGERS,
        (
            Call(
                _CALLS_OF_ADD.format("guest@access.test"),
                in_one("workspace", {"user_id": "users.guest", "role": "agent"}),
            ),
            # A refusal that is kept: it is counted, and in the audit. An operator's is neither.
            Call(
                _CALLS_OF_ADD.format("nobody@access.test"),
                {**in_one("workspace", {"code": "user_not_found"}), SERVICE: NO_USER},
            ),
            # Not confirmed.
            Call(
                _CALLS_OF_ADD.format("stranger@access.test"),
                {**in_one("workspace", {"code": "user_not_found"}), SERVICE: NO_USER},
            ),
            Call(_CALLS_OF_ADD.format("owner@access.test"), in_one("workspace", Fails("PT409", "member_exists"))),
            Call(
                f"public.add_member('{TWO}', 'guest@access.test', 'agent')",
                in_two("workspace", {"role": "agent"}),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.remove_member(uuid,uuid)",
        MANAGERS,
        (
            # An agent may leave.
            Call(
                f"public.remove_member('{ONE}', '{uid('users', 'agent')}')",
                {**in_one("workspace", _DONE), MANAGING_AGENT: _DONE},
            ),
            Call(
                f"public.remove_member('{ONE}', '{uid('users', 'owner')}')",
                {**in_one("workspace", LAST_OWNER), MANAGING_ADMIN: FORBIDDEN},
            ),
            Call(
                f"public.remove_member('{ONE}', '{uid('users', 'admin_2')}')",
                in_one("workspace", Fails("PT404", "member_not_found")),
                foreign=True,
            ),
            Call(
                f"public.remove_member('{TWO}', '{uid('users', 'admin_2')}')",
                in_two("workspace", _DONE),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.create_space(uuid,jsonb)",
        MANAGERS,
        (
            Call(
                f"public.create_space('{ONE}', '{_NEW_SPACE.format(uid('personas', 'one'))}')",
                in_one("workspace", {"id": "new", "workspace_id": "workspaces.one", "persona_id": "personas.one"}),
            ),
            Call(
                f"public.create_space('{ONE}', '{_NEW_SPACE.format(uid('personas', 'two'))}')",
                in_one("workspace", not_found("persona")),
                foreign=True,
            ),
            Call(
                f"public.create_space('{TWO}', '{_NEW_SPACE.format(uid('personas', 'two'))}')",
                in_two("workspace", {"workspace_id": "workspaces.two"}),
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
    _delete("space", "closed", Fails("PT409", "space_in_use")),
    _change("public.rotate_hmac_secret(uuid,integer)", "space", ", 60", ({}, {})),
    _change("public.remove_hmac_secret(uuid)", "space", "", (_DONE, _DONE)),
    Function(
        "public.create_persona(uuid,jsonb)",
        MANAGERS,
        (
            Call(
                f"""public.create_persona('{ONE}', '{{"kind": "demo", "name": "x"}}')""",
                in_one("workspace", {"id": "new", "workspace_id": "workspaces.one", "has_secret": False}),
            ),
            Call(
                f"""public.create_persona('{ONE}', '{{"id": "{uid('personas', 'two')}", "kind": "x", "name": "x"}}')""",
                in_one("workspace", Fails("PT409", "id_taken")),
                foreign=True,
            ),
            Call(
                f"""public.create_persona('{TWO}', '{{"kind": "demo", "name": "x"}}')""",
                in_two("workspace", {"workspace_id": "workspaces.two"}),
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
    _delete("persona", "well_one", Fails("PT409", "persona_in_use")),
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
        READERS,
        tuple(
            Call(
                f"{name}('{uid(f'{noun}s', label)}'{more})",
                {SIGNED_IN: not_found(noun), (*readers, SERVICE): outcome(label)},
                foreign=label == labels[1],
            )
            for label, readers in zip(labels, (MEMBERS, (ADMIN_2,)), strict=True)
        ),
    )


READS = (
    Function(
        "public.list_workspaces(uuid,integer)",
        READERS,
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
