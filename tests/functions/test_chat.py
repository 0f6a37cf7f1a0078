"""Chatting over HTTP: streams, replays and refusals.

Failing personas are test_personas's; the conversation that a message reaches is tests/database's.
"""

import asyncio
import json
from uuid import UUID, uuid4

import aiohttp

from local.stack import Stack
from tests import events
from tests.events import text_of
from tests.functions.conftest import Visitor, Workspace, problem, sign_in
from tests.standins.openai import OpenAI


async def test_an_answer_streams_and_is_stored(visitor: Visitor, workspace: Workspace) -> None:
    heard = await visitor.say("hello there", metadata={"page": "/prices"})
    opened, *deltas, done = heard
    assert (opened.name, opened.id) == ("turn", "0")
    assert {delta.name for delta in deltas} == {"delta"}
    text = text_of(heard)
    assert "hello there" in text
    assert [int(delta.id) for delta in deltas] == [len(text_of(deltas[: n + 1])) for n in range(len(deltas))]
    assert (done.name, int(done.id)) == ("done", len(text) + 1)
    assert (done.data["status"], done.data["text_length"]) == ("completed", len(text))
    turn = await workspace.row("select * from public.turns where id = $1", UUID(opened.data["turn_id"]))
    assert (turn["status"], turn["first_token_ms"] >= 0) == ("completed", True)
    messages = await workspace.database.fetch(
        "select id::text, role, text, partial, metadata from public.messages where turn_id = $1 order by id", turn["id"]
    )
    assert [tuple(row)[1:4] for row in messages] == [("contact", "hello there", False), ("persona", text, False)]
    assert json.loads(messages[0]["metadata"]) == {"page": "/prices"}
    assert messages[1]["id"] == done.data["message_id"]
    session = await workspace.row("select * from public.sessions where id = $1", turn["session_id"])
    assert (session["status"], session["turn_count"], session["message_count"]) == ("active", 1, 2)
    assert json.loads(session["metadata"])["user_agent"].startswith("Python")


async def test_the_token_of_the_first_message_continues_its_conversation(
    visitor: Visitor, workspace: Workspace
) -> None:
    first, second = await visitor.say("one"), await visitor.say("two")
    assert first[0].data["token"]
    assert "token" not in second[0].data
    for name in ("session_id", "conversation_id", "contact_id"):
        assert second[0].data[name] == first[0].data[name]
    assert "2 earlier messages" in text_of(second)
    counts = await workspace.counts()
    assert (counts["contacts"], counts["sessions"], counts["turns"], counts["messages"]) == (1, 1, 2, 4)


async def test_a_repeated_message_replays_the_same_turn(visitor: Visitor, workspace: Workspace) -> None:
    message_id = str(uuid4())
    many = [Visitor(visitor.client, visitor.space_id) for _ in range(8)]
    heard = await asyncio.gather(*(one.say("hello", client_message_id=message_id) for one in many))
    heard.append(await many[0].say("hello", clientMessageId=message_id))
    assert len({(answer[0].data["turn_id"], text_of(answer)) for answer in heard}) == 1
    assert [answer[-1] for answer in heard] == [heard[0][-1]] * 9
    assert heard[0][-1].name == "done"
    counts = await workspace.counts()
    assert (counts["turns"], counts["messages"], counts["contacts"]) == (1, 2, 1)


async def test_a_second_message_during_a_turn_is_refused_with_a_hint(
    workspace: Workspace, held_visitor: Visitor, openai: OpenAI
) -> None:
    async with held_visitor.post("first") as response:
        await events.read_up_to(events.read(response), "You wrote:")
        before = await workspace.counts()
        async with held_visitor.post("second") as refused:
            assert refused.status == 409
            document = await problem(refused)
            assert document["code"] == "turn_in_progress"
            assert int(refused.headers["retry-after"]) == document["retry_after"] >= 1
        assert await workspace.counts() == before
        await openai.release()
        await response.read()
    assert (await held_visitor.say("third"))[-1].name == "done"


async def test_a_turn_outlives_its_reader_and_is_replayed_from_any_position(
    held_visitor: Visitor, openai: OpenAI
) -> None:
    async with held_visitor.post("hello") as response:
        heard = await events.read_up_to(events.read(response), "You wrote:")
        response.close()
    turn_id, whole = heard[0].data["turn_id"], "You wrote: hello"
    await openai.release()
    rest = await held_visitor.resume(turn_id, after=int(heard[-1].id))
    assert ([event.name for event in rest], text_of(heard + rest)) == (["delta", "done"], whole)
    assert rest[-1].data["status"] == "completed"
    replayed = await held_visitor.resume(turn_id)
    assert [event.name for event in replayed] == ["turn", "delta", "done"]
    assert (text_of(replayed), replayed[-1]) == (whole, rest[-1])
    path = f"/turns/{turn_id}/stream?after=5"
    async with held_visitor.client.get(path, headers=held_visitor.headers) as response:
        assert text_of(await events.read_all(response)) == whole[5:]
    for end, status in ((len(whole) + 1, 204), (len(whole), 200), (len(whole) + 2, 200)):
        for header, query in (({"Last-Event-ID": str(end)}, ""), ({}, f"?after={end}")):
            headers, path = held_visitor.headers | header, f"/turns/{turn_id}/stream{query}"
            async with held_visitor.client.get(path, headers=headers) as response:
                heard = await events.read_all(response)
                assert (response.status, heard) == (status, [] if status == 204 else [rest[-1]])


async def test_a_user_finds_their_conversation_and_a_member_has_no_contact(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    token = await sign_in(client, stack, "visitor@demo.test")
    first, again = [await Visitor(client, workspace.space_id, token).say(text) for text in ("one", "two")]
    assert again[0].data["conversation_id"] == first[0].data["conversation_id"]
    assert "token" not in first[0].data
    reader = Visitor(client, workspace.space_id, token)
    assert text_of(await reader.resume(first[0].data["turn_id"])) == text_of(first)
    identity = await workspace.row(
        "select key, evidence from public.contact_identities where workspace_id = $1 and kind = 'email'", workspace.id
    )
    assert identity == {"key": "visitor@demo.test", "evidence": "verified"}
    member = Visitor(client, UUID(str(stack.space_id)), await sign_in(client, stack, "owner@demo.test"))
    heard = await member.say("what is new?", thread_key=str(uuid4()))
    assert (heard[0].data["contact_id"], "token" in heard[0].data) == (None, False)
