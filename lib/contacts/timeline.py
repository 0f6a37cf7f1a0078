"""Journeys: what became of a contact, as one log."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from lib.database.management import Database
from lib.database.paging import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from lib.fields.models import Body, Record


class TimelinePageRequest(Body):
    """Which part of a journey is asked for."""

    limit: int = Field(default=DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
    cursor: (
        Annotated[
            str, StringConstraints(pattern=r"^[0-9]{1,17}\.[0-9]{1,2}\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        ]
        | None
    ) = None

    def arguments(self) -> dict[str, object]:
        """How the database is asked."""
        return {"after": self.cursor, "page_size": self.limit}


class ContactEvent(Record):
    """Something that happened; the members that its kind has. Times are in UTC.

    ``actor_id``: who did it; ``contact_id``: whom it was merged with, or parted from; ``identity`` is ``platform:id``.
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
    """A page of entries, oldest first; ``next_cursor`` goes on after them and is absent at the end."""

    items: tuple[ContactEvent, ...]
    next_cursor: str | None = None


async def read(database: Database, contact_id: UUID, paging: TimelinePageRequest) -> ContactTimeline:
    """What became of a contact, as far as the caller may see its sessions. Raises Refused (contact_not_found)."""
    arguments = {"contact_id": contact_id, **paging.arguments()}
    return await database.call("read_contact_journey", arguments, ContactTimeline, repeatable=True)
