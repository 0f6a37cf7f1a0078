"""The docs tell the truth: every route, every code, every command, every setting that exists, and no other."""

import re
from typing import Any

import pytest

from lib import errors, personas
from lib.chat import whole_answer
from lib.config import Settings
from lib.mcp.tools import TOOLS
from lib.routes import ROUTES
from local import api_tables, openapi
from local.paths import REPOSITORY
from tests.unit.persona_turns import SHIPPED

API = (REPOSITORY / "docs" / "api.md").read_text()
README = (REPOSITORY / "README.md").read_text()
MAKEFILE = (REPOSITORY / "Makefile").read_text()


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The description of the API, which is made once and only where a test looks at it."""
    return openapi.document()


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no section {heading}"
    return found[1]


def test_the_api_page_lists_exactly_the_routes() -> None:
    listed = re.findall(r"^\| (\w+) \| `(\w+) (\S+)` \|", section(API, "Routes"), re.MULTILINE)
    assert sorted(listed) == sorted((route.function, route.method, route.path) for route in ROUTES)


def test_the_api_page_lists_every_http_code_with_its_status() -> None:
    listed: set[tuple[int, str]] = set()
    for row in re.finditer(r"^\| (\d{3}) \| ([^|]+) \|", section(API, "Errors"), re.MULTILINE):
        listed |= {(int(row[1]), code) for code in re.findall(r"`(\w+)`", row[2])}
    described = {(status, code) for status, codes in openapi.codes_by_status().items() for code in codes}
    of_turns = {(whole_answer.status_of(code), code) for code in errors.FAILURES}
    assert listed | of_turns == described


def test_the_api_page_lists_the_statuses_of_success_that_the_description_has(described: dict[str, Any]) -> None:
    rows = re.findall(r"^\| \w+ \| `(\w+) (\S+)` \| [^|]+ \| ([^|]+) \|", section(API, "Routes"), re.MULTILINE)
    listed = {f"{method} {path}": set(re.findall(r"\b20\d\b", answer)) or {"200"} for method, path, answer in rows}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            found = {status for status in operation["responses"] if status.startswith("2")}
            streams = "text/event-stream" in str(operation["responses"])
            assert found == listed[f"{method.upper()} {path}"] | ({"200"} if streams else set()), path


def test_the_page_of_the_tools_lists_each_with_its_arguments() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| `\w+ /", (REPOSITORY / "docs" / "mcp.md").read_text(), re.MULTILINE)
    listed = {name: set(re.findall(r"`(\w+\??)`", arguments)) for name, arguments in rows}
    for tool in TOOLS.values():
        fields = tool.arguments.model_fields.items()
        assert listed.pop(tool.name) == {name if field.is_required() else f"{name}?" for name, field in fields}
    assert listed == {}


def test_the_description_and_the_tables_made_of_it_are_those_of_the_code(described: dict[str, Any]) -> None:
    assert openapi.FILE.read_text() == openapi.text(described), "`make openapi` writes it"
    assert api_tables.filled(API, described) == API, "`make openapi` writes them"


def test_the_api_page_lists_exactly_the_codes_of_error_events() -> None:
    table = section(API, "Errors").partition("Codes of `error` events")[2]
    listed = {
        code
        for row in re.finditer(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE)
        for code in re.findall(r"\w+", row[1])
    }
    assert listed == set(errors.FAILURES)


def test_every_command_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", README + (REPOSITORY / "CONTRIBUTING.md").read_text()))
    assert named
    assert named <= targets


def test_every_page_that_is_named_exists() -> None:
    for page in (REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").glob("*.md")):
        for name in re.findall(
            r"\b((?:docs|supabase|lib|tests|deploy|bench)/[\w/.-]+\.(?:md|py|sql|toml|txt|json))\b", page.read_text()
        ):
            assert (REPOSITORY / name).exists(), f"{page.name} names {name}"


def test_the_example_environment_has_every_setting() -> None:
    example = set(re.findall(r"^([A-Z_]+)=", (REPOSITORY / ".env.example").read_text(), re.MULTILINE))
    assert {name.upper() for name in Settings.model_fields} <= example


def test_every_file_begins_with_its_purpose() -> None:
    for folder in ("lib", "functions", "local", "cli", "bench"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            assert file.read_text().startswith('"""'), file
    for file in (REPOSITORY / "supabase").rglob("*.sql"):
        assert file.read_text().startswith("-- "), file


def test_the_house_names_every_module_and_function() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text()
    house = re.search(r"^    functions/.*?(?=^    supabase/)", page, re.MULTILINE | re.DOTALL)
    assert house is not None
    named = set(re.findall(r"[a-z_0-9]+", house[0]))
    modules = {path.stem for path in (REPOSITORY / "lib").rglob("*.py")} - {"__init__"}
    functions = {path.parent.name for path in (REPOSITORY / "functions").glob("*/main.py")}
    # Of the kinds of personas it names ours: one that somebody adds is a module and nothing else (docs/personas.md).
    added = set(personas.kinds()) - set(SHIPPED)
    assert (modules - added) | functions <= named
