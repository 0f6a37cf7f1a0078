"""Many sessions changed at once: each on its own, so that what is refused for one changes nothing for the others."""

import asyncio
import time
from typing import Any
from uuid import UUID

from pydantic import Field

from lib import errors
from lib.auth import callers
from lib.chat.turns import INTERRUPT_PAUSE_SECONDS, INTERRUPT_SECONDS
from lib.database import commands
from lib.database.management import Stored
from lib.fields.models import Body
from lib.sessions.sessions import Status, Wanted

MOST = 100


class NewStatus(Body):
    """What the sessions are to become."""

    session_ids: tuple[UUID, ...] = Field(min_length=1, max_length=MOST)
    status: Wanted


class Item(Stored):
    """How one session stands after it, or why it was refused: ``code`` and what a refusal of one alone tells."""

    id: UUID
    status: Status | None = None
    changed: bool | None = None
    code: str | None = None
    title: str | None = None
    session_status: Status | None = None
    turn_id: UUID | None = None
    stopping: bool | None = None
    retry_after: int | None = None


class Outcome(Stored):
    """One item for each session, in the order in which they were named, the first time where one was named twice."""

    items: tuple[Item, ...]


async def change(caller: callers.Contact | callers.User, new: NewStatus) -> Outcome:
    """Pause, resume, complete or cancel sessions, as `lib.sessions.sessions.change` does one.

    Where answers must stop first, waits for all of them together up to 10 s; those that did not stop are
    turn_in_progress with ``stopping``. Of a session that is not the caller's the item says session_not_found.
    """
    rpc = commands.acting_as(caller, callers.Scope.at_home(caller))
    patience_ends = time.monotonic() + INTERRUPT_SECONDS
    asked, stopped = list(dict.fromkeys(new.session_ids)), set[UUID]()
    order, found = tuple(asked), dict[UUID, Item]()
    while True:
        arguments: dict[str, Any] = {"session_ids": asked, "status": new.status}
        outcome = await rpc.call("change_sessions_status", arguments, Outcome, repeatable=True)
        for item in outcome.items:
            # A session of one message may have ended with the answer that was stopped for it.
            known = {"changed": item.changed or item.id in stopped} if item.code is None else {}
            title = {"title": errors.TITLES.get(item.code)} if item.code is not None and item.title is None else {}
            found[item.id] = item.model_copy(update=known | title)
        asked = [item.id for item in outcome.items if item.stopping]
        if not asked or time.monotonic() > patience_ends:
            return Outcome(items=tuple(found[session_id] for session_id in order))
        stopped.update(asked)
        await asyncio.sleep(INTERRUPT_PAUSE_SECONDS)
