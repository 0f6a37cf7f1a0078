"""The handlers of the jobs that the archive function runs, because they touch the object store."""

from lib.archive import erasing
from lib.exports import jobs as exports
from lib.jobs import queue

HANDLERS: queue.Handlers = {
    "erase_archive": queue.Long(erasing.erase_archive, erasing.JOB_SECONDS),
    **exports.HANDLERS,
}
