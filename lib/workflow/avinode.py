"""Avinode's events: the object that has changed is fetched, and what it says reaches the sessions of its trip.

Events are thin and may come in any order, but what is fetched is the present state. A report with an older version than
the one that was applied changes nothing, and one that says the same changes nothing either.

These fields of a fetched object are read, in it or in its `data`, and all others ignored:

    id, type, tripId, trip.id, rfpId, rfqId, rfq.id    what finds the session
    rfqs, quotes, sellerLift, latestQuote, quote       further objects inside of it, with the same fields
    sellerCompany {displayName, name} or operator      who was asked; without a name, the object's id
    status, sellerPrice or price {price, amount, currency} or amount and currency
    aircraftType or aircraft {displayName, name}
    message, version or updatedAt
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lib import errors, log
from lib.auth import callers
from lib.database import commands
from lib.fields import external_refs
from lib.fields.models import Record
from lib.jobs import queue
from lib.jobs.queue import Job
from lib.outbound import addresses
from lib.personas.text import clean
from lib.providers import BusinessEvent, avinode
from lib.webhooks.deliveries import work_of

if TYPE_CHECKING:
    from lib.outbound.client import Answer

FETCH_SECONDS = 10.0
MAX_BYTES = 2 * 1024 * 1024
MAX_QUOTES = 200
"""Most quotes of one object that are applied."""

MAX_MESSAGE = 2_000
"""Most characters of a message that are kept."""

STATUSES: Mapping[str, str] = {
    **dict.fromkeys(("requested", "new", "open", "sent", "pending", "unanswered"), "requested"),
    **dict.fromkeys(("received", "quoted", "submitted", "answered", "accepted"), "received"),
    **dict.fromkeys(("declined", "rejected"), "declined"),
    "expired": "expired",
    **dict.fromkeys(("withdrawn", "cancelled", "canceled"), "withdrawn"),
}
"""Our status by the word that a report has for it, in lower case. Any other word changes no status."""

_NESTED = ("rfqs", "quotes", "sellerLift", "latestQuote", "quote")
_INHERITED = ("tripId", "trip", "rfpId", "rfqId", "sellerCompany", "operator")
_DEEPEST = 5


class _Connection(Record):
    config: Mapping[str, Any]
    token: str | None
    allowed_networks: tuple[str, ...] | None


class _Applied(Record):
    sessions: int
    outcomes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What an object says of a trip: ids, and quotes by operator, as the database takes them."""

    refs: list[dict[str, str]] = field(default_factory=list)
    quotes: dict[str, dict[str, Any]] = field(default_factory=dict)


async def process_event(job: Job) -> None:
    """Fetch the object of an event and apply what it says to the sessions of its trip.

    Raises Refused: trip_not_linked (to be tried again: the session may learn of its trip later), address_refused,
    provider_refused, provider_unavailable (to be tried again), and BackendUnavailable.
    """
    event, channel_id = work_of(job, BusinessEvent)
    rpc = commands.acting_as(callers.System(), callers.Scope(workspace_id=job.workspace_id))
    connection = await rpc.call("channel_connection", {"channel_id": channel_id}, _Connection, repeatable=True)
    document = await _fetch(event.href, connection)
    report = read_report(event, document)
    arguments = {"system": external_refs.AVINODE, "refs": report.refs, "quotes": list(report.quotes.values())}
    applied = await rpc.call("apply_trip_report", arguments, _Applied, repeatable=True)
    log.info("trip_report", type=event.type, sessions=applied.sessions, outcomes=applied.outcomes)
    if not applied.sessions:
        raise errors.Refused(503, "trip_not_linked")


HANDLERS: queue.Handlers = {"avinode_event": process_event}


def read_report(event: BusinessEvent, document: object) -> Report:
    """What a fetched object says of a trip."""
    report = Report()
    _add_ref(report, "trip", event.trip_id)
    _add_ref(report, _kind_of(event.external_id), event.external_id)
    for read in _objects(document):
        _add(report, read, event)
        if len(report.quotes) >= MAX_QUOTES:
            break
    return report


