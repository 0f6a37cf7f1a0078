"""A stand-in for Discord's API (discord.com/developers/docs), and the interactions that it sends."""

import itertools
import re
import time
from typing import Any

from tests.standins.messenger import MessengerApi, Received

TOKEN = "the-bot-token"
APPLICATION = "1201234567890123456"
KEY = "8f0a8cdd52c32d4c8d9d9b6d2a4f2a3c5b6e7d8091a2b3c4d5e6f708192a3b4c"
_EPOCH = 1_420_070_400_000
_numbers = itertools.count(1)

_ORIGINAL = re.compile(rf"/webhooks/{APPLICATION}/([\w.-]+)/messages/@original")
_FOLLOW_UP = re.compile(rf"/webhooks/{APPLICATION}/([\w.-]+)\?wait=true")
_CHANNEL = re.compile(r"/channels/(\d+)/messages")


class Discord(MessengerApi):
    """The API of one application. Texts are by interaction token or by channel."""

    def answer(self, call: Received) -> tuple[int, Any]:
        """As the real API: an edit replaces the text, and a nonce that came before sends nothing."""
        if call.path.startswith("/applications/"):
            me = {"id": APPLICATION, "name": "Concierge", "verify_key": KEY}
            return self._authorized(call) or (200, me | call.document)
        content = str(call.document.get("content", ""))
        if not 0 < len(content) <= 2000:
            return 400, {"message": "Invalid Form Body", "code": 50035}
        if call.method == "PATCH" and (original := _ORIGINAL.fullmatch(call.path)):
            self.texts = [each for each in self.texts if each[0] != original[1]] + [(original[1], content)]
            return 200, {"id": f"o-{original[1]}", "content": content}
        if follow_up := _FOLLOW_UP.fullmatch(call.path):
            self.texts.append((follow_up[1], content))
            return 200, {"id": str(5000 + len(self.texts)), "content": content}
        return self._authorized(call) or self._create(call.path, content, call.document)

    def _create(self, path: str, content: str, document: dict[str, Any]) -> tuple[int, Any]:
        if (channel := _CHANNEL.fullmatch(path)) is None:
            return 404, {"message": "Unknown Channel", "code": 10003}
        earlier = [call.document.get("nonce") for call in self.received[:-1]]
        if not (document["enforce_nonce"] and document["nonce"] in earlier):
            self.texts.append((channel[1], content))
        return 200, {"id": f"m-{document['nonce']}", "content": content}

    def _authorized(self, call: Received) -> tuple[int, Any] | None:
        if call.headers.get("authorization") != f"Bot {TOKEN}":
            return 401, {"message": "401: Unauthorized", "code": 0}
        return None


def command(text: str, *, user: str = "80351110224678912", guild: str | None = None) -> dict[str, Any]:
    """An interaction: a person's command, in a server or in private."""
    number = next(_numbers)
    person = {"id": user, "username": f"u{user}", "global_name": f"N{user}"}
    return {
        "id": str((int(time.time() * 1000) - _EPOCH << 22) + number),
        "application_id": APPLICATION,
        "type": 2,
        "token": f"token-{number}",
        "data": {"id": "77", "name": "ask", "type": 1, "options": [{"name": "text", "type": 3, "value": text}]},
        "channel_id": "300" if guild else f"40{user}",
        **({"guild_id": guild, "member": {"user": person}} if guild else {"user": person}),
        "version": 1,
    }
