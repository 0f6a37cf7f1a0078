"""The steps that move sessions on, and how their work is read, as every caller."""

from tests.database.access.callers import (
    ADMIN_2,
    ADMINS,
    AGENT,
    CONTACTS,
    FOR_ADMIN,
    FOR_AGENT,
    FOR_B,
    FOR_C,
    FOR_OWNER,
    IN_ONE,
    NOWHERE,
    ONE,
    SERVICE,
    SIGNED_IN,
    SWITCHBOARD,
    SYSTEM,
)
from tests.database.access.functions_api import FORBIDDEN
from tests.database.access.functions_contacts import NO_ROW
from tests.database.access.functions_management import not_found
from tests.database.access.functions_turns import NO_SESSION
from tests.database.access.matrix import Call, Fails, Function
from tests.database.access.rows import record, uid

_SWITCHBOARD = ("switchboard",)
_READERS = ("contact", "authenticated")
_READING = (*CONTACTS, *SIGNED_IN)
_ELSEWHERE = (FOR_C, *NOWHERE)
_ADMINS = (FOR_ADMIN, FOR_OWNER)

_B, _C = record("sessions", "b"), record("sessions", "c")
_ID_B, _ID_C = uid("sessions", "b"), uid("sessions", "c")
_REQUEST_B, _REQUEST_C = uid("requests", "b"), uid("requests", "c")
NO_WORKFLOW, NO_REQUEST = not_found("workflow"), not_found("request")
REFUSED = Fails("SB001", "transition_not_allowed")


def _locks(name: str, more: str = "") -> tuple[Call, ...]:
    """A step that takes a session's id: those who entered its workspace do it, for the others it is not there."""
    return (
        Call(f"{name}('{_ID_B}'{more})", {IN_ONE: {"id": "sessions.b"}, _ELSEWHERE: NO_SESSION}),
        Call(
            f"{name}('{_ID_C}'{more})",
            {FOR_C: {"id": "sessions.c"}, (*IN_ONE, *NOWHERE): NO_SESSION},
            foreign=True,
        ),
    )


