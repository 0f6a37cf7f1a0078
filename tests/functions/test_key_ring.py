"""Rotating the signing key: no chat ends, and the tokens of a removed key are refused, by functions and PostgREST."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack

import aiohttp
import jwt
import pytest_asyncio

from local import files, keys
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, another_process, until, until_healthy
from tests.functions.test_conversations import begun, following, take
from tests.unit.auth.test_signing import private_key

Trust = Callable[..., Awaitable[None]]


def ring(*of: Mapping[str, str]) -> str:
    """The setting, with the private half of the first key only."""
    older = [{name: value for name, value in key.items() if name != "d"} for key in of[1:]]
    return json.dumps({"keys": [of[0], *older]})


@pytest_asyncio.fixture
async def trust(stack: Stack) -> AsyncIterator[Trust]:
    """Lets PostgREST verify with these keys beside the secret, from its restart on: it caches verified tokens."""

    async def accept(signing_key: str | None = None) -> None:
        files.write_private(stack.layout.jwk_set_file, keys.jwk_set(stack.jwt_secret, signing_key))
        before = stack.pids()["postgrest"]
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(30):
            while stack.pids().get("postgrest", before) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    yield accept
    await accept()


async def test_a_rotated_key_ends_no_chat_and_a_removed_one_ends_its_tokens(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack, trust: Trust
) -> None:
    old, new = [json.loads(private_key(kid=name)[1]) for name in ("old", "new")]

    async def statuses(visitor: Visitor, at: aiohttp.ClientSession) -> set[int]:
        """Of reading the own messages at /rest/v1, and the own sessions from a process of the functions."""
        headers, found = {"apikey": stack.anon_key, **visitor.headers}, set[int]()
        for session, path in ((client, "/rest/v1/messages?select=id"), (at, "/chat-sessions")):
            async with session.get(path, headers=headers) as response:
                found.add(response.status)
        return found

    async with AsyncExitStack() as exits:

        async def process(setting: str) -> aiohttp.ClientSession:
            url = exits.enter_context(another_process(stack, SWITCHBOARD_SIGNING_KEY=setting))
            await until_healthy(url)
            return await exits.enter_async_context(aiohttp.ClientSession(url))

        async def reads(visitor: Visitor, at: aiohttp.ClientSession, expected: int) -> None:
            async def is_so() -> bool:
                return await statuses(visitor, at) == {expected}

            await until(is_so)

        await trust(ring(old))
        before = await process(ring(old))
        ann = Visitor(before, workspace.space_id)
        person, conversation_id, _, _ = await begun(ann)
        reading = await exits.enter_async_context(following(person, conversation_id))
        await take(reading, 3)

        await trust(ring(new, old))
        after = await process(ring(new, old))
        ann.client = after
        await ann.say("Still there?")
        asked, _ = await take(reading, 2)
        assert asked.data["text"] == "Still there?"
        ben = Visitor(after, workspace.space_id)
        await ben.say("Hello")
        assert [jwt.get_unverified_header(str(each.token))["kid"] for each in (ann, ben)] == ["old", "new"]
        for visitor in (ann, ben):
            await reads(visitor, after, 200)

        await trust(ring(new))
        last = await process(ring(new))
        await reads(ann, last, 401)
        await reads(ben, last, 200)
