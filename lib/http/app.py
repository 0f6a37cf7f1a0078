"""The application of a function: routes a request to its handler and formats the response.

A handler declares what it takes (lib/http/binding.py) and returns: a model (200), Created[model] (201),
Accepted[model] (202), None (204), or a response of its own. Every exception becomes problem+json here, so one place
decides what a caller may see.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel
from starlette.convertors import PathConvertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from lib import config, errors, log, routes
from lib.auth import callers
from lib.http import binding, cors, read_limits
from lib.http.binding import Binding, Handler, as_id
from lib.routes import Route

Check = Callable[[Route], None]
Content = TypeVar("Content", bound=BaseModel)

PROBLEM_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Ok(Generic[Content]):
    """A model as a 200 response with further headers."""

    content: Content
    headers: Mapping[str, str] = field(default_factory=dict)
    status: ClassVar[int] = 200


@dataclass(frozen=True)
class Created(Ok[Content]):
    """A model as a 201 response."""

    status: ClassVar[int] = 201


@dataclass(frozen=True)
class Accepted(Ok[Content]):
    """A model as a 202 response: the work goes on."""

    status: ClassVar[int] = 202


@dataclass(frozen=True)
class _Endpoint:
    pattern: re.Pattern[str]
    binding: Binding

    @property
    def route(self) -> Route:
        """The route in the table."""
        return self.binding.route


@dataclass(frozen=True)
class _Match:
    endpoint: _Endpoint
    path_params: Mapping[str, str]

    @property
    def space_id(self) -> UUID | None:
        """The space in the path, if the route has one and it is a UUID."""
        text = self.path_params.get("space_id") or self.path_params.get("app_id") or ""
        return as_id(text)


@dataclass(frozen=True)
class Function:
    """An HTTP function: call it with a request. Made by ``function``."""

    name: str
    check: Check | None
    _endpoints: tuple[_Endpoint, ...]

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """The handlers of its routes, in the order of the table."""
        return tuple(endpoint.binding for endpoint in self._endpoints)

    async def __call__(self, request: Request) -> Response:
        """Answer a request, and log it."""
        started = time.perf_counter()
        http_request_id = log.begin_request(request.headers.get("x-request-id"))
        response, route = await self._answer(request)
        response.headers["X-Request-Id"] = http_request_id
        log.info(
            "request",
            function=self.name,
            route=route.name if route else None,
            method=request.method,
            status=response.status_code,
            milliseconds=round((time.perf_counter() - started) * 1000, 1),
        )
        return response

    async def _answer(self, request: Request) -> tuple[Response, Route | None]:
        origin = request.headers.get("origin")
        match: _Match | None = None
        cross_origin: Mapping[str, str] = {}
        try:
            path = _path(request)
            if path == "/healthz":
                return _health(self.name, request), None
            asked = request.headers.get("access-control-request-method")
            if request.method == "OPTIONS" and origin is not None and asked is not None:
                match = _match(self._endpoints, path, asked)
                headers = await cors.preflight(match.endpoint.route, match.space_id, origin)
                return Response(status_code=204, headers=dict(headers)), match.endpoint.route
            match = _match(self._endpoints, path, request.method)
            if origin is not None:
                cross_origin = await cors.headers(match.endpoint.route, match.space_id, origin)
            request.scope["path_params"] = dict(match.path_params)
            if self.check is not None:
                self.check(match.endpoint.route)
            await _read_credentials(match.endpoint.route, request, path)
            response = await _counted(match.endpoint.binding, request)
        except errors.Moved as moved:
            response = _problem(moved, request)
            response.headers["Location"] = _moved(request, moved)
        except errors.Problem as problem:
            response = _problem(problem, request)
        except Exception:
            log.error("unexpected_error", function=self.name)
            response = _problem(errors.InternalError(), request)
        response.headers.update({name: value for name, value in cross_origin.items() if name != "Vary"})
        if "Vary" in cross_origin:
            response.headers.add_vary_header(cross_origin["Vary"])
        return response, match.endpoint.route if match else None


def function(name: str, handlers: Mapping[str, Handler], *, check: Check | None = None) -> Function:
    """The HTTP function of this name, with one handler for each of its routes in the table.

    ``check`` may refuse a route for every caller. Raises ConfigError for an incomplete environment, ValueError if
    handlers and table differ, TypeError if a handler and its route do.
    """
    config.settings()
    _set_the_servers_protocols()
    # functions-framework passes on what Starlette's pattern of a path matches: without this, no path with a line break.
    PathConvertor.regex = "(?s:.*)"
    table = routes.of(name)
    if {route.name for route in table} != set(handlers):
        raise ValueError(f"{name} has handlers for {list(handlers)}, which are not its routes")
    bindings = [binding.bind(route, handlers[route.name]) for route in table]
    return Function(name, check, tuple(_Endpoint(compile_path(bound.route.path)[0], bound) for bound in bindings))


def _set_the_servers_protocols() -> None:
    """Have functions-framework's server read requests with h11, limit the time of heads, and take none for a WebSocket.

    Left to itself it takes httptools wherever that is installed. Under uvicorn, httptools loses the body of a request
    that offers an upgrade, as Java's client and `curl --http2` do over plain HTTP.
    """
    with contextlib.suppress(ImportError):  # where there is no gunicorn, as on Windows
        from uvicorn_worker import UvicornWorker  # noqa: PLC0415

        from lib.http.header_timeout import HeaderTimeoutProtocol  # noqa: PLC0415

        UvicornWorker.CONFIG_KWARGS = UvicornWorker.CONFIG_KWARGS | {"http": HeaderTimeoutProtocol, "ws": "none"}


def cached(request: Request, model: Content, seconds: int) -> Ok[Content]:
    """The model as a response that any cache may keep for so long, and for a day show while it fetches another one."""
    headers = {"Cache-Control": f"public, max-age={seconds}, stale-while-revalidate=86400"}
    if "origin" not in request.headers:
        # A cache must not give this response, which has no CORS headers, to a page.
        headers["Vary"] = "Origin"
    return Ok(model, headers)


async def _read_credentials(route: Route, request: Request, path: str) -> None:
    """Identify the caller of a request without a bearer token by its ticket or cookie, if the route accepts it.

    Raises as stream_tickets.holder and callers.of_cookie.
    """
    if "authorization" in request.headers:
        return
    if "ticket" in route.credentials and (ticket := request.query_params.get(callers.COOKIE)) is not None:
        from lib.auth import stream_tickets  # noqa: PLC0415 (for few functions)

        request.state.caller = stream_tickets.holder(ticket, path.lower())
    elif "cookie" in route.credentials and (user := await callers.of_cookie(request)) is not None:
        request.state.caller = user


async def _counted(bound: Binding, request: Request) -> Response:
    """The handler's response. A read with a token is counted meanwhile, and the count may refuse it."""
    caller = await bound.caller(request)
    if bound.route.method != "GET" or not isinstance(caller, callers.Contact | callers.User):
        return _response(await bound.call(request, caller))
    counting = asyncio.create_task(read_limits.count(caller))
    try:
        response = _response(await bound.call(request, caller))
    finally:
        headers = await counting
    response.headers.update(headers)
    return response


