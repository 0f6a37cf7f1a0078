"""Spaces: the places where contacts arrive, with their settings."""

import re
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, Field

from lib.contacts.registration import SpaceKind
from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields.models import Empty, PartialUpdate, Record
from lib.fields.types import DisplayName
from lib.workspaces import secrets, settings
from lib.workspaces.looks import BoundedLook, Look
from lib.workspaces.secrets import NewSecret, Rotation

_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _origin(text: str) -> str:
    """The origin as browsers send it: scheme and host in lower case, without default port and path."""
    if text == "*":
        return text
    fault = "must be an origin like https://www.example.com, or *"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(fault) from None
    host = parts.netloc.lower().removesuffix(f":{port}" if port is not None else "")
    bare = text.lower() == f"{parts.scheme}://{parts.netloc}".lower()
    if parts.scheme not in _DEFAULT_PORTS or not bare or not _HOST.fullmatch(host):
        raise ValueError(fault)
    return f"{parts.scheme}://{host}" + ("" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}")


def _any_or_these(origins: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if origins is not None and "*" in origins and len(origins) > 1:
        raise ValueError("* allows every page, so nothing stands beside it")
    return origins


Origin = Annotated[str, Field(max_length=255), AfterValidator(_origin)]
"""An origin whose pages may call from a browser; * for any."""

SpaceIdentity = Literal["any", "token"]
"""Which proofs of the customer's own server a space accepts: identity tokens and HMACs, or identity tokens only."""

PerMinute = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class SpaceChanges(PartialUpdate):
    """A space's settings. Changed origins take effect within a minute; the look is replaced as a whole."""

    name: DisplayName | None = None
    persona_id: UUID | None = None
    allowed_origins: Annotated[tuple[Origin, ...] | None, AfterValidator(_any_or_these)] = Field(
        default=None, max_length=100
    )
    """Such as ``https://www.example.com``, or ``*`` alone; effective within a minute."""
    identity: SpaceIdentity | None = None
    """``token``: HMACs of emails are refused."""
    arrivals_per_minute: PerMinute | None = None
    """Registrations, first messages without a token and new conversations of users (docs/api.md, Limits)."""
    arrivals_per_minute_by_address: PerMinute | None = None
    """The same, from one address or IPv6 /64."""
    enabled: bool | None = Field(default=None, strict=True)
    look: BoundedLook | None = None
    """Public and replaced as a whole (docs/widget.md)."""


class NewSpace(SpaceChanges):
    """A space to create."""

    id: UUID | None = None
    """Of the caller's choice: a repeat returns the existing space."""
    kind: SpaceKind = "embed"
    """``embed``: an embedded chat, ``landing``: a landing page."""
    name: DisplayName
    persona_id: UUID

    def document(self) -> dict[str, object]:
        """The given fields, and the kind."""
        return {**super().document(), "kind": self.kind}


class Space(Record):
    """A space as shown to members."""

    id: UUID
    workspace_id: UUID
    kind: SpaceKind
    name: str
    persona_id: UUID
    allowed_origins: tuple[str, ...]
    identity: SpaceIdentity
    arrivals_per_minute: int
    arrivals_per_minute_by_address: int
    enabled: bool
    has_hmac_secret: bool
    created_at: datetime
    look: Look


async def create(database: Database, workspace_id: UUID, new: NewSpace) -> Space:
    """Create a space; a repeated id returns the existing one.

    Raises Refused (workspace_not_found, persona_not_found, id_taken, forbidden) and BackendUnavailable, as all of these
    functions do.
    """
    return await settings.create(database, "space", workspace_id, new, Space)


async def list_all(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[Space]:
    """A workspace's spaces. Raises NotFound (workspace_not_found)."""
    return await settings.list_in(queries, workspace_id, "space_settings", Space, paging)


async def read(queries: Queries, space_id: UUID) -> Space:
    """A space. Raises NotFound (space_not_found)."""
    return await queries.one(queries.table("space_settings").select("*").eq("id", space_id), Space, "space")


async def change(database: Database, space_id: UUID, changes: SpaceChanges) -> Space:
    """Change the given settings. Raises Refused (space_not_found, persona_not_found, forbidden)."""
    return await settings.change(database, "space", space_id, changes, Space)


async def delete(database: Database, space_id: UUID) -> None:
    """Delete a space and its secrets; its conversations stay.

    Raises Refused (space_not_found, forbidden, space_in_use: a session that started there is active or paused).
    """
    await database.call("delete_space", {"space_id": space_id}, Empty)


async def rotate_hmac_secret(database: Database, space_id: UUID, rotation: Rotation) -> NewSecret:
    """Generate a secret with which emails and identity tokens are signed. Raises Refused (space_not_found, forbidden).

    Not retried: each call generates another one. Older secrets stay valid for the overlap.
    """
    return await secrets.rotate(database, "hmac", space_id, rotation)


async def remove_hmac_secret(database: Database, space_id: UUID) -> None:
    """Refuse all signatures from now on. Raises Refused (space_not_found, forbidden)."""
    await secrets.remove(database, "hmac", space_id)
