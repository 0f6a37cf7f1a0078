"""Merged contacts: an old id leads to the contact that has what was theirs."""

from uuid import UUID

from lib.database.queries import Queries
from lib.fields.models import Record


class _Contact(Record):
    standing_id: UUID


async def find(database: Queries, contact_id: UUID | None) -> UUID | None:
    """The contact into which a member's contact was merged: itself unless it was."""
    if contact_id is None:
        return None
    query = database.table("contact_details").select("standing_id").eq("id", contact_id)
    return next((found.standing_id for found in await database.rows(query, _Contact)), contact_id)
