"""Base models: records that cross module boundaries, and request bodies.

A model is built when it is first used (``defer_build``): a request uses few of them, and building all of them takes a
third of a function's start.
"""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel


class Record(BaseModel):
    """A frozen value: a row, a result of a command, a response. Times are in UTC."""

    model_config = ConfigDict(defer_build=True, frozen=True, hide_input_in_errors=True)


class StrictRecord(Record):
    """A record that refuses unknown members, such as the settings of a persona kind."""

    model_config = ConfigDict(extra="forbid")


class Empty(Record):
    """Empty result."""


class Body(StrictRecord):
    """A request body: unknown members are refused; names are snake_case or camelCase."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        loc_by_alias=False,
    )


class PartialUpdate(Body):
    """A partial update: omitted members stay unchanged; only ``nullable`` members may be set to null."""

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
        """The members that were given."""
        return self.model_dump(mode="json", exclude_unset=True)
