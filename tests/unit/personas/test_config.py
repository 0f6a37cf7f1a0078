"""The kinds of personas, and the settings that each of them accepts."""

import sys
import types
from typing import Any

import pytest

from lib import personas
from lib.errors import InvalidBody
from lib.personas import PersonaError
from tests.unit.persona_turns import hear, make_turn

URL = "https://n8n.example.com/webhook/x"


def faults(kind: str, config: Any) -> list[tuple[str, str]]:
    """Every invalid field, with its message."""
    with pytest.raises(InvalidBody) as refused:
        personas.check(kind, config)
    return [(fault.field, fault.message) for fault in refused.value.errors]


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


UNFIT_HEADERS = tuple({"header": name} for name in ("Host", "Content-Length", "Not a name"))
N8N, MODEL = {"url": URL}, {"model": "m"}
POLL = {**N8N, "mode": "poll", "poll_url": URL}


@pytest.mark.parametrize(
    ("kind", "valid", "setting", "values"),
    [
        ("demo", {}, "delay_ms", (-1, 5_000, "slow")),
        ("demo", {}, "delay", (1,)),
        ("n8n", {}, "url", ("", "nowhere", "ftp://example.com/", "https://user:hush@example.com/")),
        ("n8n", N8N, "connect_seconds", (0,)),
        ("n8n", N8N, "idle_seconds", (10_000,)),
        ("n8n", N8N, "auth", ("digest", None, {"header": "X-Key", "value": "hush"}, *UNFIT_HEADERS)),
        ("n8n", N8N, "poll_url", (URL,)),
        ("n8n", {**N8N, "mode": "async"}, "poll_url", (URL,)),
        ("n8n", POLL, "poll_url", ("nowhere",)),
        ("n8n", POLL, "poll_seconds", (0.1, 61)),
        ("openai", {}, "model", ("",)),
        ("openai", MODEL, "base_url", ("", "ftp://127.0.0.1/v1")),
        ("openai", MODEL, "temperature", (3, float("nan"))),
        ("openai", MODEL, "max_tokens", (0,)),
        ("openai", {**MODEL, "max_tokens": 5}, "max_completion_tokens", (5,)),
        ("openai", MODEL, "history_characters", (-1,)),
        ("openai", MODEL, "system_prompt", ("x" * 32_001,)),
        ("openai", MODEL, "extra", ({"model": 1}, {"messages": 1}, {"n": 1}, {"note": "x" * 16_000}, [])),
    ],
)
def test_an_invalid_setting_is_named_without_its_value(
    kind: str, valid: dict[str, Any], setting: str, values: tuple[Any, ...]
) -> None:
    for value in values:
        ((field, message),) = faults(kind, {**valid, setting: value})
        assert field == f"config.{setting}"
        assert message
        assert "hush" not in message


@pytest.mark.parametrize(
    ("kind", "config", "fields"),
    [
        ("demo", [], [""]),
        ("n8n", {}, ["url"]),
        ("n8n", {**N8N, "mode": "poll"}, ["poll_url"]),
        ("n8n", {"url": 7, "mode": "later", "idle_seconds": 0}, ["idle_seconds", "mode", "url"]),
        ("openai", {**MODEL, "temperature": 3, "extra": {"stream": 1}}, ["extra", "temperature"]),
    ],
)
def test_every_missing_or_invalid_setting_is_named_once(kind: str, config: Any, fields: list[str]) -> None:
    assert sorted(field for field, _ in faults(kind, config)) == [f"config.{field}".rstrip(".") for field in fields]


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
