"""Base models: records that cross module boundaries, and request bodies.

A model is built when it is first used (``defer_build``): a request uses few of them, and building all of them takes a
third of a function's start.
"""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, PrivateAttr, ValidationError, model_validator
from pydantic.alias_generators import to_camel, to_snake


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


class FieldWarning(Record):
    """A field of an accepted body that is not as it should be, and the reason, without the value."""

    field: str
    message: str


class Arrival(Body):
    """A body with which a person or a message arrives: an invalid field of ``droppable`` is dropped and reported.

    These fields only tell more about the arrival. Fields that select, prove or repeat something are not among them:
    without one, the request would do something else than its sender asks for.
    """

    droppable: ClassVar[frozenset[str]] = frozenset()

    _warnings: tuple[FieldWarning, ...] = PrivateAttr(())

    @property
    def warnings(self) -> tuple[FieldWarning, ...]:
        """The dropped fields."""
        return self._warnings

    @model_validator(mode="wrap")
    @classmethod
    def _drop_invalid_fields(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(given)
        except ValidationError as invalid:
            faults = {str(fault["loc"][0]) if fault["loc"] else "": fault["msg"] for fault in invalid.errors()}
            if not isinstance(given, dict) or not faults.keys() <= cls.droppable_of(given):
                raise
        accepted = validate({name: value for name, value in given.items() if to_snake(name) not in faults})
        accepted._warnings = tuple(
            FieldWarning(field=name, message=message.removeprefix("Value error, ")) for name, message in faults.items()
        )
        return accepted

    @classmethod
    def droppable_of(cls, given: dict[str, Any]) -> frozenset[str]:
        """The droppable fields of this body."""
        return cls.droppable


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
