"""Contacts: created, changed, resolved by their identities, listed, read and tagged."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints, model_validator

from lib import errors
from lib.auth.callers import Proof
from lib.database.management import Database
from lib.database.paging import NewestPageRequest, Page
from lib.database.queries import Queries
from lib.fields import identities
from lib.fields.emails import EmailText
from lib.fields.identities import ContactKind, Identity
from lib.fields.models import Arrival, Body, FieldWarning, PartialUpdate, Record
from lib.fields.tags import Tag
from lib.fields.types import Attributes, DisplayName, Flag, Label, Moment, in_any_case, storable
from lib.workspaces import settings

Detail = TypeVar("Detail", bound=BaseModel)

Tagged = Literal["contact", "session"]


def _identity(text: str) -> str:
    identities.parse(text)
    return text


IdentityText = Annotated[
    str, Field(max_length=identities.LONGEST + 20), AfterValidator(storable), AfterValidator(_identity)
]
"""An identity as ``platform:id``."""

PlatformId = Annotated[str, Field(max_length=identities.LONGEST), AfterValidator(storable)]

Verifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]


class Evidence(Body):
    """The evidence for the given identities: the name of the verifier, for instance a provider."""

    verified_by: Verifier


class ResolveRequest(Arrival):
    """Identities to resolve, and the profile to store if the contact is created or extended."""

    droppable: ClassVar[frozenset[str]] = frozenset(
        {"first_name", "last_name", "title", "source", "attributes", "group_role"}
    )

    workspace_id: UUID | None = None
    identities: tuple[IdentityText, ...] = Field(default=(), max_length=20)
    platform: Label | None = None
    platform_id: PlatformId | None = None
    create: Flag = False
    kind: ContactKind | None = None
    first_name: DisplayName | None = None
    last_name: DisplayName | None = None
    title: DisplayName | None = None
    source: Label | None = None
    attributes: Attributes = Field(default_factory=dict)
    evidence: Evidence | None = None
    group_id: UUID | None = None
    group_role: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(storable)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.platform is None) != (self.platform_id is None):
            raise ValueError("platform and platform_id come together")
        named = self.named()
        if not named:
            raise ValueError("name at least one identity")
        kind = identities.contact_kind(named)
        if kind is not None and self.kind is not None and kind != self.kind:
            raise ValueError(f"these are the identities of a {kind}")
        if self.title is not None and (self.kind or kind) != "group":
            raise ValueError("only a group has a title")
        if (self.first_name or self.last_name) and (self.kind or kind) == "group":
            raise ValueError("a group has a title instead of a name")
        if self.create and any(one.is_user for one in named):
            raise ValueError("only a user's own token links them to a contact")
        if self.group_id is not None and (not self.create or (self.kind or kind) == "group"):
            raise ValueError("group_id is for persons, and needs create")
        if self.group_role is not None and self.group_id is None:
            raise ValueError("group_role needs group_id")
        return self

    def named(self) -> tuple[Identity, ...]:
        """The given identities. Raises ValueError."""
        given = [identities.parse(text) for text in self.identities]
        if self.platform is not None and self.platform_id is not None:
            given.append(identities.of(self.platform, self.platform_id))
        return tuple(given)

    def arguments(self) -> dict[str, Any]:
        """Arguments of the SQL function."""
        named = self.named()
        profile = self.model_dump(mode="json", include=_PROFILE, exclude_defaults=True)
        return {
            "workspace_id": self.workspace_id,
            "identities": identities.documents(named),
            "make": self.create,
            "kind": self.kind or identities.contact_kind(named),
            "profile": profile,
            "verified_by": self.evidence.verified_by if self.evidence else None,
            "group_id": self.group_id,
            "group_role": self.group_role,
        }


IdentityTexts = Annotated[tuple[IdentityText, ...], Field(max_length=20)]


class NewContact(Body):
    """A contact to create. Without ``evidence`` its identities are asserted."""

    workspace_id: UUID | None = None
    kind: ContactKind | None = None
    first_name: DisplayName | None = None
    last_name: DisplayName | None = None
    title: DisplayName | None = None
    source: Label | None = None
    attributes: Attributes = Field(default_factory=dict)
    identities: IdentityTexts = ()
    evidence: Evidence | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        kind = _kind_of(self.identities) or self.kind or "person"
        if self.kind not in (None, kind):
            raise ValueError(f"these are the identities of a {kind}")
        if kind == "group" and (self.first_name or self.last_name):
            raise ValueError("a group has a title instead of a name")
        if kind == "person" and self.title is not None:
            raise ValueError("only a group has a title")
        return self

    def arguments(self) -> dict[str, Any]:
        """Arguments of the SQL function."""
        return {
            "workspace_id": self.workspace_id,
            "kind": _kind_of(self.identities) or self.kind or "person",
            "profile": self.model_dump(mode="json", include=_PROFILE, exclude_defaults=True),
            "identities": identities.documents(_identities(self.identities)),
            "verified_by": self.evidence.verified_by if self.evidence else None,
        }


class ContactChanges(PartialUpdate):
    """The values to change; null removes one. ``attributes`` is a JSON merge patch (RFC 7396) of the stored ones.

    Identities are removed before others are added. Without ``evidence`` the added ones are asserted.
    """

    nullable: ClassVar[frozenset[str]] = frozenset({"first_name", "last_name", "title", "source", "attributes"})

    first_name: DisplayName | None = None
    last_name: DisplayName | None = None
    title: DisplayName | None = None
    source: Label | None = None
    attributes: Attributes | None = None
    add_identities: IdentityTexts = ()
    remove_identities: IdentityTexts = ()
    evidence: Evidence | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _kind_of(self.add_identities)
        if self.evidence is not None and not self.add_identities:
            raise ValueError("evidence needs add_identities")
        return self

    def arguments(self) -> dict[str, Any]:
        """Arguments of the SQL function."""
        return {
            "changes": self.model_dump(mode="json", include=_PROFILE, exclude_unset=True),
            "added": identities.documents(_identities(self.add_identities)),
            "removed": [one.document() for one in _identities(self.remove_identities)],
            "kind": _kind_of(self.add_identities),
            "verified_by": self.evidence.verified_by if self.evidence else None,
        }


_PROFILE = {"first_name", "last_name", "title", "source", "attributes"}


def _identities(texts: tuple[str, ...]) -> tuple[Identity, ...]:
    return tuple(map(identities.parse, texts))


def _kind_of(texts: tuple[str, ...]) -> ContactKind | None:
    """The kind of contact that can be given these identities. Raises ValueError, also for a user's."""
    named = _identities(texts)
    if any(one.is_user for one in named):
        raise ValueError("only a user's own token links them to a contact")
    return identities.contact_kind(named)


