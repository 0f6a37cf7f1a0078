from collections.abc import AsyncGenerator
from uuid import UUID

import pytest

from lib import errors
from lib.chat import whole_answer
from lib.chat.events import Delta, Done, Event, Failed, Opened
from lib.http.sse import StreamBroken

REFUSED = [code for code in errors.FAILURES if code.startswith("persona_") and code != "persona_timeout"]
OPENED = Opened(UUID(int=1), UUID(int=2), UUID(int=3), None, token="the-token")


async def events(end: Event) -> AsyncGenerator[Event, None]:
    for event in (OPENED, Delta("Hello", 5), Delta(" you", 9), end):
        yield event


async def test_a_cancelled_answer_has_the_text_that_is_stored() -> None:
    answer = await whole_answer.collect(OPENED, events(Done("cancelled", UUID(int=4), text_length=7, position=9)))
    assert (answer.status, answer.text, answer.token) == ("cancelled", "Hello y", "the-token")


@pytest.mark.parametrize(
    ("event", "status"),
    [
        *((Failed(code, 9), 502) for code in REFUSED),
        (Failed("persona_timeout", 9), 504), (Failed("lease_expired", 9), 503), (Failed("internal_error", 9), 500),
        (StreamBroken("stream_limit"), 503), (StreamBroken("backend_unavailable"), 503),
        (StreamBroken("token_expired"), 401), (StreamBroken("token_revoked"), 401),
        (StreamBroken("conversation_not_found"), 404),
    ],
)  # fmt: skip
async def test_a_failure_has_the_status_of_its_cause_and_the_text_so_far(event: Failed, status: int) -> None:
    with pytest.raises(errors.Refused) as refused:
        await whole_answer.collect(OPENED, events(event))
    problem = refused.value.document()
    assert (problem["status"], problem["code"], problem["text"]) == (status, event.code, "Hello you")
    assert (problem["turn_id"], problem["token"], problem["retryable"]) == (
        str(OPENED.turn_id), "the-token", errors.failure(event.code).retryable,
    )  # fmt: skip
