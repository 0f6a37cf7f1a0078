"""What an instance's settings do to the sessions function, and how long ending a session waits."""

import re
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from lib import errors, routes
from lib.auth import callers
from lib.chat import stopping
from lib.sessions import sessions
from tests.unit.conftest import CRON_SECRET, Configure, serving
from tests.unit.sql_functions import SqlFunctions, refused
from tests.unit.test_routes import app


async def test_without_sessions_every_route_is_not_there_and_the_schedule_does_nothing(configure: Configure) -> None:
    configure(ENABLE_CHAT_SESSIONS="false")
    async with serving(app("sessions")) as origin, aiohttp.ClientSession(origin) as session:
        for route in routes.of("sessions"):
            path = re.sub(r"\{\w+\}", str(uuid4()), route.path)
            if route.name == "clean_up_sessions":
                continue
            async with session.request(route.method, path) as answer:
                assert answer.status == 404
                assert (await answer.json(content_type=None))["code"] == "not_found"
        headers = {"Authorization": f"Bearer {CRON_SECRET}"}
        async with session.post("/chat-sessions/cleanup", json={}, headers=headers) as answer:
            assert (answer.status, await answer.json()) == (200, {"timed_out": 0, "remaining": False})


async def test_the_sweep_is_told_the_instances_hours(sql: SqlFunctions, configure: Configure) -> None:
    configure(CHAT_SESSION_TIMEOUT_HOURS="48", CHAT_SESSION_CLEANUP_INTERVAL="12")
    asked: list[dict[str, Any]] = []

    def expire_idle_sessions(arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append(arguments)
        return {"timed_out": 500 if len(asked) == 1 else 3, "remaining": len(asked) == 1}

    sql.functions["expire_idle_sessions"] = expire_idle_sessions
    headers = {"Authorization": f"Bearer {CRON_SECRET}"}
    async with (
        serving(app("sessions")) as origin,
        aiohttp.ClientSession(origin) as session,
        session.post("/chat-sessions/cleanup", json={}, headers=headers) as answer,
    ):
        assert await answer.json() == {"timed_out": 503, "remaining": False}
    assert asked == [{"default_hours": 48, "interval_hours": 12, "max_sessions": 500}] * 2


async def test_ending_a_session_whose_answer_does_not_stop_is_refused_in_the_end(
    sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "WAIT_SECONDS", 0.3)
    sql.functions["change_session_status"] = lambda _: refused(409, "turn_in_progress", stopping=True, retry_after=1)
    with pytest.raises(errors.Refused) as refusal:
        await sessions.change(callers.User(user_id=uuid4(), email=None, token="x"), uuid4(), "cancelled")
    assert (refusal.value.code, refusal.value.extra) == ("turn_in_progress", {"stopping": True})
    assert len(sql.calls) > 1
