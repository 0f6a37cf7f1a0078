"""The client's connections: which are kept, which are given up, and what is known of a call when one ends."""

import asyncio
import contextlib
import socket
from typing import Any
from unittest.mock import Mock

import aiohappyeyeballs
import pytest

from lib.database import postgrest
from lib.database.postgrest import Answer
from lib.outbound.wire import Lost
from tests.unit.peer import OK, Peer, call, saying


async def test_one_connection_serves_call_after_call() -> None:
    async with saying(OK).running() as peer:
        for _ in range(20):
            assert await call(peer) == Answer(200, b"ok")
    assert (peer.connections, len(peer.requests)) == (1, 20)


async def test_a_thousand_calls_at_once_each_get_their_own_answer() -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        while True:
            body = (await peer.read(reader)).partition(b"\r\n\r\n")[2]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with Peer(script).running() as peer:
        bodies = [str(number).encode() for number in range(1_000)]
        answers = await asyncio.gather(*(call(peer, body, seconds=30, connect_seconds=30) for body in bodies))
        assert [answer.content for answer in answers] == bodies
        assert len(peer.requests) == 1_000
        made = peer.connections
        await asyncio.gather(*(call(peer) for _ in range(postgrest.MOST_IDLE)))
        assert peer.connections == made
        await asyncio.gather(*(call(peer) for _ in range(postgrest.MOST_IDLE + 5)))
        assert peer.connections == made + 5


async def test_nobody_listening_is_known_to_be_harmless() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(Lost) as lost:
            await postgrest.post(url, "/rpc/x", [], b"", connect_seconds=1, seconds=1)
    assert not lost.value.sent


async def test_a_name_that_nobody_has_is_harmless() -> None:
    with pytest.raises(Lost) as lost:
        await postgrest.post("http://nobody.invalid", "/rpc/x", [], b"", connect_seconds=5, seconds=5)
    assert not lost.value.sent


@pytest.mark.parametrize(("connect_seconds", "seconds"), [(0.2, 5), (5, 0.2)])
async def test_a_connection_that_takes_too_long_is_harmless(connect_seconds: float, seconds: float) -> None:
    async def script(_peer: Peer, reader: asyncio.StreamReader, _w: asyncio.StreamWriter, _number: int) -> None:
        await reader.read()

    async with Peer(script).running() as peer:
        peer.url = peer.url.replace("http://", "https://")  # it takes connections and never shakes hands
        with pytest.raises(Lost) as lost:
            await call(peer, connect_seconds=connect_seconds, seconds=seconds)
    assert (lost.value.sent, lost.value.reason) == (False, "TimeoutError")


async def test_a_peer_that_hangs_up_at_once_is_not_waited_for() -> None:
    async def script(_peer: Peer, _r: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        writer.transport.abort()

    async with Peer(script).running() as peer, asyncio.timeout(5):
        for _ in range(50):
            with pytest.raises(Lost):
                await call(peer, seconds=10)
    assert peer.connections == 50


def test_a_new_connection_that_has_ended_already_is_not_written_to() -> None:
    connection, transport = postgrest._Connection(), Mock(spec=asyncio.Transport)
    connection.connection_made(transport)
    connection.connection_lost(None)
    transport.is_closing.return_value = True
    with pytest.raises(Lost) as lost:
        connection.send(b"POST")
    assert not lost.value.sent
    transport.write.assert_not_called()


async def test_an_answer_that_comes_too_late_never_answers_the_next_call() -> None:
    late = asyncio.Event()

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await peer.read(reader)
        if number == 1:
            await late.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number)
        await reader.read()

    async with Peer(script).running() as peer:
        with pytest.raises(Lost) as lost:
            await call(peer, seconds=0.1)
        assert (lost.value.sent, lost.value.reason) == (True, "TimeoutError")
        late.set()
        assert await call(peer) == Answer(200, b"2")


async def test_a_cancelled_call_hangs_up() -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while True:
            await peer.read(reader)
            writer.write(OK if number > 1 or len(peer.requests) == 1 else OK[:20])

    async with Peer(script).running() as peer:
        await call(peer)
        task = asyncio.create_task(call(peer))
        while len(peer.requests) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(peer.hung_up.wait(), 5)
        assert await call(peer) == Answer(200, b"ok")
    assert (peer.connections, len(peer.requests)) == (2, 3)


