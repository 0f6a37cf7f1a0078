"""Personas that call a server, over HTTP: each way to answer, and failures, which keep the text before them.

What is sent to a server and how its answers are read is tests/unit/personas's.
"""

import json
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from local.stack import Stack
from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, ask_n8n, ask_openai
from tests.functions.people import sign_up
from tests.standins.n8n import HEADER, N8n
from tests.standins.openai import DONE, MODEL, SECRET, USAGE, OpenAI, chunk, event


@pytest.mark.parametrize(
    ("workflow", "config"),
    [
        ("stream", {}),
        ("secured", {"auth": {"header": HEADER}}),
        ("last-node", {}),
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
    assert (text_of(heard), heard[-1].data["status"]) == ("You wrote: a word", "completed")
    sent, *polls = n8n.received
    assert len(polls) == (3 if "poll_url" in config else 0)
    names = {"turnId": "turn_id", "sessionId": "session_id", "conversationId": "conversation_id"}
    for each in n8n.received:
        assert each.body.items() >= {name: heard[0].data[key] for name, key in names.items()}.items()
    assert sent.body["message"] == "a word"


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


async def test_a_model_receives_the_system_prompt_and_the_newest_messages(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    visitor = await ask_openai(
        client, workspace, openai.url("secured"), columns={"history_limit": 3}, system_prompt="Be brief."
    )
    for message in ("one", "two", "three"):
        assert text_of(await visitor.say(message)) == f"You wrote: {message}"
    sent = [(said["role"], said["content"]) for said in openai.received[-1].body["messages"]]
    assert sent == [
        ("system", "Be brief."), ("assistant", "You wrote: one"), ("user", "two"), ("assistant", "You wrote: two"),
        ("user", "three"),
    ]  # fmt: skip


async def test_the_usage_is_in_the_last_event_and_stored(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    visitor = await ask_openai(client, workspace, openai.url("secured"))
    heard = await visitor.say("a word")
    usage = {**USAGE, "finish_reason": "stop", "model": f"{MODEL}-2026-11-01"}
    assert heard[-1].data["usage"] == usage
    turn_id = heard[0].data["turn_id"]
    turn = await workspace.row("select usage, status from public.turns where id = $1", UUID(turn_id))
    assert (json.loads(turn["usage"]), turn["status"]) == (usage, "completed")
    assert (await visitor.resume(turn_id))[-1].data["usage"] == usage


@pytest.mark.parametrize(
    ("kind", "behaviour", "code", "kept"),
    [
        ("n8n", "error", "persona_failed", "You wr"),
        ("n8n", "cut", "persona_cut_off", "You wr"),
        ("n8n", "silent", "persona_timeout", "You wr"),
        ("n8n", "empty", "persona_bad_answer", ""),
        ("n8n", "no-such-workflow", "persona_refused", ""),
        ("n8n", "huge", "persona_too_large", None),
        ("openai", "slow", "persona_timeout", ""),
        ("openai", "filtered", "persona_declined", "You wr"),
    ],
)
async def test_a_failure_keeps_the_message_and_the_text_so_far_and_names_its_code(
    client: aiohttp.ClientSession,
    workspace: Workspace,
    n8n: N8n,
    openai: OpenAI,
    kind: str,
    behaviour: str,
    code: str,
    kept: str | None,
) -> None:
    openai.say("filtered", event(chunk("You wr")), event(chunk(finish="content_filter")), DONE)
    limit = 1 if code == "persona_timeout" else 20
    visitor: Visitor
    if kind == "n8n":
        visitor = await ask_n8n(client, workspace, n8n.url(behaviour), time_limit_seconds=limit)
    else:
        visitor = await ask_openai(client, workspace, openai.url(behaviour), columns={"time_limit_seconds": limit})
    heard = await visitor.say("a word")
    error, turn_id = heard[-1], UUID(heard[0].data["turn_id"])
    assert (error.name, error.data["code"], bool(error.data["title"])) == ("error", code, True)
    assert error.data["retryable"] is (code not in ("persona_declined", "persona_refused", "persona_too_large"))
    status = "timeout" if code == "persona_timeout" else "failed"
    turn = await workspace.row("select status, error_code from public.turns where id = $1", turn_id)
    assert turn == {"status": status, "error_code": code}
    stored = "select role::text, text, partial from public.messages where turn_id = $1 order by id"
    asked, *answered = [tuple(row) for row in await workspace.database.fetch(stored, turn_id)]
    assert asked == ("contact", "a word", False)
    if kept is not None:
        assert (text_of(heard), answered) == (kept, [("persona", kept, True)] if kept else [])
    audited = await workspace.database.fetch("select verb, code from public.audit_events where object_id = $1", turn_id)
    assert [tuple(row) for row in audited] == [(f"turn.{status}", code)]
    assert (await visitor.resume(str(turn_id)))[-1].data == error.data


async def test_the_detail_of_a_refused_secret_is_stored_without_the_secret(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI
) -> None:
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {SECRET}"}}).encode()
    visitor = await ask_openai(client, workspace, openai.say("telling", body, status=401))
    heard = await visitor.say("a word")
    assert heard[-1].data["code"] == "persona_refused"
    assert "key" not in json.dumps(heard[-1].data)
    stored = await workspace.row("select detail from public.turn_errors where workspace_id = $1", workspace.id)
    assert stored["detail"].endswith("(401: Incorrect API key provided: [secret])")


async def test_a_persona_on_this_machine_is_refused_unless_the_workspace_allows_it(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("stream"))
    await workspace.database.execute("update public.workspaces set allowed_networks = '{}' where id = $1", workspace.id)
    heard = await visitor.say("a word")
    assert heard[-1].data["code"] == "persona_address_refused"
    assert n8n.received == []
