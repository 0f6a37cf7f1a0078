"""How contacts are recognised: resolving, under races as well, and what proof and unproven claims change."""

import asyncio
import uuid
from typing import Any

import pytest

from lib.fields import identities
from tests.database.desk import (
    OPERATOR,
    SECRET,
    SPACE,
    WORKSPACE,
    Answer,
    Desk,
    call,
    claims,
    managing,
    on_behalf,
    signed,
    user,
    with_token,
)
from tests.database.merging import made, resolve

# Each line resolves identities, `!` with proof, for a contact, or says what a contact is known by (`!`: verified).
STORIES = {
    "a contact has several emails and phones": """
        email:ann@example.test email:a.n@example.test phone:+15551234567 phone:+15557654321 -> ann
        email:a.n@example.test -> ann
        phone:+15557654321 -> ann
        ann = email:a.n@example.test email:ann@example.test phone:+15551234567 phone:+15557654321
    """,
    "a WhatsApp number and its business-scoped ids belong to one contact": """
        whatsapp:16505551234 ! -> ann
        whatsapp:+16505551234 whatsapp:US.1349 ! -> ann
        whatsapp:US.1349 whatsapp:US.ENT.77 ! -> ann
        whatsapp:US.ENT.77 -> ann
        ann = phone:+16505551234! whatsapp:+16505551234! whatsapp:US.1349! whatsapp:US.ENT.77!
    """,
    "a WhatsApp number finds the contact of that phone": """
        phone:+15550000001 ! -> ann
        phone:+15550000002 -> bob
        whatsapp:15550000001 ! -> ann
        whatsapp:15550000002 ! -> bob
        bob = phone:+15550000002! whatsapp:+15550000002!
    """,
    "a number that a proven contact only typed belongs to the contact that proves it": """
        email:mallory@example.test ! -> mallory
        email:mallory@example.test phone:+15550000003 -> mallory
        whatsapp:15550000003 ! -> ann
        mallory = email:mallory@example.test!
        ann = phone:+15550000003! whatsapp:+15550000003!
    """,
    "the spellings of an identity lead to one contact": """
        whatsapp:554188776655 telegram:@Beate -> bea
        whatsapp:whatsapp:+5541988776655 -> bea
        telegram:https://t.me/beate -> bea
        phone:+49(0)209-22334455 -> carl
        tel:+49-209-22334455 -> carl
    """,
    "an email that was only typed belongs to the contact that proves it": """
        telegram:7 ! -> mallory
        telegram:7 email:ann@example.test -> mallory
        email:ann@example.test -> mallory
        email:ann@example.test ! -> ann
        ann = email:ann@example.test!
    """,
    "proof beside a known identity is that contact's own": """
        telegram:7 ! -> mallory
        telegram:7 email:more@example.test -> mallory
        telegram:7 email:more@example.test ! -> mallory
        mallory = email:more@example.test! telegram:7!
    """,
}


async def known_by(desk: Desk, contact_id: str) -> str:
    """The identities of a contact, in order, `!` after the verified ones."""
    rows = await desk.admin.fetch(
        "select kind || ':' || key || case evidence when 'verified' then '!' else '' end"
        " from public.contact_identities where contact_id = $1",
        contact_id,
    )
    return " ".join(sorted(row[0] for row in rows))


async def conflicts(desk: Desk) -> list[tuple[Any, ...]]:
    """The conflicts that wait for a member: contact, actor, reason."""
    columns = "object_id::text, actor_id::text, code"
    return await desk.all(f"select {columns} from public.audit_events where verb = 'identity.conflict'")


def place(answer: Answer) -> tuple[str, str, str]:
    """Where an arrival or message went."""
    return answer["contact_id"], answer["conversation_id"], answer["session_id"]


@pytest.mark.parametrize("story", STORIES)
async def test_identities_lead_to_their_contact(desk: Desk, story: str) -> None:
    contacts: dict[str, str] = {}
    for line in STORIES[story].strip().splitlines():
        if " = " in line:
            name, known = line.split(" = ")
            assert await known_by(desk, contacts[name.strip()]) == known
            continue
        words, name = line.split(" -> ")
        texts = words.replace(" !", "").split()
        found = await made(desk, *texts, verified_by="crm" if "!" in words else None)
        assert contacts.setdefault(name, found) == found, line
    assert len(set(contacts.values())) == len(contacts)


