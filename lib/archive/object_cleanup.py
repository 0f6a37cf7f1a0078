"""Objects that nothing needs are deleted from the store: replaced ones, and those of runs that crashed."""

from datetime import date
from uuid import UUID

from lib import log
from lib.archive.store import Store, object_key
from lib.auth import callers
from lib.database import commands
from lib.fields.models import Empty, Record


class _Object(Record):
    id: UUID
    workspace_id: UUID
    month: date


class _Dead(Record):
    objects: tuple[_Object, ...]


async def delete_dead(store: Store) -> int:
    """Delete up to 100 dead objects with all of their versions; how many.

    An abandoned object is deleted twice, a day apart, since its run may have been slow and not dead; a superseded one
    ten minutes after its successor, since a reader may have been sent to it. Raises BackendUnavailable.
    """
    rpc = commands.acting_as(callers.System(), callers.SYSTEM_SCOPE)
    dead = await rpc.call("take_dead_objects", {}, _Dead, repeatable=True)
    for each in dead.objects:
        await store.delete(object_key(each.workspace_id, each.month, each.id))
        await rpc.call("record_object_deleted", {"object_id": each.id}, Empty, repeatable=True)
    if dead.objects:
        log.info("archive_objects_deleted", objects=len(dead.objects))
    return len(dead.objects)
