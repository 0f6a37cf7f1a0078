"""Responses of Chatwoot's application API, as JSON Lines or a JSON array: contacts, conversations and messages, alone
or in the pages in which the API gives them.

    GET /api/v1/accounts/{id}/contacts                        {meta, payload: [contact]}
    GET /api/v1/accounts/{id}/conversations                   {data: {meta, payload: [conversation]}}
    GET /api/v1/accounts/{id}/conversations/{id}/messages     {meta, payload: [message]}

Source: developers.chatwoot.com/api-reference. Times are seconds since 1970. message_type is 0 (incoming), 1 (outgoing),
2 (activity) or 3 (template). Private notes and activities are left out: the contact never saw them. A conversation's
own ``messages`` are its last ones; pages of messages add the others.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.imports.readers import json_lines
from lib.imports.readers.found import MALFORMED, Found, Mapping, moment, names, without_nothing

PERSONA = "Chatwoot"
"""The name of the persona for messages of bots, and of conversations."""

_Said = dict[str, list[dict[str, Any] | None]]
"""The messages of conversations; None for one that is left out."""

_TYPES = {0: "incoming", 1: "outgoing", 3: "template"}


def read(path: Path, mapping: Mapping) -> Iterator[Found]:
    """The contacts and conversations of a file. Raises UnreadableFileError."""
    del mapping
    heads: dict[str, dict[str, Any]] = {}
    known: set[str] = set()
    for line, document in json_lines.documents(path):
        said: _Said = {}
        for one in _objects(document):
            try:
                yield from _found(heads, known, said, one, line)
            except MALFORMED:
                yield Found("contact", {}, line, "the line is no contact, conversation or message of Chatwoot")
        for conversation, messages in said.items():
            yield from _messages(heads, conversation, messages, line)


def _found(
    heads: dict[str, dict[str, Any]], known: set[str], said: _Said, one: dict[str, Any], line: int
) -> Iterator[Found]:
    """What an object is. A message joins those that the line says."""
    if "message_type" in one and "conversation_id" in one:
        message = _message(one)
        said.setdefault(str(one["conversation_id"]), []).append(message)
    elif "inbox_id" in one or "messages" in one:
        sender = (one.get("meta") or {}).get("sender")
        if isinstance(sender, dict) and str(sender.get("id")) not in known:
            known.add(str(sender.get("id")))
            yield Found("contact", _contact(sender), line)
        yield from _conversation(heads, one, line)
    elif "id" in one:
        known.add(str(one["id"]))
        yield Found("contact", _contact(one), line)
    else:
        yield Found("contact", {}, line, "the line is no contact, conversation or message")


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """The objects of a page, or the object itself."""
    page = document.get("data", document) if isinstance(document, dict) else document
    items = page.get("payload", page) if isinstance(page, dict) else page
    for one in items if isinstance(items, list) else [items]:
        yield one if isinstance(one, dict) else {}


def _contact(one: dict[str, Any]) -> dict[str, Any]:
    identities = [
        f"{kind}:{one[name]}" for kind, name in (("email", "email"), ("phone", "phone_number")) if one.get(name)
    ]
    if one.get("identifier"):
        identities.append(f"external:chatwoot:{one['identifier']}")
    attributes = {**(one.get("additional_attributes") or {}), **(one.get("custom_attributes") or {})}
    return without_nothing(
        {
            "external_id": str(one["id"]),
            **names(one.get("name")),
            "identities": identities,
            "attributes": without_nothing(attributes),
            "tags": one.get("labels"),
            "created_at": moment(one.get("created_at")),
        }
    )


def _conversation(heads: dict[str, dict[str, Any]], one: dict[str, Any], line: int) -> Iterator[Found]:
    sender = (one.get("meta") or {}).get("sender") or {}
    conversation = str(one["id"])
    began = moment(one.get("created_at") or one.get("timestamp"))
    heads[conversation] = {
        "external_id": conversation,
        "contact": str(sender.get("id")),
        "persona": PERSONA,
        **without_nothing({"created_at": began}),
    }
    if began is None:
        yield Found("conversation", heads[conversation], line, "created_at: the conversation has no time")
        return
    session = without_nothing({"created_at": began, "tags": one.get("labels")})
    said = [message for message in map(_message, one.get("messages") or ()) if message is not None]
    yield Found("conversation", {**heads[conversation], "sessions": [{**session, "messages": said}]}, line)


def _messages(
    heads: dict[str, dict[str, Any]], conversation: str, messages: list[dict[str, Any] | None], line: int
) -> Iterator[Found]:
    said = [message for message in messages if message is not None]
    if conversation not in heads:
        yield Found("conversation", {"external_id": conversation}, line, "its conversation does not come before it")
    elif said:
        began = heads[conversation].get("created_at")
        session = without_nothing({"created_at": began, "messages": said})
        yield Found("conversation", {**heads[conversation], "sessions": [session]}, line)


def _message(one: dict[str, Any]) -> dict[str, Any] | None:
    kind = _TYPES.get(one.get("message_type", 2), one.get("message_type"))
    if one.get("private") or kind not in ("incoming", "outgoing", "template"):
        return None
    sender = one.get("sender") or {}
    by_member = kind == "outgoing" and str(sender.get("type", "user")).lower() == "user" and bool(sender)
    role = "contact" if kind == "incoming" else "member" if by_member else "persona"
    attachments = [_attachment(file) for file in one.get("attachments") or ()]
    text = one.get("content") or " ".join(f"[{file['kind']}]" for file in attachments)
    if not text:
        return None
    return without_nothing(
        {
            "external_id": str(one["id"]),
            "role": role,
            "text": text,
            "created_at": moment(one.get("created_at")),
            "author": without_nothing({"id": str(sender["id"]), "name": sender.get("name")}) if by_member else None,
            "attachments": attachments,
        }
    )


def _attachment(file: dict[str, Any]) -> dict[str, Any]:
    return without_nothing(
        {
            "kind": str(file.get("file_type") or "file")[:32],
            "external_id": str(file["id"]) if "id" in file else None,
            "url": file.get("data_url"),
            "size": file.get("file_size"),
        }
    )
