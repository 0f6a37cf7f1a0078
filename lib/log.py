"""Log lines: one JSON object a line on standard error.

``http_request_id`` is the X-Request-Id of the HTTP request and its response (ECS: http.request.id). ``request_id`` is
always a row of the table requests.

Callers log ids, codes and durations, never message texts, bodies, headers or secrets. `logging` is not used: none of
its options are needed.
"""

import contextlib
import contextvars
import json
import re
import secrets
import sys
import traceback
from datetime import UTC, datetime

from lib import config

_silent: contextvars.ContextVar[bool] = contextvars.ContextVar("silent", default=False)
_http_request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("http_request_id", default=None)
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9_.:-]{8,64}")
_SEVERITIES = ("DEBUG", "INFO", "WARNING", "ERROR")

_encode = json.JSONEncoder(default=str).encode


def silence() -> None:
    """Log nothing in this context: for a command, which tells its user what went wrong."""
    _silent.set(True)


def begin_request(offered: str | None) -> str:
    """Set the HTTP request's id in this context: the offered one if it is well-formed, else a new one."""
    http_request_id = offered if offered and _ACCEPTABLE_ID.fullmatch(offered) else secrets.token_hex(8)
    _http_request_id.set(http_request_id)
    return http_request_id


def info(event: str, **fields: object) -> None:
    """Log an expected event."""
    _say("INFO", event, fields)


def warning(event: str, **fields: object) -> None:
    """Log an external failure that was handled."""
    _say("WARNING", event, fields)


def error(event: str, **fields: object) -> None:
    """Log a failure, with the traceback of the exception being handled, if any."""
    if sys.exc_info()[0] is not None:
        fields["traceback"] = traceback.format_exc()
    _say("ERROR", event, fields)


def _say(severity: str, event: str, fields: dict[str, object]) -> None:
    if _silent.get() or _SEVERITIES.index(severity) < _SEVERITIES.index(config.settings().switchboard_log_level):
        return
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line: dict[str, object] = {"time": now, "severity": severity, "event": event}
    if (http_request_id := _http_request_id.get()) is not None:
        line["http_request_id"] = http_request_id
    line.update(fields)
    _write(_encode(line) + "\n")


def _write(line: str) -> None:
    # A closed standard error must not fail the request.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line)
