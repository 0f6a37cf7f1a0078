"""What a caller of `post` gets from a peer that says exactly what a test lets it say."""

import asyncio
import gzip
import itertools
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.outbound import client
from lib.outbound.addresses import Networks
from lib.outbound.client import (
    AddressError,
    AnswerError,
    CutOffError,
    LateError,
    Limits,
    OutboundError,
    SizeError,
    UnreachableError,
    UrlError,
)
from tests.unit.outbound.test_addresses import LOOPBACK
from tests.unit.peer import ANSWERS, ASK, ENDING, OK, RESET, Peer, Steps, playing, saying

EXPECTED = {
    "length": (200, b'{"value":"a b"}'),
    "chunked": (404, b'{"a":1}'),
    "extensions": (200, b"abcd"),
    "empty": (200, b""),
    "nothing": (204, b""),
    "continue": (200, b"ok"),
    "close": (503, b"no"),
    "old": (200, b"old"),
    "reason": (429, b"1"),
}
HEAD = b"HTTP/1.1 200 OK\r\n"
SIX = HEAD + b"Content-Length: 6\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PACKED = gzip.compress(b"hello", mtime=0)


async def fetch(to: Peer | str, allowed: Networks = LOOPBACK, **limits: Any) -> tuple[int, bytes]:
    """The status and the body."""
    url = to if isinstance(to, str) else f"{to.url}/chat"
    async with client.post(url, json={"a": 1}, limits=Limits(**limits), allowed=allowed) as answer:
        return answer.status, b"".join([chunk async for chunk in answer.chunks()])


def encoded(name: str, body: bytes) -> bytes:
    return HEAD + f"Content-Encoding: {name}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


# Which URLs

PRIVATE = """
    127.0.0.1 127.0.0.1. 127.1 0x7f.1 0x7f000001 0177.0.0.1 2130706433 １２７.０.０.１ ①②⑦.0.0.1 169.254.169.254
    [::1] [::ffff:169.254.169.254] [0:0:0:0:0:ffff:7f00:1] [fe80::1%25eth0]
"""  # noqa: RUF001 (the attempt)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [(host, ()) for host in PRIVATE.split()]
    + [(host, LOOPBACK) for host in ("127.1", "0x7f.1", "2130706433", "0177.0.0.1")],
)
async def test_a_private_host_is_refused_in_every_spelling_and_an_allowed_one_in_odd_spellings(
    host: str, allowed: Networks
) -> None:
    with pytest.raises(AddressError) as refused:
        await fetch(f"http://{host}:9/", allowed)
    assert refused.value.code == "address_refused"


@pytest.mark.parametrize(
    "url",
    [
        "", "example.org/webhook", "//example.org", "ftp://example.org/", "file:///etc/passwd", "http://", "http:///path",
        "http://user@example.org/", "http://user:word@example.org/", "http://example.org:0/", "http://example.org:99999/",
        "http://example.org/a b", "http://example.org/a\r\nHost: other", "http://example.org\\@other.example/",
        "http://[::1/", "http://example.org/" + "a" * 2_048,
    ],
)  # fmt: skip
async def test_a_text_that_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(UrlError) as refused:
        await fetch(url)
    assert refused.value.code == "misconfigured"


# What is sent


async def test_the_request_has_each_header_once() -> None:
    async with saying(OK).running() as peer:
        headers = {"ACCEPT": "text/event-stream", "X-Key": "value"}
        async with client.post(f"{peer.url}/ü?a=ö#b", json={"é": 1}, headers=headers, allowed=LOOPBACK) as answer:
            assert answer.status == 200
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "POST /%C3%BC?a=%C3%B6 HTTP/1.1"
    assert {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines} == {
        "host": peer.url.removeprefix("http://"),
        "user-agent": "switchboard",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "x-key": "value",
        "content-length": str(len(body)),
    }
    assert len(lines) == 7
    assert body == b'{"\\u00e9":1}'


