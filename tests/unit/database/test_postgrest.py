"""The client at the wire: a peer of raw sockets that says exactly what a test lets it say."""

import asyncio
import itertools

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.database import postgrest
from lib.database.postgrest import Answer
from lib.outbound.wire import Lost
from tests.unit.peer import ANSWERS, ENDING, OK, Peer, call, saying


def read_by_h11(wire: bytes) -> Answer:
    """What another parser makes of the bytes."""
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    http.send(h11.EndOfMessage())
    http.receive_data(wire)
    status, content = 0, b""
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            content += event.data
    return Answer(status, content)


async def test_the_request_is_what_an_independent_parser_takes_for_it() -> None:
    async with saying(OK).running() as peer:
        peer.url += "/rest/v1/"
        await call(peer, b'{"id": "1"}')
    server = h11.Connection(h11.SERVER)
    server.receive_data(peer.requests[0])
    request, data = server.next_event(), server.next_event()
    assert isinstance(request, h11.Request)
    assert isinstance(data, h11.Data)
    assert (request.method, request.target, bytes(data.data)) == (b"POST", b"/rest/v1/rpc/do_it", b'{"id": "1"}')
    assert dict(request.headers) == {
        b"host": peer.url.removeprefix("http://").partition("/")[0].encode(),
        b"user-agent": b"switchboard",
        b"content-type": b"application/json",
        b"apikey": b"key",
        b"content-length": b"11",
    }


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\0b", "é"])
async def test_a_header_that_would_break_out_of_its_line_is_not_sent(value: str) -> None:
    async with saying(OK).running() as peer:
        with pytest.raises(ValueError, match="cannot be sent"):
            await postgrest.post(peer.url, "/rpc/x", [("apikey", value)], b"", connect_seconds=1, seconds=1)
    assert peer.connections == 0


@given(name=st.sampled_from(sorted(ANSWERS)), cuts=st.lists(st.integers(0, 200), max_size=12))
@settings(max_examples=150, deadline=None)
async def test_an_answer_is_the_same_however_its_bytes_are_cut(name: str, cuts: list[int]) -> None:
    wire = ANSWERS[name]

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        while True:
            await peer.read(reader)
            places = sorted({min(cut, len(wire)) for cut in cuts} | {0, len(wire)})
            for start, end in itertools.pairwise(places):
                writer.write(wire[start:end])
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    async with Peer(script).running() as peer:
        expected = read_by_h11(wire)
        assert [await call(peer), await call(peer)] == [expected, expected]
    assert len(peer.requests) == 2
    assert peer.connections == (2 if name in ENDING else 1)


@pytest.mark.parametrize("name", sorted(ANSWERS))
async def test_an_answer_that_breaks_off_anywhere_is_lost_and_nothing_is_sent_twice(name: str) -> None:
    wire = ANSWERS[name]
    for end in range(len(wire)):

        async def script(
            peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int, end: int = end
        ) -> None:
            await peer.read(reader)
            writer.write(wire[:end])

        async with Peer(script).running() as peer:
            with pytest.raises(Lost) as lost:
                await call(peer)
        assert lost.value.sent
        assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "wire",
    [
        b"220 mail.example.com ESMTP\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 150 Wait\r\nContent-Length: 4\r\n\r\nEVILHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        # It does not say how long it is, so nobody could tell that it came whole.
        b"HTTP/1.1 200 OK\r\n\r\nok",
    ],
)
async def test_what_is_not_a_whole_http_answer_is_lost(wire: bytes) -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await peer.read(reader)
        writer.write(wire if number == 1 else OK)

    async with Peer(script).running() as peer:
        with pytest.raises(Lost) as lost:
            await call(peer)
        assert lost.value.sent
        assert await call(peer) == Answer(200, b"ok")
    assert len(peer.requests) == 2


async def test_an_answer_without_end_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgrest, "MAX_ANSWER_BYTES", 10_000)

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        await peer.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + b"x" * 1_024 + b"\r\n")
            await writer.drain()

    async with Peer(script).running() as peer:
        with pytest.raises(Lost) as lost:
            await call(peer)
    assert lost.value.reason == "TooLarge"
