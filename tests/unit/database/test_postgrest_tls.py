"""The client at the wire with TLS, and on the loop that serves us."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
import uvloop

from lib.database.postgrest import Answer
from lib.outbound import wire
from lib.outbound.wire import Lost
from tests.unit.authority import Authority
from tests.unit.database import test_postgrest_connections as connections
from tests.unit.peer import ANSWERS, OK, Peer, call, saying


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.in_folder(tmp_path)


@pytest.fixture
def trusting(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    wire._tls.cache_clear()
    yield authority
    wire._tls.cache_clear()


async def test_https_verifies_the_server_and_keeps_its_connection(trusting: Authority) -> None:
    peer = saying(OK)
    peer.tls = trusting.server
    async with peer.running():
        assert [await call(peer), await call(peer)] == [Answer(200, b"ok")] * 2
    assert peer.connections == 1
    assert trusting.names == ["localhost"]


async def test_a_certificate_for_another_name_is_refused_and_nothing_sent(trusting: Authority) -> None:
    peer = saying(OK)
    peer.tls = trusting.server
    async with peer.running():
        peer.url = peer.url.replace("localhost", "127.0.0.1")
        with pytest.raises(Lost) as lost:
            await call(peer)
    assert (lost.value.sent, lost.value.reason, peer.requests) == (False, "SSLCertVerificationError", [])


async def test_an_unknown_authority_is_refused_and_nothing_sent(authority: Authority) -> None:
    wire._tls.cache_clear()
    peer = saying(OK)
    peer.tls = authority.server
    async with peer.running():
        with pytest.raises(Lost) as lost:
            await call(peer)
    assert (lost.value.sent, lost.value.reason, peer.requests) == (False, "SSLCertVerificationError", [])


def test_it_is_the_same_on_the_loop_that_serves_us(trusting: Authority) -> None:
    async def on_uvloop() -> None:
        for tls in (None, trusting.server):
            peer = saying(OK, OK, ANSWERS["chunked"], ANSWERS["close"], OK)
            peer.tls = tls
            async with peer.running():
                answers = [await call(peer) for _ in range(5)]
                assert [answer.status for answer in answers] == [200, 200, 404, 503, 200]
                assert peer.connections == 2
                await asyncio.gather(*(call(peer) for _ in range(50)))
            with pytest.raises(Lost) as lost:
                await call(peer, connect_seconds=1)
            assert not lost.value.sent
        await connections.test_an_answer_that_comes_too_late_never_answers_the_next_call()
        await connections.test_a_cancelled_call_hangs_up()
        await connections.test_a_peer_that_hangs_up_at_once_is_not_waited_for()
        await connections.test_what_comes_unasked_does_not_answer_the_next_call()
        await connections.test_a_connection_that_ends_once_something_was_sent_is_not_harmless()
        for rude in (False, True):
            await connections.test_a_kept_connection_that_has_ended_is_found_out_before_anything_is_sent(rude)

    uvloop.run(on_uvloop())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_call_that_is_cancelled_just_when_it_is_connected_leaves_nothing_open(
    trusting: Authority, monkeypatch: pytest.MonkeyPatch, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    calling: asyncio.Task[Answer]
    sockets: list[socket.socket] = []
    made = wire.Connection.connection_made

    async def script(_peer: Peer, _: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        # Answers no farewell: whoever says one politely waits for it for long.
        cast("asyncio.Transport", writer.transport).pause_reading()
        await asyncio.sleep(0.5)

    def cancelled_then(connection: wire.Connection, transport: asyncio.BaseTransport) -> None:
        made(connection, transport)
        sockets.append(transport.get_extra_info("socket"))
        calling.cancel()

    async def run() -> None:
        nonlocal calling
        peer = Peer(script)
        peer.tls = trusting.server
        async with peer.running():
            monkeypatch.setattr(wire.Connection, "connection_made", cancelled_then)
            calling = asyncio.create_task(call(peer))
            with pytest.raises(asyncio.CancelledError):
                await calling
            monkeypatch.setattr(wire.Connection, "connection_made", made)
            await asyncio.sleep(0.1)
            assert [each.fileno() for each in sockets] == [-1]
        fine = saying(OK)
        async with fine.running():
            assert [await call(fine) for _ in range(3)] == [Answer(200, b"ok")] * 3

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(run())


async def test_over_tls_a_large_request_that_nobody_reads_is_not_followed_by_another(trusting: Authority) -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await asyncio.sleep(0.5)
        else:
            await peer.read(reader)
            writer.write(OK)

    peer = Peer(script)
    peer.tls = trusting.server
    async with peer.running():
        assert [await call(peer, b"x" * 8_000_000), await call(peer)] == [Answer(200, b"ok")] * 2
    assert peer.connections == 2
