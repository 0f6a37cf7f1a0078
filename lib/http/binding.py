"""A handler's signature: what the dispatcher reads from the request for it.

    async def change_space(user: User, space_id: UUID, changes: SpaceChanges) -> Space:

A parameter is supplied by its type and its name:

- a caller type: the caller, of the kinds that the route table lets through
- the name of a path parameter: a UUID (404 if it is none), or the text
- a model: path parameters if its fields have their names; else the query of GET and DELETE, or the JSON body
- Request: the request itself

The markers below say where other parameters come from. A handler without a body parameter refuses a body with members.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel
from starlette.requests import Request

from lib import errors
from lib.auth import callers
from lib.auth.callers import Caller
from lib.http import request_body
from lib.routes import Route

Handler = Callable[..., Awaitable[object]]
Source = Literal["request", "caller", "path", "query", "header", "body"]

OPTIONAL: Any = object()
"""The default of a body that may be missing: the handler gets the model's own defaults."""

_ORDER: tuple[Source, ...] = ("request", "caller", "path", "query", "header", "body")
"""The order in which the parts of a request are read, and thereby refused."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NOUNS = {"app_id": "space", "key_id": "api_key"}


class Query:
    """Marks a model as the query of a method that may have a body."""


class Header:
    """Marks a text as the header of the parameter's name; None if it is absent."""


@dataclass(frozen=True)
class ReadBy:
    """Marks a body that this function reads, for other limits, media types and formats."""

    read: Callable[[Request, Caller], Awaitable[Any]]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a handler, and where its value comes from."""

    name: str
    source: Source
    type: Any
    optional: bool
    read_by: ReadBy | None = None

    async def value(self, request: Request, caller: Caller | None) -> Any:
        """The value for a request. Raises NotFound, InvalidBody, and as lib.http.request_body."""
        if self.read_by is not None:
            return await self.read_by.read(request, caller or callers.Anonymous())
        if self.source == "body":
            read = request_body.read_optional if self.optional else request_body.read
            return await read(request, self.type)
        return self._value(request, caller)

    def _value(self, request: Request, caller: Caller | None) -> Any:
        if self.source in ("request", "caller"):
            return request if self.source == "request" else caller
        if self.source == "query":
            return request_body.read_query(request, self.type)
        if self.source == "header":
            return request.headers.get(self.name.replace("_", "-"))
        if self.type in (UUID, str):
            return path_id(request, self.name) if self.type is UUID else request.path_params[self.name]
        return request_body.validate(
            self.type, {name: request.path_params[name] for name in self.type.model_fields}, "path"
        )


@dataclass(frozen=True)
class Binding:
    """A handler, its parameters and its declared return type."""

    route: Route
    handler: Handler
    parameters: tuple[Parameter, ...]
    returns: Any
    refuses_body: bool

    @property
    def identifies(self) -> bool:
        """Whether the handler takes the caller."""
        return any(parameter.source == "caller" for parameter in self.parameters)

    async def caller(self, request: Request) -> Caller | None:
        """The caller, who is of the kinds in the route table; None if the route identifies none.

        Raises as callers.require.
        """
        kinds = self.route.callers
        if "provider" in kinds or ("anyone" in kinds and not self.identifies):
            return None
        return await callers.require(request, kinds)

    async def call(self, request: Request, caller: Caller | None) -> object:
        """What the handler returns for a request. Raises what it raises, and as Parameter.value."""
        values = {parameter.name: await parameter.value(request, caller) for parameter in self.parameters}
        if self.refuses_body:
            await request_body.refuse_members(request)
        return await self.handler(**values)


def bind(route: Route, handler: Handler) -> Binding:
    """The binding of a handler to its route. Raises TypeError if they do not fit."""
    signature = inspect.signature(handler, eval_str=True)
    named = set(re.findall(r"{(\w+)}", route.path))
    parameters = [_parameter(route, named, parameter) for parameter in signature.parameters.values()]
    without_body = route.method in ("GET", "DELETE") or set(route.callers) <= {"cron", "provider"}
    return Binding(
        route=route,
        handler=handler,
        parameters=tuple(sorted(parameters, key=lambda parameter: _ORDER.index(parameter.source))),
        returns=signature.return_annotation,
        refuses_body=not without_body and all(parameter.source != "body" for parameter in parameters),
    )


def path_id(request: Request, name: str) -> UUID:
    """The UUID in the path. Raises NotFound, as for an unknown id, if it is not a UUID."""
    found = as_id(request.path_params[name])
    if found is None:
        raise errors.NotFound(_NOUNS.get(name, name.removesuffix("_id")))
    return found


def as_id(text: str | None) -> UUID | None:
    """The text as a UUID, or None if it is absent or not a UUID."""
    return UUID(text) if text is not None and _UUID.fullmatch(text) else None


def _parameter(route: Route, named: set[str], declared: inspect.Parameter) -> Parameter:
    kind, *marks = (
        get_args(declared.annotation) if get_origin(declared.annotation) is Annotated else [declared.annotation]
    )
    read_by = next((mark for mark in marks if isinstance(mark, ReadBy)), None)
    source = next((_MARKED[type(mark)] for mark in marks if type(mark) in _MARKED), None)
    source = source or _source(route, named, declared.name, kind)
    if source == "caller" and not callers.classes_of(route.callers) <= _classes(kind):
        raise TypeError(f"{route.name} lets other callers through than {declared.name}")
    return Parameter(declared.name, source, kind, declared.default is OPTIONAL, read_by)


def _source(route: Route, named: set[str], name: str, kind: Any) -> Source:
    if kind is Request:
        return "request"
    if _classes(kind) <= _CALLERS:
        return "caller"
    if name in named and kind in (UUID, str):
        return "path"
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        raise TypeError(f"{route.name} does not say where {name} comes from")
    if kind.model_fields and kind.model_fields.keys() <= named:
        return "path"
    return "query" if route.method in ("GET", "DELETE") else "body"


def _classes(kind: Any) -> set[Any]:
    """The classes of a union, or the class itself."""
    return set(get_args(kind)) if get_origin(kind) in (Union, UnionType) else {kind}


_CALLERS = _classes(Caller)
_MARKED: Mapping[type, Source] = {Query: "query", Header: "header", ReadBy: "body"}