class IdentityView(Record):
    """An identity with its evidence. Times are in UTC."""

    kind: identities.Kind
    key: str
    value: str
    evidence: Literal["asserted", "verified"]
    asserted_by: Literal["contact", "member", "service"]
    asserted_at: datetime
    verified_by: str | None
    verified_at: datetime | None


class Contact(Record):
    """A contact as shown to members. ``session_id`` is the first linked session.

    ``name`` is the full name, or a group's title; ``email`` the first verified email, or else the first one.
    """

    id: UUID
    workspace_id: UUID
    kind: ContactKind
    name: str | None
    first_name: str | None
    last_name: str | None
    title: str | None
    email: str | None
    source: str | None
    attributes: dict[str, Any]
    session_id: UUID | None
    created_at: datetime
    identities: tuple[IdentityView, ...]
    tags: tuple[str, ...]

    @property
    def phone(self) -> str | None:
        """The first phone number, as typed."""
        return next((one.value for one in self.identities if one.kind == "phone"), None)

    @property
    def identity_texts(self) -> tuple[str, ...]:
        """The identities as ``platform:id``."""
        return tuple(f"{one.kind}:{one.value}" for one in self.identities)


class Participant(Record):
    """A person in a group; ``left_at`` is set after leaving."""

    contact_id: UUID
    first_name: str | None
    last_name: str | None
    role: str | None
    joined_at: datetime
    left_at: datetime | None


class GroupMembership(Record):
    """A person's current or former group."""

    contact_id: UUID
    title: str | None
    role: str | None
    joined_at: datetime
    left_at: datetime | None


class MergedContact(Record):
    """A contact that was merged into this one, by a member or automatically by proof."""

    contact_id: UUID
    automatic: bool
    merged_by: UUID | None
    merged_at: datetime


class ContactDetail(Contact):
    """A contact with its groups (or a group with its participants) and the contacts merged into it."""

    participants: tuple[Participant, ...]
    groups: tuple[GroupMembership, ...]
    merged: tuple[MergedContact, ...]


class LatestSession(Record):
    """One of a contact's sessions."""

    session_id: UUID
    conversation_id: UUID
    persona_id: UUID
    status: str
    proof: Proof | None = None
    message_count: int
    created_at: datetime
    last_activity_at: datetime


class ContactActivity(Contact):
    """A contact's activity in the sessions that the caller may see; ``sessions`` counts them by status."""

    message_count: int
    last_activity_at: datetime | None
    sessions: dict[str, int]
    latest_sessions: tuple[LatestSession, ...]


