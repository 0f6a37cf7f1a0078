"""The way out at the wire: a peer of raw sockets that says exactly what a test lets it say."""

import asyncio
import gzip
import itertools
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.outbound import client
from lib.outbound.client import AnswerError, CutOffError, LateError, Limits, OutboundError, SizeError, UnreachableError
from tests.unit.database.test_postgrest import read_by_h11
from tests.unit.outbound.test_client import LOOPBACK
from tests.unit.peer import ANSWERS, ENDING, OK, Peer, saying

UNTIL_THE_END = {
    "no length": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it",
    "no length, old": b"HTTP/1.0 200 OK\r\n\r\nall of it",
}

PACKED = gzip.compress(b"hello", mtime=0)
"""Without the time, which would be in a test's name, and another in each process that runs tests."""


@pytest_asyncio.fixture(autouse=True)
async def closed_connections() -> AsyncIterator[None]:
    yield
    await client.close()


async def fetch(peer: Peer, path: str = "/chat", **limits: Any) -> tuple[int, bytes]:
    async with client.post(peer.url + path, json={"a": 1}, limits=Limits(**limits), allowed=LOOPBACK) as answer:
        return answer.status, b"".join([chunk async for chunk in answer.chunks()])


def cutting(wire: bytes, cuts: list[int], *, end: bool) -> Peer:
    """A peer that gives this answer in pieces, every time, and hangs up behind it or not."""

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        while True:
            await peer.read(reader)
            for start, stop in itertools.pairwise(sorted({min(cut, len(wire)) for cut in cuts} | {0, len(wire)})):
                writer.write(wire[start:stop])
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            if end:
                return

    return Peer(script)


@given(name=st.sampled_from(sorted(ANSWERS)), cuts=st.lists(st.integers(0, 200), max_size=12))
@settings(max_examples=100, deadline=None)
async def test_an_answer_is_the_same_however_its_bytes_are_cut(name: str, cuts: list[int]) -> None:
    async with cutting(ANSWERS[name], cuts, end=False).running() as peer:
        expected = read_by_h11(ANSWERS[name])
        for _ in range(2):
            assert await fetch(peer) == (expected.status, expected.content)
        await client.close()
    assert len(peer.requests) == 2
    assert peer.connections == (2 if name in ENDING else 1)


@pytest.mark.parametrize("name", sorted(UNTIL_THE_END))
async def test_an_answer_that_does_not_say_how_long_it_is_lasts_until_the_peer_hangs_up(name: str) -> None:
    async with cutting(UNTIL_THE_END[name], [60], end=True).running() as peer:
        assert [await fetch(peer), await fetch(peer)] == [(200, b"all of it")] * 2
    assert peer.connections == 2


@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_an_answer_that_breaks_off_anywhere_is_an_error_and_nothing_is_sent_twice(name: str) -> None:
    wire = ANSWERS[name]
    head = wire.rindex(b"HTTP/1.1") if name == "continue" else 0
    begins = wire.index(b"\r\n\r\n", head) + 4
    for end in range(len(wire)):
        async with cutting(wire[:end], [], end=True).running() as peer:
            with pytest.raises(CutOffError if end >= begins else UnreachableError):
                await fetch(peer)
        assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "wire",
    [
        b"220 mail.example.com ESMTP\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000,
        b"HTTP/1.1 150 Wait\r\nContent-Length: 4\r\n\r\nEVIL" + OK,
        b"HTTP/1.1 150 Wait\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
    ids=[
        "smtp", "tls", "two lengths", "upgrade", "endless head", "endless line", "endless waiting", "body before",
        "chunks before", "no coding", "odd coding", "two codings",
    ],
)  # fmt: skip
async def test_what_does_not_speak_http_is_no_answer(wire: bytes) -> None:
    async with cutting(wire, [*range(0, len(wire), 16_000)], end=False).running() as peer:
        with pytest.raises(AnswerError):
            await fetch(peer)


