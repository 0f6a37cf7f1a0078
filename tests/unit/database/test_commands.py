import asyncio
import random
from typing import Any
from uuid import uuid4

import jwt
import pytest
from aiohttp import web
from pydantic import BaseModel

from lib import errors
from lib.auth import callers
from lib.database import commands
from tests.unit.conftest import JWT_SECRET, Configure
from tests.unit.postgrest import PostgRest, raised, refused

WORKSPACE = uuid4()
SCOPE = callers.Scope(workspace_id=WORKSPACE)
USER = callers.User(uuid4(), None, "the-users-own-token")


class Answer(BaseModel):
    value: int


def rpc() -> commands.Rpc:
    return commands.acting_as(callers.Anonymous(), SCOPE)


async def call(*, repeatable: bool = False, patience: commands.Patience = commands.BRIEF) -> int:
    return (await rpc().call("do_it", {"id": WORKSPACE}, Answer, repeatable=repeatable, patience=patience)).value


async def test_a_call_carries_our_token_and_the_projects_key(postgrest: PostgRest) -> None:
    postgrest.functions["do_it"] = lambda arguments: {"value": 7, "more": arguments}
    assert await call() == 7
    (sent,) = postgrest.calls
    assert sent.arguments == {"id": str(WORKSPACE)}
    assert sent.headers["apikey"] == "the-anon-key"
    token = sent.headers["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, JWT_SECRET, algorithms=["HS256"], audience="switchboard")
    assert claims["scope"] == {"workspace_id": str(WORKSPACE)}


async def test_a_reader_calls_with_their_own_token(postgrest: PostgRest) -> None:
    postgrest.functions["read_it"] = lambda _: {"value": 1}
    await commands.reading_as(USER).call("read_it", {}, Answer)
    assert postgrest.calls[0].headers["authorization"] == "Bearer the-users-own-token"


async def test_what_a_function_raises_keeps_its_status_and_code(postgrest: PostgRest) -> None:
    postgrest.functions["do_it"] = lambda _: raised(404, "PT404", "space_not_found", "There is no such space.")
    with pytest.raises(errors.Refused) as refusal:
        await call(repeatable=True)
    problem = refusal.value
    assert (problem.status, problem.code, problem.detail) == (404, "space_not_found", None)
    assert len(postgrest.calls) == 1


async def test_a_body_that_a_function_finds_unfit_is_told_as_any_other(postgrest: PostgRest) -> None:
    postgrest.functions["do_it"] = lambda _: raised(422, "PT422", "invalid_body", "too_many_sessions")
    with pytest.raises(errors.InvalidBody) as refusal:
        await call(repeatable=True)
    assert refusal.value.document()["errors"] == [{"field": "", "message": errors.REASONS["too_many_sessions"]}]


async def test_a_refusal_keeps_its_members(postgrest: PostgRest) -> None:
    postgrest.functions["do_it"] = lambda _: refused(
        409, "turn_in_progress", "Still answering.", detail="Wait.", retry_after=2, turn_id="t"
    )
    with pytest.raises(errors.Refused) as refusal:
        await call()
    assert refusal.value.document() == {
        "type": "about:blank",
        "title": errors.TITLES["turn_in_progress"],
        "status": 409,
        "code": "turn_in_progress",
        "detail": "Wait.",
        "retry_after": 2,
        "turn_id": "t",
    }


@pytest.mark.parametrize(
    ("status", "code"),
    [(503, "PGRST001"), (503, "57P01"), (500, "57014"), (503, "08006"), (503, "53300"), (504, "PGRST003"), (400, "")],
)
async def test_a_backend_that_gives_up_is_unavailable(postgrest: PostgRest, status: int, code: str) -> None:
    postgrest.functions["do_it"] = lambda _: raised(status, code, "no")
    with pytest.raises(errors.BackendUnavailable) as unavailable:
        await call()
    assert unavailable.value.response_headers() == {"Retry-After": "1"}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_gateway_that_gives_up_is_unavailable_too(postgrest: PostgRest, status: int) -> None:
    postgrest.functions["do_it"] = lambda _: web.Response(status=status, text="<html>no</html>")
    with pytest.raises(errors.BackendUnavailable):
        await call()


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, "PGRST301", "No suitable key"),
        (404, "PGRST202", "Could not find the function"),
        (403, "42501", "no"),
        (400, "22P02", "invalid input"),
        (409, "23505", "duplicate key value x@example.com"),
    ],
)
async def test_our_own_mistakes_are_logged_and_not_shown(
    postgrest: PostgRest, log_lines: list[dict[str, Any]], status: int, code: str, message: str
) -> None:
    postgrest.functions["do_it"] = lambda _: raised(status, code, message)
    with pytest.raises(errors.InternalError) as broken:
        await call()
    assert broken.value.detail is None
    assert log_lines[-1]["code"] == code
    assert "x@example.com" not in str(log_lines)


