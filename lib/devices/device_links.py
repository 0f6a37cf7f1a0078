"""Device links: which user a device belongs to. A verified link attaches the device's new sessions to the user."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from lib.auth import callers
from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.devices.device_sessions import DeviceUid
from lib.fields.models import Body, Record
from lib.workspaces import settings


class NewDeviceLink(Body):
    """A device and its user: of an admin verified at once, of a user for themselves (no ``user_id``) unverified."""

    uid: DeviceUid
    user_id: UUID | None = None


class DeviceLinkChange(Body):
    """What becomes of a link."""

    status: Literal["verified", "revoked"]


class DeviceLink(Record):
    """A user to whom a device belongs, or, unverified, who says so."""

    id: UUID
    workspace_id: UUID
    provider: str
    uid: str
    user_id: UUID
    status: Literal["unverified", "verified", "revoked"]
    verified_with: Literal["claim_code", "member"] | None
    verified_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


async def add(database: Database, workspace_id: UUID, new: NewDeviceLink) -> DeviceLink:
    """Link a device to a user; a repeat returns the link. An admin's verified link revokes that of another user.

    Raises Refused (workspace_not_found, user_not_found, forbidden: another user's link by a user who is no admin,
    rate_limited).
    """
    arguments = {"workspace_id": workspace_id, **new.model_dump()}
    return await database.call("add_device_link", arguments, DeviceLink, repeatable=True)


async def change(database: Database, link_id: UUID, wanted: DeviceLinkChange) -> DeviceLink:
    """Verify a link (admins), or revoke it (admins, and its own user). Sessions that it attached stay with the user.

    Raises Refused (device_link_not_found, forbidden).
    """
    arguments = {"link_id": link_id, "verified": wanted.status == "verified"}
    return await database.call("change_device_link", arguments, DeviceLink, repeatable=True)


async def list_of_workspace(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[DeviceLink]:
    """A workspace's device links; for agents, their own. Raises NotFound (workspace_not_found)."""
    query = queries.table("device_links").select("*").eq("workspace_id", workspace_id)
    page = await queries.page(query, DeviceLink, paging)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page


async def list_own(queries: Queries, user: callers.User, paging: PageRequest) -> Page[DeviceLink]:
    """The user's own device links."""
    query = queries.table("device_links").select("*").eq("user_id", user.user_id)
    return await queries.page(query, DeviceLink, paging)
