"""A turn as the database keeps it, behind the PostgREST of the tests."""

from typing import Any
from uuid import uuid4

from lib.auth import callers
from lib.auth.client_info import ClientInfo
from lib.chat import turns
from lib.chat.turns import ChatMessage, Turn
from tests.unit.sql_functions import SqlFunctions

SPACE, WORKSPACE = uuid4(), uuid4()


class Database:
    """The turn as the database keeps it: the first to finish it wins."""

    def __init__(self, sql: SqlFunctions) -> None:
        self.turn_id, self.message_id = uuid4(), uuid4()
        self.status, self.text, self.chunks = "active", "", ""
        self.finished_with: dict[str, Any] = {}
        self.time_limit = 30
        self.repeat = False
        self.stop = False
        self.error_code: str | None = None
        sql.functions |= {
            "start_turn": self.start,
            "flush_turn": self.flush,
            "finish_turn": self.finish,
            "read_turn": self.read,
        }

    def start(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "repeat": self.repeat,
            "status": self.status,
            "workspace_id": str(WORKSPACE),
            "turn_id": str(self.turn_id),
            "session_id": str(uuid4()),
            "conversation_id": str(uuid4()),
            "contact_id": str(uuid4()),
            "user_id": None,
            "proof": "asserted",
            "user_message_id": str(uuid4()),
            "history": [{"role": "contact", "text": "before", "created_at": "2026-01-01T00:00:00Z"}],
            "persona": {
                "id": str(uuid4()),
                "kind": "test",
                "name": "Test",
                "config": {"a": 1},
                "secret": "hush",
                "time_limit_seconds": self.time_limit,
            },
            "allowed_networks": ["127.0.0.0/8", "fd00::/8"],
        }

    def flush(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if self.status == "active":
            assert arguments["position"] == len(self.chunks)
            self.chunks += arguments["piece"]
        return {"status": self.status, "stop": self.stop and self.status == "active"}

    def finish(self, arguments: dict[str, Any]) -> dict[str, Any]:
        changed = self.status == "active"
        if changed:
            self.status, self.text = arguments["status"], arguments["answer"]
            self.finished_with = arguments
        return {
            "changed": changed,
            "status": self.status,
            "message_id": str(self.message_id) if self.text else None,
            "text_length": len(self.text),
        }

    def end_elsewhere(self, status: str, text: str) -> None:
        self.status, self.text = status, text

    def read(self, arguments: dict[str, Any]) -> dict[str, Any]:
        text = (self.chunks if self.status == "active" else self.text)[arguments["after"] :]
        return {
            "turn_id": str(self.turn_id),
            "session_id": str(uuid4()),
            "conversation_id": str(uuid4()),
            "contact_id": None,
            "status": self.status,
            "position": arguments["after"] + len(text) if self.status == "active" else len(self.text),
            "text": text,
            "message_id": str(self.message_id) if self.status != "active" else None,
            "error_code": self.error_code,
        }


async def start(caller: callers.Caller | None = None, **message: Any) -> Turn:
    """Take a message in."""
    body = ChatMessage(**{"message": "hello", **message})
    return await turns.start(caller or callers.Anonymous(), SPACE, body, ClientInfo(None, None, None))
