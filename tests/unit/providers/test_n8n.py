import json
from contextlib import suppress
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib import providers
from lib.errors import InvalidBody, InvalidJson, NotFound, SecretInvalid
from lib.personas.text import MAX_CHARACTERS
from lib.providers import AsyncAnswer, Delivery, n8n

TURN = "0197a000-0000-7000-8000-000000000001"
SECRET = "the-callback-secret"


def body_of(value: object) -> bytes:
    return json.dumps(value).encode()


def reference(body: bytes) -> str:
    return n8n.provider.reference(Delivery({}, body, {}))


def parse(body: bytes, **headers: str) -> AsyncAnswer:
    (answer,) = n8n.provider.parse(Delivery(headers, body, {}))
    return answer


@pytest.mark.parametrize(
    ("secret", "headers"),
    [
        *((secret, headers) for secret in (SECRET, "") for headers in (
            {}, {"authorization": ""}, {"authorization": "Bearer "}, {"x-switchboard-secret": ""},
        )),
        *((SECRET, {"authorization": value}) for value in (
            SECRET, f"Basic {SECRET}", f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", f"Bearer {SECRET.upper()}",
            "Bearer geheimes Wört\xff",
        )),
        (SECRET, {"authorization": "Bearer wrong", "x-switchboard-secret": SECRET}),
    ],
)  # fmt: skip
def test_any_other_sender_is_refused_and_every_one_if_no_secret_is_set(secret: str, headers: dict[str, str]) -> None:
    with pytest.raises(SecretInvalid):
        n8n.provider.verify(secret, Delivery(headers, b"{}", {}))


DOWN = "the model is down"
EMPTY: tuple[object, ...] = (None, "", False, {})
NO_OBJECTS: tuple[object, ...] = (None, "text", 1, [], [{}, {}], [[{"turnId": TURN}]])


@pytest.mark.parametrize(
    ("fields", "text", "error"),
    [
        *(({name: "Hello", "itemIndex": 0}, "Hello", None) for name in ("output", "text", "message", "answer")),
        ({"output": "", "text": "Hello"}, "Hello", None),
        *(({"output": "Hello", "error": empty}, "Hello", None) for empty in EMPTY),
        ({"error": DOWN}, None, DOWN),
        ({"error": {"message": DOWN, "stack": "at x"}}, None, DOWN),
        ({"error": True}, None, "the workflow reported an error"),
        ({"output": "a\x00b\ud83d"}, "ab\ufffd", None),
        ({"output": "a" * MAX_CHARACTERS}, "a" * MAX_CHARACTERS, None),
    ],
)  # fmt: skip
def test_a_text_and_an_error_are_found(fields: dict[str, object], text: str | None, error: str | None) -> None:
    for turn_id in ({"turnId": TURN}, {"turn_id": TURN.upper().replace("-", "")}):
        body = body_of({**turn_id, **fields})
        answer = parse(body)
        assert (answer.turn_id, reference(body), answer.text) == (TURN, TURN, text)
        assert answer.error == error
        assert parse(body_of([{**turn_id, **fields}])) == answer, "a list of one item is that item"


def test_a_long_error_is_cut_to_text_that_can_be_stored() -> None:
    error = parse(body_of({"turnId": TURN, "error": "long\x00 " * 1_000})).error
    assert error is not None
    assert len(error) == n8n.MAX_ERROR_LENGTH
    assert "\x00" not in error


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"NaN1", b"1" * 5_000])
def test_a_body_that_is_no_json_is_refused(body: bytes) -> None:
    for read in (reference, parse):
        with pytest.raises(InvalidJson):
            read(body)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        *((value, "") for value in NO_OBJECTS),
        *(
            ({"turnId": turn_id, "output": "Hello"}, "turnId")
            for turn_id in (None, "", "1", 1, True, ["x"], {"id": TURN}, TURN + "0")
        ),
    ],
)
def test_a_body_without_a_turn_is_refused(value: object, field: str) -> None:
    for read in (reference, parse):
        with pytest.raises(InvalidBody) as refused:
            read(body_of(value))
        assert [fault.field for fault in refused.value.errors] == [field]


@pytest.mark.parametrize(
    "fields",
    [{}, {"output": " "}, {"output": 1}, {"output": ["a", "b"]}, {"error": ""}, {"output": "a" * (MAX_CHARACTERS + 1)}],
)
def test_a_body_without_an_answer_or_with_one_that_is_too_long_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidBody) as refused:
        parse(body_of({"turnId": TURN, **fields}))
    assert [fault.field for fault in refused.value.errors] == ["output"]


def test_the_same_answer_is_the_same_delivery_and_another_is_not() -> None:
    def key(**fields: object) -> str:
        return str(parse(body_of({"turnId": TURN, **fields})).delivery_key)

    first = key(output="Hello", executionId=1)
    assert parse(body_of({"executionId": 2, "text": "Hello", "turn_id": TURN.upper()})).delivery_key == first
    others: tuple[dict[str, object], ...] = (
        {"output": "Hello!"}, {"error": "Hello"}, {"output": "Hello", "error": "late"},
        {"output": "Hello", "turnId": str(uuid4())},
    )  # fmt: skip
    assert first not in [key(**other) for other in others]


@given(st.text(), st.text())
def test_a_delivery_key_is_short_whatever_was_said(text: str, error: str) -> None:
    answer = parse(body_of({"turnId": TURN, "output": "Hello" + text, "error": error}))
    assert len(str(answer.delivery_key)) <= 128


@given(st.binary(max_size=300))
def test_any_body_is_read_or_refused_with_a_code(body: bytes) -> None:
    with suppress(InvalidJson, InvalidBody):
        assert UUID(parse(body).turn_id)


@pytest.mark.parametrize("name", ["nobody", "", "N8N", "__init__", "../n8n", "n8n.parse", "a" * 100, "os"])
def test_a_provider_is_found_by_its_exact_name(name: str) -> None:
    assert isinstance(providers.find("n8n"), n8n.N8n)
    with pytest.raises(NotFound) as missing:
        providers.find(name)
    assert missing.value.code == "provider_not_found"
