"""Workspaces: the tenants, created by operators and managed by their owners and admins."""

from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, model_validator

from lib.database.management import Database
from lib.database.paging import Page, PageRequest
from lib.database.queries import Queries
from lib.fields import emails
from lib.fields.emails import EmailText
from lib.fields.models import Body, Empty, PartialUpdate, Record
from lib.fields.types import DisplayName, in_any_case
from lib.workspaces import settings

ArchivedStatus = Annotated[Literal["completed", "failed", "timeout", "cancelled"], BeforeValidator(in_any_case)]
ArchiveRetention = Annotated[Literal["keep", "drop"], BeforeValidator(in_any_case)]
PerMinute = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


class WorkspaceChanges(PartialUpdate):
    """A workspace's settings. Operators set the private networks that it may call."""

    nullable: ClassVar[frozenset[str]] = frozenset({"session_timeout_hours"})

    name: DisplayName | None = None
    archive_after_days: int | None = Field(default=None, strict=True, ge=1, le=3_650)
    """Days after its end until a session is archived."""
    archive_statuses: tuple[ArchivedStatus, ...] | None = Field(default=None, max_length=4)
    """The ended sessions that are archived."""
    archive_retention: ArchiveRetention | None = None
    """keep: the messages of archived sessions stay in the database too; drop: they are in the archive only."""
    session_timeout_hours: int | None = Field(default=None, ge=0, le=8_760)
    """0: never; null: the instance's setting."""
    messages_per_minute_by_contact: PerMinute | None = None
    messages_per_minute_by_user: PerMinute | None = None
    messages_per_minute_by_space: PerMinute | None = None
    messages_per_minute_by_address: PerMinute | None = None


class NewWorkspace(WorkspaceChanges):
    """A workspace to create. Its first owner is a user's id or confirmed email, by default the caller."""

    id: UUID | None = None
    """Of the caller's choice: a repeat returns the existing workspace."""
    name: DisplayName
    owner_id: UUID | None = None
    """The first owner, by default the caller."""
    owner_email: EmailText | None = None
    """The first owner, by the email that the user has confirmed."""

    @model_validator(mode="after")
    def _one_owner(self) -> "NewWorkspace":
        if self.owner_id is not None and self.owner_email is not None:
            raise ValueError("the owner is named by owner_id or by owner_email, not by both")
        return self


class AllowedNetworks(Body):
    """Private networks that a workspace's personas may call, such as ``10.1.0.0/16``."""

    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = Field(max_length=100)
    """All private networks that the workspace's personas may call, such as ``10.1.0.0/16``."""


class AllowedNetworksSet(Record):
    """The private networks that a workspace's personas may call, after a change."""

    allowed_networks: tuple[str, ...]


class DeleteConfirmation(Body):
    """The name of the workspace to delete, as confirmation."""

    name: str = Field(max_length=200)


class Workspace(Record):
    """A workspace as shown to members; ``allowed_networks`` to owners, admins and operators only."""

    id: UUID
    name: str
    allowed_networks: tuple[str, ...] | None = None
    archive_after_days: int
    archive_statuses: tuple[str, ...]
    archive_retention: str
    session_timeout_hours: int | None = None
    messages_per_minute_by_contact: int
    messages_per_minute_by_user: int
    messages_per_minute_by_space: int
    messages_per_minute_by_address: int
    created_at: datetime


async def create(database: Database, new: NewWorkspace) -> Workspace:
    """Create a workspace with its first owner; a repeated id returns the existing one.

    Raises Forbidden for all but operators, Refused (user_not_found, id_taken) and BackendUnavailable, as all of these
    functions do.
    """
    workspace = new.document()
    owner = {name: workspace.pop(name, None) for name in ("owner_id", "owner_email")}
    if owner["owner_email"] is not None:
        owner["owner_email"] = emails.parse(owner["owner_email"]).typed.lower()
    arguments = {"workspace": workspace, **owner}
    return await database.call("create_workspace", arguments, Workspace, repeatable=new.id is not None)


async def list_all(queries: Queries, paging: PageRequest) -> Page[Workspace]:
    """The caller's workspaces; all workspaces for operators."""
    return await queries.page(queries.table("workspace_settings").select("*"), Workspace, paging)


async def read(queries: Queries, workspace_id: UUID) -> Workspace:
    """One of the caller's workspaces. Raises NotFound (workspace_not_found)."""
    return await queries.one(
        queries.table("workspace_settings").select("*").eq("id", workspace_id), Workspace, "workspace"
    )


async def change(database: Database, workspace_id: UUID, changes: WorkspaceChanges) -> Workspace:
    """Change the given settings. Raises Refused (workspace_not_found, forbidden)."""
    return await settings.change(database, "workspace", workspace_id, changes, Workspace)


async def set_allowed_networks(database: Database, workspace_id: UUID, networks: AllowedNetworks) -> AllowedNetworksSet:
    """Set the private networks that the workspace's personas may call; for operators, because that opens the network of
    the functions. Raises Refused (workspace_not_found, forbidden)."""
    arguments = {"workspace_id": workspace_id, "networks": [str(network) for network in networks.allowed_networks]}
    return await database.call("set_allowed_networks", arguments, AllowedNetworksSet, repeatable=True)


async def delete(database: Database, workspace_id: UUID, confirmation: DeleteConfirmation) -> None:
    """Delete a workspace with all its data, secrets and audit events. It cannot be undone.

    One transaction: if it exceeds the database's time limit (BackendUnavailable), nothing is deleted. Raises Refused
    (workspace_not_found, forbidden, wrong_name).
    """
    arguments = {"workspace_id": workspace_id, "name": confirmation.name}
    await database.call("delete_workspace", arguments, Empty)
