"""The gateway: one origin for the page, PostgREST (/rest/v1), sign-in (/auth/v1) and every function."""

import asyncio
import contextlib
import html
import json
import os
from dataclasses import dataclass
from pathlib import Path
from string import Template

import aiohttp
import asyncpg
import functions_framework.aio
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Receive, Scope, Send

from deploy import dashboard
from lib.http.header_timeout import HeaderTimeoutProtocol
from lib.routes import ROUTES
from local import auth, proxy
from local.apikeys import ApiKeys
from local.auth import Auth
from local.layout import INSTANCE_HEADER
from local.paths import REPOSITORY
from local.proxy import RestProxy
from local.sessions import Accounts

PAGE = Path(__file__).parent / "page"
_PAGE_FILES = {
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}
_PAGE_HEADERS = {
    # As strict as a customer's page may be: the embedded chat needs only to be loaded and to call its origin.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
DASHBOARD = "/dashboard/"
_DASHBOARD_HEADERS = {
    # The page has its own policy; this one cannot stand in it.
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

INVOKE = "/functions/v1/"
"""`supabase.functions.invoke("<function>/<path>")` calls this path and those below."""

MISSING = {
    "/realtime/v1": "Follow a conversation with GET /conversations/{conversation_id}/stream (docs/streams.md).",
    "/storage/v1": "Switchboard stores no files; use an object store of your own.",
    "/graphql/v1": "Read the same views and tables at /rest/v1 (docs/database.md).",
}
"""Services of Supabase that this stack lacks, with the alternative."""


@dataclass(frozen=True)
class Settings:
    """The gateway's settings, set by the supervisor."""

    port: int
    instance: str
    api_url: str
    rest_url: str
    auth_db_url: str
    jwt_secret: str
    keys: ApiKeys
    demo: dict[str, str]


def settings_from(environment: dict[str, str]) -> Settings:
    """The settings in an environment; variables that the functions read too keep their names. Raises KeyError."""
    return Settings(
        port=int(environment["GATEWAY_PORT"]),
        instance=environment["GATEWAY_INSTANCE"],
        api_url=environment["GATEWAY_API_URL"],
        rest_url=environment["GATEWAY_REST_URL"],
        auth_db_url=environment["GATEWAY_AUTH_DB_URL"],
        jwt_secret=environment["GATEWAY_JWT_SECRET"],
        keys=ApiKeys(
            environment["GATEWAY_ANON_KEY"],
            environment["GATEWAY_SERVICE_ROLE_KEY"],
            environment["GATEWAY_PUBLISHABLE_KEY"],
            environment["GATEWAY_SECRET_KEY"],
        ),
        demo=json.loads(environment["GATEWAY_DEMO"]),
    )


class Functions:
    """Every function of the route table as an app of functions-framework, found by path."""

    def __init__(self, keys: ApiKeys) -> None:
        self._public_keys = {f"Bearer {key}".encode() for key in (keys.anon_key, keys.publishable_key)}
        apps: dict[str, ASGIApp] = {}
        for name in dict.fromkeys(route.function for route in ROUTES):
            source = REPOSITORY / "functions" / name / "main.py"
            apps[name] = functions_framework.aio.create_asgi_app(name, str(source), "http")  # type: ignore[no-untyped-call]
        self._apps = apps
        self._table = [(compile_path(route.path)[0], apps[route.function]) for route in ROUTES]

    def find(self, scope: Scope) -> tuple[ASGIApp, Scope] | None:
        """The app of a path, whatever the method, and the request for it: the function refuses a wrong one."""
        path: str = scope["path"]
        if path.startswith(INVOKE):
            name, _, rest = path.removeprefix(INVOKE).partition("/")
            return (self._apps[name], self._invoked(scope, f"/{rest}")) if name in self._apps else None
        path = path.removeprefix("/api") if path.startswith("/api/") else path
        return next(((app, scope) for pattern, app in self._table if pattern.match(path)), None)

    def _invoked(self, scope: Scope, path: str) -> Scope:
        """A request as the function gets it: without the prefix, and without the public key that supabase-js sends as
        the bearer token while no user is signed in."""
        headers = [
            (name, value)
            for name, value in scope["headers"]
            if name != b"authorization" or value not in self._public_keys
        ]
        return {**scope, "path": path, "raw_path": path.encode(), "headers": headers}


class Gateway:
    """The ASGI application. Functions get scope, receive and send unchanged, so they notice a disconnect."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = _home(settings)
        self._dashboard = dashboard.index(settings.api_url, settings.api_url, settings.keys.publishable_key)
        self._functions = Functions(settings.keys)
        self._running: set[asyncio.Task[None]] = set()
        self._http: aiohttp.ClientSession | None = None
        self._pool: asyncpg.Pool | None = None
        self._rest: RestProxy | None = None
        self._auth: Auth | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's lifespan events."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            path = scope["path"]
            found = self._functions.find(scope)
            if found is None:
                # A client that leaves before the end of its body gets no answer.
                with contextlib.suppress(ClientDisconnect):
                    response = await self._answer(path, Request(scope, receive))
                    await response(scope, receive, send)
            else:
                app, scope = found
                await self._run(app, scope, receive, send)

    async def _run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a function's request, and track it while it runs."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is served in a task")
        self._running.add(task)
        try:
            await app(scope, receive, send)
        finally:
            self._running.discard(task)

    async def _answer(self, path: str, request: Request) -> Response:
        if self._rest is not None and (path == proxy.PREFIX or path.startswith(proxy.PREFIX + "/")):
            return await self._rest.answer(request)
        if self._auth is not None and path.startswith(auth.PREFIX + "/"):
            return await self._auth.answer(request)
        if path in _PAGE_FILES or path in ("/", "/healthz", "/dashboard") or path.startswith(DASHBOARD):
            if request.method not in ("GET", "HEAD"):
                refusal = proxy.problem(405, "method_not_allowed", "Method not allowed")
                refusal.headers["Allow"] = "GET, HEAD"
                return refusal
            return self._page(path)
        for prefix, alternative in MISSING.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                return proxy.problem(501, "not_implemented", "This stack does not have this service.", alternative)
        return proxy.problem(404, "not_found", "Nothing lives at this address")

    def _page(self, path: str) -> Response:
        if path == "/healthz":
            headers = {"Cache-Control": "no-store", INSTANCE_HEADER: self._settings.instance}
            return JSONResponse({"status": "ok"}, headers=headers)
        if path == "/":
            return HTMLResponse(self._home, headers=_PAGE_HEADERS)
        if path == "/dashboard" or path.startswith(DASHBOARD):
            return self._dashboard_file(path.removeprefix(DASHBOARD))
        name, media_type = _PAGE_FILES[path]
        return FileResponse(PAGE / name, media_type=media_type, headers=_PAGE_HEADERS)

    def _dashboard_file(self, name: str) -> Response:
        if name == "/dashboard":
            return RedirectResponse(DASHBOARD)
        if not name:
            return HTMLResponse(self._dashboard, headers=_DASHBOARD_HEADERS)
        if file := dashboard.files().get(name):
            return FileResponse(file, headers=_DASHBOARD_HEADERS)
        return proxy.problem(404, "not_found", "Nothing lives at this address")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        connector = aiohttp.TCPConnector(limit=0)
        self._http = aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False)
        # Connections are opened at the first sign-in, and not kept across a restart of Postgres.
        self._pool = await asyncpg.create_pool(self._settings.auth_db_url, min_size=0, max_size=4, timeout=5)
        self._rest = RestProxy(self._settings.rest_url, self._settings.keys, self._http)
        accounts = Accounts(self._pool, self._settings.jwt_secret, f"{self._settings.api_url}{auth.PREFIX}")
        self._auth = Auth(accounts, self._settings.keys)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self._running:
            # uvicorn has cancelled them and exits right after this: let them finish their turns.
            await asyncio.wait(self._running, timeout=5)
        await self._http.close()
        self._pool.terminate()
        await send({"type": "lifespan.shutdown.complete"})


def _home(settings: Settings) -> str:
    """The demo page with the demo space and this origin."""
    page = Template((PAGE / "index.html").read_text(encoding="utf-8"))
    return page.substitute(
        space_id=html.escape(settings.demo["space_id"]),
        api_url=html.escape(settings.api_url),
    )


def main() -> None:
    """Serve until SIGTERM."""
    settings = settings_from(dict(os.environ))
    uvicorn.run(
        Gateway(settings),
        host="127.0.0.1",
        port=settings.port,
        loop="uvloop",
        # Not httptools: under uvicorn it loses the body of a request that offers an upgrade, as Java's client and `curl
        # --http2` do over plain HTTP. Nothing here uses WebSocket.
        http=HeaderTimeoutProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        # The functions evaluate X-Forwarded-For themselves (SWITCHBOARD_TRUSTED_PROXIES).
        proxy_headers=False,
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main()
