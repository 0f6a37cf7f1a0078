"""Contacts of a CSV file, whatever its columns are called.

A column is read as the field that its name tells, in the usual spellings (``E-mail``, ``Phone number``, ``Surname``),
or that the caller maps it to. A field is one of FIELDS, ``attributes.<name>``, ``external:<system>`` for an id in
another system, or ``-`` to leave the column out. Other columns become attributes under their own name.
"""

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lib.imports.readers.found import Found, Mapping, UnreadableFileError, moment, names, without_nothing

FIELDS = (
    "external_id", "email", "phone", "telegram", "whatsapp", "discord", "omi", "first_name", "last_name", "name",
    "title", "source", "tags", "created_at",
)  # fmt: skip

_IDENTITIES = ("email", "phone", "telegram", "whatsapp", "discord", "omi")

_USUAL = {
    "external_id": "id contactid externalid customerid userid uid recordid clientid",
    "email": "email emailaddress mail primaryemail workemail emails",
    "phone": "phone phonenumber mobile mobilephone mobilenumber tel telephone cell cellphone primaryphone",
    "telegram": "telegram telegramid",
    "whatsapp": "whatsapp whatsappnumber",
    "discord": "discord discordid",
    "first_name": "firstname givenname forename vorname prenom",
    "last_name": "lastname surname familyname nachname nom",
    "name": "name fullname displayname contactname",
    "source": "source leadsource origin",
    "tags": "tags labels segments tag",
    "created_at": "createdat created createdate creationdate signedupat signupdate datecreated",
}
_FIELDS_BY_NAME = {name: field for field, spelled in _USUAL.items() for name in spelled.split()}

csv.field_size_limit(32 * 1024 * 1024)
"""Above what a request may have, so that a row with a cell that is too large is refused alone."""


def read(path: Path, mapping: Mapping) -> Iterator[Found]:
    """The contacts of a file in UTF-8. Raises UnreadableFileError."""
    read_to = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows, before = _rows(file)
            columns = columns_of(next(rows, []), mapping)
            read_to = rows.line_num + before
            for row in rows:
                read_to = rows.line_num + before
                if any(cell.strip() for cell in row):
                    yield _contact(columns, row, read_to)
    except (UnicodeDecodeError, csv.Error) as broken:
        raise UnreadableFileError(f"{path.name} is no CSV file in UTF-8 after line {read_to}: {broken}") from None


def header(path: Path, mapping: Mapping) -> list[tuple[str, str]]:
    """How the columns of a file are read: each column and its field. Raises UnreadableFileError."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names_of_columns: list[str] = next(_rows(file)[0], [])
    except (UnicodeDecodeError, csv.Error) as broken:
        raise UnreadableFileError(f"{path.name} is no CSV file in UTF-8: {broken}") from None
    return list(zip(names_of_columns, columns_of(names_of_columns, mapping), strict=True))


def columns_of(header: list[str], mapping: Mapping) -> list[str]:
    """The field of each column. Of columns with the same name that become attributes, later ones are numbered.

    Raises UnreadableFileError for a mapping of an unknown column, of several, or to no field.
    """
    if not header:
        raise UnreadableFileError("The file has no header.")
    if missing := mapping.keys() - set(header):
        raise UnreadableFileError(f"The file has no column {', '.join(sorted(missing))}.")
    for column, field in mapping.items():
        if field != "-" and header.count(column) > 1:
            raise UnreadableFileError(f"The file has {header.count(column)} columns {column}: rename all but one.")
        if field not in (*FIELDS, "-") and not re.match(r"attributes\..|external:[^:]", field):
            raise UnreadableFileError(
                f"{field} is no field: {', '.join(FIELDS)}, attributes.<name>, external:<system> or -."
            )
    taken = set(mapping.values())
    fields = []
    for column in header:
        usual = _FIELDS_BY_NAME.get(re.sub(r"[^a-z]", "", column.lower()))
        field = mapping.get(column) or (usual if usual not in taken else None) or _attribute(column, taken)
        taken.add(field)
        fields.append(field)
    return fields


def _attribute(column: str, taken: set[str]) -> str:
    """The attribute of a column of no field."""
    name = column.strip()[:100]
    numbers = (f"attributes.{name[:95]} {number}" for number in itertools.count(2))
    return next(field for field in itertools.chain([f"attributes.{name}"], numbers) if field not in taken)


def _rows(file: IO[str]) -> tuple[Any, int]:
    """A reader of the rows from the header on, and the number of lines before that.

    Excel's first line `sep=;` names the delimiter. In other files the header tells it.
    """
    first = file.readline()
    if named := _SEPARATOR.fullmatch(first):
        return csv.reader(file, delimiter=named[1], strict=True), 1
    file.seek(0)
    return csv.reader(file, delimiter=_delimiter(first), skipinitialspace=True, strict=True), 0


_SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)


def _delimiter(header_line: str) -> str:
    # Of what the sniffer guesses only the delimiter: a header tells nothing of quotes in cells.
    try:
        return csv.Sniffer().sniff(header_line, delimiters=",;\t|").delimiter
    except csv.Error:
        return ","


def _plain(cell: str) -> str:
    """A cell without the apostrophe that keeps a spreadsheet from running it."""
    cell = cell.strip()
    return cell[1:] if cell[:1] == "'" and cell[1:2] in ("=", "+", "-", "@") else cell


def _contact(columns: list[str], row: list[str], line: int) -> Found:
    cells = {field: _plain(cell) for field, cell in zip(columns, row, strict=False) if cell.strip()}
    identities = [f"{kind}:{cells[kind]}" for kind in _IDENTITIES if kind in cells]
    identities += [f"{field}:{cell}" for field, cell in cells.items() if field.startswith("external:")]
    known = cells.get("external_id") or next(iter(identities), None)
    tags = [tag.strip() for tag in re.split(r"[,;|]", cells.get("tags", "")) if tag.strip()]
    document: dict[str, Any] = {
        "external_id": known and known[:200],
        **names(cells.get("name")),
        **{name: cells[name] for name in ("first_name", "last_name", "title", "source") if name in cells},
        "identities": identities,
        "tags": tags,
        # As it is if it cannot be read: the import says that it is left out.
        "created_at": moment(cells.get("created_at")) or cells.get("created_at"),
        "attributes": {
            field.removeprefix("attributes."): cell for field, cell in cells.items() if field.startswith("attributes.")
        },
    }
    fault = None if known else "external_id: the row has neither an id nor an identity"
    fault = "the row has more cells than the header" if len(row) > len(columns) else fault
    return Found("contact", without_nothing(document), line, fault)
