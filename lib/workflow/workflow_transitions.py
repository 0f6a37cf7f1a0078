"""Transitions: the steps of a workspace's workflows, and their allowed order."""

from datetime import datetime
from uuid import UUID

from pydantic import model_validator

from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields.models import Body, Empty, Record
from lib.workflow.quoting import Identifier
from lib.workspaces import settings


class Transition(Record):
    """An allowed transition; without ``from_step``, the workflow may start with the step."""

    id: UUID
    workflow: str
    from_step: str | None
    to_step: str
    built_in: bool
    created_at: datetime


class AddedTransition(Transition):
    """An allowed transition; ``created``: by this call."""

    created: bool


class NewTransition(Body):
    """A transition to allow."""

    workflow: Identifier
    from_step: Identifier | None = None
    to_step: Identifier

    @model_validator(mode="after")
    def _moves(self) -> "NewTransition":
        if self.from_step == self.to_step:
            raise ValueError("a step does not follow itself")
        return self


async def list_all(queries: Queries, workspace_id: UUID, paging: PageRequest) -> Page[Transition]:
    """The steps of a workspace's workflows, built-in ones first. Raises NotFound (workspace_not_found)."""
    await settings.require_workspace(queries, workspace_id)
    query = queries.table("workflow_transitions").select("*")
    return await queries.page(query.or_(f"built_in.is.true,workspace_id.eq.{workspace_id}"), Transition, paging)


async def add(database: Database, workspace_id: UUID, new: NewTransition) -> AddedTransition:
    """Allow a transition in a workspace. Raises Refused (workspace_not_found, forbidden)."""
    arguments = {"workspace_id": workspace_id, "transition": new.model_dump()}
    return await database.call("add_workflow_transition", arguments, AddedTransition, repeatable=True)


async def remove(database: Database, workspace_id: UUID, transition_id: UUID) -> None:
    """Remove one of the workspace's own transitions; sessions keep their step.

    Raises Refused (workspace_not_found, transition_not_found (also for a built-in one), forbidden).
    """
    arguments = {"workspace_id": workspace_id, "transition_id": transition_id}
    await database.call("remove_workflow_transition", arguments, Empty)
