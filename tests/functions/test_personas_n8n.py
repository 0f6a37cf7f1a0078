"""Workflows that answer later: by polling, by callback, or never."""

from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.events import text_of
from tests.functions.conftest import Workspace, ask_n8n
from tests.standins.n8n import N8n


async def test_a_workflow_that_is_asked_answers_when_it_is_done(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n
) -> None:
    url = n8n.url("job?times=2&how=running")
    visitor = await ask_n8n(client, workspace, n8n.url("accept"), mode="poll", poll_url=url, poll_seconds=0.2)
    heard = await visitor.say("a word")
    assert [event.name for event in heard] == ["turn", "delta", "done"]
    assert text_of(heard) == "You wrote: a word"
    accepted, *polls = n8n.received
    assert [poll.body["turnId"] for poll in polls] == [heard[0].data["turn_id"]] * 3
    assert {poll.body["sessionId"] for poll in polls} == {accepted.body["sessionId"]}


@pytest.mark.parametrize(
    ("path", "config"),
    [("immediately", {"mode": "async"}), ("accept", {"mode": "poll", "poll_url": "job?times=99", "poll_seconds": 0.2})],
)
async def test_an_answer_that_never_comes_ends_the_turn_at_its_limit(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n, path: str, config: dict[str, Any]
) -> None:
    if "poll_url" in config:
        config = {**config, "poll_url": n8n.url(config["poll_url"])}
    visitor = await ask_n8n(client, workspace, n8n.url(path), time_limit_seconds=1, **config)
    heard = await visitor.say("a word")
    assert [event.name for event in heard] == ["turn", "error"]
    assert (heard[-1].data["code"], heard[-1].data["retryable"]) == ("persona_timeout", True)
    turn = await workspace.row("select * from public.turns where id = $1", UUID(heard[0].data["turn_id"]))
    assert (turn["status"], turn["error_code"]) == ("timeout", "persona_timeout")
    session = await workspace.row("select status from public.sessions where id = $1", turn["session_id"])
    assert session["status"] == "active"
    assert (await visitor.resume(str(turn["id"])))[-1].data == heard[-1].data