WORKFLOW_STEPS = (
    Function(
        "private.change_step(public.sessions,text,text)",
        _SWITCHBOARD,
        (
            Call(
                f"private.change_step({_B}, null, 'understanding_request')",
                {IN_ONE: {"id": "sessions.b", "workflow": "charter"}, FOR_C: NO_SESSION, NOWHERE: NO_WORKFLOW},
            ),
            # Another workspace's workflow is none here.
            Call(
                f"private.change_step({_B}, 'refit', 'begin_two')",
                {IN_ONE: Fails("SB001", "step_not_allowed"), FOR_C: NO_SESSION, NOWHERE: NO_WORKFLOW},
            ),
            Call(
                f"private.change_step({_C}, 'refit', 'begin_two')",
                {IN_ONE: Fails("SB001", "step_not_allowed"), FOR_C: {"id": "sessions.c"}, NOWHERE: NO_WORKFLOW},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.merge_workflow_state(public.sessions,jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"""private.merge_workflow_state({_B}, '{{"a": 1}}')""",
                {IN_ONE: {"workflow_state": {"a": 1}}, _ELSEWHERE: NO_SESSION},
            ),
        ),
    ),
    Function("private.lock_request(uuid)", _SWITCHBOARD, _locks("private.lock_request")),
    Function("private.lock_session(uuid)", _SWITCHBOARD, _locks("private.lock_session")),
    Function(
        "private.choose_primary_quote(uuid)",
        _SWITCHBOARD,
        (Call(f"private.choose_primary_quote('{_REQUEST_B}')::text", {SWITCHBOARD: ""}),),
    ),
    Function(
        "private.open_request(public.sessions)",
        _SWITCHBOARD,
        (Call(f"private.open_request({_B})", {IN_ONE: {"request_id": "new"}, _ELSEWHERE: NO_ROW}),),
    ),
    Function(
        "private.adopt_request(public.sessions,uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"private.adopt_request({_B}, '{_REQUEST_B}')",
                {SWITCHBOARD: NO_REQUEST, (SYSTEM, FOR_AGENT, *_ADMINS): {"request_id": "requests.b"}},
            ),
            # Another contact's, and another workspace's.
            Call(f"private.adopt_request({_B}, '{uid('requests', 'a')}')", {SWITCHBOARD: NO_REQUEST}),
            Call(f"private.adopt_request({_B}, '{_REQUEST_C}')", {SWITCHBOARD: NO_REQUEST}, foreign=True),
        ),
    ),
    Function(
        "private.update_request(public.sessions,jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"""private.update_request({_B}, '{{"origin": "LSGG"}}')""",
                {IN_ONE: {"request_id": "new"}, _ELSEWHERE: NO_ROW},
            ),
            Call(
                f"private.update_request({record('sessions', 'b_old')}, '{{}}')",
                {SWITCHBOARD: REFUSED},
            ),
        ),
    ),
    Function(
        "private.upsert_quote(uuid,text,jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"""private.upsert_quote('{_ID_B}', 'acme', '{{"status": "received"}}')""",
                {IN_ONE: {"id": "new", "status": "received", "late": False}, _ELSEWHERE: NO_SESSION},
            ),
            Call(
                f"""private.upsert_quote('{uid('sessions', 'b_old')}', 'acme', '{{"status": "received"}}')""",
                {IN_ONE: {"id": "new", "late": True}, _ELSEWHERE: NO_SESSION},
            ),
        ),
    ),
    Function(
        "private.upsert_proposal(public.sessions,jsonb)",
        _SWITCHBOARD,
        (Call(f"private.upsert_proposal({_B}, '{{}}')", {IN_ONE: {"proposal_id": "new"}, _ELSEWHERE: NO_ROW}),),
    ),
    Function(
        "private.restart_idle_timeout(public.sessions)",
        _SWITCHBOARD,
        (Call(f"private.restart_idle_timeout({_B})", {IN_ONE: {"id": "sessions.b"}, _ELSEWHERE: NO_SESSION}),),
    ),
    Function(
        "private.count_quotes(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"private.count_quotes('{_REQUEST_B}')",
                {IN_ONE: {"expected": 1, "received": 1}, _ELSEWHERE: {"expected": 0}},
            ),
        ),
    ),
    Function(
        "private.describe_quote(public.quotes)",
        ("switchboard", "authenticated"),
        (
            Call(
                f"private.describe_quote({record('quotes', 'b')})",
                {(*SWITCHBOARD, *SIGNED_IN): {"operator": "Acme", "status": "received"}},
            ),
        ),
    ),
    Function(
        "private.describe_work(public.sessions)",
        _SWITCHBOARD,
        (
            Call(
                f"private.describe_work({_B})",
                {
                    IN_ONE: {"session_id": "sessions.b", "refs": [{"id": "session_refs.b"}]},
                    _ELSEWHERE: {"session_id": "sessions.b", "refs": []},
                },
            ),
        ),
    ),
    Function(
        "private.change_work(uuid,jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"""private.change_work('{_ID_B}', '{{"activity": true}}')""",
                {IN_ONE: {"session_id": "sessions.b", "changed": True}, _ELSEWHERE: NO_SESSION},
            ),
        ),
    ),
    Function(
        "private.enter_session_to_work_on(uuid)",
        _SWITCHBOARD,
        (
            Call(
                f"private.enter_session_to_work_on('{_ID_B}')::text",
                {SWITCHBOARD: NO_SESSION, FOR_B: FORBIDDEN, (FOR_AGENT, *_ADMINS): ""},
            ),
        ),
        enters=True,
    ),
    Function(
        "private.change_work_as_member(uuid,jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"""private.change_work_as_member('{_ID_B}', '{{"step": "proposal_ready"}}')""",
                {
                    SWITCHBOARD: NO_SESSION, FOR_B: FORBIDDEN,
                    (FOR_AGENT, *_ADMINS): {"code": "step_not_allowed", "allowed_steps": ["understanding_request"]},
                },
            ),
        ),
        enters=True,
    ),
    Function(
        "private.describe_transition(public.workflow_transitions)",
        ("authenticated", "switchboard", "service_role"),
        (
            Call(
                f"private.describe_transition({record('workflow_transitions', 'one')})",
                {(*SIGNED_IN, *SWITCHBOARD, SERVICE): {"to_step": "begin_one", "built_in": False}},
            ),
        ),
    ),
    # Reading --------------------------------------------------------------------------------------------------------
    Function(
        "private.sessions_for(jsonb)",
        _READERS,
        (
            Call(
                "private.sessions_for(private.claims()) like '%taken_over_by%'"
                " or private.sessions_for(private.claims()) like '%primary_quote%'",
                {_READING: False},
            ),
        ),
    ),
    Function(
        "private.sessions_by_work(jsonb,jsonb,uuid,text)",
        _READERS,
        (
            # What a contact asks of quotes, tags and references has one answer, whatever there is.
            Call(
                "private.sessions_by_work('{\"has_quote\": true}', private.claims(), null, null)",
                {
                    CONTACTS: " and false",
                    SIGNED_IN: " and (s.primary_quote_id is not null"
                    " and s.workspace_id in (select private.member_workspaces()))",
                },
            ),
            Call(
                f"private.sessions_by_work('{{\"tag\": \"late\"}}', private.claims(), '{ONE}', 'admin')"
                f" like '%{uid('sessions', 'a')}%'",
                {CONTACTS: False, SIGNED_IN: False, ADMINS: True},
            ),
            Call(
                "private.sessions_by_work('{\"external_ids\": [\"atrip-b\"]}', private.claims(),"
                f" '{ONE}', 'admin') like '%{_ID_B}%'",
                {CONTACTS: False, SIGNED_IN: False, (AGENT, *ADMINS): True},
            ),
        ),
    ),
    Function(
        "private.session_work_changes(uuid)",
        ("authenticated",),
        (Call(f"(private.session_work_changes('{_ID_B}')).verb", {SIGNED_IN: []}),),
        definer=True,
    ),
    Function(
        "private.session_work(uuid)",
        ("authenticated",),
        (
            Call(
                f"private.session_work('{_ID_B}')",
                {SIGNED_IN: {}, (AGENT, *ADMINS): {"refs": [{"id": "session_refs.b"}], "workflow_state": {}}},
            ),
            # Whose session it is sees nothing of what members work with.
            Call(
                f"private.session_work('{uid('sessions', 'guest')}')",
                {SIGNED_IN: {}, ADMINS: {"refs": [{"id": "session_refs.guest"}]}},
            ),
            Call(
                f"private.session_work('{_ID_C}')",
                {SIGNED_IN: {}, ADMIN_2: {"refs": [{"id": "session_refs.c"}]}},
                foreign=True,
            ),
        ),
    ),
)  # fmt: skip
