"""Queries as PostgREST gets and answers them; tests/functions reads lists through the real one."""

import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from lib import errors
from lib.auth import callers
from lib.database import queries
from lib.fields.models import Record
from tests.unit.authority import Authority
from tests.unit.conftest import Configure

USER = callers.User(uuid4(), None, "the-users-own-token")


class Row(Record):
    id: UUID


@dataclass
class PostgRest:
    """The server at the wire: each request is answered by the next of the answers, None closes its connection."""

    answers: list[tuple[int, Any] | None] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if answer is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, body = answer
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body))


@contextlib.asynccontextmanager
async def serving(configure: Configure, tls: ssl.SSLContext | None = None) -> AsyncIterator[PostgRest]:
    server, application = PostgRest(), web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    listening = TestServer(application, host="localhost")
    await listening.start_server(ssl=tls)
    configure(SUPABASE_REST_URL=f"{listening.scheme}://localhost:{listening.port}")
    yield server
    await queries.close()
    await listening.close()


@pytest_asyncio.fixture
async def postgrest(configure: Configure) -> AsyncIterator[PostgRest]:
    async with serving(configure) as server:
        yield server


async def rows() -> tuple[Row, ...]:
    reader = queries.reading_as(USER)
    return await reader.rows(reader.table("things").select("*"), Row)


async def test_a_query_carries_the_callers_token_and_the_projects_key(postgrest: PostgRest) -> None:
    postgrest.answers = [(200, [{"id": str(UUID(int=1)), "more": 1}])] * 2
    assert await rows() == await rows() == (Row(id=UUID(int=1)),)
    first, second = postgrest.requests
    assert (first.method, first.path_qs) == ("GET", "/things?select=%2A")
    assert first.headers["Authorization"] == "Bearer the-users-own-token"
    assert first.headers["apikey"] == "the-anon-key"
    assert first.transport is second.transport


def document(code: str, message: str = "x@example.com") -> dict[str, Any]:
    return {"code": code, "message": message, "details": None, "hint": None}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((401, document("PGRST303", "JWT expired")), errors.TokenExpired),
        ((401, document("PGRST301", "No suitable key was found")), errors.TokenInvalid),
        ((401, document("PT401", "token_revoked")), errors.TokenRevoked),
        ((403, document("42501")), errors.Forbidden),
        ((404, document("PT404", "space_not_found")), errors.Refused),
        ((400, document("22P02")), errors.InternalError),
        ((404, document("42P01")), errors.InternalError),
        ((400, "<html>no</html>"), errors.InternalError),
        ((200, [{"id": "x@example.com"}]), errors.InternalError),
        ((200, "<html>x@example.com</html>"), errors.InternalError),
    ],
)
async def test_what_is_no_success_is_told_as_ours_and_never_shown(
    postgrest: PostgRest, log_lines: list[dict[str, Any]], answer: tuple[int, Any], problem: type[errors.Problem]
) -> None:
    postgrest.answers = [answer]
    with pytest.raises(problem) as failure:
        await rows()
    assert "x@example.com" not in f"{failure.value.document()} {log_lines}"


@pytest.mark.parametrize(
    "answer",
    [None, (503, document("PGRST000")), (500, document("57014")), (503, document("57P01")), (400, document(""))]
    + [(status, "<html>no</html>") for status in (429, 502, 503, 504)],
)
async def test_a_query_is_tried_again_and_a_backend_that_stays_away_is_unavailable(
    postgrest: PostgRest, answer: tuple[int, Any] | None
) -> None:
    postgrest.answers = [answer, (200, [])]
    assert await rows() == ()
    postgrest.answers = [answer] * 3
    with pytest.raises(errors.BackendUnavailable):
        await rows()
    assert postgrest.answers == []


@pytest.mark.parametrize("known", [True, False])
async def test_only_a_server_with_a_known_certificate_is_sent_a_token(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    authority = Authority.in_folder(tmp_path)
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with serving(configure, authority.server) as server:
        server.answers = [(200, [])]
        with contextlib.nullcontext() if known else pytest.raises(errors.BackendUnavailable):
            assert await rows() == ()
        assert len(server.requests) == int(known)
