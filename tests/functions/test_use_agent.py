"""An AG-UI agent against the functions: that of docs/streams.md, with the real `@ag-ui/client`, in Node."""

import json
import os
import re
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from local.paths import REPOSITORY
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, ask_n8n, sign_in
from tests.functions.test_use_chat import STREAMS, in_node, stored_answer
from tests.standins.n8n import N8n
from tests.standins.openai import OpenAI

SCRIPT = Path(__file__).with_name("use_agent.mjs")
WHOLE = ["RUN_STARTED", "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "RUN_FINISHED"]
NEWCOMER = [WHOLE[0], "CUSTOM", *WHOLE[1:]]


@pytest.fixture
def use_agent(stack: Stack, tmp_path: Path) -> Any:
    """Plays a scenario of use_agent.mjs with the agent of the docs."""
    written = re.search(r"```js\n(import \{ HttpAgent.*?)```", STREAMS.read_text(), re.DOTALL)
    assert written is not None
    module = tmp_path / "agent.mjs"
    os.symlink(REPOSITORY / "node_modules", tmp_path / "node_modules")

    async def play(scenario: str, space_id: UUID, **given: Any) -> dict[str, Any]:
        module.write_text(written[1].replace("https://chat.example", stack.api_url).replace("SPACE", str(space_id)))
        seen = await in_node(SCRIPT, scenario, {"module": module, "thread": "a thread", **given})
        assert seen["complaints"] == []
        return seen

    return play


async def test_a_thread_of_runs_is_a_conversation(use_agent: Any, workspace: Workspace) -> None:
    props = {"email": "ana@example.com", "model": "x", "metadata": {"page": "/prices"}}
    run = {"forwardedProps": props, "context": [{"description": "cart", "value": "2 items"}]}
    seen = await use_agent("talk", workspace.space_id, contents=["hello there", "and again"], run=run)
    asked, answered, again, answered_again = seen["messages"]
    assert (seen["errors"], seen["types"]) == ([None, None], NEWCOMER + WHOLE)
    assert [message["role"] for message in seen["messages"]] == ["user", "assistant"] * 2
    assert "hello there" in answered["content"]
    assert "2 earlier messages" in answered_again["content"]
    assert {len(text) for text in seen["texts"]} > {0}, "the text grows"
    started, token = seen["events"][0], seen["events"][1]
    assert (started["threadId"], started["protocolVersion"]) == ("a thread", "1.0")
    assert token["value"] == {"token": seen["token"]}
    for question, answer in ((asked, answered), (again, answered_again)):
        assert await stored_answer(workspace, answer["id"]) == ("completed", answer["content"])
        assert question["content"] in answer["content"]
    stored = await workspace.database.fetch(
        "select t.client_message_id, metadata from public.turns t join public.messages m on m.turn_id = t.id"
        " where t.workspace_id = $1 and m.role = 'contact' order by t.id", workspace.id
    )  # fmt: skip
    assert [row["client_message_id"] for row in stored] == [
        event["runId"] for event in seen["events"] if event["type"] == "RUN_STARTED"
    ]
    assert json.loads(stored[0]["metadata"]) == {"page": "/prices", "context": run["context"]}
    finished = seen["events"][-1]
    assert (finished["outcome"], finished["metadata"]["status"]) == ({"type": "success"}, "completed")
    assert "usage" not in finished, "the demo persona counts words"


@pytest.mark.parametrize("repeat", [False, True])
async def test_an_agent_comes_back_to_its_run(
    use_agent: Any, workspace: Workspace, held_visitor: Visitor, openai: OpenAI, repeat: bool
) -> None:
    given = {"token": held_visitor.token, "allow": openai.allow_url, "content": "one two"}
    seen = await use_agent("leave", held_visitor.space_id, repeat=repeat, **given)
    (_, half), (_, answer) = seen["before"], seen["messages"]
    assert (seen["error"], seen["types"], answer["id"]) == (None, WHOLE, half["id"])
    assert len(half["content"]) < len(answer["content"])
    assert await stored_answer(workspace, answer["id"]) == ("completed", answer["content"])
    assert answer["content"] == "You wrote: one two"
    assert seen["events"][0]["runId"] == (seen["run"] if repeat else answer["id"])
    assert (await workspace.counts())["turns"] == 1


async def test_an_agent_cancels_its_run(
    use_agent: Any, workspace: Workspace, held_visitor: Visitor, openai: OpenAI
) -> None:
    given = {"token": held_visitor.token, "allow": openai.allow_url, "content": "hello", "then": "and?"}
    seen = await use_agent("cancel", held_visitor.space_id, **given)
    half, answer = seen["cancelled"][1], seen["messages"][3]
    status, text = await stored_answer(workspace, half["id"])
    assert (status, text.startswith(half["content"])) == ("cancelled", True)
    assert (seen["error"], answer["content"]) == (None, "You wrote: and?")
    again = await use_agent("connect", held_visitor.space_id, token=held_visitor.token, messages=seen["messages"][:2])
    assert (again["error"], again["events"][-1]["outcome"]) == (None, {"type": "cancelled"})


async def test_an_agent_is_told_of_a_failure_and_a_refusal(
    use_agent: Any, client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("cut"))
    image = [{"type": "image", "source": {"type": "url", "value": "https://shop.example/x.png"}}]
    seen = await use_agent("talk", visitor.space_id, contents=["a word", image])
    assert seen["messages"][1]["content"] == "You wr"
    failed = next(event for event in seen["events"] if event["type"] == "RUN_ERROR")
    assert (failed["message"], failed["code"]) == ("The answer broke off.", "persona_cut_off")
    assert failed["metadata"] == {"retryable": True}
    error, refusal = seen["errors"]
    assert error is None or "broke off" in error
    assert "HTTP 422" in refusal
    assert "messages.2.content.0" in refusal


async def test_only_the_caller_of_a_run_follows_it(
    use_agent: Any, client: aiohttp.ClientSession, workspace: Workspace, stack: Stack, held_visitor: Visitor
) -> None:
    space_id = held_visitor.space_id
    user = await sign_in(client, stack, "visitor@demo.test")
    mine = await use_agent("talk", workspace.space_id, token=user, contents=["hello"])
    thread = await workspace.row("select thread_key from public.conversations where space_id = $1", workspace.space_id)
    assert thread["thread_key"] == "a thread", "a user's thread is found again"
    for token, answer in ((held_visitor.token, mine["messages"][1]), (None, mine["messages"][1]), (user, None)):
        unknown = {"id": str(uuid4()), "role": "assistant", "content": ""}
        seen = await use_agent("connect", space_id, token=token, messages=[answer or unknown])
        assert ("HTTP 401" if token is None else "HTTP 404") in seen["error"]
        assert seen["types"] == []
