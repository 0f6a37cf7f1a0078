"""A persona's fallback over HTTP: which failures it answers for, in one stream without an error."""

from typing import Any
from uuid import UUID

import aiohttp
import pytest

from tests.events import text_of
from tests.functions.conftest import Workspace, ask_n8n, ask_openai
from tests.standins.n8n import N8n
from tests.standins.openai import DONE, OpenAI

NO_SERVER = "http://127.0.0.1:1/v1"
REFUSAL = '{"error": {"message": "No.", "code": "%s"}}'


@pytest.mark.parametrize(
    ("behaviour", "config", "code", "text"),
    [
        ("no server", {}, "persona_unreachable", None),
        ("broken", {}, "persona_failed", None),
        ("slow", {"first_byte_seconds": 1}, "persona_timeout", None),
        ("unknown", {}, "persona_refused", None),
        ("blank", {}, "persona_bad_answer", None),
        ("stream", {"auth": "basic"}, "persona_misconfigured", None),
        # Not after the first text, and not around a refusal of this one message.
        ("cut", {}, "persona_cut_off", "You wr"),
        ("filtered", {}, "persona_declined", ""),
        ("long", {}, "persona_input_refused", ""),
    ],
)
async def test_a_fallback_answers_for_a_persona_that_fails_by_itself_before_its_first_text(
    client: aiohttp.ClientSession, workspace: Workspace, openai: OpenAI, behaviour: str, config: Any, code: str,
    text: str | None,
) -> None:  # fmt: skip
    openai.say("broken", b"{}", status=500)
    openai.say("blank", DONE)
    openai.say("filtered", (REFUSAL % "content_filter").encode(), status=400)
    openai.say("long", (REFUSAL % "context_length_exceeded").encode(), status=400)
    url = NO_SERVER if behaviour == "no server" else openai.url(behaviour)
    columns = {"fallback_persona_id": workspace.persona_id, "breaker_failures": 1, "time_limit_seconds": 20}
    visitor = await ask_openai(client, workspace, url, columns=columns, **config)
    heard = await visitor.say("a word")
    errors = "select code from public.turn_errors where turn_id = $1"
    assert await workspace.row(errors, UUID(heard[0].data["turn_id"])) == {"code": code}
    if text is not None:
        assert (text_of(heard), heard[-1].name, heard[-1].data["code"]) == (text, "error", code)
        return
    # The second message is not sent to the persona, whose breaker is open.
    for answer in (heard, await visitor.say("a word")):
        assert {event.name for event in answer} == {"turn", "delta", "done"}
        assert text_of(answer).startswith("You said: “a word”.")
        stored = "select persona_id, partial from public.messages where id = $1"
        message = await workspace.row(stored, UUID(answer[-1].data["message_id"]))
        assert message == {"persona_id": workspace.persona_id, "partial": False}
    assert len(openai.received) <= 1


async def test_a_workflow_that_calls_back_is_a_fallback_and_has_none_once_it_took_the_message(
    client: aiohttp.ClientSession, workspace: Workspace, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.url("async"), mode="async", time_limit_seconds=2)
    query = "select persona_id from public.spaces where id = $1"
    workflow = await workspace.database.fetchval(query, visitor.space_id)
    other = await ask_openai(client, workspace, NO_SERVER, columns={"fallback_persona_id": workflow})
    heard = await other.say("a word")
    assert (text_of(heard), heard[-1].data["status"]) == ("You wrote: a word", "completed")

    mute = "update public.personas set fallback_persona_id = $1, callback_secret_id = null where id = $2"
    await workspace.database.execute(mute, workspace.persona_id, workflow)
    heard = await visitor.say("a word")
    assert (heard[-1].data["code"], text_of(heard)) == ("persona_timeout", "")
