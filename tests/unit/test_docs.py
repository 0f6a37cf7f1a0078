"""The docs tell the truth: every route, every code, every command, every setting that exists, and no other."""

import re

from lib import errors, personas
from lib.config import Settings
from lib.routes import ROUTES
from local.paths import REPOSITORY
from tests.unit.persona_turns import SHIPPED
from tests.unit.test_errors import every_problem

API = (REPOSITORY / "docs" / "api.md").read_text()
README = (REPOSITORY / "README.md").read_text()
MAKEFILE = (REPOSITORY / "Makefile").read_text()


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
    raised = {(kind.status, kind.code) for kind in every_problem() if kind is not errors.Refused}
    known = {code for _, code in listed}
    # Those who only gather others under one status have no code of their own.
    assert {(status, code) for status, code in raised if code != "internal_error" or status == 500} <= listed
    assert set(errors.TITLES) <= known


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