async def _fetch(href: str, connection: _Connection) -> object:
    """The object, as JSON. Raises Refused."""
    from lib.outbound import client  # noqa: PLC0415 (it takes long to import)

    config = avinode.Config.model_validate(connection.config)
    if not _is_allowed(href, config.allowed_hosts):
        raise errors.Refused(422, "address_refused")
    limits = client.Limits(first_byte_seconds=FETCH_SECONDS, total_seconds=FETCH_SECONDS, max_bytes=MAX_BYTES)
    allowed = addresses.networks(connection.allowed_networks or ())
    try:
        async with client.get(
            href, headers=_headers(config, connection.token), limits=limits, allowed=allowed
        ) as answer:
            if answer.status != 200:
                raise _refusal(answer)
            return json.loads(b"".join([chunk async for chunk in answer.chunks()]).decode())
    except client.OutboundError as failure:
        if failure.retryable:
            raise errors.Refused(503, "provider_unavailable") from None
        is_address = isinstance(failure, client.UrlError | client.AddressError)
        raise errors.Refused(422, "address_refused" if is_address else "provider_refused") from None
    except (ValueError, RecursionError):
        raise errors.Refused(422, "provider_refused") from None


def _refusal(answer: Answer) -> errors.Refused:
    """The error of an answer without an object."""
    if answer.status < 500 and answer.status not in {408, 425, 429}:
        return errors.Refused(422, "provider_refused")
    after = answer.headers.get("Retry-After", "")
    # No longer than an hour: a larger number is a mistake.
    seconds = min(int(after[:9]), 3_600) if after.isascii() and after.isdecimal() else None
    return errors.Refused(503, "provider_unavailable", retry_after=seconds)


def _headers(config: avinode.Config, token: str | None) -> dict[str, str]:
    """The headers of Avinode's API: the token is the API token and the access token, with a blank between them."""
    api_token, _, access_token = (token or "").partition(" ")
    return {
        "Accept": "application/json",
        "X-Avinode-ApiToken": api_token,
        "Authorization": f"Bearer {access_token or api_token}",
        "X-Avinode-SentTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "X-Avinode-ApiVersion": config.api_version,
        "X-Avinode-Product": config.product,
    }


def _is_allowed(href: str, hosts: tuple[str, ...]) -> bool:
    """Whether an address has one of these hosts; by https, unless the host is listed with its port."""
    try:
        parts = urlsplit(href)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if "@" in parts.netloc or parts.scheme not in ("https", "http"):
        return False
    named = f"{host}:{port or (443 if parts.scheme == 'https' else 80)}"
    return named in hosts or (parts.scheme == "https" and port in (None, 443) and host in hosts)


def _objects(value: object, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """An object and those inside of it, which inherit what they do not say themselves."""
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, dict) or depth > _DEEPEST:
            continue
        if isinstance(each.get("data"), dict | list):
            yield from _objects(each["data"], depth + 1)
            continue
        own = {name: member for name, member in each.items() if name not in _NESTED}
        yield own
        inherited = {name: own[name] for name in _INHERITED if name in own}
        if _kind_of(own.get("id")) == "rfq":
            inherited["rfqId"] = own["id"]
        for name in _NESTED:
            inner = each.get(name)
            found = [one for one in (inner if isinstance(inner, list) else [inner]) if isinstance(one, dict)]
            yield from _objects([{**inherited, **one} for one in found], depth + 1)


