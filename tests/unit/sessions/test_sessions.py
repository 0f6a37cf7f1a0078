"""What an instance's settings do to the sessions function, and how long ending a session waits."""

import re
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from lib import config, errors, routes
from lib.auth import callers
from lib.chat import stopping
from lib.sessions import sessions
from tests.unit.conftest import CRON_SECRET, Configure, serving
from tests.unit.sql_functions import SqlFunctions, refused
from tests.unit.test_config import COMPLETE
from tests.unit.test_routes import app


def test_the_defaults_are_those_of_the_docs() -> None:
    settings = config.read(COMPLETE)
    assert settings.enable_chat_sessions is True
    assert (settings.chat_session_timeout_hours, settings.chat_session_cleanup_interval) == (24, 6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENABLE_CHAT_SESSIONS", "perhaps"),
        ("CHAT_SESSION_TIMEOUT_HOURS", "-1"),
        ("CHAT_SESSION_TIMEOUT_HOURS", "soon"),
        ("CHAT_SESSION_CLEANUP_INTERVAL", "0"),
    ],
)
def test_an_impossible_setting_stops_the_start(name: str, value: str) -> None:
    with pytest.raises(errors.ConfigError, match=name):
        config.read(COMPLETE | {name: value})


async def test_without_sessions_every_route_is_not_there_and_the_schedule_does_nothing(configure: Configure) -> None:
    configure(ENABLE_CHAT_SESSIONS="false")
    async with serving(app("sessions")) as origin, aiohttp.ClientSession(origin) as session:
        for route in routes.of("sessions"):
            path = re.sub(r"\{\w+\}", str(uuid4()), route.path)
            if route.name == "clean_up":
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


@pytest.mark.parametrize("stops", [True, False])
async def test_ending_a_session_waits_for_its_answer_to_stop(
    sql: SqlFunctions, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    monkeypatch.setattr(stopping, "WAIT_SECONDS", 20 if stops else 0.3)
    ids, asked = {"session_id": str(uuid4()), "conversation_id": str(uuid4())}, 0

    def change_session_status(_: dict[str, Any]) -> Any:
        nonlocal asked
        asked += 1
        if asked < 3 or not stops:
            return refused(409, "turn_in_progress", stopping=True, retry_after=1)
        # As a session of one message has ended with its answer by then.
        return {**ids, "status": "cancelled", "changed": False}

    sql.functions["change_session_status"] = change_session_status
    change = sessions.change(callers.User(user_id=uuid4(), email=None, token="x"), uuid4(), "cancelled")
    if stops:
        changed = await change
        assert (changed.status, changed.changed, asked) == ("cancelled", True, 3)
    else:
        with pytest.raises(errors.Refused) as refusal:
            await change
        assert (refusal.value.code, refusal.value.extra) == ("turn_in_progress", {"stopping": True})
