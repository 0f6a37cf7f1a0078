"""docs/personas.md says what the modules do."""

import re
import sys
import types
from pathlib import Path

import pytest

from lib import personas
from lib.personas import demo, n8n
from tests.unit.persona_turns import hear, make_turn

PAGE = (Path(__file__).parents[2] / "docs" / "personas.md").read_text()


@pytest.mark.parametrize("config", [demo.Config, n8n.Config])
def test_every_setting_is_described(config: type[demo.Config] | type[n8n.Config]) -> None:
    for name in config.model_fields:
        assert f"`{name}`" in PAGE


async def test_the_module_shown_is_a_persona(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.search(r'(    """What the kind is\.""".*?    persona = Parrot\(\)\n)', PAGE, re.DOTALL)
    assert shown is not None
    module = types.ModuleType("lib.personas.parrot")
    exec(re.sub(r"(?m)^    ", "", shown.group()), module.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(personas, "find_spec", lambda _name: object())
    assert (await hear("parrot", make_turn("Hello"))).text == "HelloHello"
