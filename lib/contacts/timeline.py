"""The timeline of a contact: its events in one list."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from lib.database.management import Database
from lib.database.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from lib.fields.models import Body, Record

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TimelinePageRequest(Body):
    """A page of a timeline."""

    limit: int = Field(default=DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
    cursor: (
        Annotated[
            str, StringConstraints(pattern=r"^[0-9]{1,17}\.[0-9]{1,2}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        ]
        | None
    ) = None

    def arguments(self) -> dict[str, object]:
        """Arguments of the SQL function. One event more than the page holds tells whether there is a next page."""
        if self.cursor is None:
            return {"page_size": self.limit + 1}
        microseconds, kind, event_id = self.cursor.split(".")
        at = _EPOCH + timedelta(microseconds=int(microseconds))
        return {"page_size": self.limit + 1, "after_at": at, "after_kind": int(kind), "after_id": event_id}


class ContactEvent(Record):
    """An event; only the fields of its kind are set. Times are in UTC.

    ``actor_id`` is the author; ``contact_id`` the other contact of a merge; ``identity`` is ``platform:id``. A
    session's end has the number of its messages and the time of the last one.
    """

    at: datetime
    event: str
    actor_id: UUID | None = None
    contact_id: UUID | None = None
    identity: str | None = None
    asserted_by: str | None = None
    verified_by: str | None = None
    session_id: UUID | None = None
    persona_id: UUID | None = None
    error_code: str | None = None
    workflow: str | None = None
    from_step: str | None = None
    to_step: str | None = None
    last_message_at: datetime | None = None
    message_count: int | None = None
    proposal_id: UUID | None = None
    title: str | None = None
    quote_id: UUID | None = None
    operator: str | None = None
    amount: float | None = None
    currency: str | None = None
    late: bool | None = None


class _Event(ContactEvent):
    cursor: str


class _Events(Record):
    items: tuple[_Event, ...]


class ContactTimeline(Record):
    """A page of events, oldest first; ``next_cursor`` is the cursor of the next page, absent on the last page."""

    items: tuple[ContactEvent, ...]
    next_cursor: str | None = None


async def read(database: Database, contact_id: UUID, paging: TimelinePageRequest) -> ContactTimeline:
    """A contact's events, in the sessions that the caller may see.

    Raises Refused (contact_not_found), and Moved if the contact was merged into another.
    """
    arguments = {"contact_id": contact_id, **paging.arguments()}
    events = (await database.call("read_contact_timeline", arguments, _Events, repeatable=True)).items
    page = tuple(ContactEvent.model_validate(event, from_attributes=True) for event in events[: paging.limit])
    return ContactTimeline(items=page, next_cursor=events[-2].cursor if len(events) > paging.limit else None)
