"""Session templates, as every caller."""

from typing import Any

from tests.database.access.callers import (
    ADMIN_2,
    FOR_C,
    IN_ONE,
    MANAGING_ADMIN_2,
    MANAGING_AGENT,
    MEMBERS,
    ONE,
    SERVICE,
    SIGNED_IN,
    SWITCHBOARD,
    TWO,
)
from tests.database.access.functions_api import FORBIDDEN
from tests.database.access.functions_management import ADMINS_OF_ONE, MANAGERS, READERS, in_one, in_two, not_found
from tests.database.access.matrix import Call, Fails, Function
from tests.database.access.rows import record, uid

_ONE, _TWO = uid("session_templates", "one"), uid("session_templates", "two")
_FOREIGN_PERSONA = f'{{"name": "x", "persona_id": "{uid("personas", "two")}"}}'
_NO_ROW = Fails("42501", "new row violates row-level security policy")
_EVERYBODY = (*SWITCHBOARD, SERVICE)


def _change(name: str, more: str, one: Any, two: Any) -> Function:
    arguments = "uuid,jsonb" if more else "uuid"
    return Function(
        f"public.{name}({arguments})",
        MANAGERS,
        (
            Call(f"public.{name}('{_ONE}'{more})", in_one("template", one)),
            Call(f"public.{name}('{_TWO}'{more})", in_two("template", two), foreign=True),
        ),
        enters=True,
    )


TEMPLATES = (
    Function(
        "public.create_session_template(uuid,jsonb)",
        MANAGERS,
        (
            Call(
                f"""public.create_session_template('{ONE}', '{{"name": "Another"}}')""",
                in_one("workspace", {"id": "new", "name": "Another"}),
            ),
            Call(
                f"public.create_session_template('{ONE}', '{_FOREIGN_PERSONA}')",
                in_one("workspace", not_found("persona")),
            ),
            Call(
                f"""public.create_session_template('{TWO}', '{{"name": "Template two"}}')""",
                in_two("workspace", Fails("PT409", "name_taken")),
                foreign=True,
            ),
        ),
        enters=True,
    ),
    _change(
        "change_session_template", """, '{"name": "changed"}'""",
        {"id": "session_templates.one", "name": "changed"}, {"id": "session_templates.two", "name": "changed"},
    ),
    _change("remove_session_template", "", {"removed": True}, {"removed": True}),
    Function(
        "public.read_session_template(uuid)",
        READERS,
        (
            Call(
                f"public.read_session_template('{_ONE}')",
                {SIGNED_IN: not_found("template"), (*MEMBERS, SERVICE): {"id": "session_templates.one"}},
            ),
            Call(
                f"public.read_session_template('{_TWO}')",
                {SIGNED_IN: not_found("template"), (ADMIN_2, SERVICE): {"id": "session_templates.two"}},
                foreign=True,
            ),
        ),
    ),
    Function(
        "public.list_session_templates(uuid,uuid,integer)",
        READERS,
        (
            Call(
                f"public.list_session_templates('{ONE}')",
                {SIGNED_IN: not_found("workspace"), (*MEMBERS, SERVICE): {"items": [{"id": "session_templates.one"}]}},
            ),
            Call(
                f"public.list_session_templates('{TWO}')",
                {SIGNED_IN: not_found("workspace"), (ADMIN_2, SERVICE): {"items": [{"id": "session_templates.two"}]}},
                foreign=True,
            ),
        ),
    ),
    # Steps ----------------------------------------------------------------------------------------------------------
    Function(
        "private.workspace_of_template(uuid)",
        MANAGERS,
        (
            Call(f"private.workspace_of_template('{_TWO}')", {_EVERYBODY: "workspaces.two"}),
            Call(f"private.workspace_of_template('{ONE}')", {_EVERYBODY: None}),
        ),
        definer=True,
    ),
    Function(
        "private.enter_template(uuid)",
        MANAGERS,
        (
            Call(
                f"private.enter_template('{_ONE}')",
                {SWITCHBOARD: not_found("template"), MANAGING_AGENT: FORBIDDEN,
                 (*ADMINS_OF_ONE, SERVICE): "workspaces.one"},
            ),
            Call(
                f"private.enter_template('{_TWO}')",
                {SWITCHBOARD: not_found("template"), (MANAGING_ADMIN_2, SERVICE): "workspaces.two"},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "private.require_first_step(uuid,text,text)",
        MANAGERS,
        (
            Call(f"private.require_first_step('{ONE}', null, null)::text", {_EVERYBODY: ""}),
            Call(
                f"private.require_first_step('{ONE}', 'none', 'none')",
                {_EVERYBODY: Fails("PT409", "step_not_allowed")},
            ),
        ),
    ),
    Function(
        "private.apply_to_template(public.session_templates,jsonb)",
        MANAGERS,
        (
            # Nothing is changed by whoever did not enter to manage.
            Call(
                f"private.apply_to_template({record('session_templates', 'one')}, '{{}}')",
                {SWITCHBOARD: {"id": None}, SERVICE: {"id": "session_templates.one"}},
            ),
        ),
    ),
    Function(
        "private.require_template(text)",
        ("switchboard",),
        (
            Call(
                "private.require_template('Template one')",
                {SWITCHBOARD: not_found("template"), IN_ONE: {"id": "session_templates.one"}},
            ),
            Call(
                f"private.require_template('{_TWO.upper()}')",
                {SWITCHBOARD: not_found("template"), FOR_C: {"id": "session_templates.two"}},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.begin_by_template(public.sessions,public.session_templates)",
        ("switchboard",),
        (
            Call(
                f"private.begin_by_template({record('sessions', 'b_old')}, {record('session_templates', 'one')})",
                {SWITCHBOARD: _NO_ROW, IN_ONE: {"id": "sessions.b_old", "message_count": 1}},
            ),
        ),
    ),
)  # fmt: skip
