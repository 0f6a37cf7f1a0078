"""The database behind `commands`, with SQL functions that a test defines."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lib import errors
from lib.database import commands, refusals
from lib.database.refusals import SqlError
from lib.database.retries import Unreachable


@dataclass(frozen=True)
class Refusal:
    """A result under a status that the function set for it."""

    status: int
    document: dict[str, Any]


SqlFunction = Callable[[dict[str, Any]], dict[str, Any] | Refusal | SqlError | errors.Problem]


@dataclass(frozen=True)
class Call:
    """One call: the function's name and its arguments."""

    name: str
    arguments: dict[str, Any]


@dataclass
class SqlFunctions:
    """The functions by name, and their calls. The answers to the next ``lost`` calls are lost."""

    functions: dict[str, SqlFunction] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    lost: int = 0

    def names(self) -> list[str]:
        """The names of the functions that were called, in order."""
        return [call.name for call in self.calls]

    async def run(self, call: commands._Call, _: float) -> tuple[int | None, str]:
        """As `commands._run`."""
        arguments = json.loads(call.arguments)
        self.calls.append(Call(call.name, arguments))
        if self.lost > 0:
            self.lost -= 1
            raise Unreachable(harmless=False)
        match self.functions[call.name](arguments):
            case SqlError() as error:
                raise refusals.of_error(call.name, error, own_role=call.role is not None)
            case Refusal(status, document):
                return status, json.dumps(document)
            case errors.Problem() as problem:
                raise problem
            case answer:
                return None, json.dumps(answer)


def raised(code: str, message: str, detail: str | None = None, hint: str | None = None) -> SqlError:
    """An error that a function raises."""
    return SqlError(code, message, detail, hint)


def refused(status: int, code: str, **members: Any) -> Refusal:
    """A refusal that a function returns."""
    return Refusal(status, {"code": code, **members})
