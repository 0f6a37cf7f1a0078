"""Answer templates: a workspace's texts that members insert in an answer."""

from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field

from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields.models import Empty, PartialUpdate, Record
from lib.fields.types import DisplayName, Message, in_any_case, storable
from lib.workspaces import settings

Shortcut = Annotated[
    str, Field(max_length=32, pattern=r"^\S+$"), AfterValidator(storable), BeforeValidator(in_any_case)
]
"""A word without spaces, in any case."""


class AnswerTemplateChanges(PartialUpdate):
    """The fields of an answer template."""

    nullable: ClassVar[frozenset[str]] = frozenset({"shortcut"})

    name: DisplayName | None = None
    """Unique in the workspace, else 409 ``name_taken``."""
    shortcut: Shortcut | None = None
    """What a member types to insert it: a word without spaces, unique in the workspace, else 409 ``shortcut_taken``."""
    text: Message | None = None
    """Markdown, as a member's message."""


class NewAnswerTemplate(AnswerTemplateChanges):
    """An answer template to create."""

    id: UUID | None = None
    """Of the caller's choice: a repeat returns the existing template."""
    name: DisplayName
    text: Message


class AnswerTemplate(Record):
    """An answer template as shown to members."""

    id: UUID
    workspace_id: UUID
    name: str
    shortcut: str | None
    text: str
    created_at: datetime


async def create(database: Database, workspace_id: UUID, new: NewAnswerTemplate) -> AnswerTemplate:
    """Create an answer template; a repeated id returns the existing one.

    Raises Refused (workspace_not_found, name_taken, shortcut_taken, id_taken, forbidden) and BackendUnavailable, as all
    of these functions do.
    """
    template = new.document()
    arguments = {"workspace_id": workspace_id, "template": template}
    return await database.call("create_answer_template", arguments, AnswerTemplate, repeatable="id" in template)


async def list_all(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[AnswerTemplate]:
    """A workspace's answer templates. Raises NotFound (workspace_not_found)."""
    return await settings.list_in(queries, workspace_id, "answer_templates", AnswerTemplate, paging)


async def change(database: Database, template_id: UUID, changes: AnswerTemplateChanges) -> AnswerTemplate:
    """Change the given fields. Raises Refused (answer_template_not_found, name_taken, shortcut_taken, forbidden)."""
    arguments = {"answer_template_id": template_id, "changes": changes.document()}
    return await database.call("change_answer_template", arguments, AnswerTemplate, repeatable=True)


async def remove(database: Database, template_id: UUID) -> None:
    """Remove an answer template. Raises Refused (answer_template_not_found, forbidden).

    Not retried: for a removed template the caller's rights can no longer be checked.
    """
    await database.call("remove_answer_template", {"answer_template_id": template_id}, Empty)
