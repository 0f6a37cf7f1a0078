"""Invitations: a user becomes a member of a workspace by accepting one.

Switchboard sends no mail: the inviting application tells the invited person, who signs in and accepts.
"""

from datetime import datetime
from uuid import UUID

from lib.auth import callers
from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields import emails
from lib.fields.emails import EmailText
from lib.fields.models import Empty, Record
from lib.workspaces import settings
from lib.workspaces.members import Role, RoleGrant

_COLUMNS = "id, workspace_id, workspace_name, email, role, created_at, expires_at"


class NewInvitation(RoleGrant):
    """A role to offer to the user who has confirmed this email."""

    email: EmailText
    """That the invited user has confirmed, or will."""


class Invitation(Record):
    """An offer of a role; ``workspace_name`` is the name when it was sent."""

    id: UUID
    workspace_id: UUID
    workspace_name: str
    email: str
    role: Role
    created_at: datetime
    expires_at: datetime


class Membership(Record):
    """The membership that an invitation gave."""

    workspace_id: UUID
    user_id: UUID
    role: Role
    created_at: datetime


async def invite(database: Database, workspace_id: UUID, new: NewInvitation) -> Invitation:
    """Offer a role for seven days; a repeat for the same email renews the invitation.

    The response does not depend on whether a user has the email, unless a member has it. Raises Refused
    (workspace_not_found, forbidden, already_member) and BackendUnavailable.
    """
    email = emails.parse(new.email)
    arguments = {"workspace_id": workspace_id, "email": email.typed, "email_key": email.key, "role": new.role}
    return await database.call("invite_member", arguments, Invitation, repeatable=True)


async def list_of_workspace(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[Invitation]:
    """A workspace's invitations that were not accepted; none for agents. Raises NotFound (workspace_not_found)."""
    query = queries.table("invitations").select(_COLUMNS).eq("workspace_id", workspace_id).is_("accepted_at", "null")
    page = await queries.page(query, Invitation, paging)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page


async def list_own(queries: Queries, user: callers.User, paging: PageRequest) -> Page[Invitation]:
    """The open invitations for the email that the user has confirmed."""
    try:
        key = emails.parse(user.email or "").key
    except ValueError:
        return Page(items=())
    query = queries.table("invitations").select(_COLUMNS).eq("email_key", key)
    return await queries.page(query.is_("accepted_at", "null").gt("expires_at", "now"), Invitation, paging)


async def withdraw(database: Database, workspace_id: UUID, invitation_id: UUID) -> None:
    """Withdraw an open invitation. Raises Refused (workspace_not_found, invitation_not_found, forbidden)."""
    arguments = {"workspace_id": workspace_id, "invitation_id": invitation_id}
    await database.call("withdraw_invitation", arguments, Empty)


async def accept(database: Database, invitation_id: UUID) -> Membership:
    """Make the caller a member; a repeat returns the membership, and a member keeps the present role.

    Raises Refused (invitation_not_found: also if it has expired or is for another email) and BackendUnavailable.
    """
    return await database.call("accept_invitation", {"invitation_id": invitation_id}, Membership, repeatable=True)