class ResolveResult(Record):
    """The resolved contact; ``created``: by this call; ``warnings``: the fields that were dropped."""

    contact: Contact
    created: bool
    warnings: tuple[FieldWarning, ...] | None = None


class _Outcome(Record):
    contact: Contact | None = None
    created: bool = False
    conflict: tuple[UUID, ...] = ()

    def require(self) -> Contact:
        """The contact. Raises Refused (identity_conflict) if other contacts have the identities."""
        if self.contact is None:
            ids = sorted(map(str, self.conflict))
            raise errors.Refused(
                409,
                "identity_conflict",
                detail=f"They belong to: {', '.join(ids)}. A member decides who these are.",
                extra={"contact_ids": ids},
            )
        return self.contact


class SignOut(Record):
    """A signed-out contact, or the one that it was merged into: tokens that were issued before are invalid."""

    contact_id: UUID
    tokens_revoked_at: datetime


class Tags(Record):
    """All tags of a contact or a session, in order."""

    tags: tuple[str, ...]


class TagsUpdate(Body):
    """The tags that replace all present ones."""

    tags: tuple[Tag, ...] = Field(max_length=100)


class NamedTag(Body):
    """The tag that a path names."""

    tag: Tag


class ContactFilter(NewestPageRequest):
    """Filters of a list of contacts; all given ones must match."""

    workspace_id: UUID | None = None
    """May be omitted by a member of a single workspace (otherwise 422 ``workspace_required``)."""
    email: EmailText | None = None
    """In any of its spellings."""
    identity: IdentityText | None = None
    """``platform:id``."""
    user_id: UUID | None = None
    """The contact of this Supabase user."""
    space_id: UUID | None = None
    session_id: UUID | None = None
    has_session: bool | None = None
    tag: Tag | None = None
    active_after: Moment | None = None
    """Active then or later."""
    active_before: Moment | None = None
    """Active, but not since."""
    kind: Annotated[ContactKind | None, BeforeValidator(in_any_case)] = None
    text: Label | None = None
    """The beginning of a name, of a last name or of a title, in any case."""

    def identities(self) -> tuple[Identity, ...]:
        """The identities that a contact must have."""
        given = []
        if self.email is not None:
            given.append(identities.of("email", self.email))
        if self.identity is not None:
            given.append(identities.parse(self.identity))
        if self.user_id is not None:
            given.append(identities.of("external", f"{identities.USER_SYSTEM}:{self.user_id}"))
        return tuple(given)

    def view(self) -> str:
        """The view that reads the contacts from the index of one of the filters."""
        if self.tag is not None:
            return "contacts_by_tag"
        if self.space_id is not None:
            return "contacts_by_space"
        if self.has_session is False:
            return "contacts_without_session"
        if self.has_session or self.active_after is not None or self.active_before is not None:
            return "contacts_by_activity"
        return "contact_details"


async def resolve(database: Database, asked: ResolveRequest) -> ResolveResult:
    """The contact with these identities; created or extended on request.

    Of concurrent calls for one new sender, one creates the contact. Raises Refused: contact_not_found if no contact has
    them, identity_conflict (with ``contact_ids``) if several contacts have them, workspace_not_found,
    workspace_required, group_not_found, forbidden; and BackendUnavailable, as all of these functions do.
    """
    outcome = await database.call("resolve_contact", asked.arguments(), _Outcome, repeatable=True)
    return ResolveResult(contact=outcome.require(), created=outcome.created, warnings=asked.warnings or None)


async def create(database: Database, new: NewContact) -> Contact:
    """A new contact. Raises Refused: identity_conflict (with ``contact_ids``) if other contacts have one of its
    identities, workspace_not_found, workspace_required, forbidden (``evidence`` is for owners and admins)."""
    return (await database.call("create_contact", new.arguments(), _Outcome)).require()


async def change(database: Database, contact_id: UUID, changes: ContactChanges) -> Contact:
    """Change a contact: all named values and identities, or nothing.

    Raises as create, Refused (contact_not_found), InvalidBody if its kind of contact has no such value or identity, and
    Moved if it was merged into another.
    """
    arguments = {"contact_id": contact_id, **changes.arguments()}
    return (await database.call("change_contact", arguments, _Outcome, repeatable=True)).require()


