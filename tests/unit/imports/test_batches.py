"""Batches: which items are one contact, and ids that a repeat has again."""

from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from lib.imports.batches import Batch
from lib.imports.items import ImportedContact, ImportedConversation, ImportRequest, Refusal

WORKSPACE = UUID(int=7)
IDENTITIES = st.sets(st.integers(0, 9), max_size=3)


@given(st.lists(IDENTITIES, max_size=8))
def test_items_are_one_contact_if_identities_join_them(given_identities: list[set[int]]) -> None:
    batch = Batch(WORKSPACE, "crm")
    contacts = [
        ImportedContact(external_id=str(n), identities=tuple(f"omi:{number}" for number in sorted(numbers)))
        for n, numbers in enumerate(given_identities)
    ]
    batch.add_contacts(list(enumerate(contacts)))
    leaders = [row["leader"] for row in batch.rows["contacts"]]
    # The same by brute force: grow the groups until none grows.
    groups = [{n} for n in range(len(contacts))]
    for _ in contacts:
        for group in groups:
            known = set().union(*(given_identities[n] for n in group))
            group.update(n for n, numbers in enumerate(given_identities) if numbers & known)
    assert leaders == [min(group) for group in groups]


def test_a_repeat_has_the_same_ids_and_messages_keep_their_order() -> None:
    at = datetime(2024, 3, 1, tzinfo=UTC)
    said = [{"external_id": str(n), "role": "contact", "text": "x", "created_at": at} for n in (998, 999, 1000)]

    def ids(messages: list[dict[str, object]], source: str = "crm") -> list[UUID]:
        batch = Batch(WORKSPACE, source)
        batch.add_conversation(
            0, ImportedConversation.model_validate({"external_id": "t", "contact": "1", "messages": messages})
        )
        return [row["id"] for row in batch.rows["messages"]]

    assert ids(said) == sorted(ids(said)) == ids(said[:2]) + ids(said[2:])
    assert not set(ids(said)) & set(ids(said, "other"))
    assert {one.version for one in ids(said)} == {7}


def test_an_item_that_does_not_fit_is_refused_alone() -> None:
    request = ImportRequest.model_validate(
        {"source": "crm", "contacts": [{"external_id": "1", "firstName": "Ann"}, {"external_id": "2", "kind": "x"}, 5]}
    )
    first, second, third = request.contacts
    assert (first.external_id, first.first_name) == ("1", "Ann")
    assert [type(one).__name__ for one in (second, third)] == ["Refusal", "Refusal"]


def test_nothing_comes_from_the_future() -> None:
    later = "2999-01-01T00:00:00Z"
    message = {"role": "contact", "text": "Hi", "created_at": later}
    request = ImportRequest.model_validate(
        {
            "source": "crm",
            "contacts": [{"external_id": "1", "created_at": later}],
            "conversations": [{"external_id": "7", "contact": "1", "messages": [message]}],
        }
    )
    (contact,), (conversation,) = request.contacts, request.conversations
    assert isinstance(contact, ImportedContact)
    assert (contact.created_at, contact.dropped) == (None, ("created_at",))
    assert isinstance(conversation, Refusal)