async def test_a_contact_is_created_only_on_request_and_keeps_what_is_stored(desk: Desk) -> None:
    before = await desk.everything()
    named = identities.documents((identities.parse("telegram:42"),))
    asked = {"identities": named, "workspace_id": WORKSPACE, "kind": "person"}
    assert await desk.refused("resolve_contact", OPERATOR, **asked) == (404, "contact_not_found")
    assert await desk.everything() == before

    profile = {"first_name": "Ann", "attributes": {"a": 1}}
    first = await resolve(desk, "telegram:42", make=True, profile=profile, verified_by="telegram")
    again = await resolve(desk, "telegram:42")
    assert (first["created"], again["created"], again["contact"]) == (True, False, first["contact"])
    (identity,) = first["contact"]["identities"]
    evidence = [identity[name] for name in ("evidence", "verified_by", "asserted_by")]
    assert evidence == ["verified", "telegram", "service"]
    assert identity["verified_at"]
    assert identity["asserted_at"]

    claimed = {"first_name": "X", "last_name": "Lee", "attributes": {"a": 2, "b": 2}}
    contact = (await resolve(desk, "telegram:42", make=True, profile=claimed))["contact"]
    assert [contact[name] for name in ("first_name", "last_name", "attributes")] == ["Ann", "Lee", {"a": 1, "b": 2}]
    assert contact["identities"] == [identity]


async def test_concurrent_arrivals_of_one_new_contact_create_one(desk: Desk) -> None:
    admin = managing(await desk.member())
    names = ("email:ann@example.test", "phone:+15551234567")
    async with desk.crowd(25) as crowd:
        found = await asyncio.gather(
            *(
                resolve(crowd, *names[:: 1 - 2 * (n % 2)], make=True, token=(admin, OPERATOR)[n % 3 > 0])
                for n in range(40)
            ),
            *(crowd.register("ann@example.test") for _ in range(10)),
        )
    assert len({answer.body.get("contact_id") or answer["contact"]["id"] for answer in found}) == 1
    assert (await desk.count("contacts"), await desk.count("contact_identities")) == (1, 2)


async def test_identities_of_two_contacts_merge_nothing_and_leave_a_conflict(desk: Desk) -> None:
    ann, bob = await made(desk, "telegram:1"), await made(desk, "email:bob@example.test")
    before = await desk.count("contact_identities")
    assert set((await resolve(desk, "telegram:1", "email:bob@example.test"))["conflict"]) == {ann, bob}
    assert await conflicts(desk) == []

    asked = await resolve(desk, "telegram:1", "email:bob@example.test", "omi:u1", make=True, verified_by="crm")
    assert set(asked["conflict"]) == {ann, bob}
    assert await desk.count("contact_identities") == before
    assert {subject for subject, _, _ in await conflicts(desk)} == {ann, bob}


# Visitors ------------------------------------------------------------------------------------------------------------


async def test_a_visitor_who_registers_keeps_conversation_session_and_contact(desk: Desk) -> None:
    visitor = await desk.start()
    await desk.finish(visitor)
    told = await desk.register(
        "ann@example.test", with_token(visitor), first_name="Ann", phone="+1 555 1", phone_key="+15551"
    )
    assert (place(told), told["proof"]) == (place(visitor), "asserted")
    assert await known_by(desk, visitor["contact_id"]) == "email:ann@example.test phone:+15551"
    assert await desk.count("contacts") == 1
    metadata = (await desk.row("sessions", visitor["session_id"]))["metadata"]
    assert metadata["registration"]["email"] == "ann@example.test"
    again = await desk.start(with_token(told))
    assert [message["text"] for message in again["history"]] == ["Hello", "Hi"]


async def test_an_email_of_another_contact_is_not_taken_and_the_answer_does_not_tell(desk: Desk) -> None:
    ann = await desk.register("ann@example.test", first_name="Ann")
    visitor = await desk.start()
    told = await desk.register("ann@example.test", with_token(visitor), first_name="Mallory")
    assert (place(told), told["proof"]) == (place(visitor), "asserted")
    assert await known_by(desk, visitor["contact_id"]) == ""
    assert await known_by(desk, ann["contact_id"]) == "email:ann@example.test"
    assert (await desk.row("contacts", ann["contact_id"]))["first_name"] == "Ann"
    assert await conflicts(desk) == [(ann["contact_id"], visitor["contact_id"], "asserted")]

    new = await desk.start()
    fresh = await desk.register("new@example.test", with_token(new))
    assert set(fresh.body) == set(told.body)
    # Nor does a second email tell whether the first was known.
    for answer in (told, fresh):
        second = await desk.register(f"{answer['contact_id']}@example.test", with_token(answer))
        assert second["contact_id"] != answer["contact_id"]
        assert second["conversation_id"] != answer["conversation_id"]