async def test_a_get_has_no_body_and_the_same_limits() -> None:
    async with saying(OK).running() as peer:
        async with client.get(f"{peer.url}/a", headers={"X-Key": "value"}, allowed=LOOPBACK) as answer:
            assert answer.status == 200
        with pytest.raises(client.AddressError):
            await client.get(peer.url).__aenter__()
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    assert (head.splitlines()[0], body) == (b"GET /a HTTP/1.1", b"")
    assert b"x-key: value" in head.lower()


async def test_redirects_cookies_and_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    away = b"HTTP/1.1 307 Away\r\nLocation: /elsewhere\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with saying(away).running() as peer:
        url = peer.url.replace("127.0.0.1", "localhost") + "/chat"  # an address would not get cookies in any case
        assert [await fetch(url), await fetch(url)] == [(307, b"")] * 2
    assert len(peer.requests) == 2
    assert all(b"POST /chat " in request and b"cookie" not in request.lower() for request in peer.requests)


# What is read


@given(name=st.sampled_from(sorted(ANSWERS)), cuts=st.lists(st.integers(0, 200), max_size=12))
@settings(max_examples=100, deadline=None)
async def test_an_answer_is_the_same_however_its_bytes_are_cut(name: str, cuts: list[int]) -> None:
    wire = ANSWERS[name]
    edges = sorted({min(cut, len(wire)) for cut in cuts} | {0, len(wire)})
    pieces = [step for start, stop in itertools.pairwise(edges) for step in (wire[start:stop], 0.0)]
    async with playing([ASK, *pieces, ASK, *pieces, ASK]).running() as peer:
        assert [await fetch(peer), await fetch(peer)] == [EXPECTED[name]] * 2
    assert len(peer.requests) == 2
    assert peer.connections == (2 if name in ENDING else 1)


@pytest.mark.parametrize("head", [HEAD + b"Content-Type: text/plain\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"])
async def test_an_answer_without_a_length_ends_with_its_connection_but_not_with_a_reset(head: bytes) -> None:
    async with playing([ASK, head, b"all ", 0.0, b"of it"], [ASK, head, b"all", 0.05, RESET]).running() as peer:
        assert await fetch(peer) == (200, b"all of it")
        with pytest.raises(CutOffError):
            await fetch(peer)


@pytest.mark.parametrize(("wbits", "name"), [(31, "gzip"), (31, "x-gzip"), (15, "deflate"), (31, "GZIP")])
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 131_072, 1_000_000])
async def test_a_compressed_answer_is_read_whole(wbits: int, name: str, size: int) -> None:
    packer = zlib.compressobj(wbits=wbits)
    answer = encoded(name, packer.compress(b"x" * size) + packer.flush())
    pieces = [step for start in range(0, len(answer), 97) for step in (answer[start : start + 97], 0.0)]
    async with playing([ASK, answer], [ASK, *pieces]).running() as peer:
        assert [await fetch(peer), await fetch(peer)] == [(200, b"x" * size)] * 2


@pytest.mark.parametrize("head", [b"204 No Content", b"200 OK\r\nContent-Length: 0"])
async def test_an_answer_without_a_body_needs_no_decompression(head: bytes) -> None:
    async with saying(b"HTTP/1.1 " + head + b"\r\nContent-Encoding: gzip\r\n\r\n").running() as peer:
        assert (await fetch(peer))[1] == b""


# How much


async def test_an_answer_of_exactly_the_limit_is_read_and_one_byte_more_is_not() -> None:
    async with saying(SIX + b"sizedd").running() as peer:
        assert await fetch(peer, max_bytes=6) == (200, b"sizedd")
        with pytest.raises(SizeError) as refused:
            await fetch(peer, max_bytes=5)
    assert refused.value.code == "too_large"


