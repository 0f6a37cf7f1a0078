"""The tables of fields in docs/api.md, filled in from the OpenAPI description.

A table stands between two comments, of which the first names a schema or the operation whose query it lists:

    <!-- fields: RegistrationRequest -->
    <!-- query: list_sessions -->
    <!-- end -->
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from local.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "api.md"

_TABLE = re.compile(r"(<!-- (fields|query): (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_FORMATS = {"uuid": "id", "date-time": "time", "date": "day"}


def filled(page: str, described: Mapping[str, Any]) -> str:
    """The page with its tables as the description says. Raises KeyError for a name that the description lacks."""

    def table(place: re.Match[str]) -> str:
        rows = _fields(described, place[3]) if place[2] == "fields" else _query(described, place[3])
        lines = [f"| `{name}` | {kind} | {description} |\n" for name, kind, description in rows]
        return f"{place[1]}\n| name | | |\n|---|---|---|\n{''.join(lines)}\n{place[4]}"

    return _TABLE.sub(table, page)


def _fields(described: Mapping[str, Any], name: str) -> Iterator[tuple[str, str, str]]:
    schema = described["components"]["schemas"][name]
    for field, kind in schema["properties"].items():
        must = (
            "required, " if field in schema.get("required", ()) and schema.get("additionalProperties") is False else ""
        )
        yield field, must + _kind(kind), kind.get("description", "")


def _query(described: Mapping[str, Any], name: str) -> Iterator[tuple[str, str, str]]:
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    for taken in next(each for each in operations if each["operationId"] == name)["parameters"]:
        if taken["in"] == "query":
            must = "required, " if taken.get("required") else ""
            yield taken["name"], must + _kind(taken["schema"]), taken.get("description", "")


def _kind(schema: Mapping[str, Any]) -> str:
    """A schema in words: its type, its limits and its default."""
    options = schema.get("anyOf", [schema])
    kinds = dict.fromkeys(_type(option) for option in options if option != {"type": "null"})
    limits = [limit for option in options for limit in _limits(option)]
    default = schema.get("default")
    if default is not None:
        limits.append(f"by default {f'`{default}`' if isinstance(default, str) else str(default).lower()}")
    return ", ".join([" or ".join(kinds), *limits])


def _type(schema: Mapping[str, Any]) -> str:
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return _FORMATS.get(schema.get("format", "")) or str(schema.get("type", "value"))


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    if "maximum" in schema:
        yield f"{schema.get('minimum', 0):,} to {schema['maximum']:,}"
    for limit, unit in (("maxLength", "characters"), ("maxItems", "items")):
        if limit in schema:
            yield f"up to {schema[limit]:,} {unit}"
