"""Requests in the AI SDK's protocol over HTTP: bodies, repeats, resuming and origins.

Chats are test_use_chat's, which uses the package itself; the chunks are tests/unit/chat/test_ai_sdk.py's.
"""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, problem, sign_in
from tests.standins.openai import OpenAI

AI_SDK = {"protocol": "ai-sdk"}
ORIGIN = {"Origin": "https://shop.example"}


def body(text: str, **members: Any) -> dict[str, Any]:
    """A body as useChat sends it."""
    message = {"id": str(uuid4()), "role": "user", "parts": [{"type": "text", "text": text}]}
    return {"id": str(uuid4()), "messages": [message], "trigger": "submit-message", **members}


def post(visitor: Visitor, document: dict[str, Any], **options: Any) -> Any:
    """The request of a useChat body; a context manager of the response."""
    path = f"/space/{visitor.space_id}/chat/stream"
    return visitor.client.post(path, json=document, headers=visitor.headers, params=AI_SDK, **options)


async def test_a_body_of_use_chat_without_the_protocol_is_told_of_it(visitor: Visitor) -> None:
    path = f"/space/{visitor.space_id}/chat/stream"
    async with visitor.client.post(path, json=body("Hi")) as response:
        (fault,) = (await problem(response))["errors"]
    assert (fault["field"], "?protocol=ai-sdk" in fault["message"]) == ("messages", True)


def reconnect(visitor: Visitor, chat_id: str, **options: Any) -> Any:
    """The request of a useChat that resumes; a context manager of the response."""
    path = f"/space/{visitor.space_id}/chat/stream/{chat_id}/stream"
    return visitor.client.get(path, headers=visitor.headers, **options)


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
    raise AssertionError("the answer has no words")


async def say(visitor: Visitor, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Send a useChat body and read the whole answer; keeps a token that comes with it."""
    async with post(visitor, document) as response:
        heard = await read_all(response)
    for chunk in heard:
        if chunk["type"] == "data-switchboard":
            visitor.token = chunk["data"]["token"]
    return heard


async def test_a_body_of_the_protocol_holds_a_whole_chat(visitor: Visitor) -> None:
    path = f"/space/{visitor.space_id}/chat/stream"
    for size, params, status in ((1_000_000, AI_SDK, 200), (1_000_000, {}, 413), (4_500_000, AI_SDK, 413)):
        earlier = {"role": "assistant", "parts": [{"type": "text", "text": "x" * size}]}
        document = body("hello")
        document["messages"].insert(0, earlier)
        async with visitor.client.post(path, json=document, params=params) as response:
            assert response.status == status
            await response.read()


async def test_an_unknown_protocol_is_refused_and_leaves_nothing(visitor: Visitor, workspace: Workspace) -> None:
    await visitor.say("hello")
    before, path = await workspace.counts(), f"/space/{visitor.space_id}/chat/stream"
    for method, address in (("POST", path), ("GET", f"/turns/{uuid4()}/stream"), ("GET", f"{path}/chat/stream")):
        sent: dict[str, Any] = {"json": {"message": "hello"} if method == "POST" else None, "headers": visitor.headers}
        async with visitor.client.request(method, address, params={"protocol": "soap"}, **sent) as response:
            (fault,) = (await problem(response))["errors"]
            assert (response.status, fault["field"]) == (422, "protocol")
    assert await workspace.counts() == before


async def test_a_repeated_message_is_the_same_turn(visitor: Visitor, workspace: Workspace) -> None:
    document = body("hello")
    first = await say(visitor, document)
    again = await say(visitor, document)
    assert again[0]["messageId"] == first[0]["messageId"]
    assert text_of(again) == text_of(first)
    assert again[-1] == first[-1]
    assert [chunk["type"] for chunk in again] == ["start", "text-start", "text-delta", "text-end", "finish"]
    without_token = Visitor(visitor.client, visitor.space_id)
    assert (await say(without_token, document))[0]["messageId"] == first[0]["messageId"]
    assert without_token.token is not None
    assert (await workspace.counts())["turns"] == 1


async def test_a_chat_is_resumed_during_its_turn_only_and_in_either_protocol(
    held_visitor: Visitor, openai: OpenAI
) -> None:
    async with reconnect(held_visitor, "any", params=AI_SDK) as response:
        assert (response.status, await response.read()) == (204, b"")
    async with post(held_visitor, body("hello")) as response:
        turn_id = await begun(response)
        response.close()
    async with reconnect(held_visitor, "any", params=AI_SDK) as response, reconnect(held_visitor, "any") as ours:
        await openai.release()
        resumed, text = await read_all(response), await ours.text()
    assert (resumed[0]["messageId"], resumed[-1]["type"]) == (turn_id, "finish")
    assert text_of(resumed) == "You wrote: hello"
    assert "token" not in json.dumps(resumed)
    assert text.startswith(f'id: 0\nevent: turn\ndata: {{"turn_id":"{turn_id}"')
    assert "event: done" in text
    async with reconnect(held_visitor, "any", params=AI_SDK) as response:
        assert response.status == 204
    # This protocol has no positions: a turn is replayed whole.
    for after, header in (({"after": "3"}, {}), ({}, {"Last-Event-ID": "3"})):
        path, headers = f"/turns/{turn_id}/stream", {**held_visitor.headers, **header}
        async with held_visitor.client.get(path, headers=headers, params=AI_SDK | after) as response:
            assert text_of(await read_all(response)) == "You wrote: hello"


async def test_only_the_contact_or_user_of_a_chat_resumes_it(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack, held_visitor: Visitor, openai: OpenAI
) -> None:
    space_id = held_visitor.space_id
    user = Visitor(client, space_id, await sign_in(client, stack, "visitor@demo.test"))
    other = Visitor(client, workspace.space_id)
    await other.say("hello")
    async with post(held_visitor, body("hello")) as response, post(user, body("hello", id="my chat")) as users:
        await begun(response)
        await begun(users)
        for stranger, chat_id, status in (
            (Visitor(client, space_id, other.token), "my chat", 204),
            (Visitor(client, space_id, await sign_in(client, stack, "owner@demo.test")), "my chat", 204),
            (Visitor(client, space_id), "my chat", 204),
            (user, "another chat", 204),
            # The same chat id at another persona is another conversation.
            (Visitor(client, workspace.space_id, user.token), "my chat", 204),
            (Visitor(client, space_id, "x"), "my chat", 401),
            *((user, chat_id, 204) for chat_id in ("%00", "a%09b", "x" * 201, "%F0%9F%98%80", "main")),
        ):
            async with reconnect(stranger, chat_id, params=AI_SDK) as nothing:
                assert nothing.status == status
        async with reconnect(user, "my chat", params=AI_SDK) as mine:
            await openai.release()
            assert (await read_all(mine))[-1]["type"] == "finish"


async def test_an_allowed_origin_reads_the_stream_and_its_headers(
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
            assert response.headers["Access-Control-Allow-Headers"].startswith("authorization, content-type")
            assert "Access-Control-Allow-Credentials" not in response.headers
    async with client.post(path, json=body("hello"), params=AI_SDK, headers=ORIGIN) as response:
        assert "x-vercel-ai-ui-message-stream" in response.headers["Access-Control-Expose-Headers"]
        await read_all(response)
    async with client.get(f"{path}/any/stream", params=AI_SDK, headers=ORIGIN) as response:
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN["Origin"])
