"""Imports: a batch is stored in one transaction, and each item has its own result."""

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

from lib.database.management import Database
from lib.fields.models import Record
from lib.imports.batches import Batch
from lib.imports.items import ImportedContact, ImportedConversation, ImportedMemory, ImportRequest, Refusal

Status = Literal["created", "updated", "unchanged", "refused"]


class ItemResult(Record):
    """What became of an item. ``dropped``: fields, and platforms of identities, that do not fit and were left out."""

    external_id: str | None
    status: Status
    id: UUID | None = None
    code: str | None = None
    """Why it was refused: invalid_item, identity_conflict, contact_erased, contact_of_other_kind,
    contact_not_found, conversation_not_found or persona_not_found."""
    reason: str | None = None
    dropped: tuple[str, ...] | None = None


class ImportResult(Record):
    """The results of a batch, in its order."""

    contacts: tuple[ItemResult, ...]
    conversations: tuple[ItemResult, ...]
    memories: tuple[ItemResult, ...]
    dry_run: bool


_REASONS = {
    "identity_conflict": "its identities belong to several contacts",
    "contact_erased": "it was erased here, after what the source tells",
    "contact_of_other_kind": "its identities belong to a group, or to a person",
    "contact_not_found": "its contact was not imported from this source",
    "conversation_not_found": "its conversation was not imported from this source",
    "persona_not_found": "it names no persona, and the import has none",
}


class _Outcome(Record):
    n: int
    status: Status
    id: UUID | None = None
    code: str | None = None
    contact_ids: tuple[UUID, ...] | None = None


class _Outcomes(Record):
    contacts: tuple[_Outcome, ...]
    conversations: tuple[_Outcome, ...]
    memories: tuple[_Outcome, ...]


async def store(database: Database, workspace_id: UUID, request: ImportRequest) -> ImportResult:
    """Store a batch; a repeat changes nothing. Identities are stored as asserted, and stored values stay.

    No event, job, limit or answer follows from what is imported. Raises Refused: workspace_not_found, forbidden,
    persona_not_found; and InvalidBody if the database refuses a row.
    """
    batch = Batch(workspace_id, request.source)
    batch.add_contacts([(n, one) for n, one in enumerate(request.contacts) if isinstance(one, ImportedContact)])
    for n, one in enumerate(request.conversations):
        if isinstance(one, ImportedConversation):
            batch.add_conversation(n, one)
    for n, memory in enumerate(request.memories):
        if isinstance(memory, ImportedMemory):
            batch.add_memory(n, memory)
    arguments = {
        "workspace_id": workspace_id,
        "source": request.source,
        "document": batch.rows,
        "persona_id": request.persona_id,
        "dry_run": request.dry_run,
    }
    stored = await database.call("import_batch", arguments, _Outcomes, repeatable=True)
    return ImportResult(
        contacts=_results(request.contacts, stored.contacts),
        conversations=_results(request.conversations, stored.conversations),
        memories=_results(request.memories, stored.memories),
        dry_run=request.dry_run,
    )


def _results(items: Sequence[Any], outcomes: Sequence[_Outcome]) -> tuple[ItemResult, ...]:
    by_place = {outcome.n: outcome for outcome in outcomes}
    return tuple(_result(item, by_place.get(n)) for n, item in enumerate(items))


def _result(
    item: ImportedContact | ImportedConversation | ImportedMemory | Refusal, outcome: _Outcome | None
) -> ItemResult:
    if isinstance(item, Refusal) or outcome is None:
        reason = item.reason if isinstance(item, Refusal) else None
        return ItemResult(external_id=item.external_id, status="refused", code="invalid_item", reason=reason)
    reason = _REASONS.get(outcome.code or "")
    if reason is not None and outcome.contact_ids:
        reason = f"{reason}: {', '.join(map(str, outcome.contact_ids))}"
    dropped = item.dropped if isinstance(item, ImportedContact) else ()
    return ItemResult(
        external_id=item.external_id,
        status=outcome.status,
        id=outcome.id,
        code=outcome.code,
        reason=reason,
        dropped=dropped or None,
    )
