"""Members: the users of a workspace and their roles."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields import emails
from lib.fields.emails import EmailText
from lib.fields.models import Body, Empty, Record
from lib.workspaces import settings

Role = Literal["owner", "admin", "agent"]


class RoleGrant(Body):
    """A role to grant."""

    role: Role


class NewMember(RoleGrant):
    """A role for a user, by id or by the email that the user has confirmed."""

    email: EmailText | None = None
    user_id: UUID | None = None


class Member(Record):
    """A member; ``email`` in lists."""

    user_id: UUID
    email: str | None = None
    role: Role
    created_at: datetime


async def list_all(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[Member]:
    """A workspace's members; for members. Raises NotFound (workspace_not_found) and BackendUnavailable."""
    return await settings.list_in(queries, workspace_id, "member_details", Member, paging, key="user_id")


async def read(queries: Queries, workspace_id: UUID, user_id: UUID) -> Member:
    """A member. Raises NotFound (member_not_found)."""
    query = queries.table("member_details").select("*").eq("workspace_id", workspace_id).eq("user_id", user_id)
    return await queries.one(query, Member, "member")


async def add(database: Database, workspace_id: UUID, new: NewMember) -> Member:
    """Make a user a member without an invitation; for the service key only.

    A user named by id gets the role also as a member. Raises Refused (workspace_not_found, user_not_found,
    member_exists: by email, a member with another role) and BackendUnavailable.
    """
    email = None if new.email is None else emails.parse(new.email).typed.lower()
    arguments = {"workspace_id": workspace_id, "role": new.role, "email": email, "user_id": new.user_id}
    return await database.call("add_member", arguments, Member)


async def set_role(database: Database, workspace_id: UUID, user_id: UUID, grant: RoleGrant) -> Member:
    """Change a member's role.

    Raises Refused (workspace_not_found, forbidden, member_not_found, last_owner) and BackendUnavailable.
    """
    arguments = {"workspace_id": workspace_id, "user_id": user_id, "role": grant.role}
    return await database.call("set_member", arguments, Member, repeatable=True)


async def remove(database: Database, workspace_id: UUID, user_id: UUID) -> None:
    """Remove a member from a workspace.

    Raises Refused (workspace_not_found, member_not_found, forbidden, last_owner) and BackendUnavailable.
    """
    await database.call("remove_member", {"workspace_id": workspace_id, "user_id": user_id}, Empty)
