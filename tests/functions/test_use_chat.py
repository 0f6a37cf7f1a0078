"""The AI SDK itself against the functions: `useChat` in React, and the `ai` package without it, in Node."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from local.paths import REPOSITORY
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, ask_n8n, sign_in, slow_visitor
from tests.standins.n8n import N8n, line

SCRIPT = Path(__file__).with_name("use_chat.mjs")
HELD_WORDS = ("One", " two", " three.")
HELD_ANSWER = "One two three."
STREAMS = REPOSITORY / "docs" / "streams.md"


async def use_chat(stack: Stack, scenario: str, space_id: UUID, **given: Any) -> dict[str, Any]:
    """What a scenario of use_chat.mjs saw. Not waited for in a blocking way: stand-ins live in this process."""
    argument = json.dumps({"url": stack.api_url, "space": str(space_id), **given}, default=str)
    process = await asyncio.create_subprocess_exec(
        "node", SCRIPT, scenario, argument, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    seen: dict[str, Any] = json.loads(out)
    return seen


@dataclass(frozen=True)
class Held:
    """A workflow that says a first word, waits until the address ``go`` is asked for, and then says the rest."""

    url: str
    go: str


@pytest_asyncio.fixture
async def held() -> AsyncIterator[Held]:
    """A workflow whose answer lasts as long as a test needs it to."""
    going = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        first, *rest = HELD_WORDS
        await response.write(line("begin") + line("item", first))
        await going.wait()
        for word in rest:
            await response.write(line("item", word))
            # Longer than a flush and a look at it: whoever follows sees each word by itself.
            await asyncio.sleep(2)
        await response.write(line("end"))
        return response

    async def go(_: web.Request) -> web.Response:
        going.set()
        return web.Response()

    application = web.Application()
    application.router.add_post("/webhook/held", answer)
    application.router.add_get("/go", go)
    async with TestServer(application, host="127.0.0.1") as server:
        yield Held(str(server.make_url("/webhook/held")), str(server.make_url("/go")))
        going.set()


async def stored_answer(workspace: Workspace, turn_id: str) -> tuple[str, str]:
    """A turn's status and its answer, once it is over."""
    query = """
        select t.status::text, m.text
          from public.turns t left join public.messages m on m.turn_id = t.id and m.role = 'persona'
         where t.id = $1"""
    for _ in range(200):
        row = await workspace.row(query, UUID(turn_id))
        if row["status"] != "active":
            return row["status"], row["text"]
        await asyncio.sleep(0.05)
    raise AssertionError("the turn never ended")


async def test_use_chat_talks_and_goes_on_with_the_token(stack: Stack, workspace: Workspace) -> None:
    seen = await use_chat(stack, "talk", workspace.space_id, texts=["hello there", "and again"])
    assert (seen["status"], seen["error"]) == ("ready", None)
    assert seen["statuses"] == ["ready", *["submitted", "streaming", "ready"] * 2]
    asked, answered, again, answered_again = seen["messages"]
    assert [message["role"] for message in seen["messages"]] == ["user", "assistant", "user", "assistant"]
    assert "hello there" in seen["texts"][1]
    assert "2 earlier messages" in seen["texts"][3], "the second message is of the same conversation"
    assert answered["metadata"]["conversation_id"] == answered_again["metadata"]["conversation_id"]
    assert answered["metadata"]["status"] == "completed"
    for asking, answer in ((asked, answered), (again, answered_again)):
        assert await stored_answer(workspace, answer["id"]) == ("completed", answer["parts"][0]["text"])
        turn = await workspace.row("select client_message_id from public.turns where id = $1", UUID(answer["id"]))
        assert turn["client_message_id"] == asking["id"]
    (told,) = seen["data"]
    assert (told["type"], told["data"].keys()) == ("data-switchboard", {"token"})
    assert told["data"]["token"] not in json.dumps(seen["messages"])


