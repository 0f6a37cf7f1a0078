"""docs/personas.md says what the modules do."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from lib import personas
from lib.personas import demo, n8n, openai
from tests.unit.persona_turns import SHIPPED

PAGE = (Path(__file__).parents[3] / "docs" / "personas.md").read_text()


@pytest.mark.parametrize("config", [demo.Config, n8n.Config, openai.Config])
def test_every_setting_is_described(config: type[BaseModel]) -> None:
    for name in config.model_fields:
        assert f"`{name}`" in PAGE


def test_every_kind_that_ships_is_described_and_none_that_is_not_there() -> None:
    kinds = re.search(r"(?m)^\| kind \|.*\n(?:\|.*\n)+", PAGE)
    assert kinds is not None
    described = set(re.findall(r"(?m)^\| `(\w+)` \|", kinds.group()))
    assert set(SHIPPED) <= described <= set(personas.kinds())


def test_the_configs_shown_fit() -> None:
    sections = re.split(r"(?m)^## ", PAGE)
    for kind in ("openai", "n8n"):
        (section,) = (section for section in sections if section.startswith(kind))
        shown = re.findall(r'\{"(?:base_url|model|url)":[^{}]*(?:\{[^{}]*\}[^{}]*)?\}', section)
        assert shown
        for config in shown:
            personas.check(kind, json.loads(config))
