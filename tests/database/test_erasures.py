"""Erasing a contact: every table has a rule, writers under way bring nothing back, and nothing older comes back."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.database.desk import (
    OPERATOR,
    PERSONA,
    SPACE,
    SYSTEM,
    WORKSPACE,
    Desk,
    Raised,
    claims,
    managing,
    on_a_turn,
    with_token,
)

RULED = """
select n.nspname || '.' || c.relname
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('public', 'private') and c.relkind in ('r', 'p') and not c.relispartition
"""
CASCADING = """
select distinct n.nspname || '.' || c.relname
  from pg_constraint k
  join pg_class c on c.oid = k.conrelid
  join pg_namespace n on n.oid = c.relnamespace
 where k.contype = 'f' and k.confdeltype = 'c' and n.nspname in ('public', 'private')
   and k.confrelid not in ('public.workspaces'::regclass, 'auth.users'::regclass, 'public.workspace_members'::regclass)
"""


async def erase(desk: Desk, admin: Any, contact_id: str) -> dict[str, Any]:
    """Erase a contact to its end; the receipt."""
    while (begun := await desk.call("erase_contact", managing(admin), contact_id=contact_id))["stopping"]:
        await desk.admin.execute("update public.turns set cancel_requested_at = cancel_requested_at - interval '9 s'")
        await desk.admin.execute("update public.turns set lease_until = lease_until - interval '9 s'")
    receipt = begun["erasure"]
    while receipt["status"] != "finished":
        receipt = (await desk.call("continue_erasure", SYSTEM, erasure_id=receipt["id"]))["erasure"]
    return dict(receipt)


async def person(desk: Desk, admin: Any, kind: str = "person") -> str:
    """A new contact."""
    made = await desk.call("create_contact", managing(admin), profile={}, kind=kind, workspace_id=WORKSPACE)
    return str(made["contact"]["id"])


async def test_every_table_has_a_rule_that_its_foreign_keys_keep(desk: Desk) -> None:
    """A new table needs a line in private.erase_rules, and a test that plants something of a contact in it
    (tests/functions/test_erasures.py) if it can hold any."""
    rules = {row[0]: row[1] for row in await desk.admin.fetch("select relation, rule from private.erase_rules")}
    tables = {row[0] for row in await desk.admin.fetch(RULED)}
    assert rules.keys() == tables
    cascading = {row[0] for row in await desk.admin.fetch(CASCADING)}
    assert {table for table, rule in rules.items() if rule == "cascade"} <= cascading


async def test_a_writer_under_way_brings_nothing_back(desk: Desk) -> None:
    admin = await desk.member("admin")
    for number in range(4):
        key = f"{uuid.uuid4()}@example.com"
        arrived = await desk.call(
            "register_contact", claims(), space_id=SPACE, space_kind="embed", email=key, email_key=key
        )
        token, contact = with_token(arrived), arrived["contact_id"]
        async with desk.crowd(6) as crowd:
            outcomes = await asyncio.gather(
                *(crowd.call("start_turn", token, space_id=SPACE, message=f"{number} {n}") for n in range(3)),
                crowd.call("erase_contact", managing(admin), contact_id=contact, last_try=True),
                crowd.call("capture_message", managing(admin), contact_id=contact, text="x", role="member", source="x"),
                return_exceptions=True,
            )
        receipt = await erase(desk, admin, contact)
        faults = [one for one in outcomes if isinstance(one, BaseException)]
        assert all(isinstance(one, Raised) for one in faults), faults
        for table, column in (("contacts", "id"), ("conversations", "contact_id"), ("messages", "contact_id")):
            assert await desk.count(table, f"{column} = $1", uuid.UUID(contact)) == 0
        # The address is free: whoever types it now is a new contact.
        again = await desk.call(
            "register_contact", claims(), space_id=SPACE, space_kind="embed", email=key, email_key=key
        )
        assert again["contact_id"] != contact
        assert (await erase(desk, admin, contact))["id"] == receipt["id"], "a repeat returns the receipt"
        checked = await desk.call("check_erasure", managing(admin), erasure_id=receipt["id"])
        assert (set(checked["left"].values()), checked["next"]) == ({0}, None)


async def test_a_contact_that_is_being_erased_is_found_by_no_command(desk: Desk) -> None:
    admin = await desk.member("admin")
    made, other = await person(desk, admin), await person(desk, admin)
    await desk.call("erase_contact", managing(admin), contact_id=made)
    for function, arguments in (
        ("change_contact", {"contact_id": made, "changes": {}}),
        ("merge_contacts", {"contact_id": made, "into_id": other}),
        ("merge_contacts", {"contact_id": other, "into_id": made}),
        ("sign_out_contact", {"contact_id": made}),
    ):
        with pytest.raises(Raised) as refused:
            await desk.call(function, managing(admin), **arguments)
        assert refused.value.code == "contact_not_found"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"from": {"id": 5512345678}}', True),
        ('{"wa_id":"4930123456"}', True),
        ("uid=omi-7&x=1", True),
        ("mail Ana@Example.com.", True),
        ('{"from": {"id": 55123456789}}', False),
        ("ana@example.com.evil.test", False),
        ('{"id": "omi-77"}', False),
    ],
)
async def test_a_delivery_is_deleted_if_a_word_of_it_is_an_identity(desk: Desk, body: str, named: bool) -> None:
    admin = await desk.member("admin")
    keys = [("telegram", "5512345678"), ("phone", "+4930123456"), ("omi", "omi-7"), ("email", "ana@example.com")]
    identities = [{"kind": kind, "key": key, "value": key} for kind, key in keys]
    made = await desk.call("create_contact", managing(admin), profile={}, identities=identities, workspace_id=WORKSPACE)
    items = [{"key": str(uuid.uuid4()), "kind": None, "reason": "x"}]
    recorded = {"source": "standard", "headers": {}, "raw_body": body, "items": items}
    await desk.call("record_event", on_a_turn(), delivery_key=str(uuid.uuid4()), **recorded)
    receipt = await erase(desk, admin, made["contact"]["id"])
    assert await desk.count("inbound_events") == await desk.count("jobs", "kind = 'unknown_event'") == (not named)
    assert receipt["counts"].get("inbound_events", 0) == named
    # What comes later is kept, and the check tells it from what was there before.
    await desk.call("record_event", on_a_turn(), delivery_key=str(uuid.uuid4()), **recorded)
    checked = await desk.call("check_erasure", managing(admin), erasure_id=receipt["id"])
    assert checked["left"]["inbound_events"] == 0
    await desk.admin.execute("update public.inbound_events set received_at = received_at - interval '1 hour'")
    checked = await desk.call("check_erasure", managing(admin), erasure_id=receipt["id"])
    assert checked["left"]["inbound_events"] == named


async def test_a_group_keeps_what_others_said_and_a_stand_in_for_the_rest(desk: Desk) -> None:
    admin = await desk.member("admin")
    group, one, two = [await person(desk, admin, kind) for kind in ("group", "person", "person")]
    conversation, session = uuid.uuid4(), uuid.uuid4()
    await desk.admin.execute(
        "insert into public.conversations (id, workspace_id, contact_id, persona_id, thread_key, proof)"
        " values ($1, $2, $3, $4, 'x', 'verified')", conversation, WORKSPACE, group, PERSONA,
    )  # fmt: skip
    await desk.admin.execute(
        "insert into public.sessions (id, workspace_id, conversation_id, contact_id, persona_id)"
        " values ($1, $2, $3, $4, $5)", session, WORKSPACE, conversation, group, PERSONA,
    )  # fmt: skip
    for said_by, text in ((one, "mine"), (two, "yours")):
        await desk.admin.execute(
            "insert into public.messages (workspace_id, conversation_id, session_id, role, contact_id, text, speaker)"
            " values ($1, $2, $3, 'contact', $4, $5, $5)", WORKSPACE, conversation, session, said_by, text,
        )  # fmt: skip
    receipt = await erase(desk, admin, one)
    said = await desk.admin.fetch("select contact_id::text, text, speaker from public.messages order by created_at")
    assert [tuple(row) for row in said] == [(group, "[erased]", None), (two, "yours", "yours")]
    assert receipt["counts"]["group_messages"] == 1


async def test_after_a_backup_is_restored_its_erasures_are_replayed(desk: Desk) -> None:
    """The rows that the backup has are put back by hand: the contact under its id, and an identity under another."""
    admin = await desk.member("admin")
    identity = {"kind": "email", "key": "ana@example.com", "value": "ana@example.com"}
    new = {"profile": {}, "identities": [identity], "workspace_id": WORKSPACE}
    contact = (await desk.call("create_contact", managing(admin), **new))["contact"]["id"]
    receipt = await erase(desk, admin, contact)
    (kept,) = (await desk.call("export_erasures", OPERATOR))["erasures"]
    assert "ana" not in str(kept)
    await desk.admin.execute("delete from public.erasures; delete from private.erasure_salts; delete from public.jobs")
    await desk.admin.execute(
        "insert into public.contacts (id, workspace_id) values ($1, $2)", uuid.UUID(contact), WORKSPACE
    )
    other = await desk.call(
        "create_contact", managing(admin), profile={}, identities=[identity], workspace_id=WORKSPACE
    )
    await desk.admin.execute("update public.contact_identities set created_at = created_at - interval '1 day'")

    for _ in range(2):
        await desk.call("replay_erasure", OPERATOR, erasure=kept)
        again = await erase(desk, admin, contact)
        assert (again["id"], again["created_at"]) == (receipt["id"], receipt["created_at"])
        assert set(again["contact_ids"]) >= {contact}
    assert await desk.count("contacts", "id = any ($1)", [contact, other["contact"]["id"]]) == 0
    await desk.admin.execute("update private.erasure_salts set salt = '\\x01'")
    with pytest.raises(Raised) as refused:
        await desk.call("replay_erasure", OPERATOR, erasure=kept)
    assert refused.value.code == "erasure_salt_differs"
