"""A language model played at the wire: an OpenAI-compatible stream of 50 tokens, with as little work as can be.

Every POST is answered alike, from bytes that were made once. Without pauses the answer is one write, so all 50
tokens arrive together; with `--token-ms` each is a write of its own.

    python -m bench.cost.model --token-ms 10        prints the port it listens on
"""

import argparse
import asyncio
import json
import re
from typing import cast

import uvloop

TOKENS = 50

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def words() -> list[str]:
    """The answer, a piece a token."""
    return [("" if number == 0 else " ") + f"word{number:02}" for number in range(TOKENS)]


def _piece(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    return _chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}], None)


def _chunk(choices: list[dict[str, object]], usage: dict[str, int] | None) -> bytes:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "fake",
        "choices": choices,
        "usage": usage,
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _framed(body: bytes) -> bytes:
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


_FIRST = _HEAD + _framed(_piece({"role": "assistant", "content": ""}))
_TOKENS = [_framed(_piece({"content": word})) for word in words()]
_USAGE = {"prompt_tokens": 100, "completion_tokens": TOKENS, "total_tokens": 100 + TOKENS}
_LAST = _framed(_piece({}, "stop") + _chunk([], _USAGE) + b"data: [DONE]\n\n") + b"0\r\n\r\n"
_AT_ONCE = _FIRST + b"".join(_TOKENS) + _LAST


class _Model(asyncio.Protocol):
    def __init__(self, first_seconds: float, token_seconds: float) -> None:
        self._first_seconds = first_seconds
        self._token_seconds = token_seconds
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are of a class of their own.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head + 2)
        end = head + 4 + (int(length[1]) if length else 0)
        if len(self._buffer) < end:
            return
        self._buffer = self._buffer[end:]
        if self._first_seconds > 0:
            asyncio.get_running_loop().call_later(self._first_seconds, self._begin)
        else:
            self._begin()

    def _begin(self) -> None:
        if self._token_seconds > 0:
            self._write(_FIRST + _TOKENS[0])
            asyncio.get_running_loop().call_later(self._token_seconds, self._go_on, 1)
        else:
            self._write(_AT_ONCE)

    def _go_on(self, number: int) -> None:
        if self._transport is None:
            return
        if number == TOKENS:
            self._write(_LAST)
            return
        self._write(_TOKENS[number])
        asyncio.get_running_loop().call_later(self._token_seconds, self._go_on, number + 1)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def _serve(first_seconds: float, token_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Model(first_seconds, token_seconds), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first-ms", type=float, default=0)
    parser.add_argument("--token-ms", type=float, default=0)
    arguments = parser.parse_args()
    uvloop.run(_serve(arguments.first_ms / 1000, arguments.token_ms / 1000))


if __name__ == "__main__":
    main()
