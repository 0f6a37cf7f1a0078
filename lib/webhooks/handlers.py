"""The handlers of all jobs, by kind: each domain has its own, and the functions take all of them from here."""

from lib.devices import transcripts
from lib.jobs import queue
from lib.webhooks import deliveries

HANDLERS: queue.Handlers = {**deliveries.HANDLERS, **transcripts.HANDLERS}
