"""Requests to the functions over HTTP, and their answers as a client sees them."""

import re
import time
from typing import NamedTuple

import aiohttp
import click

_TOKEN = re.compile(rb'"token":"([^"]+)"')


class Answer(NamedTuple):
    """A whole answer, and the seconds until its first token; 0 without any."""

    status: int
    retry_after: float
    content: bytes
    delay: float

    @property
    def token(self) -> str | None:
        """The bearer token that it brings, if any."""
        found = _TOKEN.search(self.content)
        return found[1].decode() if found else None

    def completed(self, last: bytes = b"event: done") -> "Answer":
        """The same. Raises ClickException when it is not an answer with tokens and this end."""
        if not self.delay or last not in self.content:
            raise click.ClickException(f"{self.status} {self.content[-800:].decode('utf-8', 'replace')}")
        return self


def client() -> aiohttp.ClientSession:
    """A client with a connection for every chat at the same time."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=150)
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(timeout=timeout, connector=connector, cookie_jar=aiohttp.DummyCookieJar())


async def ask(
    http: aiohttp.ClientSession, url: str, body: object, token: str | None = None, first: bytes = b"event: delta"
) -> Answer:
    """POST a body, or GET without one, and read the answer to its end; `first` is what its first token brings."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    content, delay, started = b"", 0.0, time.perf_counter()
    async with http.request("GET" if body is None else "POST", url, json=body, headers=headers) as response:
        async for piece in response.content.iter_any():
            content += piece
            if not delay and first in content:
                delay = time.perf_counter() - started
        return Answer(response.status, float(response.headers.get("Retry-After", 1)), content, delay)
