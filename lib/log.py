"""Log lines as JSON on standard error, one object a line, each with the id of the request it belongs to.

Nothing here looks into messages, bodies or headers: callers name what they log, and they log ids, codes and
durations, never what people wrote and never a secret. Not through `logging`, none of whose choices a line here needs.
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

_request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9_.:-]{8,64}")
_SEVERITIES = ("DEBUG", "INFO", "WARNING", "ERROR")

_encode = json.JSONEncoder(default=str).encode


def begin_request(offered: str | None) -> str:
    """Give what follows in this context a request id: the one offered if it looks like one, else a new one."""
    request_id = offered if offered and _ACCEPTABLE_ID.fullmatch(offered) else secrets.token_hex(8)
    _request_id.set(request_id)
    return request_id


def info(event: str, **fields: object) -> None:
    """Say that something expected happened."""
    _say("INFO", event, fields)


def warning(event: str, **fields: object) -> None:
    """Say that something went wrong outside and was dealt with."""
    _say("WARNING", event, fields)


def error(event: str, **fields: object) -> None:
    """Say that something went wrong, with the traceback of the exception being handled, if any."""
    if sys.exc_info()[0] is not None:
        fields["traceback"] = traceback.format_exc()
    _say("ERROR", event, fields)


def _say(severity: str, event: str, fields: dict[str, object]) -> None:
    if _SEVERITIES.index(severity) < _SEVERITIES.index(config.settings().switchboard_log_level):
        return
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line: dict[str, object] = {"time": now, "severity": severity, "event": event}
    if (request_id := _request_id.get()) is not None:
        line["request_id"] = request_id
    line.update(fields)
    _write(_encode(line) + "\n")


def _write(line: str) -> None:
    # Nobody's work ends because nobody listens.
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(line)
