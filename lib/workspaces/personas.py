"""Personas of a workspace: their settings and secrets. lib/personas has the kinds."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field

from lib import personas
from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.fields.models import Empty, PartialUpdate, Record
from lib.fields.types import Attributes, DisplayName
from lib.workspaces.secrets import GivenSecret, NewSecret, Rotation

Kind = Annotated[str, Field(max_length=32)]
SessionPolicy = Literal["per_conversation", "per_message"]
TurnPolicy = Literal["refuse", "interrupt"]


class PersonaChanges(PartialUpdate):
    """A persona's settings; ``config`` is replaced as a whole and must fit the persona's kind."""

    name: DisplayName | None = None
    config: Attributes | None = None
    session_policy: SessionPolicy | None = None
    turn_policy: TurnPolicy | None = None
    history_limit: int | None = Field(default=None, strict=True, ge=0, le=200)
    time_limit_seconds: int | None = Field(default=None, strict=True, ge=1, le=840)
    breaker_failures: int | None = Field(default=None, strict=True, ge=0, le=1_000)
    breaker_seconds: int | None = Field(default=None, strict=True, ge=1, le=3_600)
    enabled: bool | None = Field(default=None, strict=True)


class NewPersona(PersonaChanges):
    """A persona to create."""

    id: UUID | None = None
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
    """A persona as shown to members."""

    id: UUID
    workspace_id: UUID
    kind: str
    name: str
    config: dict[str, Any]
    session_policy: SessionPolicy
    turn_policy: TurnPolicy
    history_limit: int
    time_limit_seconds: int
    breaker_failures: int
    breaker_seconds: int
    enabled: bool
    has_secret: bool
    has_callback_secret: bool
    breaker: Breaker
    created_at: datetime


async def create(database: Database, workspace_id: UUID, new: NewPersona) -> Persona:
    """Create a persona; a repeated id returns the existing one.

    Raises InvalidBody for an unknown kind or a config that does not fit it, Refused (workspace_not_found, id_taken,
    forbidden) and BackendUnavailable, as all of these functions do.
    """
    personas.check(new.kind, new.config or {})
    arguments = {"workspace_id": workspace_id, "persona": new.document()}
    return await database.call("create_persona", arguments, Persona, repeatable=new.id is not None)


async def list_all(database: Database, workspace_id: UUID, paging: PageRequest) -> Page[Persona]:
    """A workspace's personas. Raises Refused (workspace_not_found)."""
    arguments = {"workspace_id": workspace_id, **paging.arguments()}
    return await database.call("list_personas", arguments, Page[Persona], repeatable=True)


async def read(database: Database, persona_id: UUID) -> Persona:
    """A persona. Raises Refused (persona_not_found)."""
    return await database.call("read_persona", {"persona_id": persona_id}, Persona, repeatable=True)


async def change(reading: Database, database: Database, persona_id: UUID, changes: PersonaChanges) -> Persona:
    """Change the given settings. A new config is checked against the persona's kind, which never changes.

    Raises InvalidBody for a config that does not fit, Refused (persona_not_found, forbidden).
    """
    if changes.config is not None:
        personas.check((await read(reading, persona_id)).kind, changes.config)
    arguments = {"persona_id": persona_id, "changes": changes.document()}
    return await database.call("change_persona", arguments, Persona, repeatable=True)


async def delete(database: Database, persona_id: UUID) -> None:
    """Delete a persona and its secrets.

    Raises Refused (persona_not_found, forbidden, persona_in_use: a space or session template uses it, or it has
    conversations).
    """
    await database.call("delete_persona", {"persona_id": persona_id}, Empty)


async def set_secret(database: Database, persona_id: UUID, given: GivenSecret) -> None:
    """Set the secret that the persona sends with its calls. Raises Refused (persona_not_found, forbidden)."""
    arguments = {"persona_id": persona_id, "secret": given.secret}
    await database.call("set_persona_secret", arguments, Empty, repeatable=True)


async def remove_secret(database: Database, persona_id: UUID) -> None:
    """Remove the secret that the persona sends. Raises Refused (persona_not_found, forbidden)."""
    await database.call("remove_persona_secret", {"persona_id": persona_id}, Empty, repeatable=True)


async def rotate_callback_secret(database: Database, persona_id: UUID, rotation: Rotation) -> NewSecret:
    """Generate a secret for asynchronous answers. Raises Refused (persona_not_found, forbidden).

    Not retried: each call generates another one. Older secrets stay valid for the overlap.
    """
    arguments = {"persona_id": persona_id, "overlap_seconds": rotation.overlap_seconds}
    return await database.call("rotate_callback_secret", arguments, NewSecret)


async def remove_callback_secret(database: Database, persona_id: UUID) -> None:
    """Refuse asynchronous answers from now on. Raises Refused (persona_not_found, forbidden)."""
    await database.call("remove_callback_secret", {"persona_id": persona_id}, Empty, repeatable=True)
