"""Files that are not what they say: an item is refused, or the file is, and the readers never break."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from lib.imports import readers
from lib.imports.readers import csv_contacts, own_exports
from lib.imports.readers.found import UnreadableFileError

MALFORMED: dict[readers.Format, tuple[dict[str, Any], ...]] = {
    "chatwoot": (
        {"inbox_id": 1},
        {"id": 1, "name": 5, "additional_attributes": "x"},
        {"id": 1, "inbox_id": 1, "meta": {"sender": 5}},
        {"id": 1, "created_at": 1, "messages": [5]},
        {"id": 1, "created_at": 1, "messages": [{"id": 3, "message_type": [], "content": 5}]},
        {"conversation_id": 1, "message_type": 0, "content": "x"},
    ),
    "intercom": (
        {"type": "contact", "id": 1, "name": 5},
        {"type": "contact", "id": 1, "tags": {"data": [5]}},
        {"type": "conversation", "id": 1, "contacts": {"contacts": 5}},
        {"type": "conversation", "id": 1, "source": {"body": 5}},
        {"type": "conversation", "source": {"id": 1, "body": "x"}},
        {"type": "conversation", "id": 1, "source": {"body": "x"}},
        {"type": "conversation", "id": 1, "conversation_parts": {"conversation_parts": [{"author": 5}]}},
    ),
}


@pytest.mark.parametrize("system", MALFORMED)
def test_an_object_of_another_shape_is_refused_alone(system: readers.Format, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    for malformed in MALFORMED[system]:
        file.write_text(f'{json.dumps(malformed)}\n{{"type": "contact", "id": 9}}\n')
        first, second = readers.FORMATS[system](file, {})
        assert (first.fault is not None, second.document) == (True, {"external_id": "9"}), malformed


def test_a_csv_file_of_excel_keeps_columns_of_the_same_name_apart(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    lines = ("sep=;", "ID;Email;Email;Town;Town;Town 2;Town", "1;a@x.test;b@x.test;Bern, West;Basel;Chur;Ulm")
    file.write_text("\ufeff" + "\r\n".join(lines))
    columns = [field for _, field in csv_contacts.header(file, {})]
    towns = ["attributes.Town", "attributes.Town 2", "attributes.Town 2 2", "attributes.Town 3"]
    assert columns == ["external_id", "email", "attributes.Email", *towns]
    (ann,) = csv_contacts.read(file, {})
    assert (ann.document["identities"], ann.line) == (["email:a@x.test"], 3)
    assert ann.document["attributes"] == {
        "Email": "b@x.test", "Town": "Bern, West", "Town 2": "Basel", "Town 2 2": "Chur", "Town 3": "Ulm"
    }  # fmt: skip
    with pytest.raises(UnreadableFileError, match="3 columns Town"):
        csv_contacts.header(file, {"Town": "attributes.city"})


def test_cells_of_a_csv_file_are_read_as_rfc_4180_has_them(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    said, large = 'said "hi", \n"bye"', "x" * 2_000_000
    quoted = said.replace('"', '""')
    file.write_text(f"id,Kunde's Mail,Bob's\n1,'a, \"{quoted}\"\n2,b,{large}\n3,c,\"open\n4,d,e\n")
    contacts = csv_contacts.read(file, {})
    assert next(contacts).document["attributes"] == {"Kunde's Mail": "'a", "Bob's": said}
    assert next(contacts).document["attributes"]["Bob's"] == large
    with pytest.raises(UnreadableFileError, match="after line 4: unexpected end"):
        next(contacts)


@pytest.mark.parametrize("manifest", [b"no JSON", b"{}", None])
@pytest.mark.parametrize("contacts", [b"[]\n", b"[" * 100_000, b"{}\n", b"{\n", b'{"kind": "' + b" " * 2000])
def test_a_zip_that_is_no_export_is_unreadable(
    manifest: bytes | None, contacts: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_exports, "_LINE_BYTES", 1000)
    file = tmp_path / "export.zip"
    sound = {"format": "switchboard-export", "version": 1, "created_at": "2026-08-01T00:00:00Z", "workspace_id": "1",
             "counts": {}, "files": []}  # fmt: skip
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(sound) if manifest is None else manifest)
        for kind in ("personas", "spaces", "identities", "tags", "participants"):
            archive.writestr(f"{kind}.jsonl", b"")
        archive.writestr("contacts.jsonl", contacts)
    with pytest.raises(UnreadableFileError):
        list(own_exports.read(file, {}))
    if manifest is not None:
        with pytest.raises(UnreadableFileError):
            own_exports.verify(file)
    # The places of its files are before its beginning.
    file.write_bytes(file.read_bytes()[30:])
    with pytest.raises(UnreadableFileError):
        own_exports.verify(file)
