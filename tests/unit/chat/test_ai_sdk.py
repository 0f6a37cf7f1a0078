"""The protocol of the AI SDK, checked with the real package: the stream that it reads, and the bodies that it sends."""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from lib import errors
from lib.auth import callers
from lib.chat import ai_sdk, protocols
from lib.chat.ai_sdk import Encoder
from lib.chat.events import Delta, Done, Event, Failed, Opened
from lib.http import sse
from lib.http.sse import StreamBroken

TURN, SESSION, CONVERSATION, CONTACT, MESSAGE = (UUID(int=number) for number in range(1, 6))
OPENED = Opened(TURN, SESSION, CONVERSATION, CONTACT)
IDS = {
    "turn_id": str(TURN),
    "session_id": str(SESSION),
    "conversation_id": str(CONVERSATION),
    "contact_id": str(CONTACT),
}
HI, YOU = Delta("Hi\n", 3), Delta("you \N{GRINNING FACE}", 8)
COMPLETED = Done("completed", MESSAGE, text_length=8, position=8, usage={"words": 2})
CANCELLED = Done("cancelled", MESSAGE, text_length=3, position=3)
TEXT = "Hi\nyou \N{GRINNING FACE}"
COMPLETED_METADATA = {"status": "completed", "message_id": str(MESSAGE), "text_length": 8, "usage": {"words": 2}}

SEQUENCES: dict[str, list[Event]] = {
    "completed": [OPENED, HI, YOU, COMPLETED],
    "completed in one piece": [OPENED, Delta(TEXT, 8), COMPLETED],
    "with a token": [Opened(TURN, SESSION, CONVERSATION, CONTACT, token="the-token"), HI, YOU, COMPLETED],
    "of the owner": [Opened(TURN, SESSION, CONVERSATION, None), HI, COMPLETED],
    "completed, nothing stored": [OPENED, Done("completed", None, text_length=0, position=0)],
    "cancelled": [OPENED, HI, CANCELLED],
    "cancelled before a word": [OPENED, Done("cancelled", None, text_length=0, position=0)],
    "failed": [OPENED, HI, Failed("persona_cut_off", 3)],
    "failed before a word": [OPENED, Failed("persona_unreachable", 0)],
    "failed beyond repair": [OPENED, Failed("persona_misconfigured", 0)],
    "broken": [OPENED, HI, StreamBroken("turn_interrupted")],
    "broken at once": [StreamBroken("internal_error")],
    "broken after the end": [OPENED, HI, COMPLETED, StreamBroken("internal_error")],
}


def encoded(events: list[Event], *, heartbeats: bool = False) -> bytes:
    """A stream of these events, with a silence before each of them or without."""
    encoder = Encoder()
    silence = sse.HEARTBEAT if heartbeats else b""
    return b"".join(silence + encoder.encode(event) for event in events)


def chunks(events: list[Event]) -> list[dict[str, Any]]:
    """The chunks of a stream, without its [DONE]."""
    frames = encoded(events).decode().removesuffix("\n\n").split("\n\n")
    assert frames.pop() == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


Seen = dict[str, dict[str, Any]]


