"""Lists as CSV: all pages of a list in one response, row by row as they are read.

RFC 4180, in UTF-8, with a header. A spreadsheet would run a cell that begins with ``=``, ``+``, ``-`` or ``@``: such a
text begins with an apostrophe, which the spreadsheet hides and `switchboard import` removes.
"""

import csv
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lib.database.paging import Page

MEDIA_TYPE = "text/csv"

Format = Literal["json", "csv"]

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def is_asked(request: Request, chosen: Format | None) -> bool:
    """Whether the caller wants CSV: by ``?format=csv``, or by Accept."""
    accepted = ",".join(request.headers.getlist("accept")).lower()
    return chosen == "csv" or (chosen is None and MEDIA_TYPE in accepted and "application/json" not in accepted)


async def answer(
    name: str, columns: Mapping[str, str], read: Callable[[str | None], Awaitable[Page[Any]]], cursor: str | None
) -> Response:
    """All rows of a list from a cursor on. ``read`` gives a page; ``columns`` are the members of an item by their
    heads, nested ones as ``persona.name``.

    The first page is read before the response begins, so that a refusal is one. If a later one cannot be read, the
    response breaks off.
    """
    first = await read(cursor)
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{name}.csv"'}
    # The media type of the response names the header, as RFC 7111 expects.
    media_type = f"{MEDIA_TYPE}; charset=utf-8; header=present"
    return StreamingResponse(_lines(columns, read, first), media_type=media_type, headers=headers)


async def _lines(
    columns: Mapping[str, str], read: Callable[[str | None], Awaitable[Page[Any]]], page: Page[Any]
) -> AsyncIterator[str]:
    yield text([tuple(columns)])
    while True:
        yield text([cell(_member(item, column)) for column in columns.values()] for item in page.items)
        if page.next_cursor is None:
            return
        page = await read(page.next_cursor)


def text(rows: Iterable[Sequence[str]]) -> str:
    """Rows as CSV."""
    lines = io.StringIO()
    csv.writer(lines).writerows(rows)
    return lines.getvalue()


def cell(value: Any) -> str:
    """A value as a cell; a text that a spreadsheet would run begins with an apostrophe."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        value = ", ".join(value)
    elif isinstance(value, dict | list | tuple):
        value = json.dumps(value, ensure_ascii=False, default=str) if value else ""
    written = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{written}" if written.startswith(_FORMULAS) else written


def _member(item: BaseModel, column: str) -> Any:
    found: Any = item
    for name in column.split("."):
        found = getattr(found, name, None)
    return found.model_dump(mode="json", exclude_none=True) if isinstance(found, BaseModel) else found