@pytest.mark.parametrize(
    "endless", [b"X: " + b"y" * 16_000, b"X: y\r\n" * 2_000, b"2;ext=" + b"y" * 16_000, b"0" * 16_000]
)
async def test_what_brings_nothing_of_a_body_does_not_come_for_ever(endless: bytes) -> None:
    trailer = b"0\r\n" if endless.startswith(b"X") else b""
    written = 0

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        nonlocal written
        await peer.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" + trailer)
        while written < 64_000_000:
            writer.write(endless)
            written += len(endless)
            await writer.drain()

    async with Peer(script).running() as peer:
        with pytest.raises(CutOffError):
            await fetch(peer)
    assert written < 16_000_000  # with what the system's own buffers hold


@pytest.mark.parametrize("wire", [OK, b"HTTP/1.1 204 No Content\r\n\r\n"])
async def test_what_comes_behind_an_answer_is_no_part_of_it_nor_of_the_next(wire: bytes) -> None:
    async with saying(wire + OK.replace(b"ok", b"no"), OK).running() as peer:
        assert await fetch(peer) == ((200, b"ok") if wire == OK else (204, b""))
        assert await fetch(peer) == (200, b"ok")
        await client.close()
    assert peer.connections == 2


async def test_an_answer_is_not_read_once_its_connection_may_serve_another_call() -> None:
    async with saying(OK).running() as peer:
        async with client.post(peer.url, json={}, allowed=LOOPBACK) as answer:
            pass
        with pytest.raises(RuntimeError, match="closed"):
            await anext(aiter(answer.chunks()))
        await client.close()


async def test_the_request_has_its_headers_once_each() -> None:
    async with saying(OK).running() as peer:
        headers = {"ACCEPT": "text/event-stream", "X-Key": "value"}
        async with client.post(f"{peer.url}/ü?a=ö", json={"é": 1}, headers=headers, allowed=LOOPBACK) as answer:
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


async def test_the_head_is_there_before_the_body() -> None:
    said = asyncio.Event()

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        await peer.read(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: TEXT/Plain ; Charset="Latin-1"\r\nContent-Length: 4\r\n\r\n')
        await said.wait()
        for byte in b"word":
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)

    async with Peer(script).running() as peer, client.post(peer.url, json={}, allowed=LOOPBACK) as answer:
        assert (answer.content_type, answer.charset, answer.headers["Content-length"]) == ("text/plain", "Latin-1", "4")
        said.set()
        chunks = [chunk async for chunk in answer.chunks()]
        assert b"".join(chunks) == b"word"
        assert len(chunks) > 1


async def test_a_peer_that_answers_faster_than_is_read_has_to_wait() -> None:
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
            limits = Limits(max_bytes=size)
            async with client.post(peer.url, json={}, limits=limits, allowed=LOOPBACK) as answer:
                await asyncio.sleep(0.3)
                assert 0 < written < size / 2  # what the system's own buffers hold, and a little more
                assert sum([len(chunk) async for chunk in answer.chunks()]) == size
        await client.close()
    assert peer.connections == 1


async def test_an_answer_that_was_not_read_leaves_nothing_for_the_next() -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n" + b"x" * 600_000
    async with saying(large, OK).running() as peer:
        async with client.post(peer.url, json={}, allowed=LOOPBACK) as answer:
            assert answer.status == 200
        assert await fetch(peer) == (200, b"ok")
        # This one came whole before anybody read it, so its connection is kept.
        async with client.post(peer.url, json={}, allowed=LOOPBACK) as answer:
            await asyncio.sleep(0.05)
        assert await fetch(peer) == (200, b"ok")
        await client.close()
    assert peer.connections == 2


async def test_who_leaves_early_hangs_up() -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        await peer.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        await peer.read(reader)

    async with Peer(script).running() as peer:
        async with client.post(peer.url, json={}, allowed=LOOPBACK) as answer:
            assert await anext(aiter(answer.chunks())) == b"ok"
        await asyncio.wait_for(peer.hung_up.wait(), 2)


async def test_who_is_cancelled_while_waiting_hangs_up() -> None:
    asked = asyncio.Event()

    async def script(peer: Peer, reader: asyncio.StreamReader, _: asyncio.StreamWriter, _number: int) -> None:
        await peer.read(reader)
        asked.set()
        await peer.read(reader)

    async with Peer(script).running() as peer:
        asking = asyncio.create_task(fetch(peer))
        await asyncio.wait_for(asked.wait(), 2)
        asking.cancel()
        await asyncio.wait_for(peer.hung_up.wait(), 2)
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_kept_connection_that_has_ended_is_found_out_before_anything_is_sent() -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        await peer.read(reader)
        writer.write(OK)

    async with Peer(script).running() as peer:
        for _ in range(3):
            assert await fetch(peer) == (200, b"ok")
    assert (peer.connections, len(peer.requests)) == (3, 3)


