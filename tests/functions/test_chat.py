import asyncio
import json
import time
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from local.stack import Stack
from tests import events
from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, ask_n8n, problem
from tests.standins.n8n import HEADER, SECRET, N8n


async def test_an_answer_streams_and_is_stored(visitor: Visitor, workspace: Workspace) -> None:
    heard = await visitor.say("hello there", metadata={"page": "/prices"})
    opened, *deltas, done = heard
    assert (opened.name, opened.id) == ("turn", "0")
    assert {delta.name for delta in deltas} == {"delta"}
    assert done.name == "done"
    text = text_of(heard)
    assert "hello there" in text
    assert [int(delta.id) for delta in deltas] == [len(text_of(deltas[: n + 1])) for n in range(len(deltas))]
    assert int(done.id) == len(text) + 1
    assert (done.data["status"], done.data["text_length"]) == ("completed", len(text))
    turn = await workspace.row("select * from public.turns where id = $1", UUID(opened.data["turn_id"]))
    assert turn["status"] == "completed"
    assert turn["first_token_ms"] >= 0
    messages = await workspace.database.fetch(
        "select id, role, text, partial, metadata from public.messages where turn_id = $1 order by created_at",
        turn["id"],
    )
    assert [(row["role"], row["text"], row["partial"]) for row in messages] == [
        ("contact", "hello there", False),
        ("persona", text, False),
    ]
    assert json.loads(messages[0]["metadata"]) == {"page": "/prices"}
    assert str(messages[1]["id"]) == done.data["message_id"]
    session = await workspace.row("select * from public.sessions where id = $1", turn["session_id"])
    assert (session["status"], session["turn_count"], session["message_count"]) == ("active", 1, 2)
    assert json.loads(session["metadata"])["user_agent"].startswith("Python")
    assert (await workspace.row("select count(*) from public.turn_chunks where turn_id = $1", turn["id"]))["count"] == 0


