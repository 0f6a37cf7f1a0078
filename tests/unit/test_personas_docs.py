"""docs/personas.md says what the modules do."""

import json
import re
import sys
import types
from pathlib import Path

import pytest
from pydantic import BaseModel

from lib import personas
from lib.errors import InvalidBody
from lib.personas import demo, n8n, openai
from tests.unit.persona_turns import hear, make_turn

PAGE = (Path(__file__).parents[2] / "docs" / "personas.md").read_text()


@pytest.mark.parametrize("config", [demo.Config, n8n.Config, openai.Config])
def test_every_setting_is_described(config: type[BaseModel]) -> None:
    for name in config.model_fields:
        assert f"`{name}`" in PAGE


def test_every_kind_is_described() -> None:
    for kind in personas.kinds():
        assert f"| `{kind}` |" in PAGE


def test_the_configs_shown_fit() -> None:
    sections = re.split(r"(?m)^## ", PAGE)
    for kind in ("openai", "n8n"):
        (section,) = (section for section in sections if section.startswith(kind))
        shown = re.findall(r'\{"(?:base_url|model|url)":[^{}]*(?:\{[^{}]*\}[^{}]*)?\}', section)
        assert shown
        for config in shown:
            personas.check(kind, json.loads(config))


async def test_the_module_shown_is_a_persona(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.search(r'(    """What the kind is\.""".*?    persona = Parrot\(\)\n)', PAGE, re.DOTALL)
    assert shown is not None
    module = types.ModuleType("lib.personas.parrot")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(re.sub(r"(?m)^    ", "", shown.group()), module.__dict__)  # noqa: S102
    monkeypatch.setattr(personas, "find_spec", lambda _name: object())
    assert (await hear("parrot", make_turn("Hello"))).text == "HelloHello"
    assert (await hear("parrot", make_turn("Hello", config={"times": 3}))).text == "HelloHelloHello"
    personas.check("parrot", {"times": 3})
    with pytest.raises(InvalidBody) as refused:
        personas.check("parrot", {"times": 0})
    assert [fault.field for fault in refused.value.errors] == ["config.times"]
    assert (await hear("parrot", make_turn(config={"times": "many"}))).code == "persona_misconfigured"