async def test_a_connection_that_ends_under_a_call_is_not_tried_again() -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        await peer.read(reader)
        writer.write(OK)
        await peer.read(reader)

    async with Peer(script).running() as peer:
        assert await fetch(peer) == (200, b"ok")
        with pytest.raises(UnreachableError):
            await fetch(peer)
    assert (peer.connections, len(peer.requests)) == (1, 2)


async def test_calls_at_once_have_connections_of_their_own_and_share_them_later() -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        while True:
            await peer.read(reader)
            await asyncio.sleep(0.05)
            writer.write(OK)

    async with Peer(script).running() as peer:
        for _ in range(2):
            assert await asyncio.gather(*(fetch(peer) for _ in range(20))) == [(200, b"ok")] * 20
        await client.close()
    assert (peer.connections, len(peer.requests)) == (20, 40)


async def test_places_without_number_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_MAX_POOLS", 3)
    loop = asyncio.get_running_loop()
    peers = [saying(OK) for _ in range(6)]
    for _ in range(2):
        for peer in peers:
            async with peer.running():
                assert await fetch(peer) == (200, b"ok")
            assert len(client._pools[loop]) <= 3


@pytest.mark.parametrize(("wbits", "name"), [(31, "gzip"), (31, "x-gzip"), (15, "deflate"), (31, "GZIP")])
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 131_072, 1_000_000])
async def test_a_packed_answer_is_read_whole(wbits: int, name: str, size: int) -> None:
    packer = zlib.compressobj(wbits=wbits)
    packed = packer.compress(b"x" * size) + packer.flush()
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {name}\r\nContent-Length: {len(packed)}\r\n\r\n".encode()
    for cuts in ([], [*range(len(head), len(head) + len(packed), 97)]):
        async with cutting(head + packed, cuts, end=False).running() as peer:
            assert await fetch(peer) == (200, b"x" * size)


@pytest.mark.parametrize("head", [b"204 No Content", b"200 OK\r\nContent-Length: 0"])
async def test_an_answer_without_a_body_is_packed_in_no_way(head: bytes) -> None:
    async with saying(b"HTTP/1.1 " + head + b"\r\nContent-Encoding: gzip\r\n\r\n").running() as peer:
        assert (await fetch(peer))[1] == b""
        await client.close()


async def test_what_is_packed_is_bounded_too() -> None:
    nothing = b"\x00\x00\x00\xff\xff" * 20_000  # deflate's empty blocks
    packed = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + nothing
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000000000\r\n\r\n"
    async with cutting(head + packed, [], end=False).running() as peer:
        with pytest.raises(SizeError):
            await fetch(peer, max_bytes=50_000)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("br", b"\x0b\x02\x80hello\x03"),
        ("gzip", b"plain"),
        ("gzip", PACKED[:-9]),
        ("gzip", PACKED + b"more"),
        ("gzip, gzip", gzip.compress(PACKED, mtime=0)),
    ],
)
async def test_what_is_not_packed_as_it_says_or_as_nobody_asked_is_no_answer(name: str, body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {name}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with saying(head + body).running() as peer:
        with pytest.raises(AnswerError):
            await fetch(peer)


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"first_byte_seconds": 0.1}, LateError),
        ({"total_seconds": 0.1}, LateError),
        ({"idle_seconds": 0.1}, LateError),
        ({"max_bytes": 3}, SizeError),
    ],
)
async def test_after_an_error_the_connection_is_not_used_again(
    limits: dict[str, Any], error: type[OutboundError]
) -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await peer.read(reader)
        if "first_byte_seconds" not in limits or number > 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhalf")
        if number == 1:
            await peer.read(reader)
        writer.write(b"of")

    async with Peer(script).running() as peer:
        with pytest.raises(error):
            await fetch(peer, **limits)
        assert await fetch(peer) == (200, b"halfof")
    assert peer.connections == 2
