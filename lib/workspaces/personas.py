"""Personas of a workspace: their settings and secrets. lib/personas has the kinds."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, Field

from lib import personas
from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields.models import Empty, PartialUpdate, Record
from lib.fields.types import DisplayName, JsonObject
from lib.workspaces import secrets, settings
from lib.workspaces.secrets import GivenSecret, NewSecret, Rotation

Kind = Annotated[str, Field(max_length=32)]
SessionPolicy = Literal["per_conversation", "per_message"]
TurnPolicy = Literal["refuse", "interrupt"]
MemoryModel = Literal["per_contact", "shared"]


def _decodable(url: str) -> str:
    try:
        base64.b64decode(url.partition(",")[2], validate=True)
    except binascii.Error:
        raise ValueError("must be valid base64") from None
    return url


Picture = Annotated[
    str, Field(max_length=50_000, pattern=r"^data:image/(png|jpeg|webp);base64,"), AfterValidator(_decodable)
]
"""A small image as a data URL, so that showing it asks no other host."""


class PersonaChanges(PartialUpdate):
    """A persona's settings; ``config`` is replaced as a whole and must fit the persona's kind.
    Visitors of a space see the ``name`` and the ``picture``."""

    nullable: ClassVar[frozenset[str]] = frozenset({"picture", "fallback_persona_id"})

    name: DisplayName | None = None
    """Visitors see it."""
    config: JsonObject | None = None
    """Replaced as a whole, and checked against the kind (docs/personas.md)."""
    session_policy: SessionPolicy | None = None
    turn_policy: TurnPolicy | None = None
    history_limit: int | None = Field(default=None, strict=True, ge=0, le=200)
    """Messages of the conversation that the persona gets."""
    time_limit_seconds: int | None = Field(default=None, strict=True, ge=1, le=840)
    """Of an answer."""
    breaker_failures: int | None = Field(default=None, strict=True, ge=0, le=1_000)
    """Failures in a row that open the breaker; 0: never (docs/api.md, Limits)."""
    breaker_seconds: int | None = Field(default=None, strict=True, ge=1, le=3_600)
    """How long an open breaker calls the persona not at all."""
    fallback_persona_id: UUID | None = None
    """Another persona of the workspace, which answers in this one's place; null once that is deleted."""
    collect_seconds: int | None = Field(default=None, strict=True, ge=0, le=30)
    """Messages within this time are answered as one; with the session policy ``per_message`` only 0."""
    memory_model: MemoryModel | None = None
    """What the sessions of a proven contact recall: their own memories, or also what members gave the persona."""
    recall_limit: int | None = Field(default=None, strict=True, ge=0, le=50)
    """Memories that a turn recalls for the persona; 0: memory is off."""
    remember_turns: bool | None = Field(default=None, strict=True)
    """Each turn is remembered unchanged."""
    enabled: bool | None = Field(default=None, strict=True)
    picture: Picture | None = None
    """A data URL of a PNG, JPEG or WebP image, which visitors see; read as ``has_picture``."""


class NewPersona(PersonaChanges):
    """A persona to create."""

    id: UUID | None = None
    """Of the caller's choice: a repeat returns the existing persona."""
    kind: Kind
    name: DisplayName


class Breaker(Record):
    """The state of a persona's circuit breaker: consecutive failures, and messages refused since it opened.
    ``retry_at`` is when an open breaker allows a trial turn, or when a half-open one gives up on the present trial
    turn."""

    state: Literal["closed", "open", "half_open"]
    failures: int
    refused: int
    opened_at: datetime | None = None
    retry_at: datetime | None = None


class Persona(Record):
    """A persona as shown to members; ``config`` to owners, admins and operators only."""

    id: UUID
    workspace_id: UUID
    kind: str
    name: str
    config: dict[str, Any] | None = None
    session_policy: SessionPolicy
    turn_policy: TurnPolicy
    history_limit: int
    time_limit_seconds: int
    breaker_failures: int
    breaker_seconds: int
    fallback_persona_id: UUID | None = None
    collect_seconds: int
    memory_model: MemoryModel
    recall_limit: int
    remember_turns: bool
    enabled: bool
    has_secret: bool
    has_callback_secret: bool
    has_picture: bool
    breaker: Breaker
    created_at: datetime


async def create(database: Database, workspace_id: UUID, new: NewPersona) -> Persona:
    """Create a persona; a repeated id returns the existing one.

    Raises InvalidBody for an unknown kind or a config that does not fit it, Refused (workspace_not_found, id_taken,
    forbidden, persona_not_found: the fallback; invalid_body: its own fallback, or collecting per message) and
    BackendUnavailable, as all of these functions do.
    """
    personas.check(new.kind, new.config or {})
    return await settings.create(database, "persona", workspace_id, new, Persona)


async def list_all(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[Persona]:
    """A workspace's personas. Raises NotFound (workspace_not_found)."""
    return await settings.list_in(queries, workspace_id, "persona_settings", Persona, paging)


async def read(queries: Queries, persona_id: UUID) -> Persona:
    """A persona. Raises NotFound (persona_not_found)."""
    return await queries.one(queries.table("persona_settings").select("*").eq("id", persona_id), Persona, "persona")


async def change(queries: Queries, database: Database, persona_id: UUID, changes: PersonaChanges) -> Persona:
    """Change the given settings. A new config is checked against the persona's kind, which never changes.

    Raises InvalidBody for a config that does not fit, Refused (persona_not_found: also the fallback; forbidden,
    invalid_body as in create).
    """
    if changes.config is not None:
        personas.check((await read(queries, persona_id)).kind, changes.config)
    return await settings.change(database, "persona", persona_id, changes, Persona)


async def delete(database: Database, persona_id: UUID) -> None:
    """Delete a persona and its secrets.

    Raises Refused (persona_not_found, forbidden, persona_in_use: a space or session template uses it, or it has
    conversations).
    """
    await database.call("delete_persona", {"persona_id": persona_id}, Empty)


async def set_secret(database: Database, persona_id: UUID, given: GivenSecret) -> None:
    """Set the secret that the persona sends with its calls. Raises Refused (persona_not_found, forbidden)."""
    await secrets.replace(database, "secret", persona_id, given)


async def remove_secret(database: Database, persona_id: UUID) -> None:
    """Remove the secret that the persona sends. Raises Refused (persona_not_found, forbidden)."""
    await secrets.remove(database, "secret", persona_id)


async def rotate_callback_secret(database: Database, persona_id: UUID, rotation: Rotation) -> NewSecret:
    """Generate a secret for asynchronous answers. Raises Refused (persona_not_found, forbidden).

    Not retried: each call generates another one. Older secrets stay valid for the overlap.
    """
    return await secrets.rotate(database, "callback", persona_id, rotation)


async def remove_callback_secret(database: Database, persona_id: UUID) -> None:
    """Refuse asynchronous answers from now on. Raises Refused (persona_not_found, forbidden)."""
    await secrets.remove(database, "callback", persona_id)