async def test_use_chat_shows_an_answer_while_it_is_being_given(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace
) -> None:
    visitor = await slow_visitor(client, workspace)
    seen = await use_chat(stack, "talk", visitor.space_id, token=visitor.token, texts=["hello"])
    texts = [state["text"] for state in seen["growing"] if state["text"]]
    assert len(set(texts)) > 5
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert seen["growing"][-1]["at"] - seen["growing"][0]["at"] > 500
    assert seen["data"] == [], "who has a token is told no other"


async def test_what_an_app_adds_to_the_body_does_not_disturb_and_our_fields_are_taken(
    stack: Stack, workspace: Workspace
) -> None:
    transport = {"body": {"model": "x", "email": "ana@example.com", "metadata": {"page": "/prices"}}}
    seen = await use_chat(stack, "talk", workspace.space_id, texts=["hello"], transport=transport)
    contact_id = UUID(seen["messages"][1]["metadata"]["contact_id"])
    identity = await workspace.row("select value from public.contact_identities where contact_id = $1", contact_id)
    assert identity["value"] == "ana@example.com"
    said = await workspace.row("select metadata from public.messages where contact_id = $1", contact_id)
    assert json.loads(said["metadata"]) == {"page": "/prices"}


async def test_use_chat_is_in_error_when_the_persona_fails(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("cut"))
    seen = await use_chat(stack, "talk", visitor.space_id, texts=["a word"])
    assert (seen["status"], seen["error"]) == ("error", "The answer broke off.")
    failed = seen["messages"][1]
    assert seen["texts"][1] == "You wr", "what was said stays"
    assert failed["parts"][0]["state"] == "done"
    assert failed["metadata"]["error"] == {
        "code": "persona_cut_off", "title": "The answer broke off.", "retryable": True,
    }  # fmt: skip
    assert await stored_answer(workspace, failed["id"]) == ("failed", "You wr")


async def test_use_chat_shows_a_refusal_as_its_problem(stack: Stack, workspace: Workspace) -> None:
    seen = await use_chat(stack, "files", workspace.space_id)
    assert seen["status"] == "error"
    refused = json.loads(seen["error"])
    assert (refused["status"], refused["code"]) == (422, "invalid_body")
    assert refused["errors"][0]["field"] == "messages.0.parts.0"


@pytest.mark.parametrize("kept", ["the message", "the message and half an answer"])
async def test_use_chat_resumes_after_a_reload(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, held: Held, kept: str
) -> None:
    visitor = await ask_n8n(client, workspace, held.url, time_limit_seconds=60)
    left = await use_chat(stack, "leave", visitor.space_id, text="hello")
    messages = left["messages"] if kept != "the message" else left["messages"][:1]
    again = {"token": left["data"][0]["data"]["token"], "id": "after the reload"}
    seen = await use_chat(stack, "resume", visitor.space_id, active=True, go=held.go, messages=messages, **again)
    asked, answer = seen["messages"]
    assert asked == left["messages"][0]
    assert answer["id"] == left["messages"][1]["id"]
    assert (seen["status"], answer["metadata"]["status"]) == ("ready", "completed")
    assert seen["texts"][1] == HELD_ANSWER
    assert await stored_answer(workspace, answer["id"]) == ("completed", HELD_ANSWER)
    assert len({state["text"] for state in seen["growing"]}) > 2, "it follows while the turn goes on"
    assert seen["answers"] == [["GET", 200]]

    later = await use_chat(stack, "resume", visitor.space_id, active=False, messages=seen["messages"], **again)
    assert (later["status"], later["error"], later["statuses"]) == ("ready", None, ["ready"])
    assert later["texts"] == seen["texts"]
    assert later["answers"] == [["GET", 204]]


async def test_use_chat_finds_nothing_to_resume_for_whoever_is_new(stack: Stack, workspace: Workspace) -> None:
    seen = await use_chat(stack, "resume", workspace.space_id, active=False)
    assert (seen["status"], seen["error"], seen["messages"]) == ("ready", None, [])


