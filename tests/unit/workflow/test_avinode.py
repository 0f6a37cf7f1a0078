"""What is read of Avinode's objects; tests/functions/test_avinode.py has their effects."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.providers import BusinessEvent
from lib.workflow.avinode import MAX_QUOTES, STATUSES, read_report
from tests.senders import cases, document
from tests.unit.providers.test_senders import ODD, changed, places

EVENT = BusinessEvent(
    delivery_key=None, ordering_key="x", type="rfqs", href="", external_id="arfq-1000001", trip_id="A1B2C3"
)


def quotes(**fields: Any) -> list[dict[str, Any]]:
    """The quotes of an object of one operator."""
    return list(read_report(EVENT, {"id": "aquote-1", "sellerCompany": {"name": "Jets"}, **fields}).quotes.values())


def test_all_ids_of_an_object_are_references() -> None:
    report = read_report(EVENT, document("avinode_objects", "trip"))
    assert {(ref["kind"], ref["external_id"]) for ref in report.refs} == {
        ("trip", "A1B2C3"), ("trip", "atrip-64956150"), *(("rfq", f"arfq-100000{n}") for n in (1, 2, 3)),
    }  # fmt: skip
    assert set(report.quotes) == {"alpine jets", "bora air", "cirrus one"}


@pytest.mark.parametrize(("word", "status"), [*STATUSES.items(), ("QUOTED", "received"), ("Weighed", None)])
def test_a_status_is_one_of_ours_or_changes_none(word: str, status: str | None) -> None:
    (quote,) = quotes(status=word)
    assert (quote.get("status"), quote["report"]["status"]) == (status, word)


@pytest.mark.parametrize(
    ("fields", "price"),
    [
        ({"sellerPrice": {"price": 11800.555, "currency": "eur"}}, ("11800.56", "EUR")),
        ({"price": {"amount": "10900", "currency": "USD"}}, ("10900.00", "USD")),
        ({"price": 10900, "currency": "USD"}, ("10900.00", "USD")),
        ({"amount": 0, "currency": "CHF"}, ("0.00", "CHF")),
        *(({"price": {"price": odd, "currency": "EUR"}}, None) for odd in (-1, "x", True, None, 1e300, "NaN", ())),
        *(({"price": 1, "currency": currency}, None) for currency in ("€", "EURO", None, 1)),
        ({"price": {"price": 1}}, None),
    ],
)
def test_an_amount_comes_with_its_currency_or_not_at_all(fields: dict[str, Any], price: Any) -> None:
    (quote,) = quotes(**fields)
    assert (quote.get("amount"), quote.get("currency")) == (price or (None, None))
    assert quote.get("status") == (price and "received")


def test_of_several_quotes_of_one_operator_a_received_one_counts() -> None:
    both = [{"id": "aquote-2", "price": {"price": 1, "currency": "EUR"}}, {"id": "aquote-3", "status": "Declined"}]
    (quote,) = quotes(id="arfq-1", status="Open", quotes=both)
    assert quote["status"] == "received"


def test_the_quotes_of_one_object_are_limited() -> None:
    rfqs = [{"id": f"arfq-{n}", "sellerCompany": {"name": f"Operator {n}"}} for n in range(MAX_QUOTES * 2)]
    assert len(read_report(EVENT, {"rfqs": rfqs}).quotes) == MAX_QUOTES


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_object_is_read_without_an_error(data: st.DataObject) -> None:
    body = copy.deepcopy(document("avinode_objects", data.draw(st.sampled_from(cases("avinode_objects")))))
    for _ in range(data.draw(st.integers(1, 4))):
        body = changed(body, data.draw(st.sampled_from(list(places(body)))), data.draw(ODD))
    report = read_report(EVENT, body)
    text = json.dumps([report.refs, list(report.quotes.values())], ensure_ascii=False)
    assert "\x00" not in text
    assert "\ud800" not in text
    for quote in report.quotes.values():
        assert ("amount" in quote) == ("currency" in quote)
        assert all(
            1 <= len(quote[name]) <= 200 for name in ("operator_key", "operator", "external_id") if name in quote
        )
