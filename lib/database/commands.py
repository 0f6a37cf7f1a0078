"""The database: one SQL function a call, one transaction a function; through PostgREST, or a direct connection.

A call is sent again only when that cannot do it twice: when the caller says so (``repeatable``), when
nothing was sent (no connection was made), or when the database says that it rolled everything back
(deadlock, serialization failure, lock timeout; once more also where something was deleted that it had found).
Everything else that goes wrong on the way is BackendUnavailable, and the caller knows as little as we do.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeVar

import tenacity
from pydantic import BaseModel, ValidationError

from lib import config, errors, log
from lib.auth import callers
from lib.database import postgrest, rate_limits
from lib.database.rate_limits import RateLimit
from lib.outbound import wire

Answer = TypeVar("Answer", bound=BaseModel)

CONNECT_SECONDS = 3

_encode = json.JSONEncoder(default=str, allow_nan=False, separators=(",", ":")).encode
_UNAVAILABLE = {"PGRST000", "PGRST001", "PGRST002", "PGRST003", "57014", ""}
"""PostgREST's codes and Postgres's; an empty one where its connection broke under the call: libpq has none for that."""
_UNAVAILABLE_CLASSES = ("57P0", "08", "53")
_ROLLED_BACK = {"40001", "40P01", "55P03", "PGRST000", "PGRST002"}
_VANISHED = {"23503", "P0002"}
"""A key's check found nothing, or a statement did where one before it had: what they were about was just deleted."""
_GATEWAY_STATUSES = {429, 502, 503, 504}
_CALLERS_FAULT = {401, 403}


class _Unreachable(errors.BackendUnavailable):
    """The backend did not answer. ``harmless``: whatever was sent has certainly not been done."""

    def __init__(self, *, harmless: bool) -> None:
        super().__init__()
        self.harmless = harmless


class _Vanished(errors.InternalError):
    """Nothing was done, for want of a row that somebody may just have deleted."""


@dataclass(frozen=True)
class Patience:
    """How often a call is tried in all, and, in seconds: the longest pause between two tries, how long one try
    may take, and after how long none is begun any more.
    """

    tries: int
    longest_pause: float
    try_seconds: float = 12
    seconds: float = 24


BRIEF = Patience(tries=3, longest_pause=0.4, seconds=3)
"""For a caller who waits: where nobody listens, give up within a second and say so. One try may take longer than
the database's own statement timeout (10 s), so that it is the database that gives up first."""

GLANCE = Patience(tries=1, longest_pause=0, try_seconds=2, seconds=2)
"""For what a request can do without."""

PERSISTENT = Patience(tries=100, longest_pause=2.0)
"""For work that would be lost: it is the 24 s that end the trying. Pauses are drawn between nothing and their longest,
so a count of tries is a time only on average; and a database that restarts may be away for longer than that average."""


@dataclass(frozen=True)
class Rpc:
    """SQL functions, called for one caller. Made by acting_as and reading_as.

    With a scope they are called as ourselves, on the caller's behalf; without one with the caller's own token.
    """

    caller: callers.Caller
    scope: callers.Scope | None

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        returns: type[Answer],
        *,
        repeatable: bool = False,
        patience: Patience = BRIEF,
    ) -> Answer:
        """Call a SQL function with named arguments and read its jsonb result.

        ``repeatable`` promises that doing it twice is the same as doing it once. Raises Refused for what
        the database refuses or raises under a code of ours, BackendUnavailable when it cannot be reached
        or gives up, and InternalError (logged) for everything that is our own mistake. With a caller's own
        token also TokenInvalid, TokenExpired and Forbidden.
        """
        body = _encode(arguments)

        began = time.monotonic()
        try:
            try:
                return await self._once(name, arguments, body, returns, patience)
            except _Vanished:
                # The function itself says what is not there, as soon as that is so from its beginning.
                return await self._once(name, arguments, body, returns, patience)
        except _Unreachable as unreachable:
            first = unreachable

        def again(failure: BaseException) -> bool:
            return isinstance(failure, _Unreachable) and (repeatable or failure.harmless)

        # From here on, since tenacity takes longer over a call that succeeds than all else that is done for it here.
        left = patience.seconds - (time.monotonic() - began)
        async for attempt in tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(again),
            stop=tenacity.stop_after_attempt(patience.tries) | tenacity.stop_after_delay(left),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=patience.longest_pause),
            reraise=True,
        ):
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise first
                return await self._once(name, arguments, body, returns, patience)
        raise AssertionError("unreachable: tenacity returns or raises")

    async def _once(
        self, name: str, arguments: Mapping[str, Any], body: str, returns: type[Answer], patience: Patience
    ) -> Answer:
        try:
            answer = await self._send(name, arguments, body, patience)
        except wire.Lost as lost:
            log.warning("backend_lost" if lost.sent else "backend_unreachable", call=name, reason=lost.reason)
            raise _Unreachable(harmless=not lost.sent) from None
        status, content = answer.status, answer.content
        if status != HTTPStatus.OK:
            raise _problem(name, status, _document(content), own_token=self.scope is not None)
        try:
            return returns.model_validate_json(content)
        except ValidationError as unexpected:
            faults = unexpected.errors(include_input=False, include_url=False)
            log.error("backend_answer_unexpected", call=name, faults=[(f["loc"], f["type"]) for f in faults])
            raise errors.InternalError() from None

    async def _send(self, name: str, arguments: Mapping[str, Any], body: str, patience: Patience) -> postgrest.Answer:
        settings = config.settings()
        if self.scope is not None and settings.switchboard_database_url is not None:
            from lib.database import postgres  # noqa: PLC0415 (brings asyncpg along, only where there is a direct connection)

            return await postgres.call(
                settings.switchboard_database_url.get_secret_value(),
                settings.switchboard_database_connections,
                name,
                callers.switchboard_claims(self.caller, self.scope),
                body,
                tuple(arguments),
                connect_seconds=CONNECT_SECONDS,
                seconds=patience.try_seconds,
            )
        headers = [
            ("Content-Type", "application/json"),
            ("apikey", settings.supabase_anon_key.get_secret_value()),
            ("Authorization", f"Bearer {self._token()}"),
        ]
        return await postgrest.post(
            settings.rest_url,
            f"/rpc/{name}",
            headers,
            body.encode(),
            connect_seconds=CONNECT_SECONDS,
            seconds=patience.try_seconds,
        )

    def _token(self) -> str:
        if self.scope is not None:
            return callers.switchboard_token(self.caller, self.scope)
        if isinstance(self.caller, callers.Contact | callers.User):
            return self.caller.token
        raise TypeError("only a contact or a user has a token of their own")


