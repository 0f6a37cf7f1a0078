"""The protocol of the AI SDK, checked with the real package: the stream that it reads, and the bodies that it sends."""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.requests import Request
from starlette.types import Message

from lib import errors
from lib.auth import callers
from lib.chat import ai_sdk, protocols
from lib.chat.ai_sdk import Encoder
from lib.chat.events import Delta, Done, Event, Failed, Opened
from lib.chat.turns import ChatMessage
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


def test_the_real_package_shows_a_failure_and_keeps_the_text_before_it(seen: Seen) -> None:
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


def test_the_chunks_of_an_answer_in_their_order() -> None:
    assert chunks(SEQUENCES["completed"]) == [
        {"type": "start", "messageId": str(TURN), "messageMetadata": IDS},
        {"type": "text-start", "id": "answer"},
        {"type": "text-delta", "id": "answer", "delta": "Hi\n"},
        {"type": "text-delta", "id": "answer", "delta": "you \N{GRINNING FACE}"},
        {"type": "text-end", "id": "answer"},
        {"type": "finish", "messageMetadata": COMPLETED_METADATA},
    ]


def test_a_cancelled_answer_is_aborted_and_nothing_follows_an_end() -> None:
    kinds = [chunk["type"] for chunk in chunks(SEQUENCES["cancelled"])]
    assert kinds == ["start", "text-start", "text-delta", "text-end", "message-metadata", "abort"]
    assert [chunk["type"] for chunk in chunks(SEQUENCES["cancelled before a word"])][-1] == "abort"
    assert encoded(SEQUENCES["broken after the end"]) == encoded([OPENED, HI, COMPLETED])


def test_an_error_is_shown_by_its_title_and_identified_by_its_code() -> None:
    *_, metadata, error = chunks(SEQUENCES["failed beyond repair"])
    title = "The persona is not set up correctly."
    assert error == {"type": "error", "errorText": title}
    told = {"code": "persona_misconfigured", "title": title, "retryable": False}
    assert metadata["messageMetadata"]["error"] == told


# What useChat sends -------------------------------------------------------------------------------------------------

CONTACT_CALLER = callers.Contact(TURN, CONTACT, CONVERSATION, "asserted", "token")
USER = callers.User(CONTACT, None, "token")


def text_message(text: str = "hello", **members: Any) -> dict[str, Any]:
    return {"id": "m1", "role": "user", "parts": [{"type": "text", "text": text}], **members}


def sent(*messages: Any, **members: Any) -> dict[str, Any]:
    return {"id": "chat-1", "messages": messages or [text_message()], "trigger": "submit-message", **members}


async def read_body(document: Any, caller: callers.Caller = CONTACT_CALLER) -> ChatMessage:
    content = json.dumps(document).encode()

    async def receive() -> Message:
        return {"type": "http.request", "body": content, "more_body": False}

    headers = [(b"content-type", b"application/json")]
    return await ai_sdk.read(Request({"type": "http", "method": "POST", "headers": headers}, receive), caller)


async def fields_refused(document: Any) -> dict[str, str]:
    with pytest.raises(errors.InvalidBody) as refused:
        await read_body(document)
    return {fault.field: fault.message for fault in refused.value.errors}


async def test_the_last_message_is_the_text_and_its_id_makes_it_repeatable() -> None:
    before = [text_message("one", id="m0"), {"id": "a0", "role": "assistant", "parts": [{"type": "step-start"}]}]
    two_parts = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "t"}, {"type": "text", "text": "wo"}]}
    message = await read_body(sent(*before, two_parts))
    assert (message.message, message.client_message_id) == ("two", "m1")


async def test_a_regenerated_or_edited_message_is_another_message() -> None:
    regenerated = await read_body(sent(trigger="regenerate-message", messageId="a1"))
    edited = await read_body(sent(text_message("hello again"), messageId="m1"))
    assert (regenerated.message, regenerated.client_message_id) == ("hello", None)
    assert (edited.message, edited.client_message_id) == ("hello again", None)