async def find(queries: Queries, search: ContactFilter) -> Page[Contact]:
    """A page of a workspace's contacts, newest first.

    Raises NotFound (workspace_not_found) and Refused (workspace_required).
    """
    workspace_id = await settings.named_or_only_workspace(queries, search.workspace_id)
    view = search.view()
    query = queries.table(view).select(_columns(Contact)).eq("workspace_id", workspace_id).is_("merged_into_id", None)
    for identity in search.identities():
        owners = queries.table("contact_identities").select("contact_id").eq("workspace_id", workspace_id)
        found = await queries.rows(owners.eq("key", identity.key).eq("kind", identity.kind), _Owner)
        query = query.in_("id", [str(owner.contact_id) for owner in found])
    if search.session_id is not None:
        sessions = queries.table("sessions").select("contact_id").eq("id", search.session_id)
        found = await queries.rows(sessions.not_.is_("contact_id", None), _Owner)
        query = query.in_("id", [str(owner.contact_id) for owner in found])
    if search.tag is not None:
        query = query.eq("tag", search.tag)
    if search.space_id is not None and view == "contacts_by_space":
        query = query.eq("space_id", search.space_id)
    elif search.space_id is not None:
        query = query.contains("space_ids", [str(search.space_id)])
    active_at = "active_at" if view == "contacts_by_activity" else "last_activity_at"
    if search.has_session is not None and view not in ("contacts_by_activity", "contacts_without_session"):
        query = (query.not_ if search.has_session else query).is_(active_at, None)
    if search.active_after is not None:
        query = query.gte(active_at, search.active_after.isoformat())
    if search.active_before is not None:
        query = query.lt(active_at, search.active_before.isoformat())
    if search.kind is not None:
        query = query.eq("kind", search.kind)
    if search.text is not None:
        query = query.or_(f"{_begins('name_key', search.text)},{_begins('last_name_key', search.text)}")
    page = await queries.newest(query, Contact, search)
    if not page.items:
        await settings.require_workspace(queries, workspace_id)
    return page


async def read(queries: Queries, contact_id: UUID) -> ContactDetail:
    """A contact. Raises NotFound (contact_not_found), and Moved if it was merged into another."""
    return await _read(queries, contact_id, "contact_details", ContactDetail)


async def activity(queries: Queries, contact_id: UUID) -> ContactActivity:
    """A contact's activity, in the sessions that the caller may see. Raises as read."""
    return await _read(queries, contact_id, "contact_activity", ContactActivity)


async def sign_out(database: Database, contact_id: UUID) -> SignOut:
    """Revoke all tokens of a contact and of the contacts merged with it. Raises Refused (contact_not_found)."""
    return await database.call("sign_out_contact", {"contact_id": contact_id}, SignOut, repeatable=True)


async def tag(database: Database, contact_id: UUID, new: TagsUpdate) -> Tags:
    """Replace a contact's tags. Raises Refused (contact_not_found)."""
    return await _tag(database, "contact", contact_id, names=_names(new))


async def tag_session(database: Database, session_id: UUID, new: TagsUpdate) -> Tags:
    """Replace a session's tags. Raises Refused (session_not_found)."""
    return await _tag(database, "session", session_id, names=_names(new))


async def add_tag(database: Database, of: Tagged, object_id: UUID, named: NamedTag) -> Tags:
    """Add a tag; no-op if it is there. Raises Refused (<noun>_not_found), and InvalidBody beyond 100 tags."""
    return await _tag(database, of, object_id, added=named.tag)


async def remove_tag(database: Database, of: Tagged, object_id: UUID, named: NamedTag) -> Tags:
    """Remove a tag; no-op if it is not there. Raises Refused (<noun>_not_found)."""
    return await _tag(database, of, object_id, removed=named.tag)


async def _tag(database: Database, of: Tagged, object_id: UUID, **tags: Any) -> Tags:
    return await database.call(f"set_{of}_tags", {f"{of}_id": object_id, **tags}, Tags, repeatable=True)


class _Owner(Record):
    contact_id: UUID


class _Standing(Record):
    standing_id: UUID


def _columns(model: type[BaseModel]) -> str:
    return ",".join(model.model_fields)


def _begins(column: str, text: str) -> str:
    """The condition that a column, which is in lower case, begins with a text. Only comparisons use its index."""
    begin = "".join(character.lower() for character in text).replace("\\", "\\\\").replace('"', '\\"')
    return f'and({column}.gte."{begin}",{column}.lt."{begin}\U0010ffff")'


async def _read(queries: Queries, contact_id: UUID, view: str, of: type[Detail]) -> Detail:
    found = queries.table(view).select(_columns(of)).eq("id", contact_id).is_("merged_into_id", None)
    for contact in await queries.rows(found, of):
        return contact
    merged = queries.table("contact_details").select("standing_id").eq("id", contact_id)
    raise errors.Moved(str((await queries.one(merged, _Standing, "contact")).standing_id))


def _names(new: TagsUpdate) -> list[str]:
    return sorted(set(new.tags))
