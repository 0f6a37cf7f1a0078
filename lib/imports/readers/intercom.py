"""Responses of Intercom's REST API, as JSON Lines or a JSON array: contacts and conversations, alone or in lists.

    GET /contacts             {type: "list", data: [contact]}
    GET /conversations/{id}   {type: "conversation", source, contacts, conversation_parts, …}

Source: developers.intercom.com/docs/references/rest-api. Times are seconds since 1970, bodies are HTML. Notes of admins
are left out: the contact never saw them. Only GET /conversations/{id} has the parts of a conversation.
"""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from lib.imports.readers import json_lines
from lib.imports.readers.found import MALFORMED, Found, Mapping, moment, names, without_nothing

PERSONA = "Intercom"

_ROLES = {"user": "contact", "lead": "contact", "contact": "contact", "admin": "member"}
_LINES = {"p", "br", "div", "li", "h1", "h2", "h3", "tr"}


def read(path: Path, mapping: Mapping) -> Iterator[Found]:
    """The contacts and conversations of a file. Raises UnreadableFileError."""
    del mapping
    for line, document in json_lines.documents(path):
        for one in _objects(document):
            try:
                found = _found(one, line)
            except MALFORMED:
                found = Found("contact", {}, line, "the line is no contact or conversation of Intercom")
            yield found


def _found(one: dict[str, Any], line: int) -> Found:
    if one.get("type") == "conversation":
        return _conversation(one, line)
    if one.get("type") in ("contact", "user", "lead") and "id" in one:
        return Found("contact", _contact(one), line)
    return Found("contact", {}, line, "the line is no contact or conversation")


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    items = document
    if isinstance(document, dict) and str(document.get("type")).endswith("list"):
        items = document.get("data") or document.get("conversations") or []
    for one in items if isinstance(items, list) else [items]:
        yield one if isinstance(one, dict) else {}


def _contact(one: dict[str, Any]) -> dict[str, Any]:
    identities = [f"{kind}:{one[kind]}" for kind in ("email", "phone") if one.get(kind)]
    if one.get("external_id"):
        identities.append(f"external:intercom:{one['external_id']}")
    tags = [tag.get("name") for tag in (one.get("tags") or {}).get("data") or ()]
    return without_nothing(
        {
            "external_id": str(one["id"]),
            **names(one.get("name")),
            "identities": identities,
            "attributes": without_nothing(one.get("custom_attributes") or {}),
            "tags": [tag for tag in tags if tag],
            "created_at": moment(one.get("signed_up_at") or one.get("created_at")),
        }
    )


def _conversation(one: dict[str, Any], line: int) -> Found:
    contacts = (one.get("contacts") or {}).get("contacts") or [{}]
    source = one.get("source") or {}
    parts = (one.get("conversation_parts") or {}).get("conversation_parts") or []
    first = {**source, "created_at": one.get("created_at"), "part_type": "comment"}
    said = [message for message in map(_message, (first, *parts)) if message is not None]
    tags = [tag.get("name") for tag in (one.get("tags") or {}).get("tags") or ()]
    session = {
        "created_at": moment(one.get("created_at")),
        "subject": (text_of(one.get("title") or source.get("subject") or "")[:200]).strip(),
        "tags": [tag for tag in tags if tag],
        "messages": said,
    }
    document = {
        "external_id": str(one["id"]),
        "contact": str(contacts[0].get("id") or (source.get("author") or {}).get("id")),
        "persona": PERSONA,
        "created_at": moment(one.get("created_at")),
        "sessions": [without_nothing(session)],
    }
    return Found("conversation", without_nothing(document), line)


def _message(part: dict[str, Any]) -> dict[str, Any] | None:
    author = part.get("author") or {}
    role = _ROLES.get(str(author.get("type")), "persona")
    attachments = [_attachment(file) for file in part.get("attachments") or ()]
    text = text_of(part.get("body") or "") or " ".join(f"[{file['kind']}]" for file in attachments)
    if part.get("part_type") == "note" or not text or part.get("redacted"):
        return None
    named = without_nothing({"id": str(author.get("id")), "name": author.get("name")}) if role == "member" else None
    return without_nothing(
        {
            "external_id": str(part["id"]),
            "role": role,
            "text": text,
            "created_at": moment(part.get("created_at")),
            "author": named,
            "attachments": attachments,
        }
    )


def _attachment(file: dict[str, Any]) -> dict[str, Any]:
    found = {"kind": "file", "name": file.get("name"), "url": file.get("url"), "media_type": file.get("content_type")}
    return without_nothing({**found, "size": file.get("filesize")})


class _Text(HTMLParser):
    """The text of HTML, with a line for each block."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _LINES:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of(html: str) -> str:
    """The text of HTML."""
    reader = _Text()
    reader.feed(html)
    reader.close()
    return "".join(reader.parts).strip()
