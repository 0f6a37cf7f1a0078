"""Queries: views and tables, read through PostgREST with the caller's own token, under row-level security.

A domain builds a query with the builder of the `postgrest` client and reads the rows as models:

    query = queries.table("space_settings").select("*").eq("workspace_id", workspace_id)
    page = await queries.page(query, Space, paging)

httpx and the client are imported with the first query, because they take longer to import than a whole function, and a
command does without them.
"""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from lib import config, errors, log
from lib.auth import callers
from lib.database import refusals, retries
from lib.database.paging import NewestPageRequest, Page, PageRequest, Position, read_cursor
from lib.database.refusals import SqlError
from lib.database.retries import BRIEF, Patience, Unreachable

if TYPE_CHECKING:
    import httpx
    from postgrest import (
        AsyncPostgrestClient,
        AsyncRequestBuilder,
        AsyncRPCFilterRequestBuilder,
        AsyncSelectRequestBuilder,
    )
    from postgrest.base_request_builder import RequestConfig

Row = TypeVar("Row", bound=BaseModel)

Query: TypeAlias = "AsyncSelectRequestBuilder | AsyncRPCFilterRequestBuilder"
"""A query of a view, a table or the rows of a function; the builder's filters narrow it down."""

CONNECT_SECONDS = 3

KEEP_ALIVE_SECONDS = 15
"""Below PostgREST's own 30 s, so that no request goes out on a connection that it is about to close."""

_GATEWAY_STATUSES = {429, 502, 503, 504}


class Queries:
    """The queries of one caller. Made by reading_as."""

    def __init__(self, client: AsyncPostgrestClient, headers: Mapping[str, str]) -> None:
        self._client = client
        self._headers = headers

    def table(self, name: str) -> AsyncRequestBuilder:
        """The builder of a query of this view or table."""
        return self._client.from_(name)

    def function(self, name: str, arguments: Mapping[str, Any]) -> AsyncRPCFilterRequestBuilder:
        """The builder of a query of the rows that this SQL function returns."""
        return self._client.rpc(name, dict(arguments))

    async def rows(self, query: Query, of: type[Row], *, patience: Patience = BRIEF) -> tuple[Row, ...]:
        """The rows of a query, in its order.

        Raises TokenInvalid, TokenExpired or TokenRevoked for a token that is not accepted, Forbidden for a view that
        the caller's role may not read, BackendUnavailable when the database cannot be reached or gives up, and
        InternalError (logged) for every other failure, which is our own mistake.
        """
        import httpx  # noqa: PLC0415

        request: RequestConfig[httpx.AsyncClient] = query.request
        name = request.path.name
        request.headers.update(self._headers)

        async def once() -> tuple[Row, ...]:
            try:
                async with asyncio.timeout(patience.try_seconds):
                    response = await request.send(httpx.Headers())
            except (httpx.TransportError, TimeoutError) as failure:
                log.warning("backend_unreachable", call=name, reason=type(failure).__name__)
                raise Unreachable(harmless=True) from None
            content = _json(response.content)
            if not response.is_success or not isinstance(content, list):
                raise _problem(name, response.status_code, content)
            try:
                return tuple(of.model_validate(row) for row in content)
            except ValidationError as unexpected:
                faults = unexpected.errors(include_input=False, include_url=False)
                log.error("backend_answer_unexpected", call=name, faults=[(f["loc"], f["type"]) for f in faults])
                raise errors.InternalError() from None

        return await retries.run(once, patience, repeatable=True)

    async def one(self, query: AsyncSelectRequestBuilder, of: type[Row], noun: str) -> Row:
        """The first row of a query. Raises NotFound (``<noun>_not_found``) without one, and as rows."""
        for row in await self.rows(query, of):
            return row
        raise errors.NotFound(noun)

    async def page(
        self, query: AsyncSelectRequestBuilder, of: type[Row], paging: PageRequest, *, key: str = "id"
    ) -> Page[Row]:
        """A page of a query in the order of a unique key. Raises as rows."""
        if paging.cursor is not None:
            query = query.gt(key, paging.cursor)
        # One row more than the page holds tells whether there is a next page.
        rows = await self.rows(query.order(key).limit(paging.limit + 1), of)
        if len(rows) <= paging.limit:
            return Page(items=rows)
        return Page(items=rows[:-1], next_cursor=str(getattr(rows[-2], key)))

    async def newest(self, query: AsyncSelectRequestBuilder, of: type[Row], paging: NewestPageRequest) -> Page[Row]:
        """A page of a query, ordered by ``created_at`` and ``id``, the newest first. Raises as rows."""
        if paging.cursor is not None:
            last = read_cursor(paging.cursor)
            at = last.created_at.isoformat()
            # The first condition is implied by the second; it is the one that Postgres looks up in an index.
            query = query.lte("created_at", at).or_(f"created_at.lt.{at},and(created_at.eq.{at},id.lt.{last.id})")
        query = query.order("created_at", desc=True).order("id", desc=True)
        rows = await self.rows(query.limit(paging.limit + 1), of)
        if len(rows) <= paging.limit:
            return Page(items=rows)
        last = Position.model_validate(rows[-2], from_attributes=True)
        return Page(items=rows[:-1], next_cursor=last.cursor())


