"""A stand-in for Telegram's Bot API (core.telegram.org/bots/api), and the updates that it sends."""

import itertools
import re
import time
from typing import Any

from tests.standins.messenger import MessengerApi, Received

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
BOT = {"id": 110201543, "is_bot": True, "first_name": "Concierge", "username": "Concierge_Bot"}

_PATH = re.compile(r"/bot([^/]+)/(\w+)")
_update_ids = itertools.count(1001)


class Telegram(MessengerApi):
    """The Bot API of one bot. A chat whose id ends in 403 has blocked it."""

    def answer(self, call: Received) -> tuple[int, Any]:
        """As the real API, in a form that python-telegram-bot reads."""
        found = _PATH.fullmatch(call.path)
        if found is None or found[1] != TOKEN:
            return _refused(401, "Unauthorized")
        method, document = found[2], call.document
        if method in ("getMe", "setWebhook"):
            return 200, {"ok": True, "result": BOT if method == "getMe" else True}
        return self._send(document) if method == "sendMessage" else _refused(404, "Not Found")

    def _send(self, document: dict[str, Any]) -> tuple[int, Any]:
        text, chat = str(document.get("text", "")), str(document.get("chat_id"))
        if not text.strip():
            return _refused(400, "Bad Request: message text is empty")
        if len(text.encode("utf-16-le")) // 2 > 4096:
            return _refused(400, "Bad Request: message is too long")
        if chat.endswith("403"):
            return _refused(403, "Forbidden: bot was blocked by the user")
        self.texts.append((chat, text))
        kind = {"type": "private", "first_name": "A"} if int(chat) > 0 else {"type": "supergroup", "title": "T"}
        message = {
            "message_id": 9000 + len(self.texts),
            "from": BOT,
            "chat": {"id": int(chat), **kind},
            "date": int(time.time()),
            "text": text,
        }
        return 200, {"ok": True, "result": message}


def _refused(status: int, description: str, **parameters: int) -> tuple[int, Any]:
    return status, {"ok": False, "error_code": status, "description": description, "parameters": parameters}


def update(
    text: str, *, sender: int = 42, chat: int | None = None, kind: str = "message", **more: Any
) -> dict[str, Any]:
    """An update with a message of a person, in a private chat or a group."""
    chat = sender if chat is None else chat
    number = next(_update_ids)
    place = (
        {"type": "private", "first_name": f"N{sender}"} if chat > 0 else {"type": "supergroup", "title": f"G{-chat}"}
    )
    message = {
        "message_id": number,
        "date": 1790000000,
        "from": {"id": sender, "is_bot": False, "first_name": f"N{sender}"},
        "chat": {"id": chat, **place},
        "text": text,
        **more,
    }
    return {"update_id": number, kind: message}


def mention(text: str, name: str = "@Concierge_Bot") -> list[dict[str, Any]]:
    """The entities of a text that mentions a bot."""
    return [{"type": "mention", "offset": text.index(name), "length": len(name)}]
