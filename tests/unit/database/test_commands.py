"""What a call's caller gets, and when it is tried again; tests/database/commands has the calls themselves."""

import asyncio
import random
from typing import Any
from uuid import uuid4

import pytest
from pydantic import BaseModel

from lib import errors
from lib.auth import callers
from lib.database import commands, refusals
from lib.database.refusals import SqlError
from lib.database.retries import BRIEF, GLANCE, PERSISTENT, Patience
from tests.unit.sql_functions import Refusal, SqlFunctions, raised, refused

WORKSPACE = uuid4()
RPC = commands.acting_as(callers.Anonymous(), callers.Scope(workspace_id=WORKSPACE))
USER = commands.reading_as(callers.User(uuid4(), None, "t", token_claims='{"sub": "u"}'))


class Answer(BaseModel):
    value: int


async def call(*, rpc: commands.Rpc = RPC, repeatable: bool = False, patience: Patience = BRIEF) -> int:
    return (await rpc.call("do_it", {"id": WORKSPACE}, Answer, repeatable=repeatable, patience=patience)).value


@pytest.mark.parametrize(
    ("answer", "problem", "document"),
    [
        (
            raised("PT409", "persona_in_use", "x"),
            errors.Refused,
            {"status": 409, "code": "persona_in_use", "detail": errors.DETAILS["persona_in_use"]},
        ),
        (
            raised("PT422", "invalid_body", "too_many_sessions"),
            errors.InvalidBody,
            {"errors": [{"field": "", "message": errors.REASONS["too_many_sessions"]}]},
        ),
        (raised("PT307", "contact_merged", hint="other"), errors.Moved, {"status": 307}),
        (
            refused(404, "user_not_found", detail="email_not_confirmed", retry_after=2, turn_id="t"),
            errors.Refused,
            {"status": 404, "code": "user_not_found", "detail": errors.REASONS["email_not_confirmed"], "turn_id": "t"},
        ),
        (refused(503, "persona_unavailable"), errors.Refused, {"status": 503}),
    ],
)
async def test_what_a_function_raises_or_refuses_is_told_once(
    sql: SqlFunctions, answer: SqlError | Refusal, problem: type[errors.Problem], document: dict[str, Any]
) -> None:
    sql.functions["do_it"] = lambda _: answer
    with pytest.raises(problem) as refusal:
        await call(repeatable=True)
    assert refusal.value.document() | document == refusal.value.document()
    assert len(sql.calls) == 1


@pytest.mark.parametrize(
    ("code", "rpc", "problem"),
    [
        *((code, RPC, errors.BackendUnavailable) for code in ("57P01", "57014", "08006", "53300", "PGRST003", "")),
        *((code, RPC, errors.InternalError) for code in ("42501", "22P02", "23505", "42883", "PT500", "XX000")),
        ("42501", USER, errors.Forbidden),
        ("22P02", USER, errors.InternalError),
    ],
)
async def test_another_error_is_ours_or_the_databases_and_never_shown(
    sql: SqlFunctions, log_lines: list[dict[str, Any]], code: str, rpc: commands.Rpc, problem: type[errors.Problem]
) -> None:
    sql.functions["do_it"] = lambda _: raised(code, "duplicate key value x@example.com", "x@example.com")
    with pytest.raises(problem) as failure:
        await call(rpc=rpc)
    assert "x@example.com" not in f"{failure.value.document()} {log_lines}"
    assert problem is errors.Forbidden or log_lines[-1]["code"] == code


@pytest.mark.parametrize("answer", [{"value": "x"}, {}, Refusal(500, {}), Refusal(409, {"code": "unknown"})])
async def test_an_answer_of_another_shape_is_our_mistake(sql: SqlFunctions, answer: dict[str, Any] | Refusal) -> None:
    sql.functions["do_it"] = lambda _: answer
    with pytest.raises(errors.InternalError):
        await call()


@pytest.mark.parametrize(
    ("patience", "repeatable", "tries"), [(GLANCE, True, 1), (BRIEF, True, 3), (BRIEF, False, 1), (PERSISTENT, True, 5)]
)
async def test_a_lost_call_is_repeated_where_that_is_harmless_as_often_as_its_patience_says(
    sql: SqlFunctions, patience: Patience, repeatable: bool, tries: int
) -> None:
    sql.functions["do_it"] = lambda _: {"value": 1}
    sql.lost = 4
    if tries > sql.lost:
        assert await call(repeatable=repeatable, patience=patience) == 1
    else:
        with pytest.raises(errors.BackendUnavailable) as unavailable:
            await call(repeatable=repeatable, patience=patience)
        assert unavailable.value.response_headers() == {"Retry-After": "1"}
    assert len(sql.calls) == tries


@pytest.mark.parametrize("code", ["40P01", "40001", "55P03"])
async def test_what_was_rolled_back_is_always_tried_again(sql: SqlFunctions, code: str) -> None:
    answers: list[SqlError | dict[str, Any]] = [raised(code, "no"), {"value": 5}]
    sql.functions["do_it"] = lambda _: answers.pop(0)
    assert await call(repeatable=False) == 5


@pytest.mark.parametrize("code", sorted(refusals._VANISHED))
async def test_what_was_deleted_or_replaced_in_this_moment_is_asked_for_once_more(sql: SqlFunctions, code: str) -> None:
    answers = iter([raised(code, "no"), raised("PT404", "space_not_found"), raised(code, "no"), raised(code, "no")])
    sql.functions["do_it"] = lambda _: next(answers)
    with pytest.raises(errors.Refused) as refusal:
        await call(repeatable=False)
    assert refusal.value.code == "space_not_found"
    with pytest.raises(errors.InternalError):
        await call(repeatable=True)
    assert len(sql.calls) == 4


async def test_work_that_would_be_lost_outlasts_a_restart_of_the_database(
    sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    # Pauses as long as they are on average, in a time of their own.
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    monkeypatch.setattr("lib.database.retries.time.monotonic", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    sql.functions["do_it"] = lambda _: raised("57P03", "no") if now < 20 else {"value": 1}
    assert await call(repeatable=True, patience=PERSISTENT) == 1


async def test_a_number_that_is_none_is_never_sent(sql: SqlFunctions) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        await RPC.call("do_it", {"x": float("nan")}, Answer)
    assert sql.calls == []
