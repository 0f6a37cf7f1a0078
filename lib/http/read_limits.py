"""Limits of reading: requests per minute of a caller, and open streams of a caller and of an address.

The database counts, so the limits hold for all processes together. Sending messages has limits of its own
(`start_turn`), and so have the streams of the turns that they start: a session has one turn at a time.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import TypeVar
from uuid import UUID, uuid4

from lib import config, errors, log
from lib.auth import callers
from lib.database import commands, rate_limits
from lib.database.commands import Rpc
from lib.database.rate_limits import RateLimit
from lib.fields.models import Record

Event = TypeVar("Event")

STREAMS_BY_CALLER = 20
STREAMS_BY_ADDRESS = 200
"""The address of a company or a mobile network has many readers."""


class _Counted(Record):
    limits: tuple[RateLimit, ...]


class _Done(Record):
    pass


async def count(caller: callers.Caller) -> Mapping[str, str]:
    """Count a read; the headers of its response. Raises Refused (rate_limited).

    While the database takes no commands, nothing is counted: queries do not need it.
    """
    rpc = commands.acting_as(caller, callers.Scope())
    try:
        counted = await rpc.call("count_read", {"quota": config.settings().reads_per_minute}, _Counted)
    except errors.BackendUnavailable:
        return {}
    return rate_limits.headers(counted.limits)


async def opened(
    events: AsyncGenerator[Event, None], caller: callers.Caller, address: str | None, seconds: float
) -> AsyncGenerator[Event, None]:
    """The events of a stream, which is registered now and counts until it ends, or for so many seconds.

    Raises Refused (too_many_streams).
    """
    rpc, stream_id = commands.acting_as(caller, callers.Scope()), uuid4()
    terms = {"seconds": int(seconds), "by_caller": STREAMS_BY_CALLER, "by_address": STREAMS_BY_ADDRESS}
    await rpc.call("open_stream", {"stream_id": stream_id, "address": address, **terms}, _Done)
    return _until_closed(events, rpc, stream_id)


async def _until_closed(events: AsyncGenerator[Event, None], rpc: Rpc, stream_id: UUID) -> AsyncGenerator[Event, None]:
    try:
        async for event in events:
            yield event
    finally:
        await events.aclose()
        try:
            await rpc.call("close_stream", {"stream_id": stream_id}, _Done, repeatable=True)
        except errors.Problem as problem:
            log.info("stream_not_closed", code=problem.code)
