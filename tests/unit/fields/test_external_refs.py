"""References and operators: two spellings of one id are one, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.fields import external_refs
from lib.workflow.quoting import TripInfo

IDS = st.text(st.characters(blacklist_categories=("Cs", "Cc"), max_codepoint=0x2FF), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("system", "typed", "stored"),
    [
        ("avinode", " ATrip-64956150 ", "atrip-64956150"),
        ("avinode", "ARFQ-Ab1", "arfq-Ab1"),
        ("avinode", "a1b2c3", "A1B2C3"),
        ("avinode", "A1 B2", "A1 B2"),
        ("crm", " deal-a1B ", "deal-a1B"),
    ],
)
def test_an_avinode_id_is_stored_in_one_form_and_another_systems_as_it_is(system: str, typed: str, stored: str) -> None:
    assert external_refs.of(system, "trip", typed).external_id == stored
    assert stored in external_refs.spellings(typed)


@pytest.mark.parametrize("typed", ["", " ", "x" * 201, "a\x00b", "a\nb", "\ud800"])
def test_any_other_text_is_refused(typed: str) -> None:
    for read in (lambda: external_refs.of("avinode", "trip", typed), lambda: external_refs.operator_key(typed)):
        with pytest.raises(ValueError, match="must"):
            read()


@given(st.sampled_from(["avinode", "crm"]), IDS)
def test_a_stored_id_is_found_by_itself_and_by_its_typed_form(system: str, typed: str) -> None:
    try:
        stored = external_refs.of(system, "trip", typed)
    except ValueError:
        return
    assert stored.external_id in external_refs.spellings(typed)
    assert stored.external_id in external_refs.spellings(stored.external_id)
    assert external_refs.of(system, "trip", stored.external_id) == stored


@given(IDS)
def test_an_operators_key_is_its_own(name: str) -> None:
    try:
        key = external_refs.operator_key(name)
    except ValueError:
        return
    assert external_refs.operator_key(key) == key
    assert external_refs.operator_key(f"  {name} ") == key


def test_a_trip_brings_all_its_references_once() -> None:
    trip = TripInfo.model_validate(
        {
            "tripId": "ATRIP-1",
            "trip_code": "a1b2",
            "rfq_ids": ["arfq-1", "ARFQ-1"],
            "refs": [{"system": "Avinode", "kind": "Trip", "external_id": "atrip-1"}],
            "passengers": None,
        }
    )
    document = trip.document()
    assert document["refs"] == [
        {"system": "avinode", "kind": "trip", "external_id": "atrip-1"},
        {"system": "avinode", "kind": "trip", "external_id": "A1B2"},
        {"system": "avinode", "kind": "rfq", "external_id": "arfq-1"},
    ]
    # What is named takes away, what is not stays.
    assert (document["passengers"], "origin" in document) == (None, False)
