"""Transcripts: what devices hear, saved as messages of a conversation for each device session.

A segment may come again with a longer text, which then replaces the shorter one. A device that sends its uid as session
id begins a new session after two minutes of silence. A finished conversation has all of its segments, and closes its
session.
"""

from typing import Any

from lib.auth import callers
from lib.database import commands
from lib.fields.models import Empty
from lib.jobs import queue
from lib.jobs.queue import Job
from lib.providers import DeviceConversation, DeviceSegments, Item, Segment, digest, key_of
from lib.webhooks import deliveries


async def save(job: Job) -> None:
    """Save the transcript of a delivery; a repeat, or a shorter text, changes nothing.

    Raises Refused (persona_required: the channel has no persona) and BackendUnavailable.
    """
    work = deliveries.work_of(job, Item)
    heard = work.item
    if not isinstance(heard, DeviceSegments | DeviceConversation):
        raise TypeError("not a transcript")
    if isinstance(heard, DeviceConversation) and heard.finished_at is not None:
        wearer: list[dict[str, Any]] = [{"kind": "omi", "key": key_of(heard.uid)}]
        if await deliveries.is_erased(job, wearer, heard.finished_at):
            return
    arguments = {
        "channel_id": work.channel_id,
        "event_id": job.event and job.event.id,
        "uid": heard.uid and key_of(heard.uid),
        "external_id": key_of(heard.session_id if isinstance(heard, DeviceSegments) else heard.uid),
        "segments": [_document(segment) for segment in heard.segments if segment.text.strip()],
        "conversation": _conversation(heard) if isinstance(heard, DeviceConversation) else None,
    }
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    await rpc.call("save_transcript", arguments, Empty, repeatable=True)


HANDLERS: queue.Handlers = {"conversation_save": save}


def _document(segment: Segment) -> dict[str, Any]:
    # Without an id, nothing tells that a longer text is the same segment.
    known_by = segment.id or f"{segment.speaker} {segment.start} {segment.text}"
    return {
        "key": digest(known_by.encode()),
        "has_id": segment.id is not None,
        "text": segment.text,
        "speaker": None if segment.is_user else (segment.speaker or "unknown")[:200],
    }


def _conversation(finished: DeviceConversation) -> dict[str, Any]:
    return {
        "external_id": key_of(finished.external_id),
        "started_at": finished.started_at,
        "finished_at": finished.finished_at,
        "title": finished.title,
    }
