"""The functions of the public schema that work in the background: inbox, queue, archive. As every caller."""

from tests.database.access.callers import FOR_A_AT_WORK, SYSTEM
from tests.database.access.functions_api import (
    IN_W1,
    IN_W2,
    NO_JOB,
    NOT_AT_WORK,
    ONLY_SYSTEM,
)
from tests.database.access.matrix import Call, Fails, Function
from tests.database.access.rows import uid

_SWITCHBOARD = ("switchboard",)


def _job(function: str, label: str, more: str = "") -> str:
    return f"public.{function}('{uid('jobs', label)}'{more})"


BACKGROUND = (
    Function(
        "public.webhook_secret(text,text)",
        _SWITCHBOARD,
        (
            # A delivery is authenticated before anything is entered: it finds its workspace by the turn.
            Call(
                f"public.webhook_secret('n8n', '{uid('turns', 'a')}')",
                {**ONLY_SYSTEM, SYSTEM: {**IN_W1, "secrets": ["callback of one", "former persona secret of one"]}},
            ),
            Call(
                f"public.webhook_secret('n8n', '{uid('turns', 'c')}')",
                {**ONLY_SYSTEM, SYSTEM: {**IN_W2, "secrets": ["callback of two", "former persona secret of two"]}},
                foreign=True,
            ),
            Call(
                f"public.webhook_secret('n8n', '{uid('sessions', 'a')}')",
                {**ONLY_SYSTEM, SYSTEM: Fails("PT404", "not_found")},
            ),
        ),
        enters=True,
    ),
    Function(
        "public.record_event(text,text,jsonb,text,text,text)",
        _SWITCHBOARD,
        (
            Call(
                "public.record_event('n8n', 'delivery one', '{}', '{}', 'n8n.answer')",
                {
                    FOR_A_AT_WORK: {"event_id": "inbound_events.one", "duplicate": True},
                    **NOT_AT_WORK,
                },
            ),
            # The same delivery key of another workspace is another delivery.
            Call(
                "public.record_event('n8n', 'delivery two', '{}', '{}', 'n8n.answer')",
                {
                    FOR_A_AT_WORK: {"event_id": "new", "job_id": "new", "duplicate": False},
                    **NOT_AT_WORK,
                },
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.claim_jobs(integer,integer,uuid)",
        _SWITCHBOARD,
        (
            # A worker works for every workspace, and is told which.
            Call(
                "public.claim_jobs()",
                {
                    **ONLY_SYSTEM,
                    SYSTEM: {
                        "jobs": [
                            {"id": "jobs.queued", **IN_W1, "event": {"id": "inbound_events.one"}},
                            {"id": "jobs.queued_2", **IN_W2, "event": {"id": "inbound_events.two"}},
                        ]
                    },
                },
            ),
            Call(
                f"public.claim_jobs(1, 60, '{uid('jobs', 'queued_2')}')",
                {**ONLY_SYSTEM, SYSTEM: {"jobs": [{"id": "jobs.queued_2"}]}},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.complete_job(uuid,integer)",
        _SWITCHBOARD,
        (
            Call(_job("complete_job", "running", ", 1"), {FOR_A_AT_WORK: {"status": "succeeded"}, **NOT_AT_WORK}),
            Call(
                _job("complete_job", "running_2", ", 1"),
                {FOR_A_AT_WORK: NO_JOB, **NOT_AT_WORK},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.fail_job(uuid,integer,text,boolean)",
        _SWITCHBOARD,
        (
            Call(
                _job("fail_job", "running", ", 1, 'why', true"),
                {FOR_A_AT_WORK: {"status": "queued"}, **NOT_AT_WORK},
            ),
            Call(
                _job("fail_job", "running_2", ", 1, 'why', true"),
                {FOR_A_AT_WORK: NO_JOB, **NOT_AT_WORK},
                foreign=True,
            ),
        ),
        enters=True,
    ),
    Function(
        "public.archive_old_chat_sessions(integer)",
        _SWITCHBOARD,
        (
            Call(
                "public.archive_old_chat_sessions()",
                {**ONLY_SYSTEM, SYSTEM: {"archived": 2, "workspaces": 2, "remaining": False}},
            ),
        ),
        enters=True,
    ),
    Function(
        "public.wake_worker()",
        _SWITCHBOARD,
        (Call("public.wake_worker()", {**ONLY_SYSTEM, SYSTEM: {"woken": True}}),),
        enters=True,
    ),
)  # fmt: skip
