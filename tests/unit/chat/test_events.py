from typing import Any
from uuid import UUID

import pytest

from lib.chat.events import Delta, Done, Event, Failed, Opened, on_the_wire
from lib.http import sse
from lib.http.sse import StreamBroken

ID = UUID(int=1)
IDS = {"turn_id": str(ID), "session_id": str(ID), "conversation_id": str(ID)}


@pytest.mark.parametrize(
    ("event", "name", "position", "data"),
    [
        (Opened(ID, ID, ID, None), "turn", 0, {**IDS, "contact_id": None}),
        (Opened(ID, ID, ID, ID, token="t"), "turn", 0, {**IDS, "contact_id": str(ID), "token": "t"}),
        (Delta("Hi", position=7), "delta", 7, {"text": "Hi"}),
        # The end lies one beyond the text that was delivered.
        (
            Done("completed", ID, text_length=7, position=7, usage={"tokens": 3}), "done", 8,
            {"status": "completed", "message_id": str(ID), "text_length": 7, "usage": {"tokens": 3}},
        ),
        (
            Done("cancelled", None, text_length=5, position=7), "done", 8,
            {"status": "cancelled", "message_id": None, "text_length": 5},
        ),
    ],
)  # fmt: skip
def test_an_event_has_its_name_its_position_and_its_data(
    event: Event, name: str, position: int, data: dict[str, Any]
) -> None:
    assert on_the_wire(event) == sse.Event(name, data, id=position)


@pytest.mark.parametrize(
    ("event", "position", "retryable"),
    [
        (Failed("persona_failed", position=3), 4, True),
        (Failed("persona_misconfigured", position=3), 4, False),
        # A stream that ends before its turn leaves the reader's position as it is.
        (StreamBroken("stream_limit"), None, True),
    ],
)
def test_an_error_has_a_title_and_tells_whether_to_retry(event: Any, position: int | None, retryable: bool) -> None:
    wire = on_the_wire(event)
    assert (wire.name, wire.id) == ("error", position)
    assert wire.data == {"code": event.code, "title": wire.data["title"], "retryable": retryable}
    assert wire.data["title"]
