"""The application of a function: routes a request to its handler and formats the response.

A handler takes the request and returns a response, or a model that becomes one. Every exception becomes problem+json
here, so one place decides what a caller may see.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path

from lib import config, errors, log, routes
from lib.auth import callers
from lib.http import cors, read_limits
from lib.routes import Route

Handler = Callable[[Request], Awaitable[Response | BaseModel]]
Function = Callable[[Request], Awaitable[Response]]

PROBLEM_TYPE = "application/problem+json"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NOUNS = {"app_id": "space"}


@dataclass(frozen=True)
class _Endpoint:
    route: Route
    pattern: re.Pattern[str]
    handler: Handler


@dataclass(frozen=True)
class _Match:
    endpoint: _Endpoint
    path_params: Mapping[str, str]

    @property
    def space_id(self) -> UUID | None:
        """The space in the path, if the route has one and it is a UUID."""
        text = self.path_params.get("space_id") or self.path_params.get("app_id") or ""
        return as_id(text)


def function(name: str, handlers: Mapping[str, Handler]) -> Function:
    """The HTTP function of this name, with one handler for each of its routes in the table.

    Raises ConfigError for an incomplete environment, ValueError if handlers and table differ.
    """
    config.settings()
    _set_the_servers_protocols()
    table = routes.of(name)
    if {route.name for route in table} != set(handlers):
        raise ValueError(f"{name} has handlers for {list(handlers)}, which are not its routes")
    endpoints = [_Endpoint(route, compile_path(route.path)[0], handlers[route.name]) for route in table]

    async def serve(request: Request) -> Response:
        started = time.perf_counter()
        http_request_id = log.begin_request(request.headers.get("x-request-id"))
        response, route = await _answer(name, endpoints, request)
        response.headers["X-Request-Id"] = http_request_id
        log.info(
            "request",
            function=name,
            route=route.name if route else None,
            method=request.method,
            status=response.status_code,
            milliseconds=round((time.perf_counter() - started) * 1000, 1),
        )
        return response

    return serve


def _set_the_servers_protocols() -> None:
    """Have functions-framework's server read requests with h11, limit the time of heads, and take none for a WebSocket.

    Left to itself it takes httptools wherever that is installed. Under uvicorn, httptools loses the body of a request
    that offers an upgrade, as Java's client and `curl --http2` do over plain HTTP.
    """
    with contextlib.suppress(ImportError):  # where there is no gunicorn, as on Windows
        from uvicorn_worker import UvicornWorker  # noqa: PLC0415

        from lib.http.header_timeout import HeaderTimeoutProtocol  # noqa: PLC0415

        UvicornWorker.CONFIG_KWARGS = UvicornWorker.CONFIG_KWARGS | {"http": HeaderTimeoutProtocol, "ws": "none"}


def ok(model: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    """The model as a 200 response with further headers."""
    response = _json(model, status=200)
    response.headers.update(headers or {})
    return response


def created(model: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    """The model as a 201 response."""
    response = _json(model, status=201)
    response.headers.update(headers or {})
    return response


def cached(request: Request, model: BaseModel, seconds: int) -> Response:
    """The model as a response that any cache may keep for so long, and for a day show while it fetches another one."""
    response = _json(model, status=200)
    response.headers["Cache-Control"] = f"public, max-age={seconds}, stale-while-revalidate=86400"
    if "origin" not in request.headers:
        # A cache must not give this response, which has no CORS headers, to a page.
        response.headers["Vary"] = "Origin"
    return response


def nothing() -> Response:
    """An empty 204 response."""
    return Response(status_code=204, headers={"Cache-Control": "no-store"})


def path_id(request: Request, name: str) -> UUID:
    """The UUID in the path. Raises NotFound, as for an unknown id, if it is not a UUID."""
    found = as_id(request.path_params[name])
    if found is None:
        raise errors.NotFound(_NOUNS.get(name, name.removesuffix("_id")))
    return found


def as_id(text: str | None) -> UUID | None:
    """The text as a UUID, or None if it is absent or not a UUID."""
    return UUID(text) if text is not None and _UUID.fullmatch(text) else None


async def _answer(name: str, endpoints: list[_Endpoint], request: Request) -> tuple[Response, Route | None]:
    origin = request.headers.get("origin")
    match: _Match | None = None
    cross_origin: Mapping[str, str] = {}
    try:
        path = _path(request)
        if path == "/healthz":
            return _health(name, request), None
        asked = request.headers.get("access-control-request-method")
        if request.method == "OPTIONS" and origin is not None and asked is not None:
            match = _match(endpoints, path, asked)
            headers = await cors.preflight(match.endpoint.route, match.space_id, origin)
            return Response(status_code=204, headers=dict(headers)), match.endpoint.route
        match = _match(endpoints, path, request.method)
        if origin is not None:
            cross_origin = await cors.headers(match.endpoint.route, match.space_id, origin)
        request.scope["path_params"] = dict(match.path_params)
        response = await _counted(match.endpoint, request)
    except errors.Moved as moved:
        response = _problem(moved, request)
        response.headers["Location"] = _moved(request, moved)
    except errors.Problem as problem:
        response = _problem(problem, request)
    except Exception:
        log.error("unexpected_error", function=name)
        response = _problem(errors.InternalError(), request)
    response.headers.update({name: value for name, value in cross_origin.items() if name != "Vary"})
    if "Vary" in cross_origin:
        response.headers.add_vary_header(cross_origin["Vary"])
    return response, match.endpoint.route if match else None


async def _counted(endpoint: _Endpoint, request: Request) -> Response:
    """The handler's response. A read with a token is counted meanwhile, and the count may refuse it."""
    reads = endpoint.route.method == "GET" and {"contact", "user"} & set(endpoint.route.callers)
    if not reads or "authorization" not in request.headers:
        return _response(await endpoint.handler(request))
    counting = asyncio.create_task(read_limits.count(await callers.caller_of(request)))
    try:
        response = _response(await endpoint.handler(request))
    finally:
        headers = await counting
    response.headers.update(headers)
    return response


def _response(answer: Response | BaseModel) -> Response:
    return answer if isinstance(answer, Response) else _json(answer, status=200)


def _moved(request: Request, moved: errors.Moved) -> str:
    """The URL of the contact that replaces the merged one: the same path with the new id, and the query."""
    path = request.url.path.replace(request.path_params[moved.parameter], moved.standing_id)
    return f"{path}?{request.url.query}" if request.url.query else path


def _path(request: Request) -> str:
    path: str = request.scope["path"]
    return path.removeprefix("/api") if path.startswith("/api/") else path


def _match(endpoints: list[_Endpoint], path: str, method: str) -> _Match:
    """The endpoint for a path and method. Raises NotFound or MethodNotAllowed."""
    allowed = []
    # A literal path takes precedence over one with a parameter.
    written_out = [endpoint for endpoint in endpoints if endpoint.route.path == path]
    for endpoint in written_out or endpoints:
        found = endpoint.pattern.match(path)
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