async def test_stop_ends_the_reading_and_not_the_answer(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace
) -> None:
    visitor = await slow_visitor(client, workspace, delay_ms=200)
    seen = await use_chat(stack, "stop", visitor.space_id, token=visitor.token, text="hello", then="and?")
    assert (seen["status"], seen["error"]) == ("ready", None)
    status, text = await stored_answer(workspace, seen["messages"][1]["id"])
    assert status == "completed"
    assert text.startswith(seen["texts"][1])
    assert len(text) > len(seen["texts"][1])
    refused = json.loads(seen["then"]["error"])
    assert (refused["code"], refused["turn_id"]) == ("turn_in_progress", seen["messages"][1]["id"])


async def test_a_regenerated_answer_takes_the_place_of_the_one_before(stack: Stack, workspace: Workspace) -> None:
    seen = await use_chat(stack, "regenerate", workspace.space_id, text="hello")
    before, after = seen["before"]["messages"], seen["after"]["messages"]
    assert [message["role"] for message in after] == ["user", "assistant"]
    assert after[0] == before[0]
    assert after[1]["id"] != before[1]["id"]
    assert "2 earlier messages" in seen["after"]["texts"][1], "the conversation keeps both"
    assert (await workspace.counts())["turns"] == 2


async def test_an_edited_message_is_answered_anew(stack: Stack, workspace: Workspace) -> None:
    seen = await use_chat(stack, "edit", workspace.space_id, text="hello", edited="good evening")
    assert seen["after"]["texts"][0] == "good evening"
    assert "good evening" in seen["after"]["texts"][1]
    assert seen["after"]["messages"][1]["id"] != seen["before"]["messages"][1]["id"]


async def test_each_chat_of_a_signed_in_user_is_a_conversation(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace
) -> None:
    token = await sign_in(client, stack, "visitor@demo.test")
    one, two = str(uuid4()), str(uuid4())
    chats = [
        await use_chat(stack, "talk", workspace.space_id, token=token, id=chat, texts=[text])
        for chat, text in ((one, "about one"), (two, "about two"), (one, "one again"))
    ]
    conversations = [chat["messages"][1]["metadata"]["conversation_id"] for chat in chats]
    assert conversations[0] == conversations[2] != conversations[1]
    assert "first message" in chats[1]["texts"][1]
    assert "about one" in chats[2]["texts"][1]


async def test_a_signed_in_user_resumes_the_chat_that_is_open(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, held: Held
) -> None:
    space_id = (await ask_n8n(client, workspace, held.url, time_limit_seconds=60)).space_id
    token = await sign_in(client, stack, "visitor@demo.test")
    left = await use_chat(stack, "leave", space_id, token=token, id="a chat", text="hello")
    given = {"token": token, "messages": left["messages"][:1]}
    other = await use_chat(stack, "resume", space_id, active=False, id="another chat", **given)
    same = await use_chat(stack, "resume", space_id, active=True, go=held.go, id="a chat", **given)
    assert (len(other["messages"]), other["answers"]) == (1, [["GET", 204]])
    assert same["messages"][1]["id"] == left["messages"][1]["id"]
    assert same["texts"][1] == HELD_ANSWER


async def test_the_package_reads_a_stream_without_react(stack: Stack, workspace: Workspace) -> None:
    seen = await use_chat(stack, "read", workspace.space_id, text="hello")
    assert "hello" in seen["texts"][-1]
    assert len(set(seen["texts"])) > 5


async def test_the_first_release_chats_and_resumes_with_the_protocol_in_accept(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace
) -> None:
    visitor = await slow_visitor(client, workspace)
    seen = await use_chat(stack, "first", visitor.space_id, token=visitor.token, text="hello")
    (part,) = seen["resumed"]["parts"]
    assert await stored_answer(workspace, seen["resumed"]["id"]) == ("completed", part["text"])
    assert seen["after"] is None


