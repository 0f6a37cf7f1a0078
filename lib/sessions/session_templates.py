"""Session templates: named presets with which members start sessions."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from pydantic import Field

from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields.models import Empty, PartialUpdate, Record
from lib.fields.types import Attributes, DisplayName, Message
from lib.workflow.quoting import Identifier as StepName
from lib.workspaces import settings

MAX_FIRST_MESSAGES = 10


class TemplateChanges(PartialUpdate):
    """The fields of a template. ``workflow`` and ``workflow_step`` are set together.

    ``first_messages`` are the persona's, in order; ``metadata`` is overridden by the context of a new session.
    """

    nullable: ClassVar[frozenset[str]] = frozenset({"persona_id", "workflow", "workflow_step"})

    name: DisplayName | None = None
    """Unique in the workspace."""
    persona_id: UUID | None = None
    workflow: StepName | None = None
    workflow_step: StepName | None = None
    """A first step of the workflow, else 409 ``step_not_allowed``."""
    workflow_state: Attributes | None = None
    first_messages: tuple[Message, ...] | None = Field(default=None, max_length=MAX_FIRST_MESSAGES)
    """What the persona says at the beginning of a session."""
    metadata: Attributes | None = None
    """Stored beneath a session's ``context``."""


class NewTemplate(TemplateChanges):
    """A template to create."""

    id: UUID | None = None
    """Of the caller's choice: a repeat returns the existing template."""
    name: DisplayName


class Template(Record):
    """A session template as shown to members."""

    id: UUID
    workspace_id: UUID
    name: str
    persona_id: UUID | None
    workflow: str | None
    workflow_step: str | None
    workflow_state: Attributes
    first_messages: tuple[str, ...]
    metadata: Attributes
    created_at: datetime


async def create(database: Database, workspace_id: UUID, new: NewTemplate) -> Template:
    """Create a template; a repeated id returns the existing one.

    Raises Refused (workspace_not_found, persona_not_found, step_not_allowed for a step that cannot come first,
    name_taken, id_taken, forbidden) and BackendUnavailable, as all of these functions do.
    """
    return await settings.create(database, "template", workspace_id, new, Template)


async def list_all(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[Template]:
    """A workspace's templates. Raises NotFound (workspace_not_found)."""
    return await settings.list_in(queries, workspace_id, "session_templates", Template, paging)


async def read(queries: Queries, template_id: UUID) -> Template:
    """A template. Raises NotFound (template_not_found)."""
    return await queries.one(queries.table("session_templates").select("*").eq("id", template_id), Template, "template")


async def change(database: Database, template_id: UUID, changes: TemplateChanges) -> Template:
    """Change the given fields; existing sessions are not affected.

    Raises Refused (template_not_found, persona_not_found, step_not_allowed, name_taken, forbidden).
    """
    return await settings.change(database, "template", template_id, changes, Template)


async def remove(database: Database, template_id: UUID) -> None:
    """Remove a template; existing sessions are not affected. Raises Refused (template_not_found, forbidden).

    Not retried: for a removed template the caller's rights can no longer be checked.
    """
    await database.call("remove_session_template", {"template_id": template_id}, Empty)
