"""The client at the wire: a peer of raw sockets that says exactly what a test lets it say."""

import asyncio
import contextlib
import datetime
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import Mock

import h11
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import postgrest
from lib.postgrest import Answer, Lost

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + b'{"value":"a b"}',
    "chunked": b'HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n',
    "extensions": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'3;a=b;c="d"\r\nabc\r\n1\r\nd\r\n0;last\r\nX-Sum: 1\r\n\r\n',
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK,
    "close": b"HTTP/1.1 503 Unavailable\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
    "reason": b"HTTP/1.1 429 \r\ncontent-length:1\r\nX: \xc3\xa9\r\n\r\n1",
}
ENDING = {"close", "old"}


@dataclass
class Peer:
    """A server; ``script`` is what it does with each connection, by number. Remembers what it was sent."""

    script: Callable[["Peer", asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]
    tls: ssl.SSLContext | None = None
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Peer"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls, backlog=1_024)
        port = server.sockets[0].getsockname()[1]
        self.url = f"https://localhost:{port}" if self.tls else f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            server.close()
            await postgrest.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.script(self, reader, writer, self.connections)
        writer.close()

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """The next request whole; IncompleteReadError at the end."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            self.hung_up.set()
            raise
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))
        return self.requests[-1]


def saying(*answers: bytes) -> Peer:
    """A peer that gives these answers one after the other, the last of them for ever."""

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        while True:
            await peer.read(reader)
            writer.write(answers[min(len(peer.requests), len(answers)) - 1])

    return Peer(script)


async def call(peer: Peer, body: bytes = b"{}", seconds: float = 5, connect_seconds: float = 3) -> Answer:
    headers = [("Content-Type", "application/json"), ("apikey", "key")]
    return await postgrest.post(peer.url, "/rpc/do_it", headers, body, connect_seconds=connect_seconds, seconds=seconds)


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


async def test_unused_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgrest, "KEEP_ALIVE_SECONDS", 0.05)
    async with saying(OK).running() as peer:
        await asyncio.gather(call(peer), call(peer))
        await asyncio.wait_for(peer.hung_up.wait(), 5)
        await call(peer)
    assert peer.connections == 3


@dataclass(frozen=True)
class Authority:
    """A certificate authority that nobody knows, and a server with its certificate for localhost."""

    file: Path
    server: ssl.SSLContext
    names: list[str | None]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    subjects = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("Test CA", "server")]
    extensions: tuple[x509.ExtensionType, ...] = (
        x509.BasicConstraints(ca=True, path_length=0),
        x509.SubjectAlternativeName([x509.DNSName("localhost")]),
    )
    certificates = [
        x509.CertificateBuilder(subjects[0], subject, key.public_key(), number, now - day, now + day)
        .add_extension(extension, critical=False)
        .sign(keys[0], hashes.SHA256())
        for number, (subject, key, extension) in enumerate(zip(subjects, keys, extensions, strict=True), start=1)
    ]
    pem = serialization.Encoding.PEM
    (tmp_path / "ca.pem").write_bytes(certificates[0].public_bytes(pem))
    key = keys[1].private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "server.pem").write_bytes(key + certificates[1].public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    return Authority(tmp_path / "ca.pem", context, names)


@pytest.fixture
def trusting(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    postgrest._tls.cache_clear()
    yield authority
    postgrest._tls.cache_clear()


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
    postgrest._tls.cache_clear()
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
        await test_an_answer_that_comes_too_late_never_answers_the_next_call()
        await test_a_cancelled_call_hangs_up()
        await test_a_peer_that_hangs_up_at_once_is_not_waited_for()
        await test_what_comes_unasked_does_not_answer_the_next_call()
        await test_a_connection_that_ends_once_something_was_sent_is_not_harmless()
        for rude in (False, True):
            await test_a_kept_connection_that_has_ended_is_found_out_before_anything_is_sent(rude)

    uvloop.run(on_uvloop())
