"""uvicorn's HTTP protocol with a time limit for the head of a request; uvicorn has none.

Without it, connections that send their head slowly, or never, stay open and use up the server. The time limit for
bodies is request_body's. On hosts with a gateway in front, the gateway has both.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 20.0


class HeaderTimeoutProtocol(H11Protocol):
    """Closes a connection whose request's head is not complete in time.

    Between two requests uvicorn's own limit counts (`timeout_keep_alive`).
    """

    header_seconds = HEADER_SECONDS
    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the limit: a new connection is for a request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._start()

    def data_received(self, data: bytes) -> None:
        """Start the limit with the first part of a head, and stop it at the head's end."""
        super().data_received(data)
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._stop()
        elif self._limit is None:
            self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the limit."""
        self._stop()
        super().connection_lost(exc)

    def _start(self) -> None:
        self._limit = asyncio.get_running_loop().call_later(self.header_seconds, self.transport.close)

    def _stop(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
