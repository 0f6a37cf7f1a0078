"""API keys, handled like Supabase's gateway does: the role of each key, and the response to a request without one."""

import hmac
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse


@dataclass(frozen=True)
class ApiKeys:
    """The keys of this stack; `sb_…` keys are not JWTs and are exchanged for the JWT of their role."""

    anon_key: str
    service_role_key: str
    publishable_key: str
    secret_key: str

    def token(self, key: str) -> str | None:
        """The JWT of a key's role, None for an unknown key."""
        for known, token in (
            (self.publishable_key, self.anon_key),
            (self.secret_key, self.service_role_key),
            (self.anon_key, self.anon_key),
            (self.service_role_key, self.service_role_key),
        ):
            if hmac.compare_digest(key.encode(), known.encode()):
                return token
        return None


def given(request: Request) -> str | None:
    """The key in a request's header or query."""
    return request.headers.get("apikey") or request.query_params.get("apikey")


def missing() -> JSONResponse:
    """The response to a request without a key."""
    return _refusal("No API key found in request", "No `apikey` request header or url param was found.")


def invalid() -> JSONResponse:
    """The response to a request with an unknown key."""
    return _refusal("Invalid API key", "Double check your Supabase `anon` or `service_role` API key.")


def _refusal(message: str, hint: str) -> JSONResponse:
    return JSONResponse(
        {"message": message, "hint": hint}, status_code=401, headers={"Access-Control-Allow-Origin": "*"}
    )
