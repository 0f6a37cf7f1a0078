"""A server of raw sockets, which answers exactly the bytes that a test gives it."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

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
    asked: asyncio.Event = field(default_factory=asyncio.Event)
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
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        self.requests.append(head + await reader.readexactly(length))
        self.asked.set()
        return self.requests[-1]


def saying(*answers: bytes) -> Peer:
    """A peer that gives these answers one after the other, the last of them for ever."""

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _number: int) -> None:
        while True:
            await peer.read(reader)
            writer.write(answers[min(len(peer.requests), len(answers)) - 1])

    return Peer(script)


ASK, RESET = "ask", "reset"
Steps = Sequence[bytes | float | str]


def playing(*connections: Steps, tls: ssl.SSLContext | None = None) -> Peer:
    """A peer that plays these steps on its connections, the last steps on all further ones, and closes them.

    ASK reads a request, or waits until the client closes the connection; bytes are written; a number is a pause in
    seconds; RESET makes the close a reset.
    """

    async def script(peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        for step in connections[min(number, len(connections)) - 1]:
            if step == ASK:
                await peer.read(reader)
            elif step == RESET:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, float):
                await asyncio.sleep(step)

    return Peer(script, tls)