async def test_a_gzip_bomb_is_stopped_at_the_limit_and_not_in_memory() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(200)) + packer.flush()
    blocks = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + b"\x00\x00\x00\xff\xff" * 20_000  # which hold nothing
    async with saying(encoded("gzip", bomb), encoded("gzip", blocks)).running() as peer:
        tracemalloc.start()
        try:
            with pytest.raises(SizeError):
                await fetch(peer, max_bytes=2_000_000)
            assert tracemalloc.get_traced_memory()[1] < 20_000_000
        finally:
            tracemalloc.stop()
        with pytest.raises(SizeError):
            await fetch(peer, max_bytes=50_000)


@pytest.mark.parametrize(
    "endless", [b"0\r\nX: " + b"y" * 16_000, b"0\r\n" + b"X: y\r\n" * 2_000, b"2;ext=" + b"y" * 16_000, b"0" * 16_000]
)
async def test_bytes_that_carry_no_body_do_not_arrive_for_ever(endless: bytes) -> None:
    written = 0

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        nonlocal written
        await peer.read(reader)
        writer.write(CHUNKED + b"2\r\nok\r\n")
        await asyncio.sleep(0.02)
        while written < 64_000_000:
            writer.write(endless if not written else endless.removeprefix(b"0\r\n"))
            written += len(endless)
            await writer.drain()

    async with Peer(script).running() as peer:
        with pytest.raises(CutOffError):
            await fetch(peer)
    assert written < 16_000_000  # with the system's own buffers


