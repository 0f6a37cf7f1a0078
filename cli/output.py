"""A command's output: a table for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click
from pydantic import BaseModel

from lib.fields.models import PartialUpdate


def one(model: BaseModel, *, as_json: bool) -> None:
    """One object, one field per line."""
    document(model.model_dump(mode="json"), as_json=as_json)


def document(document: Mapping[str, Any], *, as_json: bool) -> None:
    """An object of the HTTP API, one field per line."""
    if as_json:
        click.echo(json.dumps(document))
        return
    width = max(map(len, document))
    for name, value in document.items():
        click.echo(f"{name:>{width}}: {_text(value)}")


def made(model: BaseModel, asked: PartialUpdate, *, as_json: bool) -> None:
    """A created object, or the existing one; standard error lists the fields that differ from the request."""
    one(model, as_json=as_json)
    document = model.model_dump(mode="json")
    differing = [name for name, value in asked.document().items() if name in document and document[name] != value]
    if differing:
        click.echo(f"Note: this was made before and stays as it is. It differs in: {', '.join(differing)}.", err=True)


def several(models: Sequence[BaseModel], columns: Sequence[str], *, as_json: bool) -> None:
    """Objects, one per line with these columns (`a.b` is a nested field); as JSON, an array of whole objects."""
    documents([model.model_dump(mode="json") for model in models], columns, as_json=as_json)


def documents(documents: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Objects of the HTTP API, as in ``several``."""
    if as_json:
        click.echo(json.dumps(documents))
        return
    rows = [list(columns), *([_text(_member(document, name)) for name in columns] for document in documents)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(columns))]
    for row in rows:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def done(text: str, *, as_json: bool) -> None:
    """The confirmation of a change without a result."""
    click.echo(json.dumps({"done": True}) if as_json else text)


def _member(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        value = value and value.get(name)
    return value


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "-"
    return json.dumps(value) if isinstance(value, dict | bool) else str(value)