def acting_as(caller: callers.Caller, scope: callers.Scope) -> Rpc:
    """The SQL functions that only we may execute, on behalf of this caller and no further than the scope."""
    return Rpc(caller, scope)


def reading_as(caller: callers.Contact | callers.User) -> Rpc:
    """The SQL functions that callers may execute themselves: their own token, their row-level security."""
    return Rpc(caller, None)


async def close() -> None:
    """Close this event loop's connections. Only a process that outlives its loop needs it."""
    await postgrest.close()
    if "lib.database.postgres" in sys.modules:
        await sys.modules["lib.database.postgres"].close()


def _problem(name: str, status: int, document: Mapping[str, Any], *, own_token: bool) -> errors.Problem:
    """What an answer other than 200 means to the caller of a function."""
    code = document.get("code")
    if not isinstance(code, str):
        if status in _GATEWAY_STATUSES:
            log.warning("backend_unavailable", call=name, status=status)
            return _Unreachable(harmless=False)
    elif code in errors.TITLES and (400 <= status < 500 or code == "persona_unavailable"):
        return _refusal(status, document)
    elif code.startswith("PT") and (400 <= status < 500 or status == HTTPStatus.TEMPORARY_REDIRECT):
        return _raised(status, document)
    elif code in _ROLLED_BACK | _UNAVAILABLE or code.startswith(_UNAVAILABLE_CLASSES):
        log.warning("backend_unavailable", call=name, status=status, code=code)
        return _Unreachable(harmless=code in _ROLLED_BACK)
    elif not own_token and status in _CALLERS_FAULT:
        return _token_refused(status, document)
    # PostgREST's own messages tell of functions and tokens; Postgres's may quote what somebody wrote.
    message = document.get("message") if isinstance(code, str) and code.startswith("PGRST") else None
    log.error("backend_refused_us", call=name, status=status, code=code, message=message)
    return _Vanished() if code in _VANISHED else errors.InternalError()


def _raised(status: int, document: Mapping[str, Any]) -> errors.Problem:
    if status == HTTPStatus.TEMPORARY_REDIRECT:
        return errors.Moved(str(document.get("hint")))
    code = str(document.get("message"))
    detail = errors.detail(code, _text(document.get("details")))
    if (status, code) == (errors.InvalidBody.status, errors.InvalidBody.code):
        return errors.InvalidBody([errors.FieldError("", detail or "does not fit")])
    return errors.Refused(status, code, detail=detail)


def _token_refused(status: int, document: Mapping[str, Any]) -> errors.Problem:
    if status == HTTPStatus.FORBIDDEN:
        return errors.Forbidden()
    return errors.TokenExpired() if "expired" in str(document.get("message")) else errors.TokenInvalid()


def _document(content: bytes | str) -> Mapping[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _refusal(status: int, document: Mapping[str, Any]) -> errors.Refused:
    known = {"type", "status", "code", "title", "detail", "retry_after", "limits"}
    retry_after = document.get("retry_after")
    return errors.Refused(
        status,
        str(document["code"]),
        detail=_text(document.get("detail")),
        retry_after=int(retry_after) if isinstance(retry_after, int | float) else None,
        extra={name: value for name, value in document.items() if name not in known},
        headers=rate_limits.headers(RateLimit.model_validate(state) for state in document.get("limits") or ()),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
