"""The timeline of a contact: its events in one list."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from lib.database.management import Database
from lib.database.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from lib.fields.models import Body, Record


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
        """Arguments of the SQL function."""
        return {"after": self.cursor, "page_size": self.limit}


class ContactEvent(Record):
    """An event; only the fields of its kind are set. Times are in UTC.

    ``actor_id`` is the author; ``contact_id`` the other contact of a merge; ``identity`` is ``platform:id``.
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
    quote_id: UUID | None = None
    operator: str | None = None
    amount: float | None = None
    currency: str | None = None
    late: bool | None = None


class ContactTimeline(Record):
    """A page of events, oldest first; ``next_cursor`` is the cursor of the next page, absent on the last page."""

    items: tuple[ContactEvent, ...]
    next_cursor: str | None = None


async def read(database: Database, contact_id: UUID, paging: TimelinePageRequest) -> ContactTimeline:
    """A contact's events, in the sessions that the caller may see. Raises Refused (contact_not_found)."""
    arguments = {"contact_id": contact_id, **paging.arguments()}
    return await database.call("read_contact_journey", arguments, ContactTimeline, repeatable=True)
