"""The AI SDK itself against the functions: `useChat` in React, and the `ai` package without it, in Node."""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from local.paths import REPOSITORY
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, ask_n8n, sign_in, until
from tests.standins.n8n import N8n
from tests.standins.openai import OpenAI

SCRIPT = Path(__file__).with_name("use_chat.mjs")
STREAMS = REPOSITORY / "docs" / "streams.md"


async def use_chat(stack: Stack, scenario: str, space_id: UUID, **given: Any) -> dict[str, Any]:
    """The report of a scenario of use_chat.mjs."""
    return await in_node(SCRIPT, scenario, {"url": stack.api_url, "space": str(space_id), **given})


async def in_node(script: Path, scenario: str, given: dict[str, Any]) -> dict[str, Any]:
    """The report of a scenario of a script."""
    argument = json.dumps(given, default=str)
    process = await asyncio.create_subprocess_exec(
        "node", script, scenario, argument, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
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


async def stored_answer(workspace: Workspace, turn_id: str) -> tuple[str, str]:
    """A turn's status and answer, once it has ended."""
    query = """
        select t.status::text, m.text
          from public.turns t left join public.messages m on m.turn_id = t.id and m.role = 'persona'
         where t.id = $1 and t.status <> 'active'"""

    async def has_ended() -> bool:
        return bool(await workspace.database.fetch(query, UUID(turn_id)))

    await until(has_ended)
    row = await workspace.row(query, UUID(turn_id))
    return row["status"], row["text"]


async def test_use_chat_continues_with_the_token_of_the_first_answer(stack: Stack, workspace: Workspace) -> None:
    transport = {"body": {"model": "x", "email": "ana@example.com", "metadata": {"page": "/prices"}}}
    seen = await use_chat(stack, "talk", workspace.space_id, texts=["hello there", "and again"], transport=transport)
    assert (seen["status"], seen["error"]) == ("ready", None)
    assert seen["statuses"] == ["ready", *["submitted", "streaming", "ready"] * 2]
    asked, answered, again, answered_again = seen["messages"]
    assert [message["role"] for message in seen["messages"]] == ["user", "assistant", "user", "assistant"]
    assert "hello there" in seen["texts"][1]
    assert "2 earlier messages" in seen["texts"][3]
    assert answered["metadata"]["conversation_id"] == answered_again["metadata"]["conversation_id"]
    assert answered["metadata"]["status"] == "completed"
    for asking, answer in ((asked, answered), (again, answered_again)):
        assert await stored_answer(workspace, answer["id"]) == ("completed", answer["parts"][0]["text"])
        turn = await workspace.row("select client_message_id from public.turns where id = $1", UUID(answer["id"]))
        assert turn["client_message_id"] == asking["id"]
    (told,) = seen["data"]
    assert (told["type"], told["data"].keys()) == ("data-switchboard", {"token"})
    assert told["data"]["token"] not in json.dumps(seen["messages"])
    # Our own fields in the body of the app are used, and unknown ones ignored.
    contact_id = UUID(answered["metadata"]["contact_id"])
    identity = await workspace.row("select value from public.contact_identities where contact_id = $1", contact_id)
    assert identity["value"] == "ana@example.com"
    said = await workspace.database.fetch("select metadata from public.messages where contact_id = $1", contact_id)
    assert [json.loads(row["metadata"]) for row in said] == [{"page": "/prices"}] * 2


async def test_use_chat_shows_an_answer_as_it_grows(stack: Stack, held_visitor: Visitor, openai: OpenAI) -> None:
    given = {"token": held_visitor.token, "texts": ["one two"], "allow": openai.allow_url}
    seen = await use_chat(stack, "talk", held_visitor.space_id, **given)
    assert {"You wrote:", "You wrote: one"} <= set(seen["growing"])
    assert seen["texts"][1] == "You wrote: one two"
    assert seen["data"] == []


async def test_use_chat_shows_a_failure_and_a_refusal(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("cut"))
    seen = await use_chat(stack, "talk", visitor.space_id, texts=["a word"])
    assert (seen["status"], seen["error"]) == ("error", "The answer broke off.")
    failed = seen["messages"][1]
    assert seen["texts"][1] == "You wr"
    assert failed["parts"][0]["state"] == "done"
    assert failed["metadata"]["error"] == {
        "code": "persona_cut_off", "title": "The answer broke off.", "retryable": True,
    }  # fmt: skip
    assert await stored_answer(workspace, failed["id"]) == ("failed", "You wr")
    seen = await use_chat(stack, "files", workspace.space_id)
    refused = json.loads(seen["error"])
    assert (seen["status"], refused["status"], refused["code"]) == ("error", 422, "invalid_body")
    assert refused["errors"][0]["field"] == "messages.0.parts.0"


@pytest.mark.parametrize("kept", ["the message", "the message and half an answer"])
async def test_use_chat_resumes_after_a_reload(
    stack: Stack, workspace: Workspace, held_visitor: Visitor, openai: OpenAI, kept: str
) -> None:
    space_id, whole = held_visitor.space_id, "You wrote: one two"
    left = await use_chat(stack, "leave", space_id, text="one two")
    messages = left["messages"] if kept != "the message" else left["messages"][:1]
    again = {"token": left["data"][0]["data"]["token"], "id": "after the reload", "allow": openai.allow_url}
    seen = await use_chat(stack, "resume", space_id, active=True, messages=messages, **again)
    asked, answer = seen["messages"]
    assert asked == left["messages"][0]
    assert answer["id"] == left["messages"][1]["id"]
    assert (seen["status"], answer["metadata"]["status"], seen["texts"][1]) == ("ready", "completed", whole)
    assert await stored_answer(workspace, answer["id"]) == ("completed", whole)
    assert seen["answers"] == [["GET", 200]]

    later = await use_chat(stack, "resume", space_id, active=False, messages=seen["messages"], **again)
    assert (later["status"], later["error"], later["statuses"]) == ("ready", None, ["ready"])
    assert later["texts"] == seen["texts"]
    assert later["answers"] == [["GET", 204]]

    new = await use_chat(stack, "resume", space_id, active=False)
    assert (new["status"], new["error"], new["messages"]) == ("ready", None, [])


@pytest.mark.parametrize("cancelled", [False, True])
async def test_stop_ends_the_reading_and_a_cancel_after_it_the_answer(
    stack: Stack, workspace: Workspace, held_visitor: Visitor, openai: OpenAI, cancelled: bool
) -> None:
    given = {"token": held_visitor.token, "text": "hello", "then": "and?", "allow": openai.allow_url}
    seen = await use_chat(stack, "stop", held_visitor.space_id, cancel=cancelled, **given)
    assert (seen["status"], seen["error"]) == ("ready", None)
    turn_id, then = seen["messages"][1]["id"], seen["then"]
    if not cancelled:
        refused = json.loads(then["error"])
        assert (refused["code"], refused["turn_id"]) == ("turn_in_progress", turn_id)
        await openai.release()
        assert await stored_answer(workspace, turn_id) == ("completed", "You wrote: hello")
        return
    status, text = await stored_answer(workspace, turn_id)
    assert (status, text.startswith(seen["texts"][1])) == ("cancelled", True)
    code, answer = seen["cancel"]
    assert (code, answer["turn_id"], answer["status"], answer["text_length"]) == (200, turn_id, "cancelled", len(text))
    assert (then["status"], then["error"]) == ("ready", None)

    path = f"/turns/{turn_id}/stream?protocol=ai-sdk"
    async with held_visitor.client.get(path, headers=held_visitor.headers) as response:
        *_, outcome, abort, done = (await response.text()).removesuffix("\n\n").split("\n\n")
    assert '"status":"cancelled"' in outcome
    assert (abort, done) == ('data: {"type":"abort"}', "data: [DONE]")


@pytest.mark.parametrize(("scenario", "asked"), [("regenerate", "hello"), ("edit", "good evening")])
async def test_a_regenerated_or_edited_message_gets_another_answer(
    stack: Stack, workspace: Workspace, scenario: str, asked: str
) -> None:
    seen = await use_chat(stack, scenario, workspace.space_id, text="hello", edited=asked)
    before, after = seen["before"]["messages"], seen["after"]["messages"]
    assert [message["role"] for message in after] == ["user", "assistant"]
    assert after[1]["id"] != before[1]["id"]
    assert seen["after"]["texts"][0] == asked
    assert asked in seen["after"]["texts"][1]
    assert "2 earlier messages" in seen["after"]["texts"][1]
    assert (await workspace.counts())["turns"] == 2


async def test_a_signed_in_user_resumes_only_the_open_chat(
    client: aiohttp.ClientSession, stack: Stack, held_visitor: Visitor, openai: OpenAI
) -> None:
    space_id, token = held_visitor.space_id, await sign_in(client, stack, "visitor@demo.test")
    left = await use_chat(stack, "leave", space_id, token=token, id="a chat", text="one two")
    given = {"token": token, "messages": left["messages"][:1], "allow": openai.allow_url}
    other = await use_chat(stack, "resume", space_id, active=False, id="another chat", **given)
    same = await use_chat(stack, "resume", space_id, active=True, id="a chat", **given)
    assert (len(other["messages"]), other["answers"]) == (1, [["GET", 204]])
    assert same["messages"][1]["id"] == left["messages"][1]["id"]
    assert same["texts"][1] == "You wrote: one two"


async def test_the_package_without_react_and_its_first_release_read_a_stream(
    stack: Stack, workspace: Workspace, held_visitor: Visitor, openai: OpenAI
) -> None:
    seen = await use_chat(stack, "read", workspace.space_id, text="hello")
    assert "hello" in seen["texts"][-1]
    assert len(set(seen["texts"])) > 5
    # The first release appends to the address, and so names the protocol in Accept.
    given = {"token": held_visitor.token, "text": "hello", "allow": openai.allow_url}
    seen = await use_chat(stack, "first", held_visitor.space_id, **given)
    (part,) = seen["resumed"]["parts"]
    assert await stored_answer(workspace, seen["resumed"]["id"]) == ("completed", part["text"])
    assert (part["text"], seen["after"]) == ("You wrote: hello", None)


async def test_the_page_of_the_docs_works(
    stack: Stack, workspace: Workspace, held_visitor: Visitor, openai: OpenAI, tmp_path: Path
) -> None:
    space_id = held_visitor.space_id
    written = re.search(r"```jsx\n(.*?)```", STREAMS.read_text(), re.DOTALL)
    assert written is not None
    page = written[1].replace("https://chat.example", stack.api_url).replace("SPACE", str(space_id))
    assert (page.count(stack.api_url), page.count(str(space_id))) == (1, 1)
    (tmp_path / "page.jsx").write_text(page)
    # The page must use the React of the script that renders it.
    os.symlink(REPOSITORY / "node_modules", tmp_path / "node_modules")
    esbuild = await asyncio.create_subprocess_exec(
        REPOSITORY / "node_modules" / ".bin" / "esbuild", "page.jsx", "--jsx=automatic", "--outfile=page.mjs",
        "--log-level=warning", cwd=tmp_path,
    )  # fmt: skip
    assert await esbuild.wait() == 0

    given = {"texts": ["hello", "again"], "begin": "You wrote:", "allow": openai.allow_url}
    seen = await use_chat(stack, "page", space_id, module=tmp_path / "page.mjs", **given)

    assert seen["before"] == ["hello", "You wrote: hello", "again", "You wrote: again"]
    assert seen["then"] == {"lines": ["at once", "You wrote: at once"], "refused": None}
    assert seen["after"] == ["You wrote: a last word"]
    turns = await workspace.database.fetch(
        """
        select t.status::text, m.text
          from public.turns t left join public.messages m on m.turn_id = t.id and m.role = 'persona'
         where t.workspace_id = $1 order by t.id""",
        workspace.id,
    )
    assert [tuple(turn) for turn in turns] == [
        ("completed", "You wrote: hello"), ("completed", "You wrote: again"), ("cancelled", seen["stopped"]),
        ("completed", "You wrote: at once"), ("completed", "You wrote: a last word"),
    ]  # fmt: skip
    assert len(openai.received[-1].body["messages"]) == 9, "with the history of one conversation"
