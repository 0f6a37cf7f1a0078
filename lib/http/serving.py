"""uvicorn's h11 protocol, which combines the writes of one round of the event loop.

uvicorn writes a response's head, each part of its body and its end separately, and each write wakes the reader. Two of
a streamed turn's five writes directly follow another one; combined they are three.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_MUCH_BYTES = 16 * 1024


class Protocol(H11Protocol):
    """uvicorn's protocol over a transport that combines writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the event loop."""
        super().connection_made(Gathering(transport))


class Gathering(asyncio.Transport):
    """A transport that writes once per round of the event loop, or as soon as it holds 16 KiB."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._given: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue data."""
        if not self._given:
            self._loop.call_soon(self._write)
        self._given.append(bytes(data))
        self._size += len(data)
        if self._size >= _MUCH_BYTES:
            self._write()  # at once, so that the transport applies its flow control

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
        """Information of the event loop's transport."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop reading."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading."""
        self._transport.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Switch to another protocol, after all queued data is written."""
        self._write()
        self._transport.set_protocol(protocol)
