"""How uvicorn serves us: by h11, and with what an answer says in one go written in one go.

uvicorn writes an answer's head, each part of its body and its end by themselves, and each write wakes its reader. Two
of a streamed turn's five writes follow another at once; gathered they are three.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_MUCH_BYTES = 16 * 1024


class Protocol(H11Protocol):
    """uvicorn's own, over a transport that gathers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(Gathering(transport))


class Gathering(asyncio.Transport):
    """A transport that writes at the end of the event loop's round what it was given in it, unless that is much."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._given: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take data to be written."""
        if not self._given:
            self._loop.call_soon(self._write)
        self._given.append(bytes(data))
        self._size += len(data)
        if self._size >= _MUCH_BYTES:
            self._write()  # who has much to say is told by the transport when to wait

    def _write(self) -> None:
        given, self._given, self._size = self._given, [], 0
        if given and not self._transport.is_closing():
            self._transport.write(given[0] if len(given) == 1 else b"".join(given))

    def close(self) -> None:
        """Close it when everything is written."""
        self._write()
        self._transport.close()

    def abort(self) -> None:
        """Close it now."""
        self._given = []
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or will be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the event loop knows of it."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read no more for now."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand it to another protocol, with everything written that this one said."""
        self._write()
        self._transport.set_protocol(protocol)
