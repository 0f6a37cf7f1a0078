"""What stands around the chat in a browser: a customer's page on an origin of its own, and a line that can be cut."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import web


@dataclass
class Site:
    """A page with one script tag, served from a loopback port with the Content-Security-Policy given."""

    attributes: dict[str, str]
    policy: str | None = None
    language: str = "en"
    direction: str = "ltr"
    origin: str = ""

    def page(self) -> str:
        """The page, as a customer would write it."""
        attributes = " ".join(f'{name}="{html.escape(value)}"' for name, value in self.attributes.items())
        return (
            f'<!doctype html><html lang="{self.language}" dir="{self.direction}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
            f"<title>A shop</title><script {attributes} async></script></head>"
            '<body><main><h1>A shop</h1><p>Boats and more.</p><a href="/boats">Boats</a></main></body></html>'
        )

    async def answer(self, _: web.Request) -> web.Response:
        """The page with its headers."""
        headers = {} if self.policy is None else {"Content-Security-Policy": self.policy}
        return web.Response(text=self.page(), content_type="text/html", headers=headers)


def strict(api: str) -> str:
    """The least that the chat needs: its script and its calls; no styles, and Trusted Types without any policy."""
    return (
        f"default-src 'none'; script-src {api}; connect-src {api}; style-src 'none'; img-src data:; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[Site]:
    """The site on a port of its own."""
    application = web.Application()
    application.router.add_get("/{path:.*}", site.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        listening = web.TCPSite(runner, "127.0.0.1", 0)
        await listening.start()
        port = runner.addresses[0][1]
        site.origin = f"http://127.0.0.1:{port}"
        yield site
    finally:
        await runner.cleanup()


@dataclass
class Line:
    """A relay of bytes to an origin, to be cut as networks are.

    `deaf`: the next stream breaks off behind its headers. (Without any answer, on a connection that had served before,
    Chromium itself would send the request again.)
    """

    target: str
    url: str = ""
    deaf: bool = False
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Break every connection, without a goodbye."""
        for writer in self._writers:
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        parts = urlsplit(self.target)
        upstream_reader, upstream = await asyncio.open_connection(parts.hostname, parts.port)
        self._writers |= {writer, upstream}
        try:
            await asyncio.gather(self._pass(reader, upstream), self._pass(upstream_reader, writer, answers=True))
        except OSError:
            pass
        finally:
            self._writers -= {writer, upstream}
            writer.transport.abort()
            upstream.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        while chunk := await reader.read(65_536):
            if answers and self.deaf and b"text/event-stream" in chunk:
                self.deaf = False
                head, end, _ = chunk.partition(b"\r\n\r\n")
                writer.write(head + end)
                await writer.drain()
                await asyncio.sleep(0.05)
                raise ConnectionResetError
            writer.write(chunk)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()


@asynccontextmanager
async def relaying(target: str) -> AsyncIterator[Line]:
    """A line to an origin, on a port of its own."""
    line = Line(target)
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
        line.cut()
