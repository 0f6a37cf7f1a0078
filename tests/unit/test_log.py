import contextvars
import io
import json
import sys
from typing import Any

import pytest

from lib import log
from tests.unit.conftest import Configure


def test_a_line_carries_the_request_and_its_fields(log_lines: list[dict[str, Any]]) -> None:
    def request() -> None:
        log.begin_request("request-17")
        log.info("turn", turn_id="t", milliseconds=3)

    contextvars.copy_context().run(request)
    (line,) = log_lines
    assert line["event"] == "turn"
    assert line["severity"] == "INFO"
    assert line["http_request_id"] == "request-17"
    assert (line["turn_id"], line["milliseconds"]) == ("t", 3)
    assert line["time"].endswith("+00:00")


@pytest.mark.parametrize(
    ("level", "shown"),
    [("DEBUG", ["INFO", "WARNING", "ERROR"]), ("WARNING", ["WARNING", "ERROR"]), ("ERROR", ["ERROR"])],
)
def test_lines_below_the_level_are_not_written(
    level: str, shown: list[str], capsys: pytest.CaptureFixture[str], configure: Configure
) -> None:
    configure(SWITCHBOARD_LOG_LEVEL=level)
    log.info("a", why={1})
    log.warning("b")
    log.error("c\n")
    assert [json.loads(line)["severity"] for line in capsys.readouterr().err.splitlines()] == shown


def test_a_closed_stream_fails_no_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    log.error("unheard")


@pytest.mark.parametrize("offered", [None, "", "short", "x" * 65, "with space", "line\nbreak", 'quote"quote"'])
def test_only_a_plain_token_becomes_an_http_request_id(offered: str | None) -> None:
    given = contextvars.copy_context().run(log.begin_request, offered)
    assert given != offered
    assert len(given) == 16
