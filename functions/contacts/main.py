"""contacts: contacts are created, changed, resolved, listed, tagged and merged by members."""

from collections.abc import Awaitable
from typing import Annotated
from uuid import UUID

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.auth import callers, client_info
from lib.auth.callers import User
from lib.contacts import contacts as domain
from lib.contacts import erasures, merges, timeline
from lib.conversations import follow_ups
from lib.conversations.follow_ups import PostedMessage
from lib.database import commands, queries
from lib.database.management import managing_as
from lib.database.paging import MAX_PAGE_SIZE, Page
from lib.http import app, csv_pages
from lib.http.app import Created

Csv = Annotated[Response, csv_pages.MEDIA_TYPE]

_COLUMNS = (
    "id", "kind", "name", "first_name", "last_name", "title", "email", "phone", "identities", "source", "tags",
    "attributes", "session_id", "created_at",
)  # fmt: skip
CONTACT_COLUMNS = {name: name for name in _COLUMNS} | {"identities": "identity_texts"}


class ContactList(domain.ContactFilter):
    """The filters of a list of contacts, and its format."""

    format: csv_pages.Format | None = None

    def filters(self) -> domain.ContactFilter:
        """The filters alone."""
        return domain.ContactFilter.model_construct(
            **{name: getattr(self, name) for name in domain.ContactFilter.model_fields}
        )


async def resolve_contact(
    user: User, wanted: domain.ResolveRequest
) -> Created[domain.ResolveResult] | domain.ResolveResult:
    """The contact with platform:id; 201 if it was created."""
    resolved = await domain.resolve(managing_as(user), wanted)
    return Created(resolved) if resolved.created else resolved


async def list_contacts(request: Request, user: User, search: ContactList) -> Page[domain.Contact] | Csv:
    """A page of a workspace's contacts; as CSV all of them.

    CSV with `?format=csv` or `Accept: text/csv`.
    """
    reading, chosen = queries.reading_as(user), search.filters()
    if not csv_pages.is_asked(request, search.format):
        return await domain.find(reading, chosen)

    def page(cursor: str | None) -> Awaitable[Page[domain.Contact]]:
        return domain.find(reading, chosen.model_copy(update={"cursor": cursor, "limit": MAX_PAGE_SIZE}))

    return await csv_pages.answer("contacts", CONTACT_COLUMNS, page, chosen.cursor)


async def create_contact(user: User, new: domain.NewContact) -> Created[domain.Contact]:
    """Create a contact."""
    return Created(await domain.create(managing_as(user), new))


async def change_contact(user: User, contact_id: UUID, changes: domain.ContactChanges) -> domain.Contact:
    """Change a contact's names, attributes and identities."""
    return await domain.change(managing_as(user), contact_id, changes)


async def read_contact(user: User, contact_id: UUID) -> domain.ContactDetail:
    """One contact."""
    return await domain.read(queries.reading_as(user), contact_id)


async def erase_contact(user: User, contact_id: UUID) -> erasures.Erasure:
    """Erase a contact, and all that was merged with it."""
    return await erasures.erase(
        managing_as(user), commands.acting_as(callers.System(), callers.SYSTEM_SCOPE), contact_id
    )


async def list_erasures(user: User, search: erasures.ErasureFilter) -> Page[erasures.Erasure]:
    """Receipts of erasures."""
    return await erasures.find(queries.reading_as(user), search)


async def read_erasure(user: User, erasure_id: UUID) -> erasures.Erasure:
    """The receipt of an erasure."""
    return await erasures.read(queries.reading_as(user), erasure_id)


async def check_erasure(user: User, erasure_id: UUID) -> erasures.ErasureCheck:
    """Count again what is left of an erased contact."""
    return await erasures.check(managing_as(user), erasure_id)


async def read_activity(user: User, contact_id: UUID) -> domain.ContactActivity:
    """A contact's activity."""
    return await domain.activity(queries.reading_as(user), contact_id)


async def capture_message(
    request: Request, user: User, contact_id: UUID, follow_up: follow_ups.FollowUp
) -> Created[PostedMessage] | PostedMessage:
    """Add a follow-up; 201 unless it was stored before."""
    sent = await follow_ups.capture(user, contact_id, follow_up, client_info.of(request))
    return Created(sent) if sent.created else sent


async def sign_out(user: User, contact_id: UUID) -> domain.SignOut:
    """Revoke all tokens of a contact."""
    return await domain.sign_out(managing_as(user), contact_id)


async def read_journey(user: User, contact_id: UUID, page: timeline.TimelinePageRequest) -> timeline.ContactTimeline:
    """A contact's timeline."""
    return await timeline.read(commands.reading_as(user), contact_id, page)


async def merge_contact(user: User, contact_id: UUID, wanted: merges.MergeRequest) -> merges.MergeResult:
    """Merge a contact into another, or preview the merge."""
    return await merges.merge(managing_as(user), contact_id, wanted)


async def unmerge_contact(user: User, contact_id: UUID) -> merges.MergeResult:
    """Undo the merge of a contact."""
    return await merges.unmerge(managing_as(user), contact_id)


async def list_conflicts(user: User, search: merges.ConflictFilter) -> Page[merges.Conflict]:
    """Possible duplicates."""
    return await merges.conflicts(queries.reading_as(user), search)


async def dismiss_conflict(user: User, conflict_id: UUID) -> merges.Conflict:
    """Dismiss a possible duplicate."""
    return await merges.dismiss(managing_as(user), conflict_id)


async def tag_contact(user: User, contact_id: UUID, tags: domain.TagsUpdate) -> domain.Tags:
    """Replace a contact's tags."""
    return await domain.tag(managing_as(user), contact_id, tags)


async def add_contact_tag(user: User, contact_id: UUID, named: domain.NamedTag) -> domain.Tags:
    """Add a tag to a contact."""
    return await domain.add_tag(managing_as(user), "contact", contact_id, named)


async def remove_contact_tag(user: User, contact_id: UUID, named: domain.NamedTag) -> domain.Tags:
    """Remove a tag from a contact."""
    return await domain.remove_tag(managing_as(user), "contact", contact_id, named)


async def tag_session(user: User, session_id: UUID, tags: domain.TagsUpdate) -> domain.Tags:
    """Replace a session's tags."""
    return await domain.tag_session(managing_as(user), session_id, tags)


async def add_session_tag(user: User, session_id: UUID, named: domain.NamedTag) -> domain.Tags:
    """Add a tag to a session."""
    return await domain.add_tag(managing_as(user), "session", session_id, named)


async def remove_session_tag(user: User, session_id: UUID, named: domain.NamedTag) -> domain.Tags:
    """Remove a tag from a session."""
    return await domain.remove_tag(managing_as(user), "session", session_id, named)


_HANDLERS = (
    resolve_contact, list_contacts, create_contact, change_contact, read_contact, read_activity,
    read_journey, capture_message, sign_out,
    tag_contact, add_contact_tag, remove_contact_tag, tag_session, add_session_tag, remove_session_tag,
    merge_contact, unmerge_contact, list_conflicts, dismiss_conflict,
    erase_contact, list_erasures, read_erasure, check_erasure,
)  # fmt: skip

# A handler has the name of its route.
_serve = app.function("contacts", {handler.__name__: handler for handler in _HANDLERS})


@functions_framework.aio.http
async def contacts(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
