"""A body is JSON within its limit that fits its model, or it is refused by name."""

import asyncio
import json
import math
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.types import Message as AsgiMessage
from starlette.types import Receive

from lib import errors
from lib.fields.emails import EmailText
from lib.fields.models import Body
from lib.fields.types import Attributes, DisplayName, Label, Message, Moment
from lib.http import request_body


class Sample(Body):
    message: Message = "x"
    first_name: Label | None = None
    some_id: UUID | None = None
    attributes: Attributes = Field(default_factory=dict)
    lines: tuple[Label, ...] = Field(default=("x",), min_length=1)


def request(chunks: list[bytes], headers: dict[str, str], *, breaks_off: bool = False) -> Request:
    messages: list[AsgiMessage] = [
        {"type": "http.request", "body": chunk, "more_body": breaks_off or position < len(chunks) - 1}
        for position, chunk in enumerate(chunks)
    ]
    messages.append({"type": "http.disconnect"})
    taken = iter(messages)

    async def receive() -> AsgiMessage:
        return next(taken)

    return sending(receive, headers)


def sending(receive: Receive, headers: dict[str, str]) -> Request:
    """A request whose body comes from a function."""
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "headers": raw}, receive)


async def read(content: bytes) -> Sample:
    return await request_body.read(request([content], {"content-type": "application/json"}), Sample)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.integers(0, 120))
def test_a_body_is_read_whole_or_refused_whatever_its_chunks(chunks: list[bytes], limit: int) -> None:
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

    with pytest.raises(errors.BodyTooLarge):
        await request_body.read_raw(sending(never, headers), limit=100)


@pytest.mark.parametrize("declared", ["10", "101"])
async def test_a_body_that_is_too_large_is_read_on_up_to_a_bound(declared: str) -> None:
    size = 0

    async def endless() -> AsgiMessage:
        nonlocal size
        size += 60_000
        return {"type": "http.request", "body": b"x" * 60_000, "more_body": True}

    with pytest.raises(errors.BodyTooLarge):
        await request_body.read_raw(sending(endless, {"content-length": declared}), limit=100)
    assert request_body.DISCARD_LIMIT <= size <= request_body.DISCARD_LIMIT + 120_000


async def test_a_sender_that_stops_or_breaks_off_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "DISCARD_SECONDS", 0.05)
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.05)

    async def stuck() -> AsgiMessage:
        await asyncio.sleep(3_600)
        raise AssertionError("the stuck sender was waited for")

    for sent, refusal in (
        (sending(stuck, {"content-length": "101"}), errors.BodyTooLarge),
        (request([b"x" * 60, b"x" * 60], {}, breaks_off=True), errors.BodyTooLarge),
        (sending(stuck, {"content-length": "10"}), errors.BodyTimeout),
        (sending(stuck, {"content-length": "10", "transfer-encoding": "chunked"}), errors.AmbiguousLength),
    ):
        async with asyncio.timeout(20):
            with pytest.raises(refusal):
                await request_body.read_raw(sent, limit=100)


async def test_an_impossible_length_is_no_length() -> None:
    for length in ("", "-5", "ten", "٣"):
        assert await request_body.read_raw(request([b"{}"], {"content-length": length}), limit=100) == b"{}"
    with pytest.raises(errors.BodyTooLarge):
        await request_body.read_raw(request([b"{}"], {"content-length": "9" * 5_000}), limit=100)


async def test_a_body_that_breaks_off_is_no_json() -> None:
    with pytest.raises(errors.InvalidJson):
        await request_body.read_raw(request([b'{"a"'], {}, breaks_off=True), limit=100)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"{}{}", b"NaN", b'{"a": Infinity}', b"[1e999]", b"\xff", b"\xef\xbb\xbf{}", b"'a'", b"{'a': 1}",
        b"[" * 100000, b'{"a":' * 30000, b"1" * 5000, '{"a": 1}'.encode("utf-16"),
    ],
)  # fmt: skip
def test_only_strict_json_is_accepted(content: bytes) -> None:
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
def test_any_bytes_are_json_or_refused(content: bytes) -> None:
    try:
        value = request_body.parse(content)
    except errors.InvalidJson:
        return
    assert not (isinstance(value, float) and math.isinf(value))


