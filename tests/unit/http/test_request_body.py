import asyncio
import json
import math
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.types import Message as AsgiMessage

from lib import errors
from lib.fields.models import Body
from lib.fields.types import Attributes, Label, Message, Moment
from lib.http import request_body


class Sample(Body):
    message: Message = "x"
    first_name: Label | None = None
    some_id: UUID | None = None
    attributes: Attributes = Field(default_factory=dict)


def request(chunks: list[bytes], headers: dict[str, str], *, breaks_off: bool = False) -> Request:
    messages: list[AsgiMessage] = [
        {"type": "http.request", "body": chunk, "more_body": breaks_off or position < len(chunks) - 1}
        for position, chunk in enumerate(chunks)
    ]
    messages.append({"type": "http.disconnect"})
    taken = iter(messages)

    async def receive() -> AsgiMessage:
        return next(taken)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


def json_request(content: bytes, content_type: str = "application/json") -> Request:
    return request([content], {"content-type": content_type})


async def read(content: bytes) -> Sample:
    return await request_body.read(json_request(content), Sample)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.integers(0, 120))
def test_the_body_is_whole_or_refused_whatever_its_chunks(chunks: list[bytes], limit: int) -> None:
    whole = b"".join(chunks)
    if len(whole) <= limit:
        assert asyncio.run(request_body.read_raw(request(chunks, {}), limit=limit)) == whole
    else:
        with pytest.raises(errors.BodyTooLarge):
            asyncio.run(request_body.read_raw(request(chunks, {}), limit=limit))


@pytest.mark.parametrize(
    "headers", [{"content-length": "99999999999"}, {"content-length": "101", "expect": "100-continue"}]
)
async def test_a_declared_length_above_the_limit_is_refused_unread(headers: dict[str, str]) -> None:
    async def never() -> AsgiMessage:
        raise AssertionError("the body was read")

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    big = Request({"type": "http", "method": "POST", "headers": raw}, never)
    with pytest.raises(errors.BodyTooLarge):
        await request_body.read_raw(big, limit=100)


@pytest.mark.parametrize("declared", ["10", "101"])
async def test_what_is_too_large_is_read_on_up_to_a_bound(declared: str) -> None:
    size = 0

    async def endless() -> AsgiMessage:
        nonlocal size
        size += 60_000
        return {"type": "http.request", "body": b"x" * 60_000, "more_body": True}

    lying = Request({"type": "http", "method": "POST", "headers": [(b"content-length", declared.encode())]}, endless)
    with pytest.raises(errors.BodyTooLarge):
        await request_body.read_raw(lying, limit=100)
    assert request_body.DISCARD_LIMIT <= size <= request_body.DISCARD_LIMIT + 120_000


async def test_a_sender_who_stops_in_the_middle_of_too_much_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "DISCARD_SECONDS", 0.05)

    async def stuck() -> AsgiMessage:
        await asyncio.sleep(60)
        raise AssertionError("it was waited for")

    slow = Request({"type": "http", "method": "POST", "headers": [(b"content-length", b"101")]}, stuck)
    async with asyncio.timeout(20):
        with pytest.raises(errors.BodyTooLarge):
            await request_body.read_raw(slow, limit=100)


async def test_a_sender_who_breaks_off_too_much_is_refused_for_that() -> None:
    with pytest.raises(errors.BodyTooLarge):
        await request_body.read_raw(request([b"x" * 60, b"x" * 60], {}, breaks_off=True), limit=100)


@pytest.mark.parametrize("length", ["", "-5", "ten", "٣", "9" * 5000])
async def test_an_impossible_length_is_no_length(length: str) -> None:
    sent = request([b"{}"], {"content-length": length})
    if length.startswith("9"):
        with pytest.raises(errors.BodyTooLarge):
            await request_body.read_raw(sent, limit=100)
    else:
        assert await request_body.read_raw(sent, limit=100) == b"{}"


async def test_a_body_that_breaks_off_is_no_json() -> None:
    with pytest.raises(errors.InvalidJson):
        await request_body.read_raw(request([b'{"a"'], {}, breaks_off=True), limit=100)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"{}{}",
        b"NaN",
        b'{"a": Infinity}',
        b"[1e999]",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"'a'",
        b"{'a': 1}",
        b"[" * 100000,
        b'{"a":' * 30000,
        b"1" * 5000,
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_what_is_not_strict_json_is_refused(content: bytes) -> None:
    with pytest.raises(errors.InvalidJson):
        request_body.parse(content)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values)
