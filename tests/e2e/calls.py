"""Calls of a running stack as rows of a table: what is called, and what must come back."""

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg

from lib import config
from local.stack import Stack
from tests import events
from tests.e2e.commands import Switchboard
from tests.standins.n8n import N8n

SOME, NONE = object(), object()
"""Any value, and no value or null."""


@dataclass(frozen=True)
class Other:
    """Any value but this one."""

    value: str


@dataclass(frozen=True)
class Row:
    """One item of a document.

    ``call`` is an HTTP request, a `switchboard` command, a setting (NAME=value), `n8n` (what it received last) or SQL.
    ``back`` has a value for each path in the answer; a tuple is of values that the list there contains. ``lists`` has
    the ids of all items. ``keep`` names values of the answer for later rows, whose tokens are callers (``by``).
    ``differs`` says why a row is not what its document says.
    """

    where: str
    call: str
    body: Any = None
    by: str = "admin"
    status: int = 200
    back: Mapping[str, Any] = field(default_factory=dict)
    lists: Sequence[str] | None = None
    keep: Mapping[str, str] = field(default_factory=dict)
    differs: str = ""


@dataclass
class Caller:
    """Makes the calls of a document's rows in a workspace of its own; ``known`` has ids and tokens by their names."""

    stack: Stack
    client: aiohttp.ClientSession
    n8n: N8n
    known: dict[str, str]
    tokens: dict[str, str]

    async def try_row(self, row: Row) -> str | None:
        """What is wrong with the answer to a row's call; None if it is as the row says. Keeps what the row names."""
        status, answer = await self.answer(row)
        found = {path: at(answer, path) for path in row.back}
        fits = status == row.status and all(self.fits(row.back[path], found[path]) for path in found)
        if row.lists is not None:
            fits = fits and set(at(answer, "items.*.id")) == set(self.fill([*row.lists]))
        self.known |= {name: str(at(answer, path)) for name, path in row.keep.items()}
        return None if fits else f"{row.where}: {row.call}\n  {status} {found}\n  {str(answer)[:600]}"

    async def answer(self, row: Row) -> tuple[int, Any]:
        """The status and the answer of a row's call; of a command its exit status."""
        call, body = self.fill(row.call), self.fill(row.body)
        word, _, rest = call.partition(" ")
        if word in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            return await self.request(word, rest, body, self.tokens.get(row.by) or self.known.get(row.by, ""))
        if word == "switchboard":
            functions = {"SWITCHBOARD_URL": self.stack.api_url, "SWITCHBOARD_API_KEY": self.tokens[row.by]}
            ran = await Switchboard(self.stack).run(f"{rest} --json", changed={**functions})
            return ran.exit_code, json.loads(ran.stdout or "null")
        if word == "n8n":
            return 200, self.n8n.received[-1].body
        if "=" in word:
            name, _, value = word.partition("=")
            unset = {key: text for key, text in self.stack.functions_env.items() if key != name}
            given, default = config.read({**unset, name: value}), config.read(unset)
            return 200, {"given": getattr(given, name.lower()), "default": getattr(default, name.lower())}
        return 200, {"items": await self.query(call, "owner" if row.by == "owner" else "database")}

    async def request(self, method: str, path: str, body: Any, token: str) -> tuple[int, Any]:
        """A request; a text is sent as curl sends it. The events of a stream are an answer by their names."""
        headers = {"apikey": self.stack.publishable_key, "Sec-CH-UA": '"Chromium"'}
        name, _, value = token.rpartition(": ")
        headers |= {name or "Authorization": value if " " in token else f"Bearer {value}"} if token else {}
        sent: dict[str, Any] = {} if body is None else {"json": body}
        if isinstance(body, str):
            sent, headers = {"data": body}, headers | {"Content-Type": "application/x-www-form-urlencoded"}
        async with self.client.request(method, path, headers=headers, **sent) as response:
            if response.content_type == "text/event-stream":
                answer: Any = {}
                # A live stream has no end.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(3 if method == "GET" else None):
                        async for event in events.read(response):
                            answer[event.name] = event.data
            elif response.content_type == "text/html":
                answer = {"page": await response.text()}
            else:
                answer = json.loads(await response.read() or "null")
                answer = {"items": answer} if isinstance(answer, list) else answer
            shown = {name.lower(): value for name, value in response.headers.items()}
            return response.status, {**(answer or {}), "headers": shown}

    async def query(self, statement: str, role: str) -> list[dict[str, Any]]:
        """The rows of a statement of the database's owner or its superuser."""
        connection = await asyncpg.connect(self.stack.db_url if role == "owner" else self.stack.admin_url)
        await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        try:
            return [dict(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    def fill(self, value: Any) -> Any:
        """The value with known names in place of `{name}`."""
        if isinstance(value, str):
            return re.sub(r"\{([a-z_]+)\}", lambda found: self.known[found[1]], value)
        if isinstance(value, dict):
            return {name: self.fill(member) for name, member in value.items()}
        return [self.fill(member) for member in value] if isinstance(value, list) else value

    def fits(self, expected: Any, found: Any) -> bool:
        """Whether a value of an answer is as expected."""
        if expected in (SOME, NONE):
            return (found is None) == (expected is NONE)
        if isinstance(expected, Other):
            return found not in (None, self.fill(expected.value))
        if isinstance(expected, tuple):
            return isinstance(found, list) and all(self.fill(each) in found for each in expected)
        return bool(self.fill(expected) == found)


def at(answer: Any, path: str) -> Any:
    """The value at a path: names, numbers, `*` for each of a list, `#` for its length; None if there is none."""
    name, _, rest = path.partition(".")
    if name == "*":
        return [at(each, rest) for each in answer or ()]
    if name == "#":
        return len(answer or ())
    if isinstance(answer, list):
        found = answer[int(name)] if len(answer) > int(name) else None
    else:
        found = answer.get(name) if isinstance(answer, dict) else None
    return at(found, rest) if rest else found