def reading_as(caller: callers.Contact | callers.User, *, as_member: bool = True) -> Queries:
    """Queries with the token of this caller; of a user ``as_member`` of their workspaces, or as the person whose
    sessions they are."""
    loop = asyncio.get_running_loop()
    if (client := _clients.get(loop)) is None:
        settings = config.settings()
        client = _clients[loop] = connect(settings.rest_url, settings.supabase_anon_key.get_secret_value())
    headers = {"Authorization": f"Bearer {caller.query_token()}"}
    return Queries(client, headers if as_member else headers | {"Read-As": "user"})


def connect(rest_url: str, api_key: str) -> AsyncPostgrestClient:
    """A client of PostgREST that sends this key as `apikey`. Creating it takes about 25 ms, so it is created once."""
    from postgrest import AsyncPostgrestClient  # noqa: PLC0415

    session = http_client(tls=rest_url.startswith("https:"))
    return AsyncPostgrestClient(rest_url, headers={"apikey": api_key}, http_client=session, retry_enabled=False)


def http_client(*, tls: bool = True) -> httpx.AsyncClient:
    """The connections of a client. ``tls``: whether a URL is https, for which the certificates are loaded.

    Redirects are not followed, because the host that one names would receive the key.
    """
    import ssl  # noqa: PLC0415

    import httpx  # noqa: PLC0415

    return httpx.AsyncClient(
        # Like our other connections: the system's certificates, and no proxy from the environment.
        verify=ssl.create_default_context() if tls else False,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        limits=httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS),
    )


async def close() -> None:
    """Close this event loop's connections. Only a process that outlives its loop needs it."""
    if (client := _clients.pop(asyncio.get_running_loop(), None)) is not None:
        await client.aclose()


def _problem(name: str, status: int, content: Any) -> errors.Problem:
    """The error of ours for a response of PostgREST, or of a gateway in front of it, that has no rows."""
    document: Mapping[str, Any] = content if isinstance(content, dict) else {}
    code = document.get("code")
    if not isinstance(code, str):
        if status in _GATEWAY_STATUSES:
            log.warning("backend_unavailable", call=name, status=status)
            return Unreachable(harmless=True)
        log.error("backend_refused_us", call=name, status=status, code=code)
        return errors.InternalError()
    message = document.get("message")
    if status == HTTPStatus.UNAUTHORIZED and code != "PT401":
        return errors.TokenExpired() if "expired" in str(message) else errors.TokenInvalid()
    error = SqlError(code, message, document.get("details"), document.get("hint"))
    return refusals.of_error(name, error, own_role=True)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


_clients: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncPostgrestClient] = weakref.WeakKeyDictionary()
