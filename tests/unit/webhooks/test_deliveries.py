"""When a stored delivery is processed; tests/functions/test_webhooks.py has the deliveries themselves."""

import contextlib
import json
from uuid import uuid4

import pytest

from lib import errors
from lib.jobs.queue import InboundEvent, Job
from lib.providers import Acknowledgement, Delivery
from lib.webhooks import deliveries, handlers
from tests.unit.sql_functions import SqlFunctions, raised

SECRET = "the-callback-secret"
JOB = str(uuid4())
BODY = json.dumps({"turnId": str(uuid4()), "output": "Here it is."}).encode()


RECEIVED = Acknowledgement({"received": True, "duplicate": False})


async def receive() -> Acknowledgement:
    delivery = Delivery({"authorization": f"Bearer {SECRET}"}, BODY, {})
    return await deliveries.receive(deliveries.HANDLERS, "n8n", None, delivery)


@pytest.fixture(autouse=True)
def inbox(sql: SqlFunctions) -> None:
    """An inbox that stores deliveries, whose jobs another worker has claimed."""
    sql.functions |= {
        "webhook_secret": lambda _: {"workspace_id": str(uuid4()), "secrets": [SECRET]},
        "record_event": lambda _: {"event_id": str(uuid4()), "job_ids": [JOB], "duplicate": False},
        "claim_jobs": lambda _: {"jobs": []},
        "wake_worker": lambda _: {"woken": True},
    }


async def test_a_delivery_is_processed_at_once(sql: SqlFunctions) -> None:
    event = {"id": str(uuid4()), "source": "n8n", "headers": {}, "raw_body": BODY.decode()}
    ids = {"id": JOB, "workspace_id": str(uuid4())}
    job = {**ids, "kind": "persona_answer", "attempts": 1, "tries": 1, "payload": {"item": 0}}
    sql.functions |= {
        "claim_jobs": lambda _: {"jobs": [job | {"event": event}]},
        "finish_turn": lambda _: {"changed": True, "status": "completed", "message_id": None, "text_length": 0},
        "complete_job": lambda _: {"status": "succeeded"},
    }
    assert await receive() == RECEIVED
    claim, *rest = sql.calls[-3:]
    assert (claim.name, claim.arguments["only_job"]) == ("claim_jobs", JOB)
    assert [call.name for call in rest] == ["finish_turn", "complete_job"]


@pytest.mark.parametrize("fails", [(), ("claim_jobs",), ("claim_jobs", "wake_worker")])
async def test_a_job_that_is_not_done_is_left_to_the_worker(sql: SqlFunctions, fails: tuple[str, ...]) -> None:
    sql.functions |= dict.fromkeys(fails, lambda _: raised("57P03", "no"))
    assert await receive() == RECEIVED
    assert sql.names()[-1] == "wake_worker"


async def test_a_delivery_that_cannot_be_stored_is_not_acknowledged(sql: SqlFunctions) -> None:
    sql.functions["record_event"] = lambda _: raised("57P03", "no")
    with pytest.raises(errors.BackendUnavailable):
        await receive()


async def test_a_job_without_its_delivery_is_given_up() -> None:
    work = Job(
        id=uuid4(), workspace_id=uuid4(), kind="persona_answer", attempts=1, tries=1, payload={"item": 0}, event=None
    )
    with pytest.raises(errors.InvalidBody):
        await deliveries.finish_deferred_turn(work)


async def test_a_parked_item_is_processed_when_it_is_replayed_with_a_handler_for_it(sql: SqlFunctions) -> None:
    ended = {"changed": True, "status": "completed", "message_id": None, "text_length": 0}
    sql.functions["finish_turn"] = lambda _: ended
    for source, body in (("n8n", BODY.decode()), ("standard", "{}")):
        event = InboundEvent(id=uuid4(), source=source, headers={}, raw_body=body)
        parked = Job(
            id=uuid4(),
            workspace_id=uuid4(),
            kind="unknown_event",
            attempts=1,
            tries=1,
            payload={"item": 0},
            event=event,
        )
        with contextlib.nullcontext() if source == "n8n" else pytest.raises(errors.Refused):
            await handlers.process_parked(parked)
    assert sql.names() == ["finish_turn"]
