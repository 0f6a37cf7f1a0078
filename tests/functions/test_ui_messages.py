"""Chatting in the AI SDK's protocol, over HTTP. tests/functions/test_use_chat.py does it with the package itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, ask_n8n, problem, sign_in, slow_visitor
from tests.standins.n8n import N8n

AI_SDK = {"protocol": "ai-sdk"}
ACCEPT = {"Accept": "text/event-stream; protocol=ai-sdk"}
ORIGIN = {"Origin": "https://shop.example"}


def body(text: str, **members: Any) -> dict[str, Any]:
    """What useChat sends."""
    message = {"id": str(uuid4()), "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": str(uuid4()), "messages": [message], "trigger": "submit-message", **members}


def post(visitor: Visitor, document: dict[str, Any], **options: Any) -> Any:
    """The request of a useChat body; a context manager of the response."""
    path = f"/space/{visitor.space_id}/chat/stream"
    return visitor.client.post(path, json=document, headers=visitor.headers, params=AI_SDK, **options)


def reconnect(visitor: Visitor, chat_id: str, **headers: str) -> Any:
    """The request of a useChat that resumes; a context manager of the response."""
    path = f"/space/{visitor.space_id}/chat/stream/{chat_id}/stream"
    return visitor.client.get(path, headers=visitor.headers | headers, params=AI_SDK)


async def read(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a UI message stream, up to its [DONE]."""
    assert response.status == 200, await response.text()
    assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    async for raw in response.content:
        line = raw.decode().strip()
        if line == "data: [DONE]":
            return
        assert line == "" or line.startswith(("data: ", ":")), f"no names, no ids: {line}"
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream ended without [DONE]")