async def test_what_comes_after_the_answer_does_not_answer_the_next_call() -> None:
    async with saying(OK + b"HTTP/1.1 500 Wrong\r\nContent-Length: 0\r\n\r\n", OK).running() as peer:
        assert [await call(peer), await call(peer)] == [Answer(200, b"ok")] * 2
    assert peer.connections == 2


async def test_what_comes_unasked_does_not_answer_the_next_call() -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await peer.read(reader)
        writer.write(OK)
        if number == 1:
            await asyncio.sleep(0.05)
            writer.write(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with Peer(script).running() as peer:
        await call(peer)
        await asyncio.sleep(0.1)
        assert await call(peer) == Answer(200, b"ok")
    assert (peer.connections, len(peer.requests)) == (2, 2)


@pytest.mark.parametrize("rude", [False, True])
async def test_a_kept_connection_that_has_ended_is_found_out_before_anything_is_sent(rude: bool) -> None:
    """The peer closes while the loop is busy: only the system knows of it when the next call begins."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def begin() -> "asyncio.Task[Answer]":
            return asyncio.create_task(postgrest.post(url, "/rpc/x", [], b"", connect_seconds=3, seconds=3))

        first = begin()
        peer, _ = await loop.sock_accept(listener)
        await loop.sock_recv(peer, 1_000)
        await loop.sock_sendall(peer, OK)
        await first
        if rude:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        second = begin()
        peer, _ = await asyncio.wait_for(loop.sock_accept(listener), 5)
        assert (await loop.sock_recv(peer, 1_000)).startswith(b"POST /rpc/x ")
        await loop.sock_sendall(peer, OK)
        assert await second == Answer(200, b"ok")
        peer.close()
    await postgrest.close()


async def test_a_connection_that_ends_once_something_was_sent_is_not_harmless() -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        await peer.read(reader)
        if number == 1:
            writer.write(OK)
            await peer.read(reader)
            writer.transport.abort()

    async with Peer(script).running() as peer:
        await call(peer)
        with pytest.raises(Lost) as lost:
            await call(peer)
    assert lost.value.sent
    assert (peer.connections, len(peer.requests)) == (1, 2)


async def test_a_peer_that_answers_without_reading_is_not_asked_again_on_that_connection() -> None:
    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            await asyncio.sleep(1)
        else:
            await peer.read(reader)
            writer.write(OK)

    async with Peer(script).running() as peer:
        assert (await call(peer, b" " * 20_000_000)).status == 413
        assert await call(peer) == Answer(200, b"ok")
    assert peer.connections == 2


async def test_unused_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgrest, "KEEP_ALIVE_SECONDS", 0.05)
    async with saying(OK).running() as peer:
        await asyncio.gather(call(peer), call(peer))
        await asyncio.wait_for(peer.hung_up.wait(), 5)
        await call(peer)
    assert peer.connections == 3


async def test_a_cancel_that_is_swallowed_while_connecting_counts_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = aiohappyeyeballs.start_connection

    async def swallowing(*args: Any, **options: Any) -> socket.socket:
        connected = await connect(*args, **options)
        calling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
        return connected

    async with saying(OK).running() as peer:
        monkeypatch.setattr(aiohappyeyeballs, "start_connection", swallowing)
        calling = asyncio.create_task(call(peer))
        with pytest.raises(asyncio.CancelledError):
            await calling
        assert peer.requests == []


async def test_who_was_cancelled_before_may_still_call() -> None:
    """As a turn is finished although its process is being stopped."""
    asked = asyncio.Event()

    async def stubborn() -> Answer:
        with contextlib.suppress(asyncio.CancelledError):
            asked.set()
            await asyncio.sleep(10)
        return await call(peer)

    async with saying(OK).running() as peer:
        calling = asyncio.create_task(stubborn())
        await asked.wait()
        calling.cancel()
        assert await calling == Answer(200, b"ok")