def _response(returned: object) -> Response:
    """The response for what a handler returns."""
    match returned:
        case Response():
            return returned
        case Ok():
            response = _json(returned.content, status=returned.status)
            response.headers.update(returned.headers)
            return response
        case BaseModel():
            return _json(returned, status=200)
        case None:
            return Response(status_code=204, headers={"Cache-Control": "no-store"})
        case _:
            raise TypeError(f"a handler returned {type(returned)}")


def _moved(request: Request, moved: errors.Moved) -> str:
    """The URL of the contact that replaces the merged one: the same path with the new id, and the query."""
    path = request.url.path.replace(request.path_params[moved.parameter], moved.standing_id)
    return f"{path}?{request.url.query}" if request.url.query else path


def _path(request: Request) -> str:
    path: str = request.scope["path"]
    return path.removeprefix("/api") if path.startswith("/api/") else path


def _match(endpoints: Sequence[_Endpoint], path: str, method: str) -> _Match:
    """The endpoint for a path and method. Raises NotFound or MethodNotAllowed."""
    allowed = []
    # A literal path takes precedence over one with a parameter.
    written_out = [endpoint for endpoint in endpoints if endpoint.route.path == path]
    for endpoint in written_out or endpoints:
        found = endpoint.pattern.fullmatch(path)
        if found is None:
            continue
        if endpoint.route.method == method:
            return _Match(endpoint, found.groupdict())
        allowed.append(endpoint.route.method)
    if allowed:
        raise errors.MethodNotAllowed(allowed)
    raise errors.NotFound()


def _health(name: str, request: Request) -> Response:
    if request.method not in ("GET", "HEAD"):
        raise errors.MethodNotAllowed(["GET"])
    return JSONResponse({"status": "ok", "function": name}, headers={"Cache-Control": "no-store"})


def _json(model: BaseModel, *, status: int) -> Response:
    content = model.model_dump_json(exclude_none=True)
    return Response(content, status_code=status, media_type="application/json", headers={"Cache-Control": "no-store"})


def _problem(problem: errors.Problem, request: Request) -> Response:
    headers = {**problem.response_headers(), "Cache-Control": "no-store"}
    # Clients such as n8n parse only the type that they ask for.
    accept = ",".join(request.headers.getlist("accept")).lower()
    is_plain = "application/json" in accept and PROBLEM_TYPE not in accept
    media_type = "application/json" if is_plain else PROBLEM_TYPE
    return JSONResponse(problem.document(), status_code=problem.status, media_type=media_type, headers=headers)