async def test_the_page_of_the_docs_works_as_it_stands(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, tmp_path: Path
) -> None:
    persona_id = await workspace.add_persona("demo", {"delay_ms": 60})
    space_id = await workspace.add_space(persona_id=persona_id)
    written = re.search(r"```jsx\n(.*?)```", STREAMS.read_text(), re.DOTALL)
    assert written is not None
    page = written[1].replace("https://chat.example", stack.api_url).replace("SPACE", str(space_id))
    assert (page.count(stack.api_url), page.count(str(space_id))) == (1, 1)
    (tmp_path / "page.jsx").write_text(page)
    # So that the page finds the same React as the script that shows it.
    os.symlink(REPOSITORY / "node_modules", tmp_path / "node_modules")
    esbuild = await asyncio.create_subprocess_exec(
        REPOSITORY / "node_modules" / ".bin" / "esbuild", "page.jsx", "--jsx=automatic", "--outfile=page.mjs",
        "--log-level=warning", cwd=tmp_path,
    )  # fmt: skip
    assert await esbuild.wait() == 0

    given = {"texts": ["hello", "again"], "long": "word " * 200}
    seen = await use_chat(stack, "page", space_id, module=tmp_path / "page.mjs", **given)

    assert [seen["before"][0], seen["before"][2]] == ["hello", "again"]
    assert "hello" in seen["before"][1]
    assert "2 earlier messages" in seen["before"][3]
    assert len(seen["shown"]) > 10, "words are shown as they come"
    assert seen["then"]["refused"] is None, "the answer has ended when the page takes the next message"
    turns = await workspace.database.fetch(
        """
        select t.status::text, m.text
          from public.turns t left join public.messages m on m.turn_id = t.id and m.role = 'persona'
         where t.workspace_id = $1 order by t.id""",
        workspace.id,
    )
    assert [turn["status"] for turn in turns] == ["completed", "completed", "cancelled", "completed", "completed"]
    texts = [turn["text"] for turn in turns]
    assert texts[:2] == seen["before"][1::2]
    assert texts[2].startswith(seen["stopped"]), "what was seen of the answer that was stopped is kept"
    assert seen["then"]["lines"] == ["at once", texts[3]]
    assert texts[4].startswith(seen["left"])
    assert seen["after"] == [texts[4]], "what is shown in the end is what is stored"


async def test_a_cancel_beside_stop_ends_the_answer_itself(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace
) -> None:
    visitor = await slow_visitor(client, workspace, delay_ms=150)
    given = {"token": visitor.token, "text": "hello", "cancel": True, "then": "and?"}
    seen = await use_chat(stack, "stop", visitor.space_id, **given)
    assert (seen["status"], seen["error"]) == ("ready", None)
    turn_id, read = seen["messages"][1]["id"], seen["texts"][1]
    status, text = await stored_answer(workspace, turn_id)
    assert status == "cancelled"
    assert text.startswith(read), "what was seen is kept"
    code, answer = seen["cancel"]
    assert (code, answer["turn_id"], answer["status"], answer["text_length"]) == (200, turn_id, "cancelled", len(text))
    assert (seen["then"]["status"], seen["then"]["error"]) == ("ready", None), "the next message is not refused"

    path = f"{stack.api_url}/turns/{turn_id}/stream?protocol=ai-sdk"
    async with client.get(path, headers=visitor.headers) as response:
        *_, outcome, abort, done = (await response.text()).removesuffix("\n\n").split("\n\n")
    assert '"status":"cancelled"' in outcome
    assert (abort, done) == ('data: {"type":"abort"}', "data: [DONE]")


async def test_where_a_message_may_interrupt_the_next_one_needs_no_cancel(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace
) -> None:
    persona_id = await workspace.add_persona("demo", {"delay_ms": 100}, turn_policy="interrupt")
    visitor = Visitor(client, await workspace.add_space(persona_id=persona_id))
    await visitor.say("hello")
    seen = await use_chat(stack, "stop", visitor.space_id, token=visitor.token, text="tell me", then="wait")
    first, second = seen["messages"][1], seen["then"]["messages"][3]
    assert (await stored_answer(workspace, first["id"]))[0] == "cancelled"
    assert (await stored_answer(workspace, second["id"]))[0] == "completed"
    assert (seen["then"]["status"], seen["then"]["error"]) == ("ready", None)