def _add(report: Report, read: Mapping[str, Any], event: BusinessEvent) -> None:
    """Add what one object says."""
    ids = [_text(read.get("id")), _text(read.get("rfqId")) or _member(read.get("rfq"), "id")]
    for name in ids:
        _add_ref(report, _kind_of(name), name)
    for trip in (_text(read.get("tripId")), _member(read.get("trip"), "id")):
        _add_ref(report, "trip", trip)
    _add_ref(report, "rfp", _text(read.get("rfpId")))
    rfq = next((name for name in ids if _kind_of(name) == "rfq"), None)
    operator = _name(read.get("sellerCompany")) or _name(read.get("operator"))
    named = operator or _label(rfq)
    if named is None:
        return
    key = external_refs.operator_key(named)
    # A later object of the same operator adds to the former: an RFQ, then its quotes, one of which may be declined.
    before = report.quotes.get(key, {"report": {}})
    quote = _quote(read, operator, rfq, event)
    if before.get("status") == "received":
        quote["status"] = "received"
    report.quotes[key] = before | quote | {"operator_key": key, "report": before["report"] | quote["report"]}


def _quote(read: Mapping[str, Any], operator: str | None, rfq: str | None, event: BusinessEvent) -> dict[str, Any]:
    """The facts of a quote that one object has; those that it has not are left out."""
    amount, currency = _price(read)
    word, external_id = _text(read.get("status")), _label(_text(read.get("id")))
    message = _text(read.get("message")) or _member(read.get("message"), "text")
    is_quote = _kind_of(external_id) is None and event.type != "tripmsgs"
    facts = {
        "operator": operator,
        "status": STATUSES.get(word.lower()) if word else ("received" if amount is not None else None),
        "external_id": external_id if is_quote else None,
        "amount": amount,
        "currency": currency,
        "aircraft_type": _name(read.get("aircraftType")) or _name(read.get("aircraft")),
    }
    report = {
        "version": _version(read),
        "message": message[:MAX_MESSAGE] if message else None,
        "status": word[:100] if word else None,
        "rfq": rfq[: external_refs.LONGEST] if rfq else None,
    }
    return _given(facts) | {"report": _given(report)}


def _given(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _price(read: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The amount and its currency; neither without the other."""
    for price in (read.get("sellerPrice"), read.get("price"), read):
        if not isinstance(price, dict):
            continue
        given = price.get("price", price.get("amount"))
        currency = _text(price.get("currency")) or _text(read.get("currency"))
        if isinstance(given, int | float | str) and not isinstance(given, bool) and currency:
            try:
                amount = Decimal(str(given)).quantize(Decimal("0.01"))
            except InvalidOperation:
                continue
            is_currency = len(currency) == 3 and currency.isascii() and currency.isalpha()
            if is_currency and amount.is_finite() and 0 <= amount < 10**12:
                return str(amount), currency.upper()
    return None, None


def _version(read: Mapping[str, Any]) -> float | None:
    """The version as a number: one that counts, or the time of the last change."""
    version = read.get("version")
    if isinstance(version, int | float) and not isinstance(version, bool) and abs(version) < 10**15:
        return float(version)
    try:
        moment = datetime.fromisoformat(_text(read.get("updatedAt")) or "")
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _kind_of(external_id: object) -> str | None:
    """The kind of an id by its form; None for one that finds no session."""
    text = external_id.lower() if isinstance(external_id, str) else ""
    return next((kind for kind in ("trip", "rfp", "rfq") if text.startswith((f"a{kind}-", f"{kind}-"))), None)


def _add_ref(report: Report, kind: str | None, external_id: str | None) -> None:
    if kind is None or not external_id:
        return
    try:
        found = external_refs.of(external_refs.AVINODE, kind, external_id)
    except ValueError:
        return
    ref = {"kind": found.kind, "external_id": found.external_id}
    if ref not in report.refs:
        report.refs.append(ref)


def _name(value: object) -> str | None:
    """The name of a company or a type of aircraft."""
    return _label(_member(value, "displayName", "name"))


def _label(text: str | None) -> str | None:
    """A text as a name of limited length; None for none."""
    try:
        return external_refs.operator_name(text[: external_refs.LONGEST]) if text else None
    except ValueError:
        return None


def _text(value: object) -> str | None:
    return clean(value) if isinstance(value, str) and value.strip() else None


def _member(value: object, *names: str) -> str | None:
    """A text, or of an object the first of these members that is one."""
    if isinstance(value, dict):
        return next((text for name in names if (text := _text(value.get(name)))), None)
    return _text(value)
