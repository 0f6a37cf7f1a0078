"""Which connections are opened, and which serve another call."""

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop

from lib.outbound import client, connector
from lib.outbound.client import AddressError, CutOffError, UnreachableError
from tests.unit.authority import Authority
from tests.unit.outbound.test_addresses import LOOPBACK
from tests.unit.outbound.test_client import CHUNKED, SIX, fetch
from tests.unit.peer import ANSWERS, ASK, OK, RESET, Steps, playing, saying


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.in_folder(tmp_path)


@pytest.fixture
def trusting(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    context = ssl.create_default_context(cafile=authority.file)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", context)
    return authority


def resolving(monkeypatch: pytest.MonkeyPatch, resolver: type[aiohttp.ThreadedResolver], *addresses: str) -> None:
    """Let this resolver, the system's or ours, return these addresses for any name."""

    async def resolve(_: object, host: str, port: int, family: int) -> list[dict[str, Any]]:
        return [
            {"hostname": host, "host": address, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
            for address in addresses
        ]

    monkeypatch.setattr(resolver, "resolve", resolve)


# Addresses


async def test_a_name_is_judged_by_its_addresses_also_when_its_connection_is_kept() -> None:
    async with saying(OK).running() as peer:
        peer.url = peer.url.replace("127.0.0.1", "localhost")
        for _ in range(2):
            assert await fetch(peer) == (200, b"ok")
            with pytest.raises(AddressError, match="localhost resolves"):
                await fetch(peer, allowed=())
    assert (peer.connections, len(peer.requests)) == (1, 2)


async def test_of_several_addresses_only_the_permitted_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, aiohttp.ThreadedResolver, "10.255.255.1", "127.0.0.1")
    async with saying(OK).running() as peer:
        peer.url = peer.url.replace("127.0.0.1", "both.example")
        assert await fetch(peer, connect_seconds=1) == (200, b"ok")


async def test_a_name_without_an_address_is_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, aiohttp.ThreadedResolver)
    with pytest.raises(UnreachableError, match="no host"):
        await fetch("http://nobody.example/")


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("127.0.0.1", "127.0.0.2", "127.0.0.3")])
async def test_the_address_of_the_socket_decides_whatever_the_resolver_returned(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    resolving(monkeypatch, connector._Resolver, *addresses)
    async with saying(OK).running() as peer:
        peer.url = peer.url.replace("127.0.0.1", "rebinding.example")
        with pytest.raises(AddressError):
            await fetch(peer, allowed=())
    assert peer.connections == 0


async def test_a_connection_that_is_not_made_in_time_is_given_up() -> None:
    # Nothing accepts: once the queue of connections is full, the kernel lets further ones wait.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        filling = [socket.socket() for _ in range(4)]
        for waiting in filling:
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        await asyncio.sleep(0.05)
        with pytest.raises(UnreachableError, match="in time") as given_up:
            await fetch(f"http://127.0.0.1:{full.getsockname()[1]}/", connect_seconds=0.2)
        assert given_up.value.retryable
        for waiting in filling:
            waiting.close()


# TLS


async def test_https_verifies_the_server_and_keeps_its_connection(trusting: Authority) -> None:
    peer = playing([ASK, OK, ASK, OK], tls=trusting.server)
    async with peer.running():
        assert [await fetch(peer) for _ in range(2)] == [(200, b"ok")] * 2
        peer.url = peer.url.replace("localhost", "127.0.0.1")
        with pytest.raises(UnreachableError, match="certificate"):
            await fetch(peer)
    assert len(peer.requests) == 2
    assert trusting.names[0] == "localhost"


async def test_an_unknown_authority_is_refused_and_nothing_is_sent(authority: Authority) -> None:
    async with playing([ASK, OK], tls=authority.server).running() as peer:
        with pytest.raises(UnreachableError, match="certificate"):
            await fetch(peer)
    assert peer.requests == []


# Kept connections


@pytest.mark.parametrize("ending", [(), (RESET,)])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_kept_connection_that_the_peer_closed_fails_no_call_and_repeats_none(
    trusting: Authority, tls: bool, ending: tuple[str, ...]
) -> None:
    async with playing([ASK, OK, *ending], tls=trusting.server if tls else None).running() as peer:
        assert [await fetch(peer) for _ in range(50)] == [(200, b"ok")] * 50
    assert (peer.connections, len(peer.requests)) == (50, 50)


async def test_a_connection_that_breaks_under_a_call_is_not_tried_again() -> None:
    async with playing([ASK, OK, ASK]).running() as peer:
        assert await fetch(peer) == (200, b"ok")
        with pytest.raises(UnreachableError):
            await fetch(peer)
    assert (peer.connections, len(peer.requests)) == (1, 2)


@pytest.mark.parametrize(
    "behind",
    [
        [OK.replace(b"ok", b"no")],
        [OK[:20]],
        [OK.replace(b"ok", b"no") * 2 + OK[:9]],
        [0.02, OK.replace(b"ok", b"no")],
        [0.02, b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n"],
        [0.02, OK[:20]],
        [0.02, b"\r\n"],
    ],
)
@pytest.mark.parametrize("answer", [OK, b"HTTP/1.1 204 No Content\r\n\r\n"])
async def test_bytes_behind_an_answer_are_part_of_no_answer(answer: bytes, behind: Steps) -> None:
    if isinstance(behind[0], bytes):
        answer, *behind = answer + behind[0], *behind[1:]
    async with playing([ASK, answer, *behind, ASK, OK], [ASK, OK]).running() as peer:
        assert await fetch(peer) in {(200, b"ok"), (204, b"")}
        await asyncio.sleep(0.05)
        assert await fetch(peer) == (200, b"ok")
    assert (peer.connections, len(peer.requests)) == (2, 2)


async def test_an_answer_that_was_not_read_leaves_nothing_for_the_next() -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 6000000\r\n\r\n" + b"x" * 6_000_000
    async with saying(large, OK).running() as peer:
        async with client.post(peer.url, json={}, allowed=LOOPBACK) as answer:
            assert answer.status == 200
        assert await fetch(peer) == (200, b"ok")
        # This one arrives completely before it is read, so its connection is kept.
        async with client.post(peer.url, json={}, allowed=LOOPBACK):
            await asyncio.sleep(0.05)
        assert await fetch(peer) == (200, b"ok")
    assert peer.connections == 2


async def test_a_peer_that_answers_without_reading_gets_no_further_request_on_that_connection() -> None:
    async with playing([0.05, OK, 1.0], [ASK, OK]).running() as peer:
        async with client.post(peer.url, json={"a": "x" * 20_000_000}, allowed=LOOPBACK) as answer:
            assert answer.status == 200
        assert await fetch(peer) == (200, b"ok")
    assert peer.connections == 2


async def test_a_call_that_is_left_early_or_cancelled_closes_its_connection() -> None:
    async with playing([ASK, CHUNKED, b"2\r\nok\r\n", ASK]).running() as peer:
        async with client.post(peer.url, json={}, allowed=LOOPBACK) as answer:
            assert await anext(aiter(answer.chunks())) == b"ok"
        await asyncio.wait_for(peer.hung_up.wait(), 2)
    async with playing([ASK, ASK]).running() as peer:
        calling = asyncio.create_task(fetch(peer))
        await asyncio.wait_for(peer.asked.wait(), 2)
        calling.cancel()
        await asyncio.wait_for(peer.hung_up.wait(), 2)
        with pytest.raises(asyncio.CancelledError):
            await calling


async def test_calls_at_the_same_time_have_connections_of_their_own_and_share_them_later() -> None:
    async with playing([ASK, 0.05, OK, ASK, 0.05, OK]).running() as peer:
        for _ in range(2):
            assert await asyncio.gather(*(fetch(peer) for _ in range(20))) == [(200, b"ok")] * 20
    assert (peer.connections, len(peer.requests)) == (20, 40)


async def test_an_idle_connection_is_closed_before_node_would(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connector.KEEP_ALIVE_SECONDS < 5
    monkeypatch.setattr(connector, "KEEP_ALIVE_SECONDS", 0.05)

    async def calls() -> None:
        async with saying(OK).running() as peer:
            assert await fetch(peer) == (200, b"ok")
            await asyncio.wait_for(peer.hung_up.wait(), 2)
            assert await fetch(peer) == (200, b"ok")
        assert peer.connections == 2

    await asyncio.to_thread(asyncio.run, calls())


# Sessions


async def test_further_networks_get_sessions_that_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_MAX_SESSIONS", 0)
    async with saying(OK).running() as peer:
        for number in range(1, 3):
            assert await fetch(peer, LOOPBACK * (number + 1)) == (200, b"ok")
            await asyncio.wait_for(peer.hung_up.wait(), 2)
            peer.hung_up.clear()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
async def test_a_session_is_closed_with_its_loop(run: Any) -> None:
    async with saying(OK).running() as peer:

        async def call() -> list[aiohttp.ClientSession]:
            assert await fetch(peer) == (200, b"ok")
            return list(client._sessions[asyncio.get_running_loop()][0].values())

        sessions = await asyncio.to_thread(run, call())
        await asyncio.wait_for(peer.hung_up.wait(), 2)
    assert [session.closed for session in sessions] == [True]


async def test_the_loop_of_the_functions_reads_the_same(trusting: Authority) -> None:
    async def calls() -> None:
        for tls in (None, trusting.server):
            kept: Steps = [ASK, OK, ASK, ANSWERS["chunked"], ASK, ANSWERS["close"]]
            async with playing(kept, [ASK, SIX, b"half"], tls=tls).running() as peer:
                assert [(await fetch(peer))[0] for _ in range(3)] == [200, 404, 503]
                with pytest.raises(CutOffError):
                    await fetch(peer)
                assert peer.connections == 2
        for ending in ((), (RESET,)):
            await test_a_kept_connection_that_the_peer_closed_fails_no_call_and_repeats_none(trusting, True, ending)
        await test_a_call_that_is_left_early_or_cancelled_closes_its_connection()

    await asyncio.to_thread(uvloop.run, calls())