async def test_a_peer_that_sends_faster_than_is_read_has_to_wait() -> None:
    size, written = 32 * 1024 * 1024, 0

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        nonlocal written
        while True:
            await peer.read(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            written = 0
            while written < size:
                writer.write(b"x" * 65_536)
                written += 65_536
                await writer.drain()

    async with Peer(script).running() as peer:
        for _ in range(2):
            async with client.post(peer.url, json={}, limits=Limits(max_bytes=size), allowed=LOOPBACK) as answer:
                await asyncio.sleep(0.3)
                assert 0 < written < size / 2  # the system's own buffers, and a little more
                assert sum([len(chunk) async for chunk in answer.chunks()]) == size
    assert peer.connections == 1


# How long


@pytest.mark.parametrize(
    ("steps", "limits", "message"),
    [
        ([ASK, ASK], {"first_byte_seconds": 0.1}, "did not begin"),
        ([ASK, ASK], {"total_seconds": 0.1}, "did not begin"),
        ([ASK, b"HTTP/1.1 100 Continue\r\n\r\n", ASK], {"first_byte_seconds": 0.1}, "did not begin"),
        ([ASK, SIX, b"half", ASK], {"idle_seconds": 0.1}, "stopped coming"),
        ([ASK, SIX, b"half", ASK], {"total_seconds": 0.2}, "too long"),
        ([ASK, CHUNKED, *[b"1\r\nx\r\n", 0.02] * 100, ASK], {"total_seconds": 0.2}, "too long"),
    ],
)
async def test_an_answer_that_is_late_ends_the_call(steps: Steps, limits: dict[str, Any], message: str) -> None:
    async with playing(steps, [ASK, OK]).running() as peer:
        with pytest.raises(LateError, match=message) as late:
            await fetch(peer, **limits)
        assert late.value.code == "timeout"
        assert await fetch(peer) == (200, b"ok")  # over another connection


async def test_a_request_that_the_peer_does_not_read_ends_the_call() -> None:
    async with playing([1.0]).running() as peer:
        limits = Limits(first_byte_seconds=0.1)
        with pytest.raises(LateError, match="did not begin"):
            await client.post(peer.url, json="x" * 32_000_000, limits=limits, allowed=LOOPBACK).__aenter__()


async def test_idle_time_is_counted_from_the_last_byte() -> None:
    dripping: tuple[bytes | float, ...] = (b"x", 0.2)
    async with playing([ASK, SIX, *dripping * 6]).running() as peer:
        assert await fetch(peer, idle_seconds=0.7) == (200, b"xxxxxx")


async def test_only_the_total_time_passes_while_the_answer_is_not_read() -> None:
    async with playing([ASK, SIX, b"one", 0.4, b"two"], [ASK, SIX, b"one", ASK]).running() as peer:
        async with client.post(peer.url, json={}, limits=Limits(idle_seconds=0.3), allowed=LOOPBACK) as answer:
            await asyncio.sleep(0.35)
            assert b"".join([chunk async for chunk in answer.chunks()]) == b"onetwo"
        async with client.post(peer.url, json={}, limits=Limits(total_seconds=0.3), allowed=LOOPBACK) as answer:
            chunks = answer.chunks()
            assert await anext(chunks) == b"one"
            await asyncio.sleep(0.4)
            with pytest.raises(LateError, match="too long"):
                await anext(chunks)


# What fails


@pytest.mark.parametrize("url", ["http://nowhere.invalid/", "http://a..b/", "http://127.0.0.1:1/"])
async def test_a_host_that_does_not_listen_is_unreachable(url: str) -> None:
    with pytest.raises(UnreachableError) as unreachable:
        await fetch(url)
    assert unreachable.value.code == "unreachable"
    assert unreachable.value.retryable


@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_an_answer_that_breaks_off_anywhere_is_an_error_and_nothing_is_sent_twice(name: str) -> None:
    wire = ANSWERS[name]
    begins = wire.index(b"\r\n\r\n", wire.rindex(b"HTTP/1.1") if name == "continue" else 0) + 4
    for end in range(len(wire)):
        async with playing([ASK, wire[:end]]).running() as peer:
            with pytest.raises(CutOffError if end >= begins else UnreachableError):
                await fetch(peer)
        assert len(peer.requests) == 1


async def test_an_answer_whose_framing_breaks_is_cut_off() -> None:
    async with playing([ASK, CHUNKED, b"2\r\nok\r\n", 0.02, b"no size\r\n", ASK]).running() as peer:
        with pytest.raises(CutOffError):
            await fetch(peer)


async def test_what_arrived_before_the_connection_broke_is_read_first() -> None:
    async with (
        playing([ASK, SIX, b"half"]).running() as peer,
        client.post(peer.url, json={}, allowed=LOOPBACK) as answer,
    ):
        await asyncio.sleep(0.1)
        chunks = answer.chunks()
        assert await anext(chunks) == b"half"
        with pytest.raises(CutOffError) as cut:
            await anext(chunks)
        assert cut.value.code == "cut_off"


@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"220 mail.example.com ESMTP\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        HEAD + b"X: y\r\n" * 200_000,
        HEAD + b"X: " + b"y" * 1_000_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000,
        b"HTTP/1.1 150 Wait\r\nContent-Length: 4\r\n\r\nEVIL" + OK,
        b"HTTP/1.1 150 Wait\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n" + OK,
        HEAD + b"Transfer-Encoding: identity\r\n\r\nok",
        HEAD + b"Transfer-Encoding: chunked,\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        encoded("br", b"\x0b\x02\x80hello\x03"),
        encoded("gzip", b"plain"),
        encoded("gzip", PACKED[:-9]),
        encoded("gzip", PACKED + b"more"),
        encoded("gzip, gzip", gzip.compress(PACKED, mtime=0)),
    ],
    ids=[
        "ssh", "smtp", "tls", "two lengths", "upgrade", "endless head", "endless line", "endless waiting",
        "body before", "chunks before", "no coding", "odd coding", "two codings", "not requested", "not compressed",
        "compressed half", "compressed and more", "compressed twice",
    ],
)  # fmt: skip
async def test_an_answer_that_is_no_http_or_not_encoded_as_it_says_is_an_error(wire: bytes) -> None:
    pieces = [step for start in range(0, len(wire), 16_000) for step in (wire[start : start + 16_000], 0.0)]
    async with playing([ASK, *pieces, ASK]).running() as peer:
        with pytest.raises(AnswerError) as bad:
            await fetch(peer)
    assert bad.value.code == "bad_answer"


@pytest.mark.parametrize("error", OutboundError.__subclasses__())
def test_every_error_has_a_code(error: type[OutboundError]) -> None:
    assert error.code in (client.__doc__ or "")
