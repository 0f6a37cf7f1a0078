"""A kind of one's own is one module: that of docs/personas.md, put where it says, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib import personas
from lib.errors import InvalidBody
from local.paths import REPOSITORY
from tests.unit.persona_turns import hear, make_turn

LOOK_AT_EVERY_MODULE = (
    "test_docs.py",
    "test_imports.py::test_models_are_built_when_they_are_first_used",
    "personas/test_config.py",
    "personas/test_docs.py",
)
"""The tests that could mind a module that is not ours."""


def module_shown() -> str:
    """The example, as it stands."""
    page = (REPOSITORY / "docs" / "personas.md").read_text()
    shown = re.search(r'(    """What the kind is\."""\n.*?    persona = Parrot\(\)\n)', page, re.DOTALL)
    assert shown is not None
    return re.sub(r"(?m)^    ", "", shown.group())


@pytest.fixture
def parrot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example as a file where kinds are looked for."""
    (tmp_path / "parrot.py").write_text(module_shown())
    monkeypatch.setattr(personas, "__path__", [*personas.__path__, str(tmp_path)])
    yield
    sys.modules.pop("lib.personas.parrot", None)


@pytest.mark.usefixtures("parrot")
async def test_the_module_shown_is_a_persona() -> None:
    assert "parrot" in personas.kinds()
    assert (await hear("parrot", make_turn("Hello"))).text == "HelloHello"
    assert (await hear("parrot", make_turn("Hello", config={"times": 3}))).text == "HelloHelloHello"
    personas.check("parrot", {"times": 3})
    with pytest.raises(InvalidBody) as refused:
        personas.check("parrot", {"times": 0})
    assert [fault.field for fault in refused.value.errors] == ["config.times"]
    assert (await hear("parrot", make_turn(config={"times": "many"}))).code == "persona_misconfigured"


def test_a_tree_with_the_module_shown_passes_the_tests_as_it_is(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(REPOSITORY, tree, ignore=shutil.ignore_patterns(".*", "node_modules"))
    shutil.copy(REPOSITORY / ".env.example", tree)
    module = tree / "lib" / "personas" / "parrot.py"
    module.write_text(module_shown())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = str(tree)

    def run(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "parrot" in run("-c", "from lib import personas; print(personas.kinds())")
    run("-m", "ruff", "check", "--no-cache", str(module))
    run("-m", "ruff", "format", "--no-cache", "--check", str(module))
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"tests/unit/{test}" for test in LOOK_AT_EVERY_MODULE))
