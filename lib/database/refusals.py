"""The errors that Postgres raises and the refusals that our SQL functions return, as errors of ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from lib import errors, log
from lib.database import rate_limits
from lib.database.rate_limits import RateLimit
from lib.database.retries import Unreachable, Vanished

_UNAVAILABLE = {"57014", "PGRST000", "PGRST001", "PGRST002", "PGRST003", ""}
"""Codes of Postgres and PostgREST; PostgREST's is empty if its connection broke, for which libpq has no code."""
_UNAVAILABLE_CLASSES = ("57P0", "08", "53")
_ROLLED_BACK = {"40001", "40P01", "55P03", "PGRST000", "PGRST002"}
_VANISHED = {"23503", "P0002", "42883"}
"""A row that an earlier statement had found is gone, or a function was replaced."""
_UNAUTHENTICATED: Mapping[str, type[errors.Problem]] = {
    problem.code: problem for problem in (errors.TokenRevoked, errors.ApiKeyInvalid, errors.ApiKeyExpired)
}
_INSUFFICIENT_PRIVILEGE = "42501"


@dataclass(frozen=True)
class SqlError:
    """An error raised in SQL, as asyncpg and PostgREST both describe it."""

    code: str
    message: str | None = None
    detail: str | None = None
    hint: str | None = None


def of_error(call: str, raised: SqlError, *, own_role: bool) -> errors.Problem:
    """The error of ours for one raised in SQL. ``own_role``: the caller's own rights were at stake, not ours.

    Logs everything but what our functions raise under a code of ours, without any text that may quote a person's data.
    """
    code = raised.code
    status = int(code[2:]) if code.startswith("PT") and code[2:].isdecimal() else 0
    if status == HTTPStatus.TEMPORARY_REDIRECT:
        return errors.Moved(str(raised.hint))
    if 400 <= status < 500:
        return _raised(status, str(raised.message), raised.detail or None)
    if code in _ROLLED_BACK | _UNAVAILABLE or code.startswith(_UNAVAILABLE_CLASSES):
        log.warning("backend_unavailable", call=call, code=code)
        return Unreachable(harmless=code in _ROLLED_BACK)
    if own_role and code == _INSUFFICIENT_PRIVILEGE:
        return errors.Forbidden()
    # PostgREST's own messages name functions and tokens; Postgres's may quote a person's text.
    message = raised.message if code.startswith("PGRST") else None
    log.error("backend_refused_us", call=call, code=code, message=message)
    return Vanished() if code in _VANISHED else errors.InternalError()


def of_result(call: str, status: int, document: Mapping[str, Any]) -> errors.Problem:
    """The error of ours for a result that a function returned under a status of its own (`response.status`)."""
    code = str(document.get("code"))
    if code not in errors.TITLES or not (400 <= status < 500 or code == "persona_unavailable"):
        log.error("backend_refused_us", call=call, status=status, code=code)
        return errors.InternalError()
    known = {"type", "status", "code", "title", "detail", "retry_after", "limits"}
    retry_after = document.get("retry_after")
    return errors.Refused(
        status,
        code,
        detail=errors.detail(code, document.get("detail")),
        retry_after=int(retry_after) if isinstance(retry_after, int | float) else None,
        extra={name: value for name, value in document.items() if name not in known},
        headers=rate_limits.headers(RateLimit.model_validate(state) for state in document.get("limits") or ()),
    )


def _raised(status: int, code: str, fact: str | None) -> errors.Problem:
    if code in _UNAUTHENTICATED:
        return _UNAUTHENTICATED[code]()
    detail = errors.detail(code, fact)
    if (status, code) == (errors.InvalidBody.status, errors.InvalidBody.code):
        return errors.InvalidBody([errors.FieldError("", detail or "does not fit")])
    return errors.Refused(status, code, detail=detail)