@pytest.mark.parametrize(
    ("status", "message", "problem"),
    [
        (401, "JWT expired", errors.TokenExpired),
        (401, "No suitable key was found", errors.TokenInvalid),
        (403, "permission denied", errors.Forbidden),
    ],
)
async def test_a_readers_own_token_can_be_at_fault(
    postgrest: PostgRest, status: int, message: str, problem: type[errors.Problem]
) -> None:
    code = "42501" if status == 403 else "PGRST301"
    postgrest.functions["read_it"] = lambda _: raised(status, code, message)
    with pytest.raises(problem):
        await commands.reading_as(USER).call("read_it", {}, Answer)


@pytest.mark.parametrize("answer", [{"value": "x"}, {}, {"value": None}])
async def test_an_answer_of_another_shape_is_our_mistake(
    postgrest: PostgRest, log_lines: list[dict[str, Any]], answer: dict[str, Any]
) -> None:
    postgrest.functions["do_it"] = lambda _: answer
    with pytest.raises(errors.InternalError):
        await call()
    assert log_lines[-1]["event"] == "backend_answer_unexpected"


async def test_a_lost_connection_is_tried_again_only_where_that_is_harmless(postgrest: PostgRest) -> None:
    postgrest.functions["do_it"] = lambda _: {"value": 1}
    postgrest.fail_next = 1
    assert await call(repeatable=True) == 1
    assert len(postgrest.calls) == 2
    postgrest.fail_next = 1
    with pytest.raises(errors.BackendUnavailable):
        await call(repeatable=False)
    assert len(postgrest.calls) == 3


@pytest.mark.parametrize(("patience", "tries"), [(commands.GLANCE, 1), (commands.BRIEF, 3)])
async def test_a_call_is_tried_as_often_as_its_patience_says(
    postgrest: PostgRest, patience: commands.Patience, tries: int
) -> None:
    postgrest.fail_next = 10
    with pytest.raises(errors.BackendUnavailable):
        await call(repeatable=True, patience=patience)
    assert len(postgrest.calls) == tries


@pytest.mark.parametrize(("status", "code"), [(500, "40P01"), (500, "40001"), (503, "PGRST000"), (503, "PGRST002")])
async def test_what_was_rolled_back_is_always_tried_again(postgrest: PostgRest, status: int, code: str) -> None:
    answers = iter([raised(status, code, "no"), web.json_response({"value": 5})])
    postgrest.functions["do_it"] = lambda _: next(answers)
    assert await call(repeatable=False) == 5


@pytest.mark.parametrize(("status", "code"), [(409, "23503"), (400, "P0002")])
async def test_what_was_deleted_in_this_moment_is_asked_for_once_more(
    postgrest: PostgRest, status: int, code: str
) -> None:
    answers = [raised(status, code, "no"), raised(404, "PT404", "space_not_found", "There is no such space.")]
    postgrest.functions["do_it"] = lambda _: answers.pop(0)
    with pytest.raises(errors.Refused) as refusal:
        await call(repeatable=False)
    assert refusal.value.code == "space_not_found"

    postgrest.functions["do_it"] = lambda _: raised(status, code, "no")
    with pytest.raises(errors.InternalError):
        await call(repeatable=True)
    assert len(postgrest.calls) == 4


async def test_a_backend_that_is_down_is_found_out_within_a_second_and_found_again(
    postgrest: PostgRest, configure: Configure
) -> None:
    postgrest.functions["do_it"] = lambda _: {"value": 1}
    configure(SUPABASE_REST_URL="http://127.0.0.1:9")
    begun = asyncio.get_running_loop().time()
    with pytest.raises(errors.BackendUnavailable):
        await call()
    assert asyncio.get_running_loop().time() - begun < 2
    configure(SUPABASE_REST_URL=postgrest.url)
    assert await call() == 1


async def test_work_that_would_be_lost_outlasts_a_restart_of_the_database(
    postgrest: PostgRest, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_at = asyncio.get_running_loop().time() + 7
    postgrest.functions["do_it"] = lambda _: (
        raised(503, "PGRST000", "no") if asyncio.get_running_loop().time() < back_at else {"value": 1}
    )
    # Pauses as long as they are on average.
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
    assert await call(repeatable=True, patience=commands.PERSISTENT) == 1


async def test_one_connection_serves_call_after_call(postgrest: PostgRest) -> None:
    postgrest.functions["do_it"] = lambda _: {"value": 1}
    for _ in range(5):
        await call()
    assert len(postgrest.peers) == 1


async def test_a_number_that_is_none_is_never_sent(postgrest: PostgRest) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        await rpc().call("do_it", {"x": float("nan")}, Answer)
    assert postgrest.calls == []