async def test_only_json_in_utf_8_is_accepted() -> None:
    form = "application/x-www-form-urlencoded"
    for accepted in ("application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'):
        assert await request_body.read(request([b"{}"], {"content-type": accepted}), Sample) == Sample()
    for refused in ("", form, "application/json; charset=latin-1", "application/jsonp", "text/json"):
        with pytest.raises(errors.UnsupportedMediaType):
            await request_body.read(request([b"{}"], {"content-type": refused}), Sample)


@pytest.mark.parametrize(("coding", "is_accepted"), [("identity", True), ("gzip", False), ("deflate, br", False)])
async def test_a_compressed_body_is_refused(coding: str, *, is_accepted: bool) -> None:
    sent = request([b"{}"], {"content-type": "application/json", "content-encoding": coding})
    if is_accepted:
        assert await request_body.read(sent, Sample) == Sample()
        return
    with pytest.raises(errors.UnsupportedMediaType, match="Content-Encoding"):
        await request_body.read(sent, Sample)


@pytest.mark.parametrize("part", ["body", "query"])
def test_a_refusal_names_the_part_of_the_request_and_its_faults(part: Literal["body", "query"]) -> None:
    with pytest.raises(errors.InvalidBody) as refused:
        request_body.validate(Sample, {"message": " ", "x": 1}, part)
    assert refused.value.title == f"The {part} is not valid for this route."
    assert refused.value.detail == "message: must not be empty; x: Extra inputs are not permitted"


class Coded(Body):
    """A field for each code."""

    name: DisplayName
    email: EmailText
    age: int = Field(ge=18, le=120)
    key: Annotated[str, Field(min_length=8)]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("name", ..., ("required", None)),
        ("name", "", ("required", None)),
        ("name", "  ", ("required", None)),
        ("name", "n" * 201, ("too_long", 200)),
        ("key", "k", ("too_short", 8)),
        ("email", "a@", ("not_an_email", None)),
        ("age", 17, ("too_small", 18)),
        ("age", 121, ("too_large", 120)),
        ("age", "old", ("not_a_number", None)),
        ("age", 18.5, ("not_a_number", None)),
        ("name", "\u0007", (None, None)),
    ],
)
def test_a_common_fault_has_a_code(name: str, value: object, code: tuple[str | None, int | None]) -> None:
    sent: dict[str, object] = {"name": "Ann", "email": "a@example.com", "age": 18, "key": "k" * 8, name: value}
    with pytest.raises(errors.InvalidBody) as refused:
        request_body.validate(Coded, {key: each for key, each in sent.items() if each is not ...})
    (fault,) = refused.value.document()["errors"]
    assert (fault["field"], fault.get("code"), fault.get("limit")) == (name, *code)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b"[]", ""),
        (b"null", ""),
        (b'"text"', ""),
        (b'{"message": null}', "message"),
        (b'{"message": " \\n\\t "}', "message"),
        (b'{"attributes": {"a": ["\\u0000"]}}', "attributes"),
        (b'{"attributes": {"a\\u0007": 1}}', "attributes"),
        (b'{"attributes": {"a": "\\udfff"}}', "attributes"),
        (b'{"attributes": {"a": ' + b"[" * 33 + b"]" * 33 + b"}}", "attributes"),
        (b'{"message": 1, "firstName": 2, "x": 3}', "first_name message x"),
        (b'{"lines": ["x", ""]}', "lines.1"),
        (b'{"lines": []}', "lines"),
        (b'{"lines": {}}', "lines"),
        (b'{"message": "my password is hunter2\\u0000", "some_id": "hunter2"}', "message some_id"),
    ],
)
async def test_every_invalid_field_is_named_without_its_value(content: bytes, field: str) -> None:
    with pytest.raises(errors.InvalidBody) as refused:
        await read(content)
    assert sorted(error.field for error in refused.value.errors) == field.split(" ")
    assert all(error["message"] for error in refused.value.document()["errors"])
    assert not re.search("hunter2|dictionary|valid tuple", json.dumps(refused.value.document()))


@pytest.mark.parametrize("message", ["😀" * 16_000, " a\tb\r\nc "])
async def test_a_message_may_have_sixteen_thousand_characters_tabs_and_line_breaks(message: str) -> None:
    assert (await read(json.dumps({"message": message}, ensure_ascii=False).encode())).message == message


@given(st.datetimes(), st.integers(-1439, 1439))
def test_a_moment_can_be_written_in_utc(day: datetime, minutes: int) -> None:
    moment = day.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    try:
        told = (day - timedelta(minutes=minutes)).year
    except OverflowError:
        with pytest.raises(ValidationError):
            TypeAdapter(Moment).validate_python(moment.isoformat())
    else:
        found = TypeAdapter(Moment).validate_python(moment.isoformat())
        assert (found, found.tzinfo) == (moment, UTC), "Postgres knows no offset of 16 hours or more"
        assert 1 <= told <= 9999


def test_a_plain_date_is_the_start_of_its_day_in_utc() -> None:
    moments = TypeAdapter(Moment)
    assert moments.validate_python("2026-11-30") == datetime(2026, 11, 30, tzinfo=UTC)
    for text in ("2026-02-30", "2026-11-3", "２026-11-30"):  # noqa: RUF001 (a full-width digit)
        with pytest.raises(ValidationError):
            moments.validate_python(text)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00"])
def test_a_moment_needs_an_offset_and_a_year_of_the_calendar(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Moment).validate_python(text)
