"""Rotating the signing key: no chat ends, and the tokens of a removed key are refused, by functions and PostgREST."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack

import aiohttp
import jwt

from local import files, keys
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, another_process, until_healthy
from tests.functions.test_conversations import begun, following, take
from tests.unit.auth.test_signing import private_key


async def let_postgrest_trust(stack: Stack, signing_key: str | None) -> None:
    """Let PostgREST verify with these keys beside the secret, from its restart on: it caches verified tokens."""
    files.write_private(stack.layout.jwk_set_file, keys.jwk_set(stack.jwt_secret, signing_key))
    before = stack.pids()["postgrest"]
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(30):
        while stack.pids().get("postgrest", before) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_rotated_key_ends_no_chat_and_a_removed_one_ends_its_tokens(
    client: aiohttp.ClientSession, workspace: Workspace, stack: Stack
) -> None:
    old, new = [json.loads(private_key(kid=name)[1]) for name in ("old", "new")]
    async with AsyncExitStack() as exits:
        exits.push_async_callback(let_postgrest_trust, stack, None)

        async def deploy(*ring: Mapping[str, str]) -> aiohttp.ClientSession:
            setting = json.dumps({"keys": ring})
            await let_postgrest_trust(stack, setting)
            url = exits.enter_context(another_process(stack, SWITCHBOARD_SIGNING_KEY=setting))
            await until_healthy(url)
            return await exits.enter_async_context(aiohttp.ClientSession(url))

        async def statuses(visitor: Visitor, at: aiohttp.ClientSession) -> set[int]:
            """Of reading the own messages at /rest/v1, and the own sessions from a process of the functions."""
            headers, found = {"apikey": stack.anon_key, **visitor.headers}, set[int]()
            for session, path in ((client, "/rest/v1/messages?select=id"), (at, "/chat-sessions")):
                async with session.get(path, headers=headers) as response:
                    found.add(response.status)
            return found

        ann = Visitor(await deploy(old), workspace.space_id)
        person, conversation_id, _, _ = await begun(ann)
        reading = await exits.enter_async_context(following(person, conversation_id))
        await take(reading, 3)

        ann.client = rotated = await deploy(new, old)
        await ann.say("Still there?")
        assert (await take(reading, 1))[0].data["text"] == "Still there?"
        ben = Visitor(rotated, workspace.space_id)
        await ben.say("Hello")
        assert [jwt.get_unverified_header(str(each.token))["kid"] for each in (ann, ben)] == ["old", "new"]
        assert [await statuses(each, rotated) for each in (ann, ben)] == [{200}, {200}]

        removed = await deploy(new)
        assert [await statuses(each, removed) for each in (ann, ben)] == [{401}, {200}]
