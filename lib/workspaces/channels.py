"""Channels: the places where providers' deliveries arrive, with their settings and secrets."""

import binascii
import importlib
from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, ValidationError

from lib import errors
from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields.models import Empty, PartialUpdate, Record, StrictRecord
from lib.fields.types import DisplayName, JsonObject
from lib.workspaces import secrets, settings
from lib.workspaces.secrets import GivenSecret, NewSecret, Rotation

ChannelKind = Literal["telegram", "whatsapp", "discord", "omi", "avinode", "standard"]

GENERATED: frozenset[str] = frozenset({"telegram", "omi", "avinode", "standard"})
"""The kinds whose verify secret is generated here and given to the provider."""

ExternalId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]
"""The provider's own id for a channel: a bot's, a phone number's, an application's."""


class NoConfig(StrictRecord):
    """The settings of a kind without any."""


class ChannelChanges(PartialUpdate):
    """A channel's settings; ``config`` is replaced as a whole and must fit the channel's kind."""

    nullable: ClassVar[frozenset[str]] = frozenset({"persona_id", "external_id"})

    name: DisplayName | None = None
    persona_id: UUID | None = None
    external_id: ExternalId | None = None
    config: JsonObject | None = None
    enabled: bool | None = Field(default=None, strict=True)


class NewChannel(ChannelChanges):
    """A channel to create."""

    id: UUID | None = None
    kind: ChannelKind
    name: DisplayName


class Channel(Record):
    """A channel as shown to members."""

    id: UUID
    workspace_id: UUID
    kind: ChannelKind
    name: str
    persona_id: UUID | None = None
    external_id: str | None = None
    config: dict[str, Any]
    has_verify_secret: bool
    has_token: bool
    enabled: bool
    created_at: datetime


class VerifyToken(Record):
    """What Meta's dashboard asks for besides the URL; null for other kinds. It is shown only in this response."""

    verify_token: str | None = Field(default=None, repr=False)


async def create(database: Database, workspace_id: UUID, new: NewChannel) -> Channel:
    """Create a channel; a repeated id returns the existing one.

    Raises InvalidBody for a config that does not fit the kind, Refused (workspace_not_found, persona_not_found,
    id_taken, external_id_taken, forbidden) and BackendUnavailable, as all of these functions do.
    """
    check(new.kind, new.config or {})
    return await settings.create(database, "channel", workspace_id, new, Channel)


async def list_all(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[Channel]:
    """A workspace's channels. Raises NotFound (workspace_not_found)."""
    return await settings.list_in(queries, workspace_id, "channel_settings", Channel, paging)


async def read(queries: Queries, channel_id: UUID) -> Channel:
    """A channel. Raises NotFound (channel_not_found)."""
    return await queries.one(queries.table("channel_settings").select("*").eq("id", channel_id), Channel, "channel")


async def change(queries: Queries, database: Database, channel_id: UUID, changes: ChannelChanges) -> Channel:
    """Change the given settings. A new config is checked against the channel's kind, which never changes.

    Raises InvalidBody for a config that does not fit, Refused (channel_not_found, persona_not_found,
    external_id_taken, forbidden).
    """
    if changes.config is not None:
        check((await read(queries, channel_id)).kind, changes.config)
    return await settings.change(database, "channel", channel_id, changes, Channel)


async def delete(database: Database, channel_id: UUID) -> None:
    """Delete a channel and its secrets; what arrived there stays. Raises Refused (channel_not_found, forbidden)."""
    await database.call("delete_channel", {"channel_id": channel_id}, Empty)


async def set_verify_secret(queries: Queries, database: Database, channel_id: UUID, given: GivenSecret) -> VerifyToken:
    """Set what the provider's deliveries are verified with: WhatsApp's app secret, Discord's public key, a secret of
    Standard Webhooks. The former one is no longer accepted.

    Raises InvalidBody for a secret that does not fit the kind, Refused (channel_not_found, forbidden).
    """
    from lib.providers import whatsapp  # noqa: PLC0415 (the other routes do without it)

    channel = await read(queries, channel_id)
    fault = _fault(channel.kind, given.secret)
    if fault is not None:
        raise errors.InvalidBody([errors.FieldError("secret", fault)])
    await secrets.replace(database, "verify", channel_id, given)
    if channel.kind != "whatsapp":
        return VerifyToken()
    return VerifyToken(verify_token=whatsapp.provider.verify_token(given.secret, str(channel_id)))


async def rotate_verify_secret(queries: Queries, database: Database, channel_id: UUID, rotation: Rotation) -> NewSecret:
    """Generate the secret that deliveries of Telegram, Omi, Avinode or a sender of Standard Webhooks must carry.

    Not retried: each call generates another one. Older secrets stay valid for the overlap. Raises InvalidBody for the
    other kinds, whose provider gives the secret, and Refused (channel_not_found, forbidden).
    """
    kind = (await read(queries, channel_id)).kind
    if kind not in GENERATED:
        raise errors.InvalidBody([errors.FieldError("", f"the secret of a {kind} channel comes from the provider")])
    made = await secrets.rotate(database, "verify", channel_id, rotation)
    # Hexadecimal text is base64 too, so the same secret has the form that Standard Webhooks wants.
    return NewSecret(secret=f"whsec_{made.secret}") if kind == "standard" else made


async def set_token(database: Database, channel_id: UUID, given: GivenSecret) -> None:
    """Set the token that is sent with calls to the provider's API. Raises Refused (channel_not_found, forbidden)."""
    await secrets.replace(database, "token", channel_id, given)


def check(kind: str, config: Mapping[str, Any]) -> None:
    """Check a config against the `Config` of the kind's provider, if it has one; else it must be empty.

    Raises InvalidBody: field `config.<name>` for each invalid setting.
    """
    model: type[StrictRecord] = getattr(importlib.import_module(f"lib.providers.{kind}"), "Config", NoConfig)
    try:
        model.model_validate(config)
    except ValidationError as invalid:
        faults = [
            errors.FieldError.of(fault, "config") for fault in invalid.errors(include_input=False, include_url=False)
        ]
    else:
        return
    raise errors.InvalidBody(faults)


def _fault(kind: ChannelKind, secret: str) -> str | None:
    """Why a given secret cannot be one of the kind."""
    if kind == "discord":
        try:
            return None if len(bytes.fromhex(secret)) == 32 else "must be the application's public key"
        except ValueError:
            return "must be the application's public key"
    if kind == "standard":
        try:
            return None if b64decode(secret.removeprefix("whsec_") + "==") else "must not be empty"
        except binascii.Error:
            return "must be a secret of Standard Webhooks: whsec_ and base64"
    if kind in GENERATED:
        return f"the secret of a {kind} channel is generated"
    return None
