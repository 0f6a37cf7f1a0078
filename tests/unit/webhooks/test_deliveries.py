import json
from typing import Any
from uuid import uuid4

import pytest

from lib import errors
from lib.jobs.queue import InboundEvent, Job
from lib.webhooks import deliveries
from lib.webhooks.deliveries import Receipt
from tests.unit.sql_functions import SqlFunctions, raised

TURN, WORKSPACE, JOB = uuid4(), uuid4(), uuid4()
SECRET = "the-callback-secret"
BODY = json.dumps({"turnId": str(TURN), "output": "Here it is."}).encode()
HEADERS = {"authorization": f"Bearer {SECRET}", "content-type": "application/json", "cookie": "sid=1"}


class Inbox:
    """The inbox as the database keeps it: a delivery key is stored once, and its job done once."""

    def __init__(self, sql: SqlFunctions) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.finished: list[dict[str, Any]] = []
        self.job_status = "queued"
        sql.functions |= {
            "webhook_secret": self.secret,
            "record_event": self.record,
            "claim_jobs": self.claim,
            "finish_turn": self.finish,
            "complete_job": lambda _: {"status": "succeeded"},
            "fail_job": lambda _: {"status": "queued", "next_attempt_at": None},
            "wake_worker": lambda _: {"woken": True},
        }

    def secret(self, arguments: dict[str, Any]) -> Any:
        if arguments["reference"] != str(TURN):
            return raised("PT404", "not_found")
        return {"workspace_id": str(WORKSPACE), "secrets": [SECRET]}

    def record(self, arguments: dict[str, Any]) -> dict[str, Any]:
        duplicate = arguments["delivery_key"] in self.events
        self.events.setdefault(arguments["delivery_key"], arguments)
        return {"event_id": str(uuid4()), "job_id": None if self.finished else str(JOB), "duplicate": duplicate}

    def claim(self, arguments: dict[str, Any]) -> dict[str, Any]:
        assert arguments["only_job"] == str(JOB)
        (event,) = self.events.values()
        stored = {"id": str(uuid4()), **{name: event[name] for name in ("source", "headers", "raw_body")}}
        work = {"id": str(JOB), "workspace_id": str(WORKSPACE), "kind": event["job_kind"], "attempts": 1}
        return {"jobs": [{**work, "payload": {}, "event": stored}]}

    def finish(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self.finished.append(arguments)
        return {"changed": True, "status": arguments["status"], "message_id": None, "text_length": 0}


@pytest.fixture
def inbox(sql: SqlFunctions) -> Inbox:
    """An empty inbox."""
    return Inbox(sql)


async def test_a_delivery_is_stored_without_its_secret_and_its_turn_ends(inbox: Inbox) -> None:
    assert await deliveries.receive("n8n", HEADERS, BODY) == Receipt(duplicate=False)
    (event,) = inbox.events.values()
    assert (event["raw_body"], event["ordering_key"]) == (BODY.decode(), str(TURN))
    assert event["headers"] == {"content-type": "application/json"}
    assert SECRET not in json.dumps(event)
    (finished,) = inbox.finished
    assert (finished["turn_id"], finished["status"], finished["answer"]) == (str(TURN), "completed", "Here it is.")


@pytest.mark.parametrize("header", ["webhook-id", "idempotency-key", None])
async def test_a_repeated_delivery_changes_nothing(inbox: Inbox, header: str | None) -> None:
    headers = HEADERS | ({header: "delivery-1"} if header else {})
    assert await deliveries.receive("n8n", headers, BODY) == Receipt(duplicate=False)
    assert await deliveries.receive("n8n", headers, BODY) == Receipt(duplicate=True)
    assert len(inbox.finished) == 1


async def test_the_senders_own_id_tells_deliveries_apart(inbox: Inbox) -> None:
    await deliveries.receive("n8n", HEADERS | {"webhook-id": "1"}, BODY)
    other = json.dumps({"turnId": str(TURN), "output": "Reworded."}).encode()
    assert (await deliveries.receive("n8n", HEADERS | {"webhook-id": "1"}, other)).duplicate
    assert len(inbox.events) == 1


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", f"Basic {SECRET}"])
async def test_a_wrong_secret_and_an_unknown_turn_look_the_same(inbox: Inbox, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    stranger = json.dumps({"turnId": str(uuid4()), "output": "x"}).encode()
    with pytest.raises(errors.SecretInvalid) as wrong:
        await deliveries.receive("n8n", headers, BODY)
    with pytest.raises(errors.SecretInvalid) as unknown:
        await deliveries.receive("n8n", HEADERS, stranger)
    assert wrong.value.document() == unknown.value.document()
    assert inbox.events == {}


async def test_an_unknown_provider_is_not_found(inbox: Inbox) -> None:
    for name in ("nobody", "__init__", "../n8n", "N8N"):
        with pytest.raises(errors.NotFound):
            await deliveries.receive(name, HEADERS, BODY)


async def test_a_job_that_fails_does_not_fail_the_delivery(inbox: Inbox, sql: SqlFunctions) -> None:
    sql.functions["claim_jobs"] = lambda _: raised("57P03", "no")
    assert await deliveries.receive("n8n", HEADERS, BODY) == Receipt(duplicate=False)
    assert sql.names()[-1] == "wake_worker"
    sql.functions["wake_worker"] = lambda _: raised("57P03", "no")
    assert await deliveries.receive("n8n", HEADERS | {"webhook-id": "2"}, BODY) == Receipt(duplicate=False)


async def test_a_delivery_that_cannot_be_stored_is_not_acknowledged(inbox: Inbox, sql: SqlFunctions) -> None:
    sql.functions["record_event"] = lambda _: raised("57P03", "no")
    with pytest.raises(errors.BackendUnavailable):
        await deliveries.receive("n8n", HEADERS, BODY)


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [({"error": "no model"}, "failed", None), ({"output": "Hel", "error": "no model"}, "failed", "Hel")],
)
async def test_a_workflow_that_failed_fails_its_turn(
    inbox: Inbox, body: dict[str, str], status: str, answer: str | None
) -> None:
    raw = json.dumps({"turnId": str(TURN), **body})
    event = InboundEvent(id=uuid4(), source="n8n", headers={}, raw_body=raw)
    work = Job(id=JOB, workspace_id=WORKSPACE, kind="persona_answer", attempts=1, payload={}, event=event)
    await deliveries.finish_deferred_turn(work)
    (finished,) = inbox.finished
    assert (finished["status"], finished["answer"]) == (status, answer)
    assert (finished["error_code"], finished["error_detail"]) == ("persona_failed", "no model")


async def test_a_job_without_its_delivery_is_given_up(inbox: Inbox) -> None:
    work = Job(id=JOB, workspace_id=WORKSPACE, kind="persona_answer", attempts=1, payload={}, event=None)
    with pytest.raises(errors.InvalidBody):
        await deliveries.finish_deferred_turn(work)
