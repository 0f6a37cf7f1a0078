"""pg_net: requests are sent once, after their transaction; responses are kept for six hours."""

import asyncio
import json
import logging
from types import TracebackType

import aiohttp
import asyncpg

from lib.database.failures import CALL_FAILED

log = logging.getLogger("net")

_BATCH = 200  # pg_net.batch_size
_KEEP = "6 hours"  # pg_net.ttl
_MAX_SENDING = 50


class Sender:
    """Empties net.http_request_queue. Use as an async context manager around `run`."""

    def __init__(self, url: str, connection: asyncpg.Connection) -> None:
        self._url = url
        self._connection = connection
        self._wake = asyncio.Event()
        self._sending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Sender":
        # Postgres delivers the notification when the transaction commits.
        await self._connection.add_listener("pg_net", lambda *_: self._wake.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def run(self) -> None:
        """Send queued requests after their commit, and delete old responses."""
        pool = await asyncpg.create_pool(self._url, min_size=1, max_size=4)
        connector = aiohttp.TCPConnector(limit=_MAX_SENDING)
        async with pool, aiohttp.ClientSession(connector=connector) as http:
            while True:
                self._wake.clear()
                # Removed from the queue before it is sent: a crash in between loses the request, and none is sent
                # twice.
                requests = await pool.fetch(
                    """
                    delete from net.http_request_queue
                    where id in (select id from net.http_request_queue order by id limit $1 for update skip locked)
                    returning id, method::text, url, headers::text, body, timeout_milliseconds
                    """,
                    _BATCH,
                )
                for request in requests:
                    task = asyncio.create_task(_send(request, pool, http))
                    self._sending.add(task)
                    task.add_done_callback(self._sending.discard)
                if len(requests) == _BATCH:
                    continue
                await pool.execute(f"delete from net._http_response where created < now() - interval '{_KEEP}'")  # noqa: S608
                try:
                    await asyncio.wait_for(self._wake.wait(), 30.0)
                except TimeoutError:
                    continue


async def _send(request: asyncpg.Record, pool: asyncpg.Pool, http: aiohttp.ClientSession) -> None:
    """Send a request and store its response; never retried."""
    milliseconds = request["timeout_milliseconds"]
    answer: tuple[object, ...]
    try:
        async with http.request(
            request["method"],
            request["url"],
            headers=json.loads(request["headers"] or "{}"),
            data=request["body"],
            timeout=aiohttp.ClientTimeout(total=milliseconds / 1000),
            allow_redirects=False,
        ) as response:
            content = (await response.read()).decode(errors="replace").replace("\0", "")
            headers = json.dumps({name.lower(): value for name, value in response.headers.items()})
            answer = (response.status, response.headers.get("content-type"), headers, content, False, None)
    except TimeoutError:
        answer = (None, None, None, None, True, f"Timeout of {milliseconds} ms reached")
    except (aiohttp.ClientError, OSError, ValueError, TypeError) as error:
        answer = (None, None, None, None, None, str(error) or type(error).__name__)
    try:
        await pool.execute(
            "insert into net._http_response (id, status_code, content_type, headers, content, timed_out, error_msg) "
            "values ($1, $2, $3, $4::text::jsonb, $5, $6, $7)",
            request["id"],
            *answer,
        )
    except CALL_FAILED as error:
        log.warning("the answer to request %s was not kept: %s", request["id"], error)
