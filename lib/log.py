"""Log lines as JSON on standard error, one object a line, each with the id of the request it belongs to.

Nothing here looks into messages, bodies or headers: callers name what they log, and they log ids, codes and
durations, never what people wrote and never a secret.
"""

import contextvars
import functools
import json
import logging
import re
import secrets
import sys
from datetime import UTC, datetime

from lib import config

_request_id: contextvars.ContextVar[str | None] = contextvars.ContextVar("request_id", default=None)
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9_.:-]{8,64}")


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "event": record.getMessage(),
        }
        if (request_id := _request_id.get()) is not None:
            line["request_id"] = request_id
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


@functools.cache
def _logger() -> logging.Logger:
    logger = logging.getLogger("switchboard")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    logger.addHandler(handler)
    logger.setLevel(config.settings().switchboard_log_level)
    logger.propagate = False
    return logger


def begin_request(offered: str | None) -> str:
    """Give what follows in this context a request id: the one offered if it looks like one, else a new one."""
    request_id = offered if offered and _ACCEPTABLE_ID.fullmatch(offered) else secrets.token_hex(8)
    _request_id.set(request_id)
    return request_id


def info(event: str, **fields: object) -> None:
    """Say that something expected happened."""
    _logger().info(event, extra={"fields": fields})


def warning(event: str, **fields: object) -> None:
    """Say that something went wrong outside and was dealt with."""
    _logger().warning(event, extra={"fields": fields})


def error(event: str, **fields: object) -> None:
    """Say that something went wrong, with the traceback of the exception being handled, if any."""
    _logger().error(event, extra={"fields": fields}, exc_info=sys.exc_info()[0] is not None)
