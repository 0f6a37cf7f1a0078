"""A language model: answers every POST with the same OpenAI-compatible stream of 50 tokens, made in advance.

python -m bench.servers.model        prints its port
"""

import asyncio
import contextlib
import json
import re

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_USAGE = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}


def _chunk(delta: dict[str, str], finish_reason: str | None = None, after: bytes = b"") -> bytes:
    """One event in one chunk of the body."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    document = {"id": "1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "fake"}
    document |= {"choices": [choice], "usage": _USAGE if finish_reason else None}
    body = b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n" + after
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


_ANSWER = b"".join(
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        _chunk({"role": "assistant", "content": ""}),
        *(_chunk({"content": f"word{number:02} "}) for number in range(50)),
        _chunk({}, "stop", after=b"data: [DONE]\n\n"),
        b"0\r\n\r\n",
    ]
)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while length := _LENGTH.search(await reader.readuntil(b"\r\n\r\n")):
            await reader.readexactly(int(length[1]))
            writer.write(_ANSWER)
    writer.close()


async def serve() -> None:
    """Answer until the process ends."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
