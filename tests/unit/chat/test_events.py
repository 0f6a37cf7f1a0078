from uuid import UUID

import pytest

from lib.chat.events import Delta, Done, Failed, Opened, on_the_wire
from lib.http import sse
from lib.http.sse import StreamBroken

ID = UUID(int=1)


def test_the_opening_carries_a_token_only_where_there_is_one() -> None:
    without = on_the_wire(Opened(ID, ID, ID, None))
    assert (without.name, without.id) == ("turn", 0)
    assert without.data == {
        "turn_id": str(ID),
        "session_id": str(ID),
        "conversation_id": str(ID),
        "contact_id": None,
    }
    assert on_the_wire(Opened(ID, ID, ID, ID, token="t")).data["token"] == "t"


def test_a_delta_counts_the_characters_up_to_its_end() -> None:
    assert on_the_wire(Delta("Hi", position=7)) == sse.Event("delta", {"text": "Hi"}, id=7)


def test_a_stream_that_broke_names_no_position() -> None:
    event = on_the_wire(StreamBroken("stream_limit"))
    assert (event.name, event.id) == ("error", None)
    assert (event.data["code"], event.data["retryable"]) == ("stream_limit", True)


def test_the_end_lies_one_beyond_what_was_delivered() -> None:
    done = Done("completed", ID, text_length=7, position=7, usage={"tokens": 3})
    assert on_the_wire(done) == sse.Event(
        "done", {"status": "completed", "message_id": str(ID), "text_length": 7, "usage": {"tokens": 3}}, id=8
    )
    assert "usage" not in on_the_wire(Done("cancelled", None, text_length=5, position=7)).data


@pytest.mark.parametrize(("code", "retryable"), [("persona_failed", True), ("persona_misconfigured", False)])
def test_a_failure_says_whether_asking_again_may_help(code: str, retryable: bool) -> None:
    event = on_the_wire(Failed(code, position=3))
    assert (event.name, event.id) == ("error", 4)
    assert event.data["code"] == code
    assert event.data["retryable"] is retryable
    assert event.data["title"]


def test_a_stream_that_ends_before_its_turn_leaves_the_readers_position_alone() -> None:
    assert on_the_wire(StreamBroken("stream_limit")).id is None
