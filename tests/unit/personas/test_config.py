"""The kinds of personas, and the settings that each of them accepts."""

import subprocess
import sys
import types
from typing import Any

import pytest

from lib import personas
from lib.errors import InvalidBody
from lib.personas import PersonaError
from tests.unit.persona_turns import SHIPPED, hear, make_turn

URL = "https://n8n.example.com/webhook/x"


def faults(kind: str, config: Any) -> list[tuple[str, str]]:
    """Every invalid field, with its message."""
    with pytest.raises(InvalidBody) as refused:
        personas.check(kind, config)
    return [(fault.field, fault.message) for fault in refused.value.errors]


def test_the_kinds_that_ship_can_answer() -> None:
    assert set(SHIPPED) <= set(personas.kinds())
    assert list(personas.kinds()) == sorted(personas.kinds())
    assert all(callable(personas.find(kind).answer) for kind in personas.kinds())


@pytest.mark.parametrize(
    "kind",
    ["nobody", "n8n_poll", "n8n_answer", "openai_stream", "calls", "", "Demo", "demo.Demo", "../demo", "os", "a" * 40],
)
def test_an_unknown_kind_is_refused_with_the_known_ones(kind: str) -> None:
    assert faults(kind, {}) == [("kind", f"must be one of {', '.join(personas.kinds())}")]
    with pytest.raises(PersonaError) as missing:
        personas.find(kind)
    assert missing.value.code == "persona_misconfigured"


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
def test_a_valid_config_is_accepted(kind: str, config: dict[str, Any]) -> None:
    personas.check(kind, config)


POLL = {"url": URL, "mode": "poll", "poll_url": URL}


@pytest.mark.parametrize(
    ("kind", "config", "fields"),
    [
        ("demo", {"delay_ms": -1}, "delay_ms"),
        ("demo", {"delay_ms": 5_000}, "delay_ms"),
        ("demo", {"delay_ms": "slow"}, "delay_ms"),
        ("demo", {"delay": 1}, "delay"),
        ("demo", [], ""),
        ("demo", None, ""),
        ("n8n", {}, "url"),
        ("n8n", {"url": ""}, "url"),
        ("n8n", {"url": "nowhere"}, "url"),
        ("n8n", {"url": "ftp://example.com/"}, "url"),
        ("n8n", {"url": "https://user:hush@example.com/"}, "url"),
        ("n8n", {"url": 7, "mode": "later", "idle_seconds": 0}, "idle_seconds mode url"),
        ("n8n", {"url": URL, "connect_seconds": 0}, "connect_seconds"),
        ("n8n", {"url": URL, "idle_seconds": 10_000}, "idle_seconds"),
        ("n8n", {"url": URL, "auth": "digest"}, "auth"),
        ("n8n", {"url": URL, "auth": {"header": "Host"}}, "auth"),
        ("n8n", {"url": URL, "auth": {"header": "Content-Length"}}, "auth"),
        ("n8n", {"url": URL, "auth": {"header": "Not a name"}}, "auth"),
        ("n8n", {"url": URL, "auth": {"header": "X-Key", "value": "hush"}}, "auth"),
        ("n8n", {"url": URL, "auth": None}, "auth"),
        ("n8n", {"url": URL, "mode": "poll"}, "poll_url"),
        ("n8n", {"url": URL, "poll_url": URL}, "poll_url"),
        ("n8n", {**POLL, "mode": "async"}, "poll_url"),
        ("n8n", {**POLL, "poll_url": "nowhere"}, "poll_url"),
        ("n8n", {**POLL, "poll_seconds": 0.1}, "poll_seconds"),
        ("n8n", {**POLL, "poll_seconds": 61}, "poll_seconds"),
        ("openai", {}, "model"),
        ("openai", {"model": ""}, "model"),
        ("openai", {"model": "m", "base_url": ""}, "base_url"),
        ("openai", {"model": "m", "base_url": "ftp://127.0.0.1/v1"}, "base_url"),
        ("openai", {"model": "m", "temperature": 3, "extra": {"stream": 1}}, "extra temperature"),
        ("openai", {"model": "m", "temperature": float("nan")}, "temperature"),
        ("openai", {"model": "m", "max_tokens": 0}, "max_tokens"),
        ("openai", {"model": "m", "max_tokens": 5, "max_completion_tokens": 5}, "max_completion_tokens"),
        ("openai", {"model": "m", "history_characters": -1}, "history_characters"),
        ("openai", {"model": "m", "system_prompt": "x" * 32_001}, "system_prompt"),
        *(("openai", {"model": "m", "extra": {name: 1}}, "extra") for name in ("model", "messages", "n")),
        ("openai", {"model": "m", "extra": {"note": "x" * 16_000}}, "extra"),
        ("openai", {"model": "m", "extra": []}, "extra"),
    ],
)
def test_each_invalid_setting_is_named_once_without_its_value(kind: str, config: Any, fields: str) -> None:
    found = faults(kind, config)
    assert sorted(field for field, _ in found) == [f"config.{field}".rstrip(".") for field in fields.split(" ")]
    assert all(message and "hush" not in message for _, message in found)


async def test_a_stored_config_that_became_invalid_is_reported_in_one_short_line() -> None:
    config = {"url": URL, "mode": "later", **{f"x\x00{number}": 1 for number in range(1_000)}}
    heard = await hear("n8n", make_turn(config=config))
    assert heard.code == "persona_misconfigured"
    assert heard.detail.startswith("settings of the persona to correct: mode, x0, x1,")
    assert len(heard.detail) < 400
    assert heard.detail.isprintable()


def test_a_kind_without_a_config_accepts_any_object(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("lib.personas.anything")
    module.persona = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(personas, "find_spec", lambda _name: object())
    personas.check("anything", {"whatever": [1, {"it": None}]})
    assert faults("anything", "no object") == [("config", "must be an object")]


def test_a_secret_is_not_shown_with_the_turn() -> None:
    assert "hush" not in repr(make_turn(secret="hush"))


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
