"""A turn as the database keeps it, behind the SQL functions of the tests."""

from typing import Any
from uuid import uuid4

from lib.auth import callers
from lib.auth.client_info import ClientInfo
from lib.chat import turns
from lib.chat.turns import ChatMessage, Turn
from tests.unit.sql_functions import SqlFunctions

SPACE, WORKSPACE, MESSAGE = uuid4(), uuid4(), uuid4()


class Database:
    """The turn as the database keeps it: the first to finish it wins."""

    def __init__(self, sql: SqlFunctions) -> None:
        self.turn_id = uuid4()
        self.status, self.text, self.chunks = "active", "", ""
        self.finished_with: dict[str, Any] = {}
        self.time_limit = 30
        self.error_code: str | None = None
        sql.functions |= {
            "start_turn": self.start, "flush_turn": self.flush, "finish_turn": self.finish, "read_turn": self.read,
        }  # fmt: skip

    def start(self, _: dict[str, Any]) -> dict[str, Any]:
        ids = {name: str(uuid4()) for name in ("session_id", "conversation_id", "contact_id", "user_message_id")}
        persona = {
            "id": str(uuid4()), "kind": "test", "name": "Test", "config": {"a": 1}, "secret": "hush",
            "time_limit_seconds": self.time_limit,
        }  # fmt: skip
        return ids | {
            "repeat": False,
            "status": self.status,
            "workspace_id": str(WORKSPACE),
            "turn_id": str(self.turn_id),
            "user_id": None,
            "proof": "asserted",
            "history": [{"role": "contact", "text": "before", "created_at": "2026-01-01T00:00:00Z"}],
            "persona": persona,
            "allowed_networks": ["127.0.0.0/8", "fd00::/8"],
            "issued_at": "2026-01-01T00:00:00.123456+00:00",
        }

    def flush(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if self.status == "active":
            assert arguments["position"] == len(self.chunks)
            self.chunks += arguments["piece"]
        return {"status": self.status, "stop": False}

    def finish(self, arguments: dict[str, Any]) -> dict[str, Any]:
        changed = self.status == "active"
        if changed:
            self.status, self.text = arguments["status"], arguments["answer"]
            self.finished_with = arguments
        message_id = str(MESSAGE) if self.text else None
        return {"changed": changed, "status": self.status, "message_id": message_id, "text_length": len(self.text)}

    def end_elsewhere(self, status: str, text: str, error_code: str | None = None) -> None:
        self.status, self.text, self.error_code = status, text, error_code

    def read(self, arguments: dict[str, Any]) -> dict[str, Any]:
        active, after = self.status == "active", arguments["after"]
        text = (self.chunks if active else self.text)[after:]
        return {
            "turn_id": str(self.turn_id),
            "session_id": str(uuid4()),
            "conversation_id": str(uuid4()),
            "contact_id": None,
            "status": self.status,
            "position": after + len(text) if active else len(self.text),
            "text": text,
            "message_id": None if active else str(MESSAGE),
            "error_code": self.error_code,
        }


async def start(caller: callers.Caller | None = None, **message: Any) -> Turn:
    """Take a message in."""
    body = ChatMessage(**{"message": "hello", **message})
    return await turns.start(caller or callers.Anonymous(), SPACE, body, ClientInfo(None, None, None))
