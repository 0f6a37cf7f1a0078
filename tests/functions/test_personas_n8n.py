"""Workflows over HTTP: every way in which they answer, and every way in which they fail."""

import json
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from local.stack import Stack
from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, ask_n8n, failed_turn
from tests.functions.people import sign_up
from tests.standins.n8n import HEADER, SECRET, N8n


@pytest.mark.parametrize(
    ("workflow", "config"),
    [
        ("stream", {}),
        ("secured", {"auth": {"header": HEADER}}),
        ("bearer", {"auth": "bearer"}),
        ("last-node", {}),
        ("all-items", {}),
        ("respond", {}),
        ("async", {"mode": "async"}),
        ("accept", {"mode": "poll", "poll_url": "job?times=2&how=running", "poll_seconds": 0.2}),
    ],
)
async def test_a_workflow_answers_in_every_mode(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n, workflow: str, config: dict[str, Any]
) -> None:
    if "poll_url" in config:
        config = {**config, "poll_url": n8n.url(config["poll_url"])}
    visitor = await ask_n8n(client, workspace, n8n.url(workflow), **config)
    heard = await visitor.say("a word")
    assert text_of(heard) == "You wrote: a word"
    assert heard[-1].data["status"] == "completed"
    sent, *polls = n8n.received
    assert len(polls) == (3 if "poll_url" in config else 0)
    ids = {"turnId": heard[0].data["turn_id"], "sessionId": heard[0].data["session_id"]}
    for each in n8n.received:
        assert each.body.items() >= ids.items()
    assert sent.body["conversationId"] == heard[0].data["conversation_id"]
    assert sent.body["message"] == "a word"
    assert SECRET not in json.dumps(sent.body)


async def test_a_workflow_is_told_who_is_asking_only_with_proof(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n, stack: Stack
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("last-node"))
    for message in ("one", "two"):
        heard = await visitor.say(message, metadata={"page": "/"})
    user = await sign_up(client, workspace, stack)
    await Visitor(client, visitor.space_id, token=user.token).say("three")
    typed, again, proven = [received.body for received in n8n.received]
    assert (typed["verified"], typed["contact"], typed["history"], typed["metadata"]) == (
        False,
        None,
        [],
        {"page": "/"},
    )
    assert typed["userId"] == again["userId"] != heard[0].data["contact_id"]
    assert heard[0].data["contact_id"] not in json.dumps([typed, again])
    assert [(said["role"], said["text"]) for said in again["history"]] == [
        ("contact", "one"),
        ("persona", "You wrote: one"),
    ]
    assert (proven["verified"], proven["userId"], proven["spaceId"]) == (True, str(user.id), str(visitor.space_id))
    assert proven["contact"] == {"name": None, "email": user.email, "attributes": {}}


@pytest.mark.parametrize(
    ("workflow", "config", "code", "kept"),
    [
        ("error", {}, "persona_failed", "You wr"),
        ("cut", {}, "persona_cut_off", "You wr"),
        ("silent", {"time_limit_seconds": 1}, "persona_timeout", "You wr"),
        ("slow", {"time_limit_seconds": 1}, "persona_timeout", ""),
        ("immediately", {"time_limit_seconds": 1, "mode": "async"}, "persona_timeout", ""),
        ("accept", {"time_limit_seconds": 1, "mode": "poll", "poll_url": "job?times=99"}, "persona_timeout", ""),
        ("html", {}, "persona_bad_answer", ""),
        ("empty", {}, "persona_bad_answer", ""),
        ("failing", {}, "persona_failed", ""),
        ("secured", {}, "persona_refused", ""),
        ("no-such-workflow", {}, "persona_refused", ""),
        ("huge", {}, "persona_too_large", None),
        ("bomb", {}, None, ""),
        ("http://127.0.0.1:9/webhook/x", {}, "persona_unreachable", ""),
    ],
)
async def test_a_failure_keeps_the_message_and_the_text_so_far_and_names_its_code(
    client: aiohttp.ClientSession,
    workspace: Workspace,
    n8n: N8n,
    workflow: str,
    config: dict[str, Any],
    code: str | None,
    kept: str | None,
) -> None:
    if "poll_url" in config:
        config = {**config, "poll_url": n8n.url(config["poll_url"]), "poll_seconds": 0.2}
    url = workflow if workflow.startswith("http") else n8n.url(workflow)
    visitor = await ask_n8n(client, workspace, url, **config)
    heard = await visitor.say("a word")
    turn = await failed_turn(workspace, visitor, heard, code, kept)
    session = await workspace.row("select status from public.sessions where id = $1", turn["session_id"])
    assert session["status"] == "active"
    verbs = await workspace.database.fetch(
        "select verb, code from public.audit_events where object_id = $1", UUID(heard[0].data["turn_id"])
    )
    assert [tuple(row) for row in verbs] == [(f"turn.{turn['status']}", turn["error_code"])]
    if code in ("persona_timeout", "persona_unreachable", "persona_cut_off", "persona_refused"):
        # A wrong secret or address stays wrong.
        assert heard[-1].data["retryable"] is (code != "persona_refused")


async def test_a_persona_on_this_machine_is_refused_unless_the_workspace_allows_it(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("stream"))
    await workspace.database.execute("update public.workspaces set allowed_networks = '{}' where id = $1", workspace.id)
    heard = await visitor.say("a word")
    assert heard[-1].data["code"] == "persona_address_refused"
    assert n8n.received == []