@pytest.mark.parametrize("opened_by_member", [False, True])
async def test_a_visitor_who_proves_a_new_email_keeps_the_conversation(desk: Desk, *, opened_by_member: bool) -> None:
    await desk.believe_hmacs()
    message = str(uuid.uuid4())
    visitor = await desk.start(client_message_id=message)
    await desk.finish(visitor)
    lasting = visitor
    if opened_by_member:
        boss = on_behalf(await desk.member())
        named = {"contact_id": visitor["contact_id"], "space_id": SPACE, "thread_key": "main"}
        lasting = await desk.start_session(boss, **named)
        assert lasting["conversation_id"] != visitor["conversation_id"]

    told = await desk.prove("ann@example.test", with_token(visitor))
    assert (place(told)[:2], told["proof"]) == (place(visitor)[:2], "verified")
    # The same proof from elsewhere leads to the lasting conversation.
    assert place(await desk.prove("ann@example.test"))[1:] == place(lasting)[1:]
    # A repeat of the first message without proof does not.
    repeated = await desk.start(client_message_id=message)
    assert repeated["conversation_id"] != told["conversation_id"]
    assert repeated["proof"] == "asserted"


async def test_a_visitor_becomes_known_once(desk: Desk) -> None:
    visitor = await desk.start()
    async with desk.crowd(8) as crowd:
        told = await asyncio.gather(*(crowd.register(f"a{n % 2}@example.test", with_token(visitor)) for n in range(8)))
    assert len((await known_by(desk, visitor["contact_id"])).split()) == 1
    assert visitor["contact_id"] in {each["contact_id"] for each in told}
    assert await desk.count("contact_identities") == 2


async def test_proofs_of_two_typed_identities_of_one_contact_wait_for_each_other(desk: Desk) -> None:
    await desk.believe_hmacs()
    email, phone = "ann@example.test", "+4915112345678"
    await desk.register(email, phone=phone, phone_key=phone)
    arrival = {"space_id": SPACE, "space_kind": "embed", "email": email, "email_key": email}
    async with desk._pool.acquire() as first, first.transaction():
        proved = await call(first, "register_contact", claims(), **arrival, email_hmac=signed(email, SECRET))
        second = asyncio.create_task(resolve(desk, f"whatsapp:{phone}", make=True, verified_by="whatsapp"))
        await desk.until_waiting()
    assert (await second)["contact"]["id"] != proved["contact_id"]
    assert await known_by(desk, proved["contact_id"]) == f"email:{email}!"


async def test_two_contacts_that_prove_each_others_emails_do_not_deadlock(desk: Desk) -> None:
    await desk.believe_hmacs()
    emails = ("ann@example.test", "bob@example.test")
    tokens = [with_token(await desk.prove(email)) for email in emails]
    async with desk.crowd(8) as crowd:
        for _ in range(5):
            await asyncio.gather(*(crowd.prove(emails[1 - n % 2], tokens[n % 2]) for n in range(8)))


# Users ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", ["unconfirmed", "confirmed"])
async def test_a_user_keeps_contact_and_conversation_when_their_email_changes(desk: Desk, known: str) -> None:
    ann = await desk.sign_up("ann@example.test", confirmed=known == "confirmed")
    before = await desk.start(claims(user(ann, "ann@example.test")))
    await desk.finish(before)
    await desk.admin.execute(
        "update auth.users set email = 'new@example.test', email_confirmed_at = now() where id = $1", ann
    )
    assert place(await desk.start(claims(user(ann, "new@example.test"))))[:2] == place(before)[:2]
    emails = {"unconfirmed": "email:new@example.test!", "confirmed": "email:ann@example.test! email:new@example.test!"}
    assert await known_by(desk, before["contact_id"]) == f"{emails[known]} external:auth:{ann}!"


async def test_an_email_that_another_contact_proved_does_not_become_a_users(desk: Desk) -> None:
    await desk.believe_hmacs()
    bob = await desk.prove("bob@example.test")
    ann = await desk.sign_up("ann@example.test")
    before = await desk.start(claims(user(ann, "ann@example.test")))
    await desk.finish(before)
    await desk.admin.execute("update auth.users set email = 'bob@example.test' where id = $1", ann)
    token = claims(user(ann, "bob@example.test"))
    assert place(await desk.start(token))[:2] == place(before)[:2]
    assert (await desk.register("bob@example.test", token))["contact_id"] == before["contact_id"]
    assert await conflicts(desk) == [(bob["contact_id"], before["contact_id"], "supabase_auth")]
    assert await known_by(desk, bob["contact_id"]) == "email:bob@example.test!"