@pytest.mark.parametrize(
    ("caller", "thread_key"), [(USER, "chat-1"), (CONTACT_CALLER, None), (callers.Anonymous(), None)]
)
async def test_the_id_of_the_chat_is_the_thread_of_a_signed_in_user_only(
    caller: callers.Caller, thread_key: str | None
) -> None:
    assert (await read_body(sent(), caller)).thread_key == thread_key
    assert (await read_body(sent(threadKey="mine"), caller)).thread_key == "mine"


async def test_members_of_the_app_are_ignored_and_ours_are_read() -> None:
    persona = UUID(int=9)
    message = await read_body(
        sent(model="x", webSearch=True, email="a@example.com", persona_id=str(persona), metadata={"page": "/"})
    )
    assert (message.email, message.persona_id, message.metadata) == ("a@example.com", persona, {"page": "/"})


async def test_the_metadata_of_a_message_is_kept_unless_the_body_has_its_own() -> None:
    assert (await read_body(sent(text_message(metadata={"at": 1})))).metadata == {"at": 1}
    assert (await read_body(sent(text_message(metadata="loose")))).metadata == {}
    assert (await read_body(sent(text_message(metadata={"at": 1}), metadata={"page": "/"}))).metadata == {"page": "/"}


async def test_an_invalid_optional_member_is_dropped_and_reported() -> None:
    message = await read_body(sent(text_message(), metadata=[], email=7))
    assert [warning.field for warning in message.warnings] == ["email", "metadata"]
    assert (message.message, message.email, message.metadata) == ("hello", None, {})


async def test_our_own_body_is_read_too_and_as_strictly() -> None:
    message = await read_body({"message": "hello", "client_message_id": "c"})
    assert (message.message, message.client_message_id) == ("hello", "c")
    assert "nonsense" in await fields_refused({"message": "hello", "nonsense": 1})


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
    ],
)
async def test_an_invalid_member_is_refused_by_its_name(document: Any, field: str, says: str) -> None:
    refused = await fields_refused(document)
    assert field in refused
    assert says in refused[field]


async def test_a_long_chat_fits_and_its_earlier_messages_are_not_read() -> None:
    earlier = [{"anything": "x" * 1_000, "deep": [[[[]]]]} for _ in range(2_000)]
    assert (await read_body(sent(*earlier, text_message()))).message == "hello"
    with pytest.raises(errors.BodyTooLarge):
        await read_body(sent(*earlier, *earlier, *earlier, text_message()))


# Which protocol -----------------------------------------------------------------------------------------------------


def asking(query: str = "", *accept: str) -> Request:
    headers = [(b"accept", value.encode()) for value in accept]
    return Request({"type": "http", "method": "GET", "headers": headers, "query_string": query.encode()})


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (asking(), "events"),
        (asking("", "*/*"), "events"),
        (asking("", "text/event-stream"), "events"),
        (asking("", "application/json; protocol=other"), "events"),
        (asking("protocol=events"), "events"),
        (asking("protocol=ai-sdk"), "ai-sdk"),
        (asking("after=3&protocol=ai-sdk", "text/event-stream"), "ai-sdk"),
        (asking("", "text/event-stream; protocol=ai-sdk"), "ai-sdk"),
        (asking("", 'text/event-stream;q=0.9 ; Protocol = "ai-sdk"'), "ai-sdk"),
        (asking("", "application/json", "*/*;q=0.1, text/event-stream;protocol=ai-sdk"), "ai-sdk"),
        (asking("protocol=events", "text/event-stream; protocol=ai-sdk"), "events"),
    ],
)
def test_the_query_or_else_accept_names_the_protocol(request_: Request, name: str) -> None:
    assert protocols.of(request_).name == name


@pytest.mark.parametrize(
    "request_", [asking("protocol=grpc"), asking("protocol="), asking("", "text/event-stream; protocol=AI")]
)
def test_an_unknown_protocol_is_refused_and_the_known_are_named(request_: Request) -> None:
    with pytest.raises(errors.InvalidBody) as refused:
        protocols.of(request_)
    assert refused.value.errors == (errors.FieldError("protocol", "must be events or ai-sdk"),)
