"""Device sessions: episodes of what a device hears, issued in advance or opened by a delivery, and linked to users.

A verified device link attaches a new session by itself (lib/devices/device_links.py). Otherwise a user links it
(lib/devices/session_links.py).
"""

import secrets
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.devices.session_links import DeviceSession, hash_claim_code
from lib.fields import identities
from lib.fields.models import Body
from lib.workspaces import settings

_COLUMNS = (
    "id, workspace_id, provider, external_id, uid, user_id, linked_with, linked_at, conversation_id, created_at,"
    " last_segment_at, closed_at"
)
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no letter looks like a digit."""


def _device_uid(typed: str) -> str:
    return identities.of("omi", typed).key


DeviceUid = Annotated[str, AfterValidator(_device_uid)]
"""A device's id, as the device sends it."""


class NewDeviceSession(Body):
    """A session to issue together with a device: ``uid`` is the device's id, if it is known; ``user_id`` its user."""

    uid: DeviceUid | None = None
    user_id: UUID | None = None


class DeviceSessionTransfer(Body):
    """The user whom a session is attached to; null detaches it."""

    user_id: UUID | None


class IssuedDeviceSession(DeviceSession):
    """An issued session with its claim code, which is shown only in this response."""

    claim_code: str = Field(default="", repr=False)


async def issue(database: Database, workspace_id: UUID, new: NewDeviceSession) -> IssuedDeviceSession:
    """Issue a session with a random id and a claim code, to be configured in the device and given to its user.

    Raises Refused (workspace_not_found, user_not_found, forbidden).
    """
    code = new_claim_code()
    arguments = {
        "workspace_id": workspace_id,
        "external_id": secrets.token_hex(20),
        "claim_hash": hash_claim_code(code),
    }
    issued = await database.call("issue_device_session", arguments | new.model_dump(), IssuedDeviceSession)
    return issued.model_copy(update={"claim_code": code})


async def replace_claim_code(database: Database, device_session_id: UUID) -> IssuedDeviceSession:
    """Give a session a new claim code, which invalidates the former one.

    Raises Refused (device_session_not_found, forbidden).
    """
    code = new_claim_code()
    arguments = {"device_session_id": device_session_id, "claim_hash": hash_claim_code(code)}
    changed = await database.call("change_device_session", arguments, IssuedDeviceSession)
    return changed.model_copy(update={"claim_code": code})


async def transfer(database: Database, device_session_id: UUID, to: DeviceSessionTransfer) -> DeviceSession:
    """Attach a session to another user, or detach it.

    Raises Refused (device_session_not_found, user_not_found, forbidden).
    """
    arguments = {"device_session_id": device_session_id, "user_id": to.user_id}
    return await database.call("change_device_session", arguments, DeviceSession, repeatable=True)


async def list_of_workspace(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[DeviceSession]:
    """A workspace's device sessions; for agents, their own. Raises NotFound (workspace_not_found)."""
    query = queries.table("device_sessions").select(_COLUMNS).eq("workspace_id", workspace_id)
    page = await queries.page(query, DeviceSession, paging)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page


def new_claim_code() -> str:
    """A random code of 80 bits, for people to type: four groups of four letters and digits."""
    return "-".join("".join(secrets.choice(_DIGITS) for _ in range(4)) for _ in range(4))