@functools.cache
def read_by_the_package() -> dict[str, dict[str, Any]]:
    """What the real package makes of every sequence, by its release."""
    wires = {name: encoded(events, heartbeats=True).decode() for name, events in SEQUENCES.items()}
    done = subprocess.run(
        ["node", Path(__file__).with_name("read_chunks.mjs")], input=json.dumps({"streams": wires}),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    releases: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return releases


@pytest.fixture(params=["newest", "first"])
def seen(request: pytest.FixtureRequest) -> Seen:
    """What the package's newest release for this Node makes of every sequence, and what its first makes of it."""
    return {name: releases[request.param] for name, releases in read_by_the_package().items()}


def test_the_real_package_accepts_every_chunk(seen: Seen) -> None:
    for name, events in SEQUENCES.items():
        assert (name, seen[name]["invalid"], seen[name]["chunks"]) == (name, None, chunks(events))


def test_the_real_package_makes_a_message_of_an_answer(seen: Seen) -> None:
    for name in ("completed", "completed in one piece", "with a token"):
        message = seen[name]["message"]
        assert (message["id"], message["role"], seen[name]["error"]) == (str(TURN), "assistant", None)
        assert [(part["type"], part["text"], part["state"]) for part in message["parts"]] == [("text", TEXT, "done")]
        assert message["metadata"] == {**IDS, **COMPLETED_METADATA}


def test_the_real_package_shows_a_failure_by_its_title_and_keeps_the_text_before_it(seen: Seen) -> None:
    failed, cancelled = seen["failed"], seen["cancelled"]
    assert failed["error"] == "The answer broke off."
    assert failed["message"]["parts"] == [{"type": "text", "text": "Hi\n", "state": "done"}]
    told = {"code": "persona_cut_off", "title": "The answer broke off.", "retryable": True}
    assert failed["message"]["metadata"]["error"] == told
    assert (cancelled["error"], cancelled["message"]["metadata"]["status"]) == (None, "cancelled")


def test_a_token_is_sent_once_and_kept_with_no_message(seen: Seen) -> None:
    told = [chunk for chunk in chunks(SEQUENCES["with a token"]) if "the-token" in json.dumps(chunk)]
    assert told == [{"type": "data-switchboard", "data": {"token": "the-token"}, "transient": True}]
    assert "the-token" not in json.dumps(seen["with a token"]["message"])


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("completed", "start text-start text-delta text-delta text-end finish"),
        ("cancelled", "start text-start text-delta text-end message-metadata abort"),
        ("cancelled before a word", "start message-metadata abort"),
        ("failed beyond repair", "start message-metadata error"),
        ("broken after the end", "start text-start text-delta text-end finish"),
    ],
)
def test_the_chunks_of_a_stream_in_their_order(name: str, kinds: str) -> None:
    assert [chunk["type"] for chunk in chunks(SEQUENCES[name])] == kinds.split()


# What useChat sends -------------------------------------------------------------------------------------------------

CONTACT_CALLER = callers.Contact(TURN, CONTACT, CONVERSATION, "asserted", "token")
USER = callers.User(CONTACT, None, "token")
ANONYMOUS = callers.Anonymous()


