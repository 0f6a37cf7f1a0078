"""A project as the service role sees it, for one command: SQL functions, queries, and the users of Supabase Auth."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import httpx
from postgrest.base_request_builder import RequestConfig
from pydantic import BaseModel, ValidationError
from supabase_auth.types import AdminUserAttributes
from yarl import URL

from cli.target import Target
from lib import errors, log
from lib.database import queries, refusals
from lib.database.queries import Queries
from supabase import AsyncClient, AsyncClientOptions, AuthError, AuthRetryableError, acreate_client

Answer = TypeVar("Answer", bound=BaseModel)

TRY_SECONDS = 15
"""Longer than the database's own statement timeout."""


class NewUser(BaseModel):
    """A user of Supabase Auth."""

    id: UUID
    email: str


class AccessToken(BaseModel):
    """A user's token, and for how many seconds it is valid."""

    access_token: str
    expires_in: int


class BackendError(Exception):
    """An unexpected response of the backend, which the text describes."""


@dataclass(frozen=True)
class Backend:
    """One project's SQL functions, queries and users."""

    client: AsyncClient
    queries: Queries

    async def call(
        self, name: str, arguments: Mapping[str, Any], returns: type[Answer], *, repeatable: bool = False
    ) -> Answer:
        """Call a function once, without retries: the operator decides whether to run the command again.

        Raises Refused for a refusal of the database, BackendUnavailable if it cannot be reached, and BackendError.
        """
        del repeatable
        request: RequestConfig[httpx.AsyncClient] = self.client.rpc(name, dict(arguments)).request
        try:
            # Unlike execute(), send() keeps the status and the body of a refusal.
            async with asyncio.timeout(TRY_SECONDS):
                response = await request.send(httpx.Headers())
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError):
            raise errors.BackendUnavailable() from None
        if response.status_code != 200:
            raise _refusal(response.status_code, response.content)
        try:
            return returns.model_validate_json(response.content)
        except ValidationError:
            raise BackendError(f"the backend's answer to {name} has an unexpected form") from None

    async def create_user(self, email: str, password: str | None = None) -> NewUser:
        """Create a user who has confirmed this email, without a password unless one is given.

        Raises Refused (email_exists), BackendUnavailable and BackendError.
        """
        new: AdminUserAttributes = {"email": email.strip(), "email_confirm": True}
        if password is not None:
            new["password"] = password
        with _refusals("created no user"):
            async with asyncio.timeout(TRY_SECONDS):
                made = await self.client.auth.admin.create_user(new)
        return NewUser(id=UUID(made.user.id), email=made.user.email or email)

    async def sign_in(self, email: str, password: str) -> AccessToken:
        """A new session of a user. Raises Refused (invalid_credentials), BackendUnavailable and BackendError."""
        with _refusals("issued no token"):
            async with asyncio.timeout(TRY_SECONDS):
                signed = await self.client.auth.sign_in_with_password({"email": email.strip(), "password": password})
        if signed.session is None:
            raise BackendError("Supabase Auth issued no token")
        return AccessToken(access_token=signed.session.access_token, expires_in=signed.session.expires_in)


@contextlib.contextmanager
def _refusals(failed: str) -> Iterator[None]:
    """Errors of Supabase Auth as errors of ours."""
    try:
        yield
    except (AuthRetryableError, TimeoutError):
        raise errors.BackendUnavailable() from None
    except AuthError as refused:
        if refused.code in ("email_exists", "invalid_credentials"):
            raise errors.Refused(409, refused.code, detail=refused.message) from None
        raise BackendError(f"Supabase Auth {failed}: {refused.message}") from None


@contextlib.asynccontextmanager
async def opened(target: Target) -> AsyncIterator[Backend]:
    """A backend for as long as a command runs."""
    log.silence()
    async with queries.http_client() as http:
        if target.service_key.count(".") != 2:
            http.event_hooks = {"request": [_without_bearer]}
        options = AsyncClientOptions(
            httpx_client=http, postgrest_client_retry=False, auto_refresh_token=False, persist_session=False
        )
        client = await acreate_client(target.url, target.service_key, options)
        client.rest_url = URL(target.rest_url)
        yield Backend(client, Queries(client.postgrest, {}))


async def _without_bearer(request: httpx.Request) -> None:
    """Keep the newer keys (sb_secret_…) out of Authorization: they are no JWTs, and Supabase takes them as `apikey`."""
    request.headers.pop("Authorization", None)


def _refusal(status: int, content: bytes) -> Exception:
    """The error of a response other than 200: our codes are in PT errors, others are PostgREST's or Postgres's."""
    try:
        document: Any = json.loads(content)
    except ValueError:
        document = None
    said = document if isinstance(document, dict) else {}
    code, message = str(said.get("code", "")), str(said.get("message") or "no reason given")
    if code in errors.TITLES:
        # Returned, not raised: the transaction was committed, for example because it asked a turn to stop.
        return refusals.of_result("", status, said)
    if code.startswith("PT"):
        return errors.Refused(status, message, detail=errors.detail(message, said.get("details") or said.get("hint")))
    if status in (401, 403):
        return BackendError(f"the service key is not accepted ({status}: {message})")
    if status >= 500 and not code.startswith("PGRST2"):
        return errors.BackendUnavailable()
    return BackendError(f"the backend answered {status}: {message}")
