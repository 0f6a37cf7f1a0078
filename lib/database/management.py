"""What managing a workspace has in common: who may be asked, partial changes, and lists in pages.

The routes and the operators' commands call the same functions of lib/workspaces, which call the same SQL functions;
only the caller differs.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Generic, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from lib.auth import callers
from lib.database import commands
from lib.fields.models import Body

MANAGEMENT_SCOPE = callers.Scope(management=True)

DEFAULT_PAGE = 50
LONGEST_PAGE = 200

LONGEST_OVERLAP = 7 * 86_400
"""Seconds for which a replaced secret may stay accepted: a week."""

Answer = TypeVar("Answer", bound=BaseModel)
Item = TypeVar("Item", bound=BaseModel)


class Database(Protocol):
    """SQL functions, called for somebody: `lib.database.commands.Rpc`, or an operator's service key."""

    async def call(
        self, name: str, arguments: Mapping[str, Any], returns: type[Answer], *, repeatable: bool = False
    ) -> Answer:
        """As `lib.database.commands.Rpc.call`."""
        ...


def managing_as(user: callers.User) -> commands.Rpc:
    """What changes a workspace, on behalf of a user; the database asks for their role in it."""
    return commands.acting_as(user, MANAGEMENT_SCOPE)


class Stored(BaseModel):
    """A row as the database describes it; times are in UTC."""

    model_config = ConfigDict(defer_build=True, frozen=True, hide_input_in_errors=True)


class Page(BaseModel, Generic[Item]):
    """Some items of a list; ``next_cursor`` goes on after them and is absent at the end."""

    model_config = ConfigDict(defer_build=True, frozen=True)

    items: tuple[Item, ...]
    next_cursor: UUID | None = None


class Paging(Body):
    """Which part of a list is asked for."""

    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=LONGEST_PAGE)
    cursor: UUID | None = None

    def arguments(self) -> dict[str, Any]:
        """How the database is asked."""
        return {"after": self.cursor, "page_size": self.limit}


class Changes(Body):
    """A partial change: what is not named stays as it is, and only what is ``nullable`` can be taken away by null."""

    nullable: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _no_nulls(cls, given: Any) -> Any:
        kept = cls.nullable | {to_camel(name) for name in cls.nullable}
        nulls = (
            [name for name, value in given.items() if value is None and name not in kept]
            if isinstance(given, dict)
            else []
        )
        if nulls:
            raise ValueError(f"{', '.join(sorted(map(str, nulls)))} must not be null")
        return given

    def document(self) -> dict[str, Any]:
        """The members that were named."""
        return self.model_dump(mode="json", exclude_unset=True)


class Rotation(Body):
    """For how many seconds the replaced secret is accepted beside the new one; 0 refuses all older ones at once."""

    overlap_seconds: int = Field(default=3_600, strict=True, ge=0, le=LONGEST_OVERLAP)


class NewSecret(Stored):
    """A secret that was just made, shown this once."""

    secret: str = Field(repr=False)


class GivenSecret(Body):
    """What a persona sends with its calls. It stands in a header, so it is printable ASCII without blanks around it."""

    secret: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$", max_length=4_096)] = (
        Field(repr=False)
    )


class Done(Stored):
    """A change that has nothing to tell."""


class Dated(Stored):
    """A row that knows since when it is there."""

    created_at: datetime
