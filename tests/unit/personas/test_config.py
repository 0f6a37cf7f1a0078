import subprocess
import sys
import types
from typing import Any

import pytest

from lib import personas
from lib.errors import InvalidBody
from tests.unit.persona_turns import SHIPPED, hear, make_turn

URL = "https://n8n.example.com/webhook/x"


def faults(kind: str, config: Any) -> list[tuple[str, str]]:
    """Every field that does not fit, with what is said of it."""
    with pytest.raises(InvalidBody) as refused:
        personas.check(kind, config)
    assert refused.value.status == 422
    return [(fault.field, fault.message) for fault in refused.value.errors]


def test_the_kinds_are_those_that_can_answer() -> None:
    kinds = personas.kinds()
    assert set(SHIPPED) <= set(kinds)
    assert list(kinds) == sorted(kinds)
    assert all(callable(personas.find(kind).answer) for kind in kinds)


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("demo", {}),
        ("demo", {"delay_ms": 0}),
        ("n8n", {"url": URL}),
        ("n8n", {"url": URL, "auth": {"header": "X-My-Key"}, "mode": "async"}),
        ("n8n", {"url": URL, "mode": "poll", "poll_url": URL, "poll_seconds": 5}),
        ("n8n", {"url": "http://10.1.0.7/webhook/x"}),
        ("openai", {"model": "m"}),
        ("openai", {"model": "m", "base_url": "http://127.0.0.1:11434/v1", "auth": "none", "max_tokens": 100}),
        ("openai", {"model": "m", "extra": {"top_p": 1}, "temperature": 0}),
    ],
)
def test_a_config_that_fits_is_taken(kind: str, config: dict[str, Any]) -> None:
    personas.check(kind, config)


@pytest.mark.parametrize("kind", ["nobody", "n8n_poll", "n8n_answer", "openai_stream", "calls", "", "Demo", "../demo"])
def test_a_kind_that_is_none_is_named(kind: str) -> None:
    assert kind not in personas.kinds()
    assert faults(kind, {}) == [("kind", f"must be one of {', '.join(personas.kinds())}")]


@pytest.mark.parametrize(
    ("kind", "config", "fields"),
    [
        ("demo", {"delay_ms": -1}, ["config.delay_ms"]),
        ("demo", {"delay": 1}, ["config.delay"]),
        ("demo", [], ["config"]),
        ("demo", None, ["config"]),
        ("n8n", {}, ["config.url"]),
        ("n8n", {"url": "nowhere"}, ["config.url"]),
        ("n8n", {"url": "ftp://example.com/"}, ["config.url"]),
        ("n8n", {"url": "https://user:word@example.com/"}, ["config.url"]),
        ("n8n", {"url": 7, "mode": "later", "idle_seconds": 0}, ["config.idle_seconds", "config.mode", "config.url"]),
        ("n8n", {"url": URL, "auth": "basic"}, ["config.auth"]),
        ("n8n", {"url": URL, "auth": {"header": "Host"}}, ["config.auth"]),
        ("n8n", {"url": URL, "auth": {"header": "X-Key", "value": "hush"}}, ["config.auth"]),
        ("n8n", {"url": URL, "auth": None}, ["config.auth"]),
        ("n8n", {"url": URL, "mode": "poll"}, ["config.poll_url"]),
        ("n8n", {"url": URL, "poll_url": URL}, ["config.poll_url"]),
        ("openai", {}, ["config.model"]),
        ("openai", {"model": "m", "base_url": ""}, ["config.base_url"]),
        ("openai", {"model": "m", "temperature": 3, "extra": {"stream": 1}}, ["config.extra", "config.temperature"]),
        ("openai", {"model": "m", "max_tokens": 5, "max_completion_tokens": 5}, ["config.max_completion_tokens"]),
    ],
)
def test_each_setting_that_does_not_fit_is_named_once(kind: str, config: Any, fields: list[str]) -> None:
    found = faults(kind, config)
    assert sorted(field for field, _ in found) == fields
    assert all(message and "hush" not in message for _, message in found)


def test_what_is_wrong_is_said_without_what_was_sent() -> None:
    assert faults("n8n", {"url": URL, "auth": {"header": "Host"}}) == [
        ("config.auth", "not a header that may carry a secret")
    ]
    assert faults("n8n", {"url": "https://user:hush@example.com/"}) == [
        ("config.url", "the address must not contain credentials")
    ]


async def test_a_config_of_an_earlier_time_is_told_in_one_short_line() -> None:
    config = {"url": URL, "mode": "later", **{f"x\x00{number}": 1 for number in range(1_000)}}
    heard = await hear("n8n", make_turn(config=config))
    assert heard.error is not None
    assert heard.code == "persona_misconfigured"
    assert heard.error.detail.startswith("settings of the persona to correct: mode, x0, x1,")
    assert len(heard.error.detail) < 400
    assert heard.error.detail.isprintable()


def test_a_kind_without_a_config_takes_any(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("lib.personas.anything")
    module.persona = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(personas, "find_spec", lambda _name: object())
    personas.check("anything", {"whatever": [1, {"it": None}]})
    assert faults("anything", "no object") == [("config", "must be an object")]


def test_only_a_kind_that_calls_out_imports_a_client() -> None:
    code = """
import sys
from lib import personas
personas.find("demo"), personas.check("demo", {})
assert "aiohttp" not in sys.modules and "starlette" not in sys.modules
personas.find("openai")
assert "aiohttp" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
