"""docs/personas.md says what the modules do."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from lib import personas
from lib.personas import demo, n8n, openai
from lib.personas.text import excerpt
from lib.providers import Delivery
from lib.providers import n8n as provider
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


def test_the_callback_expressions_survive_quotes_and_line_ends() -> None:
    turn_id, text = "01a1fe15-0000-7000-8000-000000000001", 'She said "no"\n\\ and {{ left }}'
    start, error = {"json": {"body": {"turnId": turn_id}}}, {"json": {"execution": {"error": {"message": text}}}}
    run_data = {"Webhook": [{"data": {"main": [[start]]}}]}
    items = {"Webhook": {"item": start}, "Error Trigger": {"item": error}}
    current = {"output": text, "data": {"resultData": {"runData": run_data}}}
    expressions = re.findall(r"\{\{ (JSON\.stringify\(.*?\)) \}\}", PAGE, re.DOTALL)
    for expression, fails in zip(expressions, (False, True), strict=True):
        script = f"const items = {json.dumps(items)}, $json = {json.dumps(current)}, $ = name => items[name];"
        run = ["node", "-e", f"{script} process.stdout.write({expression})"]
        body = subprocess.run(run, capture_output=True, check=True, timeout=20).stdout
        (answer,) = provider.provider.parse(Delivery({}, body, {}))
        assert (answer.turn_id, answer.error if fails else answer.text) == (turn_id, excerpt(text) if fails else text)
