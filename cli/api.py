"""The HTTP API for one command: the functions of any deployment, with an API key or a user's token."""

import asyncio
import contextlib
import functools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, TypeVar, cast
from uuid import UUID

import aiohttp
import click

from cli import running, target
from cli.target import ApiTarget
from lib import errors
from lib.outbound.sse_reader import Reader

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
"""A stream is never silent for more than 15 s."""

DEMO_OWNER = "owner@demo.test"

JSON = {"Accept": "application/json"}


class Refusal(Exception):  # noqa: N818 (a refusal is no error of the command)
    """A refusal of the API, with its status, its code, and the sentence for people."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code

    def failure(self) -> running.Failure:
        """The failed command."""
        status = 5 if self.status >= 500 else {404: 3, 422: 2}.get(self.status, 4)
        return running.Failure(f"{self} ({self.code})" if self.code else str(self), status)


@dataclass(frozen=True)
class Event:
    """An event of a stream."""

    name: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Api:
    """The functions at one address, as one caller."""

    http: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        """The document of an answer; {} where there is none. Raises Refusal."""
        given = {name: value for name, value in query.items() if value is not None}
        params = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
        async with self.http.request(method, path, json=body, params=params, headers=JSON) as response:
            content = await response.read()
            if response.status >= 400:
                raise _refusal(response.status, content)
            document: dict[str, Any] = json.loads(content or b"{}")
            return document

    async def stream(self, path: str, body: object) -> AsyncIterator[Event]:
        """The events with which a POST is answered, as they arrive. Raises Refusal."""
        async with self.http.post(path, json=body, headers={"Accept": "text/event-stream"}) as response:
            if response.status >= 400:
                raise _refusal(response.status, await response.read())
            reader = Reader()
            async for chunk in response.content.iter_any():
                for event in reader.feed(chunk):
                    yield Event(event.name, json.loads(event.data))

    async def resolve(self, sender: str, workspace_id: UUID | None, *, create: bool = False) -> UUID:
        """The contact with this identity. Raises Failure for an unknown one, and Refusal."""
        body: dict[str, object] = {"identities": [sender], "create": create}
        if workspace_id is not None:
            body["workspace_id"] = str(workspace_id)
        try:
            resolved = await self.ask("POST", "/admin/contacts/resolve", body)
        except Refusal as refused:
            if refused.code != "contact_not_found":
                raise
            # Of the commands with a sender, those that write have the option.
            hint = "`chat` and `memory remember` create it with --create. (contact_not_found)"
            raise running.Failure(f"There is no contact {sender}; {hint}", 3) from None
        return UUID(resolved["contact"]["id"])


def over_http(command: Command) -> Command:
    """Options of a command that uses the HTTP API instead of the service key; it gets them as ``functions``."""

    @click.option("--url", help="The functions' address; by default SWITCHBOARD_URL, or the local backend.")
    @click.option(
        "--token-file",
        type=click.File("r"),
        help="A file with an API key or a user's token; by default SWITCHBOARD_API_KEY is one.",
    )
    @functools.wraps(command)
    def wrapped(url: str | None, token_file: IO[str] | None, **values: Any) -> Any:
        try:
            functions = target.find_api(os.environ, url, token_file.read().strip() if token_file else None)
        except errors.ConfigError as missing:
            raise running.Failure(str(missing), 2) from None
        return command(functions=functions, **values)

    return cast("Command", wrapped)


@contextlib.asynccontextmanager
async def opened(functions: ApiTarget) -> AsyncIterator[Api]:
    """The API for as long as a command runs. Raises Refusal."""
    token = functions.token or await _sign_in(functions)
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(functions.url, headers=headers, timeout=TIMEOUT) as http:
        yield Api(http)


def run(functions: ApiTarget, work: Callable[[Api], Awaitable[Result]]) -> Result:
    """Run a command over the API. Raises Failure."""

    async def connected() -> Result:
        async with opened(functions) as api:
            return await work(api)

    with failures():
        return asyncio.run(connected())


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Refusals, and an address that does not answer, as failures of the command."""
    try:
        yield
    except Refusal as refused:
        raise refused.failure() from None
    except BrokenPipeError:
        # Of the output, whose reader has gone: click ends the command without a word.
        raise
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise running.Failure(f"{error.filename}: {error.strerror}", 2) from None
        raise running.Failure(f"The functions cannot be reached now: {error or type(error).__name__}", 5) from None
    except ValueError:
        raise running.Failure("the address does not answer as the functions do", 1) from None


async def _sign_in(functions: ApiTarget) -> str:
    """A token of the local backend's demo owner."""
    settings = functions.demo or {}
    body = {"email": DEMO_OWNER, "password": settings.get("DEMO_PASSWORD", "")}
    async with aiohttp.ClientSession(functions.url, headers={"apikey": settings.get("ANON_KEY", "")}) as http:
        signed = await Api(http).ask("POST", "/auth/v1/token", body, grant_type="password")
        return str(signed["access_token"])


def _refusal(status: int, content: bytes) -> Refusal:
    try:
        said = json.loads(content)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Refusal(status, "", f"The address answers with the status {status}.")
    text = said.get("detail") or said.get("title") or said.get("msg") or f"The address answers with {status}."
    return Refusal(status, str(said.get("code") or ""), str(text))
