"""The AG-UI protocol: the bodies of runs, and their events. tests/functions/test_use_agent.py has the real client."""

import json
from typing import Any

import pytest

from lib import errors
from lib.auth import callers
from lib.chat import ag_ui
from lib.chat.events import Delta, Done, Event, Failed
from lib.http.sse import StreamBroken
from tests.unit.chat.test_ai_sdk import (
    CANCELLED,
    CONTACT_CALLER,
    CONVERSATION,
    HI,
    IDS,
    OPENED,
    TURN,
    USER,
    YOU,
)

COUNTED = Done("completed", None, 8, 8, {"prompt_tokens": 9, "total_tokens": 11, "model": "m", "finish_reason": "stop"})
TAKEN_OVER = Done("completed", None, 0, 0, taken_over=True)


def run(*messages: Any, **members: Any) -> dict[str, Any]:
    """A body as an HttpAgent sends it."""
    sent = messages or ({"id": "m1", "role": "user", "content": "hello"},)
    return {"threadId": "t", "runId": "r", "messages": [*sent], "tools": [], "context": [], "state": {}, **members}


def encoded(events: list[Event], message: Any = None) -> list[tuple[str | None, dict[str, Any]]]:
    """The id and the data of each event."""
    encoder = ag_ui.Encoder(OPENED, message)
    frames = b"".join(encoder.encode(event) for event in events).decode().removesuffix("\n\n").split("\n\n")
    parts = [frame.rpartition("data: ") for frame in frames]
    return [(head.strip().removeprefix("id: ") or None, json.loads(data)) for head, _, data in parts]


@pytest.mark.parametrize(
    ("events", "kinds", "ids"),
    [
        ([OPENED, HI, YOU, COUNTED], "STARTED START CONTENT CONTENT END FINISHED", "0 - 3 8 - 9"),
        ([HI, COUNTED], "STARTED START CONTENT END FINISHED", "- - 3 - 9"),  # resumed
        ([OPENED, TAKEN_OVER], "STARTED FINISHED", "0 1"),
        ([OPENED, HI, CANCELLED], "STARTED START CONTENT END FINISHED", "0 - 3 - 4"),
        ([OPENED, HI, Failed("persona_cut_off", 3)], "STARTED START CONTENT END ERROR", "0 - 3 - 4"),
        ([OPENED, HI, StreamBroken("stream_limit"), COUNTED], "STARTED START CONTENT END ERROR", "0 - 3 - -"),
        ([StreamBroken("internal_error")], "STARTED ERROR", "- -"),
    ],
)
def test_the_last_event_of_each_step_has_its_position(events: list[Event], kinds: str, ids: str) -> None:
    found = encoded(events)
    assert [data["type"].rpartition("_")[2] for _, data in found] == kinds.split()
    assert [position or "-" for position, _ in found] == ids.split()


def test_a_run_has_the_ids_of_its_agent_and_ends_with_its_outcome() -> None:
    for message, thread_id, run_id in ((ag_ui.read(run(), USER), "t", "r"), (None, str(CONVERSATION), str(TURN))):
        (_, started), *_, (_, finished) = encoded([OPENED, HI, COUNTED], message)
        for event in (started, finished):
            assert (event["threadId"], event["runId"]) == (thread_id, run_id)
        assert started["metadata"] == IDS
    assert finished["usage"] == [{"model": "m", "inputTokens": 9, "totalTokens": 11}]
    assert encoded([TAKEN_OVER])[-1][1]["metadata"]["taken_over"] is True
    assert encoded([CANCELLED])[-1][1]["outcome"] == {"type": "cancelled"}
    assert encoded([Delta("x", 1)])[-1][1]["messageId"] == str(TURN)


TEXT, IMAGE = {"type": "text", "text": "t"}, {"type": "image", "source": {"type": "url", "value": "x"}}
ANSWER = {"id": "a", "role": "assistant", "content": "x"}
CONTEXT = [{"description": "cart", "value": "2"}]


def user(content: Any, **members: Any) -> dict[str, Any]:
    return {"id": "m1", "role": "user", "content": content, **members}


@pytest.mark.parametrize(
    ("document", "caller", "fields"),
    [
        (run(), USER, {"message": "hello", "client_message_id": "r", "thread_key": "t", "metadata": {}}),
        (run(), CONTACT_CALLER, {"thread_key": None, "client_message_id": "r"}),
        (run({"unreadable": 1}, ANSWER, user([TEXT, TEXT])), USER, {"message": "tt"}),
        (run(user("x", metadata={"a": 1}), context=CONTEXT), USER, {"metadata": {"a": 1, "context": CONTEXT}}),
        (run(forwardedProps={"metadata": {"b": 1}, "threadKey": "mine"}), USER, {"metadata": {"b": 1}}),
        (run(forwardedProps={"threadKey": "mine", "model": "x"}), CONTACT_CALLER, {"thread_key": "mine"}),
        (run(forwardedProps="loose"), USER, {"message": "hello"}),
        ({"message": "hello", "client_message_id": "c"}, USER, {"client_message_id": "c"}),
    ],
)
def test_a_run_is_read_as_a_message(document: object, caller: callers.Caller, fields: dict[str, Any]) -> None:
    message = ag_ui.read(document, caller)
    assert {name: getattr(message, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (run(user("x"), ANSWER), "messages.1.role"),
        (run(user([TEXT, IMAGE])), "messages.0.content.1"),
        (run(user("  ")), "message"),
        (run("loose"), "messages.0"),
        (run(messages=[]), "messages.0"),
        (run(messages="loose"), "messages.0"),
        (run(runId=None), "runId"),
        (run(runId="x" * 201), "client_message_id"),
        (run(context=["loose"]), "context.0"),
        ([], ""),
    ],
)
def test_an_invalid_run_is_refused_by_the_name_of_its_member(document: object, field: str) -> None:
    with pytest.raises(errors.InvalidBody) as refused:
        ag_ui.read(document, USER)
    assert field in [fault.field for fault in refused.value.errors]
