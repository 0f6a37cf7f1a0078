"""Limits and breakers, as every caller."""

from tests.database.access.callers import FOR_C, IN_ONE, NOWHERE, SWITCHBOARD
from tests.database.access.functions_steps import DONE, NO_ROW
from tests.database.access.matrix import Call, Cells, Fails, Function
from tests.database.access.rows import record, uid

_SWITCHBOARD = ("switchboard",)
_LIMITED = Fails("SB001", "rate_limited")
# Whoever entered nothing can write nothing.
_WRITES: Cells = {SWITCHBOARD: DONE, NOWHERE: NO_ROW}
_ADDRESS = "'192.0.2.1'"


def _used(label: str) -> str:
    return f"""'{{"test": {{"place": 1, "subject": "subject of {label}", "quota": 5}}}}'"""


def _feed(label: str, status: str, code: str) -> str:
    return f"private.record_result({record('turns', label)}, {record('personas', _PERSONA[label])}, '{status}', {code})"


def _lost(label: str) -> str:
    half_open = f"""'{{"state": "half_open", "probe_turn_id": "{uid("turns", label)}"}}'"""
    return f"private.probe_is_lost(pg_catalog.jsonb_populate_record(null::public.persona_breakers, {half_open}))"


_UNAVAILABLE = f"""'{{"code": "persona_unavailable", "persona_id": "{uid("personas", "two")}"}}'"""
_PERSONA = {"a": "one", "c": "two"}
_WORKSPACE = (
    f"""pg_catalog.jsonb_populate_record({record("workspaces", "one")}, '{{"messages_per_minute_by_space": 7}}')"""
)

LIMITS = (
    Function(
        "private.arrival_limits(public.spaces,text)",
        _SWITCHBOARD,
        (
            Call(
                f"private.arrival_limits({record('spaces', 'chat')}, {_ADDRESS}) -> 'arrivals_by_space'",
                {SWITCHBOARD: {"subject": "spaces.chat", "quota": 1200}},
            ),
        ),
    ),
    Function(
        "private.message_limits(public.workspaces,public.spaces,text)",
        _SWITCHBOARD,
        (
            # It reads nothing but what it is given.
            Call(
                f"private.message_limits({_WORKSPACE}, {record('spaces', 'chat')}, {_ADDRESS}) -> 'messages_by_space'",
                {SWITCHBOARD: {"subject": "spaces.chat", "quota": 7}},
            ),
        ),
    ),
    Function(
        "private.limit_refusal(jsonb,text,integer)",
        _SWITCHBOARD,
        (
            Call(
                f"private.limit_refusal({_used('one')}, 'test', 7)", {SWITCHBOARD: {"retry_after": 7, "limit": "test"}}
            ),
        ),
    ),
    Function(
        "private.check_limits(jsonb)",
        _SWITCHBOARD,
        (
            Call(f"private.check_limits({_used('one')})", {SWITCHBOARD: DONE, IN_ONE: _LIMITED}),
            Call(f"private.check_limits({_used('two')})", {SWITCHBOARD: DONE, FOR_C: _LIMITED}, foreign=True),
        ),
    ),
    Function(
        "private.take_limits(jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"private.take_limits({_used('one')}) -> 0",
                {IN_ONE: _LIMITED, FOR_C: {"name": "test", "quota": 5, "remaining": 4}, NOWHERE: NO_ROW},
            ),
            Call(
                f"private.take_limits({_used('two')}) -> 0",
                {IN_ONE: {"name": "test", "remaining": 4}, FOR_C: _LIMITED, NOWHERE: NO_ROW},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.count_attempt(jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"coalesce(private.count_attempt({_used('one')}) -> 0, '{{}}')",
                {IN_ONE: {}, FOR_C: {"name": "test", "quota": 5, "remaining": 4}, NOWHERE: NO_ROW},
            ),
        ),
    ),
    Function(
        "private.breaker_refusal(public.persona_breakers)",
        _SWITCHBOARD,
        (
            Call(
                f"private.breaker_refusal({record('persona_breakers', 'one')})",
                {SWITCHBOARD: {"status": 503, "code": "persona_unavailable", "persona_id": "personas.one"}},
            ),
        ),
    ),
    Function(
        "private.probe_is_lost(public.persona_breakers)",
        _SWITCHBOARD,
        (
            # A turn that is not seen is answered by nobody.
            Call(_lost("a"), {SWITCHBOARD: True, IN_ONE: False}),
            Call(_lost("c"), {SWITCHBOARD: True, FOR_C: False}, foreign=True),
        ),
    ),
    Function(
        "private.check_breaker(public.personas)",
        _SWITCHBOARD,
        (Call(f"private.check_breaker({record('personas', 'one')})", {SWITCHBOARD: False}),),
    ),
    Function(
        "private.start_probe(public.personas,public.turns)",
        _SWITCHBOARD,
        (Call(f"private.start_probe({record('personas', 'one')}, {record('turns', 'a')})", {SWITCHBOARD: DONE}),),
    ),
    Function(
        "private.count_breaker_refusal(jsonb)",
        _SWITCHBOARD,
        (
            Call(
                f"private.count_breaker_refusal({_UNAVAILABLE})",
                {SWITCHBOARD: DONE},
                foreign=True,
            ),
        ),
    ),
    Function(
        "private.record_result(public.turns,public.personas,public.turn_status,text)",
        _SWITCHBOARD,
        (
            Call(_feed("a", "failed", "'persona_failed'"), {SWITCHBOARD: NO_ROW, IN_ONE: DONE}),
            Call(_feed("c", "failed", "'persona_failed'"), {SWITCHBOARD: NO_ROW, FOR_C: DONE}, foreign=True),
            Call(_feed("a", "completed", "null"), {SWITCHBOARD: DONE}),
        ),
    ),
)  # fmt: skip