async def read_all(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    """All chunks."""
    return [chunk async for chunk in read(response)]


async def say(visitor: Visitor, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Send a useChat body and hear the answer out; a token that comes along is kept."""
    async with post(visitor, document) as response:
        heard = await read_all(response)
    for chunk in heard:
        if chunk["type"] == "data-switchboard":
            visitor.token = chunk["data"]["token"]
    return heard


def text_of(chunks: list[dict[str, Any]]) -> str:
    """The answer in the deltas."""
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


async def begun(response: aiohttp.ClientResponse) -> str:
    """Read up to the first word; the turn's id."""
    turn_id = ""
    async for chunk in read(response):
        turn_id = str(chunk.get("messageId", turn_id))
        if chunk["type"] == "text-delta":
            return turn_id
    raise AssertionError("nothing was said")


async def test_an_answer_is_a_message_with_the_turns_id(visitor: Visitor, workspace: Workspace) -> None:
    heard = await say(visitor, body("hello there"))
    assert [chunk["type"] for chunk in heard[:3]] == ["start", "data-switchboard", "text-start"]
    assert [chunk["type"] for chunk in heard[-2:]] == ["text-end", "finish"]
    assert "hello there" in text_of(heard)
    turn = await workspace.row("select * from public.turns where id = $1", UUID(heard[0]["messageId"]))
    assert turn["status"] == "completed"
    assert heard[0]["messageMetadata"]["conversation_id"] == str(turn["conversation_id"])
    assert heard[-1]["messageMetadata"]["status"] == "completed"
    assert heard[-1]["messageMetadata"]["usage"]["messages_seen"] == 1

    again = await say(visitor, body("and again"))
    assert again[0]["messageMetadata"]["conversation_id"] == str(turn["conversation_id"])
    assert "2 earlier messages" in text_of(again)
    assert "data-switchboard" not in [chunk["type"] for chunk in again]


async def test_the_protocol_may_stand_in_accept_and_our_own_body_goes_with_it(visitor: Visitor) -> None:
    path = f"/space/{visitor.space_id}/chat/stream"
    for document in (body("hello"), {"message": "hello"}):
        async with visitor.client.post(path, json=document, headers=ACCEPT) as response:
            assert "hello" in text_of(await read_all(response))


async def test_an_unknown_protocol_is_refused_and_leaves_nothing_behind(visitor: Visitor, workspace: Workspace) -> None:
    before = await workspace.counts()
    path = f"/space/{visitor.space_id}/chat/stream"
    for query, headers in (("?protocol=soap", {}), ("", {"Accept": "text/event-stream; protocol=soap"})):
        async with visitor.client.post(path + query, json={"message": "hello"}, headers=headers) as response:
            assert response.status == 422
            (fault,) = (await problem(response))["errors"]
            assert fault == {"field": "protocol", "message": "must be events or ai-sdk"}
    for other in (f"/turns/{uuid4()}/stream", f"{path}/chat/stream"):
        async with visitor.client.get(other, params={"protocol": "soap"}) as response:
            assert response.status == 422
    assert await workspace.counts() == before


async def test_a_body_that_is_not_text_alone_is_refused(visitor: Visitor, workspace: Workspace) -> None:
    before = await workspace.counts()
    file = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="}
    document = body("look")
    document["messages"][0]["parts"].append(file)
    async with post(visitor, document) as response:
        assert response.status == 422
        (fault,) = (await problem(response))["errors"]
        assert fault["field"] == "messages.0.parts.1"
        assert "file" in fault["message"]
    assert await workspace.counts() == before


async def test_the_same_message_sent_again_is_the_same_turn(visitor: Visitor, workspace: Workspace) -> None:
    document = body("hello")
    first = await say(visitor, document)
    again = await say(visitor, document)
    assert again[0]["messageId"] == first[0]["messageId"]
    assert text_of(again) == text_of(first)
    assert again[-1] == first[-1]
    assert [chunk["type"] for chunk in again] == ["start", "text-start", "text-delta", "text-end", "finish"]
    without_token = Visitor(visitor.client, visitor.space_id)
    assert (await say(without_token, document))[0]["messageId"] == first[0]["messageId"]
    assert without_token.token is not None, "whoever lost the first answer gets the token with the second"
    assert (await workspace.counts())["turns"] == 1


async def test_a_regenerated_answer_is_a_new_turn(visitor: Visitor, workspace: Workspace) -> None:
    document = body("hello")
    first = await say(visitor, document)
    second = await say(visitor, {**document, "trigger": "regenerate-message"})
    assert second[0]["messageId"] != first[0]["messageId"]
    assert second[0]["messageMetadata"]["conversation_id"] == first[0]["messageMetadata"]["conversation_id"]
    assert (await workspace.counts())["turns"] == 2


async def test_a_failure_is_an_error_with_its_code_in_the_metadata(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("cut"))
    heard = await say(visitor, body("a word"))
    assert [chunk["type"] for chunk in heard[-3:]] == ["text-end", "message-metadata", "error"]
    assert heard[-1] == {"type": "error", "errorText": "The answer broke off."}
    assert heard[-2]["messageMetadata"]["error"]["code"] == "persona_cut_off"
    async with client.get(
        f"/turns/{heard[0]['messageId']}/stream", headers=visitor.headers | ACCEPT, params={"after": "3"}
    ) as response:
        replayed = await read_all(response)
    assert replayed[-1] == heard[-1]
    assert text_of(replayed) == text_of(heard), "the protocol has no positions: always from the beginning"


async def test_a_chat_is_resumed_while_its_turn_goes_on_and_not_after(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    visitor = await slow_visitor(client, workspace)
    async with reconnect(visitor, "any") as response:
        assert (response.status, await response.read()) == (204, b"")
    async with post(visitor, body("hello")) as response:
        turn_id = await begun(response)
        response.close()
    async with reconnect(visitor, "any") as response:
        resumed = await read_all(response)
    assert resumed[0]["messageId"] == turn_id
    assert resumed[-1]["type"] == "finish"
    stored = await workspace.row(
        "select text from public.messages where turn_id = $1 and role = 'persona'", UUID(turn_id)
    )
    assert text_of(resumed) == stored["text"]
    assert "token" not in json.dumps(resumed)
    async with reconnect(visitor, "any") as response:
        assert response.status == 204


async def test_a_chat_may_be_resumed_in_our_own_events_too(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    visitor = await slow_visitor(client, workspace)
    async with post(visitor, body("hello")) as response:
        turn_id = await begun(response)
        response.close()
    path = f"/space/{visitor.space_id}/chat/stream/any/stream"
    async with client.get(path, headers=visitor.headers) as response:
        assert response.status == 200
        text = await response.text()
    assert text.startswith(f'id: 0\nevent: turn\ndata: {{"turn_id":"{turn_id}"')
    assert "event: done" in text


async def test_nobody_resumes_what_is_not_theirs(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    visitor = await slow_visitor(client, workspace, delay_ms=250)
    user = Visitor(client, visitor.space_id, await sign_in(client, stack, "visitor@demo.test"))
    member = Visitor(client, visitor.space_id, await sign_in(client, stack, "owner@demo.test"))
    other = await slow_visitor(client, workspace)
    async with post(visitor, body("hello")) as response, post(user, body("hello", id="my chat")) as users:
        await asyncio.gather(begun(response), begun(users))
        for stranger in (other, member, Visitor(client, visitor.space_id)):
            async with reconnect(stranger, "my chat") as nothing:
                assert nothing.status == 204
        async with reconnect(user, "another chat") as nothing:
            assert nothing.status == 204
        elsewhere = Visitor(client, other.space_id, user.token)
        async with reconnect(elsewhere, "my chat") as nothing:
            assert nothing.status == 204, "the same chat id at another persona is another conversation"
        async with reconnect(Visitor(client, visitor.space_id, "x"), "my chat") as refused:
            assert refused.status == 401
        response.close()
        async with reconnect(user, "my chat") as mine:
            assert (await read_all(mine))[-1]["type"] == "finish"
        users.close()


@pytest.mark.parametrize("chat_id", ["%00", "a%09b", "x" * 201, "%F0%9F%98%80", "main"])
async def test_no_chats_id_breaks_anything(visitor: Visitor, stack: Stack, chat_id: str) -> None:
    await say(visitor, body("hello"))
    user = Visitor(visitor.client, visitor.space_id, await sign_in(visitor.client, stack, "visitor@demo.test"))
    for caller in (visitor, user):
        async with reconnect(caller, chat_id) as response:
            assert response.status == 204


async def test_each_chat_of_a_signed_in_user_is_a_conversation_of_its_own(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    user = Visitor(client, workspace.space_id, await sign_in(client, stack, "visitor@demo.test"))
    one = await say(user, body("one", id="chat one"))
    two = await say(user, body("two", id="chat two"))
    three = await say(user, body("three", id="chat one"))
    conversations = [heard[0]["messageMetadata"]["conversation_id"] for heard in (one, two, three)]
    assert conversations[0] == conversations[2] != conversations[1]
    assert "2 earlier messages" in text_of(three)
    assert "first message" in text_of(two)


async def test_a_page_of_the_space_may_read_the_stream_and_its_headers(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    visitor = Visitor(client, await workspace.add_space(allowed_origins=[ORIGIN["Origin"]]))
    path = f"/space/{visitor.space_id}/chat/stream"
    for address, method in ((path, "POST"), (f"{path}/any/stream", "GET")):
        asked = ORIGIN | {
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        async with client.options(f"{address}?protocol=ai-sdk", headers=asked) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
            assert response.headers["Access-Control-Allow-Methods"] == method
    async with client.post(path, json=body("hello"), params=AI_SDK, headers=ORIGIN) as response:
        assert "x-vercel-ai-ui-message-stream" in response.headers["Access-Control-Expose-Headers"]
        await read_all(response)
    async with client.get(f"{path}/any/stream", params=AI_SDK, headers=ORIGIN) as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN["Origin"])
