"""Announcements: what tells listening processes that a committed command changed a conversation.

Only with `SWITCHBOARD_LISTEN`, and only while a process listens: an answer that none does silences a process for some
seconds. An announcement is a call of its own after the command, whose caller does not wait for it. A lost one costs the
readers a few seconds (lib/conversations/hub.py).
"""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from lib import errors
from lib.auth import callers
from lib.database import commands, retries
from lib.fields.models import Record

CHANGES = frozenset({
    "start_turn", "retry_turn", "finish_turn", "cancel_turn", "capture_message", "say_as_member", "start_session",
    "take_over_session", "hand_back_session", "assign_session", "change_session_status", "recover_session",
    "create_or_update_chat_session", "update_chat_session_workflow", "update_chat_session_with_trip_info",
    "update_chat_session_with_proposal", "save_transcript", "set_presence",
})  # fmt: skip
"""The commands that change what a stream shows. Flushes are not announced: the pieces of a running turn are polled."""

SILENT_SECONDS = 5.0

_NAMES = ("conversation_id", "session_id", "turn_id")

_running: set[asyncio.Task[None]] = set()
_silent_until = 0.0


class _Announced(Record):
    listeners: bool


def after(name: str, arguments: Mapping[str, Any], answer: str) -> None:
    """Announce what a command has changed, by the first id that its answer or its arguments name."""
    if name not in CHANGES or time.monotonic() < _silent_until:
        return
    document = json.loads(answer)
    named = {**arguments, **document} if isinstance(document, dict) else arguments
    for key in _NAMES:
        if named.get(key) is not None:
            task = asyncio.create_task(_announce({key: named[key]}))
            _running.add(task)
            task.add_done_callback(_running.discard)
            return


async def _announce(changed: Mapping[str, Any]) -> None:
    global _silent_until  # noqa: PLW0603 (one for the process)
    rpc = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
    try:
        announced = await rpc.call("announce_change", changed, _Announced, patience=retries.GLANCE)
    except errors.Problem:
        return
    if not announced.listeners:
        _silent_until = time.monotonic() + SILENT_SECONDS