def text_message(text: str = "hello", **members: Any) -> dict[str, Any]:
    return {"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}], **members}


def sent(*messages: Any, **members: Any) -> dict[str, Any]:
    return {"id": "chat-1", "messages": messages or [text_message()], "trigger": "submit-message", **members}


ANSWER = {"id": "a0", "role": "assistant", "parts": [{"type": "step-start"}]}
TWO_PARTS = text_message(parts=[{"type": "text", "text": "t"}, {"type": "text", "text": "wo"}])
UNREADABLE = {"anything": "x", "deep": [[[[]]]]}
OURS = {"email": "a@example.com", "persona_id": str(UUID(int=9)), "metadata": {"page": "/"}}


@pytest.mark.parametrize(
    ("document", "caller", "fields"),
    [
        (sent(text_message("one", id="m0"), ANSWER, TWO_PARTS), USER, {"message": "two", "client_message_id": "m1"}),
        (sent(UNREADABLE, text_message()), USER, {"message": "hello"}),
        # A regenerated message is answered anew, an edited one is another message.
        (
            sent(trigger="regenerate-message", messageId="a1"),
            USER,
            {"message": "hello", "client_message_id": "m1", "regenerate": True},
        ),
        (
            sent(text_message("again"), messageId="m1"),
            USER,
            {"message": "again", "client_message_id": None, "regenerate": False},
        ),
        # The chat's id is the thread of a signed-in user only.
        (sent(), USER, {"thread_key": "chat-1"}),
        (sent(), CONTACT_CALLER, {"thread_key": None}),
        (sent(), ANONYMOUS, {"thread_key": None}),
        *((sent(threadKey="mine"), caller, {"thread_key": "mine"}) for caller in (USER, CONTACT_CALLER, ANONYMOUS)),
        # Members of the app are ignored, ours are read.
        (sent(model="x", webSearch=True, **OURS), USER, {**OURS, "persona_id": UUID(int=9)}),
        (sent(text_message(metadata={"at": 1})), USER, {"metadata": {"at": 1}}),
        (sent(text_message(metadata="loose")), USER, {"metadata": {}}),
        (sent(text_message(metadata={"at": 1}), metadata={"page": "/"}), USER, {"metadata": {"page": "/"}}),
        ({"message": "hello", "client_message_id": "c"}, USER, {"message": "hello", "client_message_id": "c"}),
    ],
)
def test_a_body_is_read_as_a_message(document: object, caller: callers.Caller, fields: dict[str, Any]) -> None:
    message = ai_sdk.read(document, caller)
    assert {name: getattr(message, name) for name in fields} == fields


def test_an_invalid_optional_member_is_dropped_and_reported() -> None:
    message = ai_sdk.read(sent(text_message(), metadata=[], email=7), CONTACT_CALLER)
    assert [warning.field for warning in message.warnings] == ["email", "metadata"]
    assert (message.message, message.email, message.metadata) == ("hello", None, {})


@pytest.mark.parametrize(
    ("document", "field", "says"),
    [
        (
            sent(text_message(parts=[{"type": "file", "mediaType": "image/png", "url": "data:"}])),
            "messages.0.parts.0",
            "of type file are not taken",
        ),
        (sent(text_message(parts=[{"type": "text", "text": "a"}, {"type": "data-x"}])), "messages.0.parts.1", "data-x"),
        (sent(text_message(), {"id": "a", "role": "assistant", "parts": []}), "messages.1.role", "'user'"),
        (sent({"role": "user", "content": "an older useChat"}), "messages.0.parts", "required"),
        (sent("loose"), "messages.0", ""),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": "loose"}, "messages", "list"),
        (sent(trigger="resume-stream"), "trigger", "regenerate-message"),
        (sent(text_message("  ")), "message", "empty"),
        (sent(text_message("x" * 16_001)), "message", "16000"),
        (sent(text_message(id="x" * 201)), "client_message_id", "200"),
        ([], "", ""),
        ({"message": "hello", "nonsense": 1}, "nonsense", ""),
    ],
)
def test_an_invalid_member_is_refused_by_its_name(document: object, field: str, says: str) -> None:
    with pytest.raises(errors.InvalidBody) as refused:
        ai_sdk.read(document, CONTACT_CALLER)
    faults = {fault.field: fault.message for fault in refused.value.errors}
    assert field in faults
    assert says in faults[field]


# Which protocol -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "accept", "name"),
    [
        (None, [], "events"),
        (None, ["*/*"], "events"),
        (None, ["text/event-stream"], "events"),
        (None, ["application/json; protocol=other"], "json"),
        (None, ["application/json", "text/event-stream"], "events"),
        ("events", [], "events"),
        ("ai-sdk", ["text/event-stream"], "ai-sdk"),
        (None, ["text/event-stream; protocol=ai-sdk"], "ai-sdk"),
        (None, ['text/event-stream;q=0.9 ; Protocol = "ai-sdk"'], "ai-sdk"),
        (None, ["application/json", "*/*;q=0.1, text/event-stream;protocol=ai-sdk"], "ai-sdk"),
        ("events", ["text/event-stream; protocol=ai-sdk"], "events"),
    ],
)
def test_the_query_or_else_accept_names_the_protocol(asked: str | None, accept: list[str], name: str) -> None:
    assert protocols.select(asked, accept).name == name


@pytest.mark.parametrize(("asked", "accept"), [("grpc", []), ("", []), (None, ["text/event-stream; protocol=AI"])])
def test_an_unknown_protocol_is_refused_and_the_known_are_named(asked: str | None, accept: list[str]) -> None:
    with pytest.raises(errors.InvalidBody) as refused:
        protocols.select(asked, accept)
    assert refused.value.errors == (errors.FieldError("protocol", "must be one of events, json, ai-sdk, ag-ui"),)
