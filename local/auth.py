"""`/auth/v1`: the part of Supabase Auth's HTTP interface that demo users and `switchboard` need, with its errors."""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lib.database.failures import CALL_FAILED
from lib.fields.types import storable_json
from local import apikeys
from local.apikeys import ApiKeys
from local.proxy import unavailable
from local.sessions import Accounts, AuthError

PREFIX = "/auth/v1"

Handler = Callable[[Request], Awaitable[Response]]

_API_VERSION = "2024-01-01"
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "X-Supabase-Api-Version",
    "X-Supabase-Api-Version": _API_VERSION,
    "Cache-Control": "no-store",
}
_SETTINGS = {
    "external": {"email": True, "phone": False, "anonymous_users": True},
    "disable_signup": False,
    "mailer_autoconfirm": True,
    "phone_autoconfirm": False,
    "sms_provider": "",
    "saml_enabled": False,
}


class Auth:
    """Answers sign-in requests that carry an API key."""

    def __init__(self, accounts: Accounts, keys: ApiKeys) -> None:
        self._accounts = accounts
        self._keys = keys
        self._open: dict[tuple[str, str], Handler] = {
            ("GET", "/.well-known/jwks.json"): self._jwks,
            ("GET", "/health"): self._health,
            ("GET", "/settings"): self._show_settings,
        }
        self._keyed: dict[tuple[str, str], Handler] = {
            ("POST", "/signup"): self._sign_up,
            ("POST", "/token"): self._token,
            ("GET", "/user"): self._user,
            ("POST", "/logout"): self._log_out,
            ("POST", "/admin/users"): self._create_user,
        }

    async def answer(self, request: Request) -> Response:
        """The response to a request below /auth/v1; 503 problem+json while Postgres is unavailable."""
        if request.method == "OPTIONS":
            return _preflight(request)
        asked = (request.method, request.url.path.removeprefix(PREFIX).rstrip("/"))
        handler = self._open.get(asked)
        try:
            if handler is None:
                key = apikeys.given(request)
                if key is None or self._keys.token(key) is None:
                    return apikeys.missing() if key is None else apikeys.invalid()
                handler = self._keyed.get(asked, _nothing_here)
            return await handler(request)
        except AuthError as error:
            return _error(request, error)
        except CALL_FAILED:
            return unavailable()

    async def _jwks(self, _: Request) -> Response:
        return _json({"keys": []})

    async def _health(self, _: Request) -> Response:
        return _json({"version": "local", "name": "GoTrue", "description": "Sign-in of demo users on one machine"})

    async def _show_settings(self, _: Request) -> Response:
        return _json(_SETTINGS)

    async def _sign_up(self, request: Request) -> Response:
        body = await _body(request)
        known = _email(body["email"]) if body.get("email") else None
        return _json(await self._accounts.sign_up(known, body.get("password"), _metadata(body.get("data"))))

    async def _token(self, request: Request) -> Response:
        body = await _body(request)
        match request.query_params.get("grant_type"):
            case "password":
                email, password = body.get("email"), body.get("password")
                if not isinstance(password, str):
                    raise AuthError(400, "validation_failed", "missing password")
                return _json(await self._accounts.sign_in(_email(email), password))
            case "refresh_token":
                return _json(await self._accounts.refresh(str(body.get("refresh_token") or "")))
            case _:
                raise AuthError(400, "invalid_credentials", "unsupported_grant_type")

    async def _user(self, request: Request) -> Response:
        return _json(await self._accounts.user(_bearer(request)))

    async def _log_out(self, request: Request) -> Response:
        scope = request.query_params.get("scope", "global")
        if scope not in ("global", "local", "others"):
            raise AuthError(400, "validation_failed", f"Unsupported logout scope {scope!r}")
        await self._accounts.sign_out(_bearer(request), scope)
        return Response(status_code=204, headers=_CORS)

    async def _create_user(self, request: Request) -> Response:
        key = _bearer(request) if "authorization" in request.headers else apikeys.given(request)
        if self._keys.token(key or "") != self._keys.service_role_key:
            raise AuthError(403, "not_admin", "User not allowed")
        body = await _body(request)
        email, metadata = _email(body.get("email")), _metadata(body.get("user_metadata"))
        confirmed = body.get("email_confirm") is True
        return _json(await self._accounts.create_user(email, body.get("password"), metadata, confirmed=confirmed))


async def _nothing_here(_: Request) -> Response:
    raise AuthError(404, "not_found", "Not Found")


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AuthError(401, "no_authorization", "This endpoint requires a valid Bearer token")
    return token


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = storable_json(json.loads(await request.body() or b"{}"))
    except (ValueError, RecursionError) as error:
        raise AuthError(400, "bad_json", "Could not parse request body as JSON") from error
    if not isinstance(body, dict):
        raise AuthError(400, "bad_json", "Could not parse request body as JSON: not an object")
    return body


def _email(given: object) -> str:
    if not isinstance(given, str) or not _EMAIL.fullmatch(given.strip()) or "\0" in given:
        raise AuthError(400, "validation_failed", "Unable to validate email address: invalid format")
    return given.strip().lower()


def _metadata(given: object) -> dict[str, Any]:
    return given if isinstance(given, dict) else {}


def _json(document: dict[str, Any]) -> JSONResponse:
    return JSONResponse(document, headers=_CORS)


def _error(request: Request, error: AuthError) -> JSONResponse:
    # Clients that send an API version get the newer shape.
    if request.headers.get("x-supabase-api-version", "") >= _API_VERSION:
        document: dict[str, Any] = {"code": error.code, "message": error.message}
    else:
        document = {"code": error.status, "error_code": error.code, "msg": error.message}
    return JSONResponse(document, error.status, headers={**_CORS, "X-Sb-Error-Code": error.code})


def _preflight(request: Request) -> Response:
    asked = request.headers.get("access-control-request-headers", "")
    return Response(
        status_code=200,
        headers={
            **_CORS,
            "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
            "Access-Control-Allow-Headers": asked,
            "Access-Control-Max-Age": "3600",
        },
    )
