import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import providers
from lib.errors import InvalidBody, InvalidJson, NotFound, Problem, SecretInvalid
from lib.personas.text import MAX_CHARACTERS
from lib.providers import n8n

TURN = "0197a000-0000-7000-8000-000000000001"
SECRET = "the-callback-secret"


def body_of(value: object) -> bytes:
    return json.dumps(value).encode()


@contextmanager
def refused(error: type[Problem], field: str | None = None) -> Iterator[None]:
    with pytest.raises(error) as raised:
        yield
    if field is not None:
        assert isinstance(raised.value, InvalidBody)
        assert [fault.field for fault in raised.value.errors] == [field]


# Who sent it


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {SECRET}"},
        {"Authorization": f"bearer {SECRET}"},
        {"x-switchboard-secret": SECRET},
        {"X-Switchboard-Secret": SECRET, "Authorization": "Basic dXNlcjp3b3Jk"},
    ],
)
def test_who_knows_the_secret_is_believed(headers: dict[str, str]) -> None:
    n8n.verify(SECRET, headers, b"{}")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer "},
        {"authorization": SECRET},
        {"authorization": f"Basic {SECRET}"},
        {"authorization": f"Bearer {SECRET}x"},
        {"authorization": f"Bearer {SECRET[:-1]}"},
        {"authorization": f"Bearer {SECRET.upper()}"},
        {"authorization": "Bearer geheimes Wört\xff"},
        {"x-switchboard-secret": ""},
        {"authorization": "Bearer wrong", "x-switchboard-secret": SECRET},
    ],
)
def test_nobody_else_is_believed(headers: dict[str, str]) -> None:
    with refused(SecretInvalid):
        n8n.verify(SECRET, headers, b"{}")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer "}, {"x-switchboard-secret": ""}])
def test_a_secret_that_is_not_set_opens_nothing(headers: dict[str, str]) -> None:
    with refused(SecretInvalid):
        n8n.verify("", headers, b"{}")


# What it says


@pytest.mark.parametrize("key", ["output", "text", "message", "answer"])
@pytest.mark.parametrize("turn_key", ["turnId", "turn_id"])
def test_the_answer_may_stand_under_each_of_its_names(turn_key: str, key: str) -> None:
    answer = n8n.parse(body_of({turn_key: TURN, key: "Hello", "itemIndex": 0}))
    assert (answer.turn_id, answer.text, answer.error) == (TURN, "Hello", None)


def test_the_first_name_with_a_text_counts() -> None:
    assert n8n.parse(body_of({"turnId": TURN, "output": "", "text": "Hello"})).text == "Hello"


def test_the_one_item_of_a_list_is_the_answer() -> None:
    assert n8n.parse(body_of([{"turnId": TURN, "output": "Hello"}])).text == "Hello"


def test_a_turn_id_is_read_in_every_spelling_of_a_uuid() -> None:
    assert n8n.reference(body_of({"turnId": TURN.upper().replace("-", "")})) == TURN


@pytest.mark.parametrize("error", ["the model is down", {"message": "the model is down", "stack": "at x"}])
def test_an_error_is_told_in_one_line(error: object) -> None:
    answer = n8n.parse(body_of({"turnId": TURN, "error": error}))
    assert (answer.text, answer.error) == (None, "the model is down")


@pytest.mark.parametrize("error", [None, "", False, {}])
def test_an_empty_error_is_none(error: object) -> None:
    assert n8n.parse(body_of({"turnId": TURN, "output": "Hello", "error": error})).error is None


def test_an_error_without_words_is_still_one() -> None:
    assert n8n.parse(body_of({"turnId": TURN, "error": True})).error == "the workflow reported an error"


def test_a_long_error_is_cut_and_what_cannot_be_stored_goes() -> None:
    answer = n8n.parse(body_of({"turnId": TURN, "output": "a\x00b\ud83d", "error": "long\x00 " * 1_000}))
    assert answer.text == "ab\N{REPLACEMENT CHARACTER}"
    assert answer.error is not None
    assert len(answer.error) == n8n.MAX_ERROR_LENGTH
    assert "\x00" not in answer.error


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN1", b"1" * 5_000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    for read in (n8n.reference, n8n.parse):
        with refused(InvalidJson):
            read(body)


@pytest.mark.parametrize("value", [None, "text", 1, [], [{}, {}], [[{"turnId": TURN}]]])
def test_what_is_no_object_is_refused(value: object) -> None:
    with refused(InvalidBody, ""):
        n8n.reference(body_of(value))


@pytest.mark.parametrize("turn_id", [None, "", "1", 1, True, ["x"], {"id": TURN}, TURN + "0"])
def test_what_names_no_turn_is_refused(turn_id: object) -> None:
    for read in (n8n.reference, n8n.parse):
        with refused(InvalidBody, "turnId"):
            read(body_of({"turnId": turn_id, "output": "Hello"}))


@pytest.mark.parametrize("fields", [{}, {"output": " "}, {"output": 1}, {"output": ["a", "b"]}, {"error": ""}])
def test_what_says_nothing_is_refused(fields: dict[str, object]) -> None:
    with refused(InvalidBody, "output"):
        n8n.parse(body_of({"turnId": TURN, **fields}))


def test_an_answer_has_a_limit() -> None:
    longest = "a" * MAX_CHARACTERS
    assert n8n.parse(body_of({"turnId": TURN, "output": longest})).text == longest
    with refused(InvalidBody, "output"):
        n8n.parse(body_of({"turnId": TURN, "output": longest + "a"}))


# Which delivery it is


def test_the_same_answer_is_the_same_delivery() -> None:
    first = n8n.parse(body_of({"turnId": TURN, "output": "Hello", "executionId": 1}))
    again = n8n.parse(body_of({"executionId": 2, "text": "Hello", "turn_id": TURN.upper()}))
    assert first.delivery_key == again.delivery_key


@pytest.mark.parametrize(
    "other",
    [
        {"turnId": TURN, "output": "Hello!"},
        {"turnId": TURN, "error": "Hello"},
        {"turnId": TURN, "output": "Hello", "error": "late"},
        {"turnId": str(uuid4()), "output": "Hello"},
    ],
)
def test_another_answer_is_another_delivery(other: dict[str, object]) -> None:
    first = n8n.parse(body_of({"turnId": TURN, "output": "Hello"}))
    assert n8n.parse(body_of(other)).delivery_key != first.delivery_key


@given(st.text(), st.text())
def test_a_delivery_key_is_short_whatever_was_said(text: str, error: str) -> None:
    answer = n8n.parse(body_of({"turnId": TURN, "output": "Hello" + text, "error": error}))
    assert len(answer.delivery_key) <= 128


@given(st.binary(max_size=300))
def test_any_body_is_read_or_refused_with_a_code(body: bytes) -> None:
    with suppress(InvalidJson, InvalidBody):
        assert UUID(n8n.parse(body).turn_id)


# Which provider


def test_a_provider_is_found_by_its_name() -> None:
    assert providers.find("n8n").reference(body_of({"turnId": TURN})) == TURN


@pytest.mark.parametrize("name", ["nobody", "", "N8N", "__init__", "../n8n", "n8n.parse", "a" * 100, "os"])
def test_a_name_that_is_none_is_not_found(name: str) -> None:
    with pytest.raises(NotFound) as missing:
        providers.find(name)
    assert missing.value.code == "provider_not_found"