async def test_words_arrive_while_the_persona_is_still_speaking(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    persona_id = await workspace.add_persona("demo", {"delay_ms": 100})
    slow = Visitor(client, await workspace.add_space(persona_id=persona_id))
    async with slow.post("hello") as response:
        arrivals = [(event.name, time.monotonic()) async for event in events.read(response)]
    assert arrivals[0][0] == "turn"
    words = [when for name, when in arrivals if name == "delta"]
    assert words[0] - arrivals[0][1] > 0.05, "the turn is known before the persona speaks"
    assert words[-1] - words[0] > 0.5, "words are not held back"


async def test_the_first_message_brings_a_token_that_goes_on(visitor: Visitor, workspace: Workspace) -> None:
    first = await visitor.say("one")
    assert first[0].data["token"]
    second = await visitor.say("two")
    assert "token" not in second[0].data
    for name in ("session_id", "conversation_id", "contact_id"):
        assert second[0].data[name] == first[0].data[name]
    assert "2 earlier messages" in text_of(second), "the persona was given the history"
    counts = await workspace.counts()
    assert (counts["contacts"], counts["sessions"], counts["turns"], counts["messages"]) == (1, 1, 2, 4)
    contact = await workspace.row(
        "select session_id from public.contacts where id = $1", UUID(first[0].data["contact_id"])
    )
    assert str(contact["session_id"]) == first[0].data["session_id"], "an unlinked contact is linked"


async def test_a_typed_email_finds_the_contact_and_none_of_its_history(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    ana, claims_to_be_ana = (Visitor(client, workspace.space_id) for _ in range(2))
    mine = await ana.say("my secret", email="ana@example.com")
    theirs = await claims_to_be_ana.say("what do you know?", email="ANA@example.com")
    assert theirs[0].data["contact_id"] == mine[0].data["contact_id"]
    assert theirs[0].data["conversation_id"] != mine[0].data["conversation_id"]
    assert "secret" not in text_of(theirs)
    assert "first message" in text_of(theirs)


async def test_the_same_client_message_is_answered_once(visitor: Visitor, workspace: Workspace) -> None:
    message_id = str(uuid4())
    first = await visitor.say("hello", client_message_id=message_id)
    again = await visitor.say("hello", clientMessageId=message_id)
    without_token = Visitor(visitor.client, visitor.space_id)
    once_more = await without_token.say("hello", client_message_id=message_id)
    for heard in (again, once_more):
        assert heard[0].data["turn_id"] == first[0].data["turn_id"]
        assert text_of(heard) == text_of(first)
        assert heard[-1] == first[-1]
    counts = await workspace.counts()
    assert (counts["turns"], counts["messages"], counts["contacts"]) == (1, 2, 1)


async def test_a_message_sent_many_times_at_once_is_one_turn(visitor: Visitor, workspace: Workspace) -> None:
    message_id = str(uuid4())
    many = [Visitor(visitor.client, visitor.space_id) for _ in range(8)]
    heard = await asyncio.gather(*(one.say("hello", client_message_id=message_id) for one in many))
    assert len({answer[0].data["turn_id"] for answer in heard}) == 1
    assert len({text_of(answer) for answer in heard}) == 1
    assert {answer[-1].name for answer in heard} == {"done"}
    counts = await workspace.counts()
    assert (counts["turns"], counts["messages"], counts["contacts"]) == (1, 2, 1)


async def slow_visitor(client: aiohttp.ClientSession, workspace: Workspace, delay_ms: int = 100) -> Visitor:
    persona_id = await workspace.add_persona("demo", {"delay_ms": delay_ms})
    visitor = Visitor(client, await workspace.add_space(persona_id=persona_id))
    async with client.post(f"/space/{visitor.space_id}/register", json={"email": "a@example.com"}) as response:
        visitor.token = (await response.json())["token"]
    return visitor


async def first_event(response: aiohttp.ClientResponse) -> events.Received:
    async for event in events.read(response):
        return event
    raise AssertionError("the stream was empty")


async def test_a_second_message_meanwhile_is_refused_with_a_hint(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    visitor = await slow_visitor(client, workspace)
    async with visitor.post("first") as response:
        await first_event(response)
        before = await workspace.counts()
        async with visitor.post("second") as refused:
            assert refused.status == 409
            document = await problem(refused)
            assert document["code"] == "turn_in_progress"
            assert int(refused.headers["retry-after"]) == document["retry_after"] >= 1
        assert await workspace.counts() == before
        await response.read()
    assert (await visitor.say("third"))[-1].name == "done"


async def test_a_reader_who_leaves_does_not_end_the_turn(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    visitor = await slow_visitor(client, workspace)
    async with visitor.post("hello") as response:
        turn_id = (await first_event(response)).data["turn_id"]
        response.close()
    heard = await visitor.resume(turn_id)
    assert heard[-1].data["status"] == "completed"
    assert "hello" in text_of(heard)
    turn = await workspace.row("select status from public.turns where id = $1", UUID(turn_id))
    assert turn["status"] == "completed"


async def test_a_turn_is_read_again_from_any_place(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    visitor = await slow_visitor(client, workspace)
    heard: list[events.Received] = []
    async with visitor.post("hello") as response:
        async for event in events.read(response):
            heard.append(event)
            if len(heard) == 6:
                break
        response.close()
    turn_id = heard[0].data["turn_id"]
    rest = await visitor.resume(turn_id, after=int(heard[-1].id))
    assert rest[0].name == "delta"
    whole = text_of(heard + rest)
    replayed = await visitor.resume(turn_id)
    assert [event.name for event in replayed] == ["turn", "delta", "done"]
    assert text_of(replayed) == whole
    assert replayed[-1] == rest[-1]
    async with client.get(f"/turns/{turn_id}/stream?after=5", headers=visitor.headers) as response:
        assert text_of(await events.read_all(response)) == whole[5:]
    assert (await visitor.resume(turn_id, after=len(whole) + 1)) == [rest[-1]]


async def test_a_turn_is_nobody_elses(visitor: Visitor, client: aiohttp.ClientSession, workspace: Workspace) -> None:
    turn_id = (await visitor.say("my secret"))[0].data["turn_id"]
    stranger = Visitor(client, workspace.space_id)
    await stranger.say("hello")
    for headers, status, code in (
        (stranger.headers, 404, "turn_not_found"),
        ({}, 401, "token_missing"),
        ({"Authorization": "Bearer x"}, 401, "token_invalid"),
    ):
        async with client.get(f"/turns/{turn_id}/stream", headers=headers) as response:
            assert response.status == status
            assert (await problem(response))["code"] == code


async def test_per_message_each_message_is_a_session_that_ends(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    persona_id = await workspace.add_persona("demo", {"delay_ms": 0}, session_policy="per_message")
    visitor = Visitor(client, await workspace.add_space(persona_id=persona_id))
    first, second = await visitor.say("one"), await visitor.say("two")
    assert first[0].data["conversation_id"] == second[0].data["conversation_id"]
    assert first[0].data["session_id"] != second[0].data["session_id"]
    statuses = await workspace.database.fetch(
        "select status from public.sessions where workspace_id = $1", workspace.id
    )
    assert [row["status"] for row in statuses] == ["completed", "completed"]


async def sign_in(client: aiohttp.ClientSession, stack: Stack, email: str) -> str:
    body = {"email": email, "password": stack.demo_password}
    path = "/auth/v1/token?grant_type=password"
    async with client.post(path, json=body, headers={"apikey": stack.anon_key}) as response:
        assert response.status == 200, await response.text()
        token: str = (await response.json())["access_token"]
        return token


async def test_a_signed_in_visitor_is_a_verified_contact_who_finds_their_thread_again(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    token = await sign_in(client, stack, "visitor@demo.test")
    first = await Visitor(client, workspace.space_id, token).say("one")
    again = await Visitor(client, workspace.space_id, token).say("two")
    assert first[0].data["contact_id"] is not None
    assert again[0].data["conversation_id"] == first[0].data["conversation_id"]
    identity = await workspace.row(
        "select * from public.contact_identities where workspace_id = $1 and kind = 'email'", workspace.id
    )
    assert (identity["key"], identity["evidence"]) == ("visitor@demo.test", "verified")
    reader = Visitor(client, workspace.space_id, token)
    assert text_of(await reader.resume(first[0].data["turn_id"])) == text_of(first)


async def test_a_member_talks_to_the_persona_as_themselves(client: aiohttp.ClientSession, stack: Stack) -> None:
    token = await sign_in(client, stack, "owner@demo.test")
    heard = await Visitor(client, UUID(str(stack.space_id)), token).say("what is new?", thread_key=str(uuid4()))
    assert heard[0].data["contact_id"] is None
    assert "token" not in heard[0].data


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
    ],
)
async def test_n8n_answers_in_every_way_it_can(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n, workflow: str, config: dict[str, Any]
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url(workflow), **config)
    heard = await visitor.say("a word")
    assert text_of(heard) == "You wrote: a word"
    assert heard[-1].data["status"] == "completed"
    opened, (sent,) = heard[0].data, n8n.received
    assert sent.body["turnId"] == opened["turn_id"]
    assert sent.body["sessionId"] == opened["session_id"]
    assert sent.body["conversationId"] == opened["conversation_id"]
    assert sent.body["message"] == "a word"
    assert SECRET not in json.dumps(sent.body)


@pytest.mark.parametrize(
    ("workflow", "config", "status", "code", "kept"),
    [
        ("error", {}, "failed", "persona_failed", "You wr"),
        ("cut", {}, "failed", "persona_cut_off", "You wr"),
        ("silent", {"time_limit_seconds": 1}, "timeout", "persona_timeout", "You wr"),
        ("slow", {"time_limit_seconds": 1}, "timeout", "persona_timeout", ""),
        ("html", {}, "failed", "persona_bad_answer", ""),
        ("empty", {}, "failed", "persona_bad_answer", ""),
        ("failing", {}, "failed", "persona_refused", ""),
        ("secured", {}, "failed", "persona_refused", ""),
        ("no-such-workflow", {}, "failed", "persona_refused", ""),
        ("huge", {}, "failed", "persona_too_large", None),
        ("bomb", {}, "failed", None, ""),
    ],
)
async def test_a_persona_that_fails_leaves_the_message_and_says_so(
    client: aiohttp.ClientSession,
    workspace: Workspace,
    n8n: N8n,
    workflow: str,
    config: dict[str, Any],
    status: str,
    code: str | None,
    kept: str | None,
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url(workflow), **config)
    heard = await visitor.say("a word")
    error = heard[-1]
    assert error.name == "error"
    assert error.data["title"]
    if code is not None:
        assert error.data["code"] == code
    turn = await workspace.row("select * from public.turns where id = $1", UUID(heard[0].data["turn_id"]))
    assert (turn["status"], turn["error_code"]) == (status, error.data["code"])
    messages = await workspace.database.fetch(
        "select role, text, partial from public.messages where turn_id = $1 order by created_at", turn["id"]
    )
    assert (messages[0]["role"], messages[0]["text"]) == ("contact", "a word")
    if kept is not None:
        said = [(row["text"], row["partial"]) for row in messages[1:]]
        assert said == ([(kept, True)] if kept else [])
        assert text_of(heard) == kept
    session = await workspace.row("select status from public.sessions where id = $1", turn["session_id"])
    assert session["status"] == "active", "a failed turn leaves its session alive"
    verbs = await workspace.database.fetch(
        "select verb, code from public.audit_events where object_id = $1", turn["id"]
    )
    assert [(row["verb"], row["code"]) for row in verbs] == [(f"turn.{status}", error.data["code"])]
    replayed = await visitor.resume(heard[0].data["turn_id"])
    assert replayed[-1].data == error.data


async def test_a_persona_that_is_down_is_unreachable(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    visitor = await ask_n8n(client, workspace, "http://127.0.0.1:9/webhook/x")
    heard = await visitor.say("a word")
    assert heard[-1].data["code"] == "persona_unreachable"
    assert heard[-1].data["retryable"] is True


async def test_a_persona_on_this_machine_is_refused_unless_the_workspace_allows_it(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("stream"))
    await workspace.database.execute("update public.workspaces set allowed_networks = '{}' where id = $1", workspace.id)
    heard = await visitor.say("a word")
    assert heard[-1].data["code"] == "persona_address_refused"
    assert n8n.received == []


async def test_a_persona_must_be_the_spaces_own(visitor: Visitor, workspace: Workspace) -> None:
    other = await workspace.add_persona("demo", {})
    before = await workspace.counts()
    async with visitor.post("hello", persona_id=str(other)) as response:
        assert response.status == 404
        assert (await problem(response))["code"] == "persona_not_found"
    assert await workspace.counts() == before
    assert (await visitor.say("hello", persona_id=str(workspace.persona_id)))[-1].name == "done"
