"""The SQL functions and the queries, as the service role, for one command."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from cli.target import Target
from lib import errors, log
from lib.database import queries
from lib.database.queries import Queries

Answer = TypeVar("Answer", bound=BaseModel)

TRY_SECONDS = 15
"""Longer than the database's own statement timeout."""


class BackendError(Exception):
    """An unexpected response of the backend, which the text describes."""


@dataclass(frozen=True)
class Backend:
    """One project's SQL functions and queries."""

    target: Target
    session: aiohttp.ClientSession
    queries: Queries

    async def call(
        self, name: str, arguments: Mapping[str, Any], returns: type[Answer], *, repeatable: bool = False
    ) -> Answer:
        """Call a function once, without retries: the operator decides whether to run the command again.

        Raises Refused for a refusal of the database, BackendUnavailable if it cannot be reached, and BackendError.
        """
        del repeatable
        headers = {"Content-Type": "application/json", "apikey": self.target.service_key, **_bearer(self.target)}
        body = json.dumps(arguments, default=str).encode()
        try:
            # A redirect would send the key to another host.
            async with self.session.post(
                f"{self.target.rest_url}/rpc/{name}", data=body, headers=headers, allow_redirects=False
            ) as response:
                status, content = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            raise errors.BackendUnavailable() from None
        if status != 200:
            raise _refusal(status, content)
        try:
            return returns.model_validate_json(content)
        except ValidationError:
            raise BackendError(f"the backend's answer to {name} has an unexpected form") from None


@contextlib.asynccontextmanager
async def opened(target: Target) -> AsyncIterator[Backend]:
    """A backend for as long as a command runs."""
    log.silence()
    limits = aiohttp.ClientTimeout(total=TRY_SECONDS, sock_connect=5)
    async with (
        aiohttp.ClientSession(timeout=limits) as session,
        queries.connect(target.rest_url, target.service_key) as client,
    ):
        yield Backend(target, session, Queries(client, _bearer(target)))


def _bearer(target: Target) -> dict[str, str]:
    """The service key as a bearer token if it is a JWT; the newer sb_secret_… keys are sent as `apikey` only."""
    return {"Authorization": f"Bearer {target.service_key}"} if target.service_key.count(".") == 2 else {}


def _refusal(status: int, content: bytes) -> Exception:
    """The error of a response other than 200: our codes are in PT errors, others are PostgREST's or Postgres's."""
    try:
        document: Any = json.loads(content)
    except ValueError:
        document = None
    said = document if isinstance(document, dict) else {}
    code, message = str(said.get("code", "")), str(said.get("message") or "no reason given")
    if code.startswith("PT"):
        return errors.Refused(status, message, detail=errors.detail(message, said.get("details") or said.get("hint")))
    if status in (401, 403):
        return BackendError(f"the service key is not accepted ({status}: {message})")
    if status >= 500 and not code.startswith("PGRST2"):
        return errors.BackendUnavailable()
    return BackendError(f"the backend answered {status}: {message}")
