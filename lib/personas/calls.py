"""Shared parts of the kinds that call a server: URL, credentials, timeouts and errors."""

from __future__ import annotations

import base64
import functools
import re
from typing import Annotated, Literal, cast

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator

from lib.fields.models import StrictRecord
from lib.outbound import client
from lib.personas import ErrorCode, PersonaError, PersonaTurn

MAX_BYTES = 4 * 1024 * 1024
"""Longest answer in bytes, unless a kind sets another limit."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_BASIC_SECRET = re.compile(r"[^\x00-\x1f\x7f:]*:[^\x00-\x1f\x7f]*")
# Headers that frame the message, and those that intermediaries interpret.
_TAKEN_HEADERS = {
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip


class HeaderAuth(StrictRecord):
    """A custom header whose value is the persona's secret."""

    header: str

    @field_validator("header")
    @classmethod
    def _free_header(cls, name: str) -> str:
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _TAKEN_HEADERS:
            raise ValueError("not a header that may carry a secret")
        return name


@functools.lru_cache(maxsize=1_024)
def _callable(url: str) -> str:
    try:
        client.checked_url(url)
    except client.AddressError:
        pass  # whether the workspace allows the address is checked at each call
    except client.UrlError as error:
        raise ValueError(error.detail) from None
    return url


Url = Annotated[str, Field(min_length=1, max_length=client.MAX_URL_LENGTH), AfterValidator(_callable)]
"""An absolute http or https URL without credentials."""

AuthName = Literal["bearer", "basic", "none"]
Auth = Annotated[
    Annotated[HeaderAuth, Tag("header")] | Annotated[AuthName, Tag("name")],
    Discriminator(lambda value: "header" if isinstance(value, dict | HeaderAuth) else "name"),
]
"""How the persona's secret is sent: `"bearer"`, `"basic"` (the secret is `user:password`), `{"header": "X-My-Key"}`, or
not at all (`"none"`)."""


class Timeouts(StrictRecord):
    """Timeouts of a call in seconds, within the turn's own limit.

    `first_byte_seconds` defaults to that limit: a server that does not stream sends nothing until it is done.
    """

    connect_seconds: float = Field(default=5, gt=0, le=30)
    first_byte_seconds: float | None = Field(default=None, gt=0, le=840)
    idle_seconds: float = Field(default=60, gt=0, le=840)

    def within(self, total_seconds: float, *, max_bytes: int = MAX_BYTES) -> client.Limits:
        """The limits of a call within this total time."""
        return client.Limits(
            connect_seconds=min(self.connect_seconds, total_seconds),
            first_byte_seconds=min(self.first_byte_seconds or total_seconds, total_seconds),
            idle_seconds=min(self.idle_seconds, total_seconds),
            total_seconds=total_seconds,
            max_bytes=max_bytes,
        )


def credentials(turn: PersonaTurn, auth: HeaderAuth | AuthName) -> dict[str, str]:
    """The header that carries the secret. Raises PersonaError (persona_misconfigured) if there is no valid secret."""
    if auth == "none":
        return {}
    if auth == "basic":
        # RFC 7617: no control characters, and no colon in the user's name.
        if turn.secret is None or not _BASIC_SECRET.fullmatch(turn.secret):
            raise PersonaError("persona_misconfigured", "the persona's secret is not of the form user:password")
        return {"Authorization": f"Basic {base64.b64encode(turn.secret.encode()).decode()}"}
    if turn.secret is None or not _HEADER_VALUE.fullmatch(turn.secret):
        raise PersonaError("persona_misconfigured", "the persona's secret is missing or cannot stand in a header")
    if auth == "bearer":
        return {"Authorization": f"Bearer {turn.secret}"}
    return {auth.header: turn.secret}


def failed(error: client.OutboundError) -> PersonaError:
    """The call's error as a persona's error."""
    code = cast("ErrorCode", f"persona_{error.code}")
    return PersonaError(code, error.detail, retryable=error.retryable)
