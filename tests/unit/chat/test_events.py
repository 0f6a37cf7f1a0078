from typing import Any

import pytest

from lib.chat.events import Done, Failed, on_the_wire
from lib.http import sse
from lib.http.sse import StreamBroken


def test_the_end_lies_one_beyond_the_text_that_was_delivered() -> None:
    done = Done("cancelled", None, text_length=5, position=7)
    data = {"status": "cancelled", "message_id": None, "text_length": 5}
    assert on_the_wire(done) == sse.Event("done", data, id=8)


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
