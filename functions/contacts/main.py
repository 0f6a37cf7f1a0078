"""contacts: contacts are created, changed, resolved, listed, tagged and merged by members."""

import functools

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from lib.auth import callers, client_info
from lib.contacts import contacts as domain
from lib.contacts import merges, timeline
from lib.conversations import follow_ups
from lib.database import commands, queries
from lib.database.management import managing_as
from lib.database.paging import Page
from lib.http import app, request_body


async def resolve_contact(request: Request) -> Response | domain.ResolveResult:
    """The contact with platform:id; 201 if it was created."""
    user = await callers.require_user(request)
    resolved = await domain.resolve(managing_as(user), await request_body.read(request, domain.ResolveRequest))
    return app.created(resolved) if resolved.created else resolved


async def list_contacts(request: Request) -> Page[domain.Contact]:
    """A page of a workspace's contacts."""
    user = await callers.require_user(request)
    return await domain.find(queries.reading_as(user), request_body.read_query(request, domain.ContactFilter))


async def create_contact(request: Request) -> Response:
    """Create a contact."""
    user = await callers.require_user(request)
    return app.created(await domain.create(managing_as(user), await request_body.read(request, domain.NewContact)))


async def change_contact(request: Request) -> domain.Contact:
    """Change a contact's names, attributes and identities."""
    contact_id, user = app.path_id(request, "contact_id"), await callers.require_user(request)
    return await domain.change(managing_as(user), contact_id, await request_body.read(request, domain.ContactChanges))


async def read_contact(request: Request) -> domain.ContactDetail:
    """One contact."""
    contact_id, user = app.path_id(request, "contact_id"), await callers.require_user(request)
    return await domain.read(queries.reading_as(user), contact_id)


async def read_activity(request: Request) -> domain.ContactActivity:
    """A contact's activity."""
    contact_id, user = app.path_id(request, "contact_id"), await callers.require_user(request)
    return await domain.activity(queries.reading_as(user), contact_id)


async def capture_message(request: Request) -> Response | follow_ups.PostedMessage:
    """Add a follow-up; 201 unless it was stored before."""
    contact_id, user = app.path_id(request, "contact_id"), await callers.require_user(request)
    follow_up = await request_body.read(request, follow_ups.FollowUp)
    sent = await follow_ups.capture(user, contact_id, follow_up, client_info.of(request))
    return app.created(sent) if sent.created else sent


async def sign_out(request: Request) -> domain.SignOut:
    """Revoke all tokens of a contact."""
    contact_id, user = app.path_id(request, "contact_id"), await callers.require_user(request)
    await request_body.refuse_members(request)
    return await domain.sign_out(managing_as(user), contact_id)


async def read_journey(request: Request) -> timeline.ContactTimeline:
    """A contact's timeline."""
    contact_id, user = app.path_id(request, "contact_id"), await callers.require_user(request)
    return await timeline.read(
        commands.reading_as(user), contact_id, request_body.read_query(request, timeline.TimelinePageRequest)
    )


async def merge_contact(request: Request) -> merges.MergeResult:
    """Merge a contact into another, or preview the merge."""
    contact_id, user = app.path_id(request, "contact_id"), await callers.require_user(request)
    return await merges.merge(managing_as(user), contact_id, await request_body.read(request, merges.MergeRequest))


async def unmerge_contact(request: Request) -> merges.MergeResult:
    """Undo the merge of a contact."""
    contact_id, user = app.path_id(request, "contact_id"), await callers.require_user(request)
    await request_body.refuse_members(request)
    return await merges.unmerge(managing_as(user), contact_id)


async def list_conflicts(request: Request) -> Page[merges.Conflict]:
    """Possible duplicates."""
    user = await callers.require_user(request)
    return await merges.conflicts(queries.reading_as(user), request_body.read_query(request, merges.ConflictFilter))


async def dismiss_conflict(request: Request) -> merges.Conflict:
    """Dismiss a possible duplicate."""
    conflict_id, user = app.path_id(request, "conflict_id"), await callers.require_user(request)
    await request_body.refuse_members(request)
    return await merges.dismiss(managing_as(user), conflict_id)


async def tag_contact(request: Request) -> domain.Tags:
    """Replace a contact's tags."""
    contact_id, user = app.path_id(request, "contact_id"), await callers.require_user(request)
    return await domain.tag(managing_as(user), contact_id, await request_body.read(request, domain.TagsUpdate))


async def tag_session(request: Request) -> domain.Tags:
    """Replace a session's tags."""
    session_id, user = app.path_id(request, "session_id"), await callers.require_user(request)
    return await domain.tag_session(managing_as(user), session_id, await request_body.read(request, domain.TagsUpdate))


async def add_tag(of: domain.Tagged, request: Request) -> domain.Tags:
    """Add a tag to a contact or a session."""
    object_id, user = app.path_id(request, f"{of}_id"), await callers.require_user(request)
    await request_body.refuse_members(request)
    return await domain.add_tag(managing_as(user), of, object_id, _tag(request))


async def remove_tag(of: domain.Tagged, request: Request) -> domain.Tags:
    """Remove a tag from a contact or a session."""
    object_id, user = app.path_id(request, f"{of}_id"), await callers.require_user(request)
    return await domain.remove_tag(managing_as(user), of, object_id, _tag(request))


def _tag(request: Request) -> domain.NamedTag:
    return request_body.validate(domain.NamedTag, {"tag": request.path_params["tag"]}, "path")


_HANDLERS = (
    resolve_contact, list_contacts, create_contact, change_contact, read_contact, read_activity,
    read_journey, capture_message, sign_out, tag_contact, tag_session,
    merge_contact, unmerge_contact, list_conflicts, dismiss_conflict,
)  # fmt: skip

# A handler has the name of its route.
_serve = app.function(
    "contacts",
    {
        **{handler.__name__: handler for handler in _HANDLERS},
        "add_contact_tag": functools.partial(add_tag, "contact"),
        "add_session_tag": functools.partial(add_tag, "session"),
        "remove_contact_tag": functools.partial(remove_tag, "contact"),
        "remove_session_tag": functools.partial(remove_tag, "session"),
    },
)


@functions_framework.aio.http
async def contacts(request: Request) -> Response:
    """The function's entry point."""
    return await _serve(request)