def test_json_is_read_as_it_was_written(value: object) -> None:
    assert request_body.parse(json.dumps(value).encode()) == value


@given(st.binary(max_size=200))
def test_no_bytes_do_more_harm_than_invalid_json(content: bytes) -> None:
    try:
        value = request_body.parse(content)
    except errors.InvalidJson:
        return
    assert not (isinstance(value, float) and math.isinf(value))


def test_the_last_of_two_equal_names_counts() -> None:
    assert request_body.parse(b'{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/jsonp",
        "text/json",
    ],
)
async def test_only_json_is_taken(content_type: str) -> None:
    with pytest.raises(errors.UnsupportedMediaType):
        await request_body.read(json_request(b"{}", content_type), Sample)


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_json_may_name_its_charset(content_type: str) -> None:
    assert await request_body.read(json_request(b"{}", content_type), Sample) == Sample()


async def test_names_are_snake_case_or_camel_case() -> None:
    assert (await read(b'{"first_name": "A"}')).first_name == "A"
    assert (await read(b'{"firstName": "A"}')).first_name == "A"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"[]", ""),
        (b"null", ""),
        (b'"text"', ""),
        (b'{"message": 1}', "message"),
        (b'{"message": null}', "message"),
        (b'{"message": ""}', "message"),
        (b'{"message": " \\n\\t "}', "message"),
        (b'{"message": "a\\u0000b"}', "message"),
        (b'{"message": "\\u001b[31m"}', "message"),
        (b'{"message": "\\ud800"}', "message"),
        (b'{"firstName": ""}', "first_name"),
        (b'{"some_id": "x"}', "some_id"),
        (b'{"surprise": 1}', "surprise"),
        (b'{"attributes": []}', "attributes"),
        (b'{"attributes": {"a": ["\\u0000"]}}', "attributes"),
        (b'{"attributes": {"a\\u0007": 1}}', "attributes"),
        (b'{"attributes": {"a": "\\udfff"}}', "attributes"),
        (b'{"attributes": {"a": ' + b"[" * 33 + b"]" * 33 + b"}}", "attributes"),
    ],
)
async def test_what_does_not_fit_is_named_by_its_field(content: bytes, field: str) -> None:
    with pytest.raises(errors.InvalidBody) as refused:
        await read(content)
    assert [error.field for error in refused.value.errors] == [field]
    assert refused.value.document()["errors"][0]["message"]


async def test_every_field_that_does_not_fit_is_named() -> None:
    with pytest.raises(errors.InvalidBody) as refused:
        await read(b'{"message": 1, "firstName": 2, "x": 3}')
    assert {error.field for error in refused.value.errors} == {"message", "first_name", "x"}


async def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(errors.InvalidBody) as refused:
        await read(b'{"message": "my password is hunter2\\u0000", "some_id": "hunter2"}')
    assert "hunter2" not in json.dumps(refused.value.document())


async def test_a_message_may_be_as_long_as_promised_and_no_longer() -> None:
    assert len((await read(json.dumps({"message": "😀" * 16_000}, ensure_ascii=False).encode())).message) == 16_000
    with pytest.raises(errors.InvalidBody):
        await read(json.dumps({"message": "a" * 16_001}).encode())


async def test_tabs_and_line_breaks_are_kept() -> None:
    assert (await read(b'{"message": " a\\tb\\r\\nc "}')).message == " a\tb\r\nc "


@given(st.datetimes(), st.integers(-1439, 1439))
def test_a_moment_is_one_that_can_be_told_in_utc(day: datetime, minutes: int) -> None:
    moment = day.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    try:
        told = (day - timedelta(minutes=minutes)).year
    except OverflowError:
        with pytest.raises(ValidationError):
            TypeAdapter(Moment).validate_python(moment.isoformat())
    else:
        assert TypeAdapter(Moment).validate_python(moment.isoformat()) == moment
        assert 1 <= told <= 9999


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Moment).validate_python(text)
