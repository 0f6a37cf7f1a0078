"""Who is known by what: resolving with and without making somebody, under races, and what proof and words change."""

import asyncio
import uuid
from typing import Any

import pytest

from lib.fields import identities
from tests.database.desk import (
    JSON,
    SPACE,
    WORKSPACE,
    Answer,
    Desk,
    Raised,
    call,
    claims,
    signed,
    user,
    with_token,
)

SECRET = "the customer's own"
OPERATOR: JSON = {"role": "service_role"}


def managing(user_id: str) -> JSON:
    """The claims that the functions sign for a member."""
    return {"role": "switchboard", "scope": {"management": True}, "caller": user(user_id)}


async def member(desk: Desk, role: str = "admin") -> JSON:
    """The claims of a new member of the demo workspace."""
    user_id = await desk.sign_up(f"{uuid.uuid4()}@example.test")
    await desk.admin.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, $3)",
        WORKSPACE,
        user_id,
        role,
    )
    return managing(user_id)


async def resolve(desk: Desk, *texts: str, token: JSON = OPERATOR, **more: Any) -> Answer:
    """Resolve identities as lib/contacts/contacts.py asks for it."""
    named = tuple(identities.parse(text) for text in texts)
    more.setdefault("workspace_id", WORKSPACE)
    more.setdefault("kind", identities.contact_kind(named))
    return await desk.call("resolve_contact", token, identities=identities.documents(named), **more)


async def made(desk: Desk, *texts: str, **more: Any) -> str:
    """The id of the contact that is found or created."""
    found: str = (await resolve(desk, *texts, make=True, **more))["contact"]["id"]
    return found


async def known_by(desk: Desk, contact_id: str) -> dict[str, str]:
    """What a contact is known by, with the evidence."""
    rows = await desk.admin.fetch(
        "select kind::text || ':' || key as name, evidence::text from public.contact_identities where contact_id = $1",
        contact_id,
    )
    return {row["name"]: row["evidence"] for row in rows}


async def conflicts(desk: Desk) -> list[tuple[str, str, str]]:
    """What was parked for a member: of whom, by whom, why."""
    rows = await desk.admin.fetch(
        "select object_id::text, actor_id::text, code from public.audit_events where verb = 'identity.conflict'"
    )
    return [tuple(row) for row in rows]


async def test_nobody_is_made_unless_asked_for(desk: Desk) -> None:
    before = await desk.everything()
    with pytest.raises(Raised) as refused:
        await resolve(desk, "telegram:42")
    assert (refused.value.status, refused.value.code) == (404, "contact_not_found")
    assert await desk.everything() == before

    first = await resolve(desk, "telegram:42", make=True, profile={"first_name": "Ann"}, verified_by="telegram")
    again = await resolve(desk, "telegram:42")
    assert (first["created"], again["created"]) == (True, False)
    assert again["contact"] == first["contact"]
    (identity,) = first["contact"]["identities"]
    assert (identity["evidence"], identity["verified_by"], identity["asserted_by"]) == (
        "verified",
        "telegram",
        "service",
    )
    assert identity["verified_at"]
    assert identity["asserted_at"]


async def test_fifty_resolves_of_one_new_sender_at_once_make_one_contact(desk: Desk) -> None:
    admin = await member(desk)
    async with Desk(desk.gate_url, desk.admin_url, connections=25) as crowd:
        found = await asyncio.gather(
            *(
                resolve(
                    crowd,
                    *(("telegram:9007199254740993", "phone:+15551234567")[:: 1 if n % 2 else -1]),
                    make=True,
                    token=admin if n % 3 else OPERATOR,
                )
                for n in range(50)
            )
        )
    assert len({answer["contact"]["id"] for answer in found}) == 1
    assert sum(answer["created"] for answer in found) == 1
    assert await desk.count("contacts") == 1
    assert await desk.count("contact_identities") == 2


async def test_a_resolve_and_a_registration_of_one_new_email_at_once_make_one_contact(desk: Desk) -> None:
    async with Desk(desk.gate_url, desk.admin_url, connections=20) as crowd:
        await asyncio.gather(
            *(crowd.register("ann@example.test") for _ in range(10)),
            *(resolve(crowd, "email:Ann@Example.test", make=True) for _ in range(10)),
        )
    assert await desk.count("contacts") == 1


async def test_a_contact_has_several_emails_and_phones(desk: Desk) -> None:
    names = ["email:ann@example.test", "email:a.n@example.test", "phone:+15551234567", "phone:+15557654321"]
    ann = await made(desk, *names)
    assert set(await known_by(desk, ann)) == set(names)
    for name in names:
        assert await made(desk, name) == ann


async def test_a_whatsapp_number_and_its_business_scoped_ids_meet_in_one_contact(desk: Desk) -> None:
    number = await made(desk, "whatsapp:16505551234", verified_by="whatsapp")
    both = await made(desk, "whatsapp:+1 650 555 1234", "whatsapp:US.1349", verified_by="whatsapp")
    alone = await made(desk, "whatsapp:US.1349", "whatsapp:US.ENT.77", verified_by="whatsapp")
    assert number == both == alone == await made(desk, "whatsapp:US.ENT.77")
    assert await known_by(desk, number) == {
        "whatsapp:+16505551234": "verified",
        "phone:+16505551234": "verified",
        "whatsapp:US.1349": "verified",
        "whatsapp:US.ENT.77": "verified",
    }


async def test_a_whatsapp_number_finds_whoever_is_known_by_that_phone(desk: Desk) -> None:
    proved = await made(desk, "phone:+15550000001", verified_by="sms")
    typed = await made(desk, "phone:+15550000002")
    assert await made(desk, "whatsapp:15550000001", verified_by="whatsapp") == proved
    assert await made(desk, "whatsapp:15550000002", verified_by="whatsapp") == typed
    assert (await known_by(desk, typed))["phone:+15550000002"] == "verified"


async def test_a_number_that_somebody_proven_only_typed_is_not_theirs(desk: Desk) -> None:
    mallory = await made(desk, "email:mallory@example.test", verified_by="crm")
    assert await made(desk, "email:mallory@example.test", "phone:+15550000003") == mallory
    owner = await made(desk, "whatsapp:15550000003", verified_by="whatsapp")
    assert owner != mallory
    assert set(await known_by(desk, mallory)) == {"email:mallory@example.test"}
    assert set(await known_by(desk, owner)) == {"whatsapp:+15550000003", "phone:+15550000003"}


async def test_an_identity_that_was_only_typed_belongs_to_whoever_proves_it(desk: Desk) -> None:
    mallory = await made(desk, "telegram:7", verified_by="telegram")
    assert await made(desk, "telegram:7", "email:ann@example.test") == mallory
    assert (await resolve(desk, "email:ann@example.test"))["contact"]["id"] == mallory
    ann = await made(desk, "email:ann@example.test", verified_by="crm")
    assert ann != mallory
    assert await known_by(desk, ann) == {"email:ann@example.test": "verified"}
    # With an identity that is theirs beside it, it is they who prove it.
    assert await made(desk, "telegram:7", "email:more@example.test") == mallory
    assert await made(desk, "telegram:7", "email:more@example.test", verified_by="telegram") == mallory
    assert (await known_by(desk, mallory))["email:more@example.test"] == "verified"


async def test_identities_of_two_contacts_join_nobody_and_are_parked(desk: Desk) -> None:
    ann, bob = await made(desk, "telegram:1"), await made(desk, "email:bob@example.test")
    before = await desk.count("contact_identities")
    looked = await resolve(desk, "telegram:1", "email:bob@example.test")
    assert set(looked["conflict"]) == {ann, bob}
    assert await conflicts(desk) == []

    asked = await resolve(desk, "telegram:1", "email:bob@example.test", "omi:u1", make=True, verified_by="crm")
    assert set(asked["conflict"]) == {ann, bob}
    assert await desk.count("contact_identities") == before
    assert {subject for subject, _, _ in await conflicts(desk)} == {ann, bob}


async def test_words_change_nothing_that_stands(desk: Desk) -> None:
    ann = await made(desk, "telegram:1", verified_by="telegram", profile={"first_name": "Ann", "attributes": {"a": 1}})
    again = await resolve(
        desk, "telegram:1", make=True, profile={"first_name": "X", "last_name": "Lee", "attributes": {"a": 2, "b": 2}}
    )
    assert (again["contact"]["id"], again["contact"]["first_name"], again["contact"]["last_name"]) == (
        ann,
        "Ann",
        "Lee",
    )
    assert again["contact"]["attributes"] == {"a": 1, "b": 2}
    assert again["contact"]["identities"][0]["verified_by"] == "telegram"


async def test_the_same_identity_in_another_workspace_is_another_contact(desk: Desk) -> None:
    other, _ = await desk.open_workspace()
    here = await made(desk, "telegram:1")
    there = await made(desk, "telegram:1", workspace_id=other)
    assert here != there


async def test_only_admins_resolve_and_only_where_they_are_some(desk: Desk) -> None:
    other, _ = await desk.open_workspace()
    admin, agent = await member(desk), await member(desk, "agent")
    assert (await resolve(desk, "telegram:1", make=True, token=admin, workspace_id=None)).status == 200
    for token, workspace, expected in (
        (agent, WORKSPACE, (403, "forbidden")),
        (agent, None, (403, "forbidden")),
        (admin, other, (404, "workspace_not_found")),
        (managing(str(uuid.uuid4())), WORKSPACE, (404, "workspace_not_found")),
        (managing(str(uuid.uuid4())), None, (422, "workspace_required")),
        (OPERATOR, None, (422, "workspace_required")),
        (claims(admin["caller"]), WORKSPACE, (404, "workspace_not_found")),
    ):
        with pytest.raises(Raised) as refused:
            await resolve(desk, "telegram:1", token=token, workspace_id=workspace)
        assert (refused.value.status, refused.value.code) == expected


# Visitors ------------------------------------------------------------------------------------------------------------


async def test_a_visitor_who_tells_an_email_keeps_conversation_session_and_contact(desk: Desk) -> None:
    visitor = await desk.start()
    await desk.finish(visitor)
    told = await desk.register(
        "ann@example.test", with_token(visitor), first_name="Ann", phone="+1 555 1", phone_key="+15551"
    )
    for name in ("contact_id", "conversation_id", "session_id"):
        assert told[name] == visitor[name]
    assert told["proof"] == "asserted"
    assert await known_by(desk, visitor["contact_id"]) == {
        "email:ann@example.test": "asserted",
        "phone:+15551": "asserted",
    }
    assert await desk.count("contacts") == 1
    session = await desk.admin.fetchval("select metadata from public.sessions where id = $1", visitor["session_id"])
    assert session["registration"]["email"] == "ann@example.test"
    again = await desk.start(with_token(told))
    assert [message["text"] for message in again["history"]] == ["Hello", "Hi"]


async def test_an_email_that_somebody_has_stays_apart_and_the_answer_does_not_tell(desk: Desk) -> None:
    ann = await desk.register("ann@example.test", first_name="Ann")
    visitor = await desk.start()
    told = await desk.register("ann@example.test", with_token(visitor), first_name="Mallory")
    for name in ("contact_id", "conversation_id", "session_id"):
        assert told[name] == visitor[name]
    assert told["proof"] == "asserted"
    assert await known_by(desk, visitor["contact_id"]) == {}
    assert await known_by(desk, ann["contact_id"]) == {"email:ann@example.test": "asserted"}
    assert await desk.admin.fetchval("select first_name from public.contacts where id = $1", ann["contact_id"]) == "Ann"
    assert await conflicts(desk) == [(ann["contact_id"], visitor["contact_id"], "asserted")]
    fresh = await desk.register("bob@example.test", with_token(await desk.start()))
    assert set(fresh.body) == set(told.body)


async def test_a_visitor_who_proves_a_new_email_goes_on_with_proof(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    message = str(uuid.uuid4())
    visitor = await desk.start(client_message_id=message)
    await desk.finish(visitor)
    proof = signed("ann@example.test", SECRET)
    told = await desk.register("ann@example.test", with_token(visitor), email_hmac=proof)
    assert (told["contact_id"], told["conversation_id"], told["proof"]) == (
        visitor["contact_id"],
        visitor["conversation_id"],
        "verified",
    )
    # It is their lasting one now: from elsewhere with the same proof they go on in it.
    elsewhere = await desk.register("ann@example.test", email_hmac=proof)
    assert (elsewhere["conversation_id"], elsewhere["session_id"]) == (told["conversation_id"], told["session_id"])
    # And whoever repeats the first message without any proof does not.
    repeated = await desk.start(client_message_id=message)
    assert (repeated["conversation_id"] != told["conversation_id"], repeated["proof"]) == (True, "asserted")


async def test_a_visitor_who_proves_a_known_email_joins_that_contact_with_what_was_said(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    proof = signed("ann@example.test", SECRET)
    ann = await desk.register("ann@example.test", email_hmac=proof)
    visitor = await desk.start()
    told = await desk.register("ann@example.test", with_token(visitor), email_hmac=proof)
    assert (told["contact_id"], told["conversation_id"]) == (ann["contact_id"], ann["conversation_id"])
    assert await conflicts(desk) == []
    assert (
        await desk.count("contacts", "merged_into_id = $1 and id = $2", ann["contact_id"], visitor["contact_id"]) == 1
    )
    assert await desk.count("conversations", "contact_id = $1", ann["contact_id"]) == 2
    await desk.finish(visitor)
    assert (await desk.start(with_token(visitor)))["conversation_id"] == visitor["conversation_id"]


async def test_a_visitor_becomes_known_once(desk: Desk) -> None:
    visitor = await desk.start()
    async with Desk(desk.gate_url, desk.admin_url, connections=8) as crowd:
        told = await asyncio.gather(
            *(crowd.register(f"a{n % 2}@example.test", with_token(visitor)) for n in range(8)),
        )
    assert len(await known_by(desk, visitor["contact_id"])) == 1
    assert visitor["contact_id"] in {each["contact_id"] for each in told}
    assert await desk.count("contact_identities") == 2


async def test_two_who_prove_two_typed_identities_of_one_contact_at_once_are_not_joined(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    async with Desk(desk.gate_url, desk.admin_url, connections=2) as crowd:
        for number in range(10):
            email, phone = f"a{number}@example.test", f"+4915112345{number:03}"
            await desk.register(email, phone=phone, phone_key=phone)
            proved, wrote = await asyncio.gather(
                crowd.register(email, email_hmac=signed(email, SECRET)),
                resolve(crowd, f"whatsapp:{phone}", make=True, verified_by="whatsapp"),
            )
            assert proved["contact_id"] != wrote["contact"]["id"]


async def test_who_proves_a_typed_identity_waits_for_who_is_proving_another(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    email, phone = "ann@example.test", "+4915112345678"
    await desk.register(email, phone=phone, phone_key=phone)
    async with desk._pool.acquire() as first:
        transaction = first.transaction()
        await transaction.start()
        proved = await call(
            first,
            "register_contact",
            claims(),
            space_id=SPACE,
            space_kind="embed",
            email=email,
            email_key=email,
            email_hmac=signed(email, SECRET),
        )
        second = asyncio.create_task(resolve(desk, f"whatsapp:{phone}", make=True, verified_by="whatsapp"))
        await asyncio.sleep(0.3)
        assert not second.done()
        await transaction.commit()
    assert (await second)["contact"]["id"] != proved["contact_id"]
    assert await known_by(desk, proved["contact_id"]) == {f"email:{email}": "verified"}


async def test_a_visitor_for_whom_a_member_opened_a_conversation_proves_an_email(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    message = str(uuid.uuid4())
    visitor = await desk.start(client_message_id=message)
    boss = (await member(desk))["caller"]
    opened = await desk.call(
        "start_session",
        {"role": "switchboard", "scope": {}, "caller": boss},
        contact_id=visitor["contact_id"],
        space_id=SPACE,
    )
    proof = signed("ann@example.test", SECRET)
    told = await desk.register("ann@example.test", with_token(visitor), email_hmac=proof)
    assert (told["conversation_id"], told["proof"]) == (visitor["conversation_id"], "verified")
    elsewhere = await desk.register("ann@example.test", email_hmac=proof)
    assert elsewhere["conversation_id"] == opened["conversation_id"] != told["conversation_id"]
    assert (await desk.start(client_message_id=message))["conversation_id"] != told["conversation_id"]


async def test_two_who_prove_each_others_emails_at_once_do_not_wait_in_a_circle(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    emails = ("ann@example.test", "bob@example.test")
    tokens = [with_token(await desk.register(email, email_hmac=signed(email, SECRET))) for email in emails]
    async with Desk(desk.gate_url, desk.admin_url, connections=8) as crowd:
        for _ in range(5):
            await asyncio.gather(
                *(
                    crowd.register(emails[1 - n % 2], tokens[n % 2], email_hmac=signed(emails[1 - n % 2], SECRET))
                    for n in range(8)
                )
            )


async def test_a_second_email_does_not_tell_whether_somebody_had_the_first(desk: Desk) -> None:
    await desk.register("ann@example.test")
    for first in ("ann@example.test", "nobody@example.test"):
        visitor = await desk.start()
        told = await desk.register(first, with_token(visitor))
        second = await desk.register(f"second-{first}", with_token(told))
        assert told["contact_id"] == visitor["contact_id"]
        assert second["contact_id"] != visitor["contact_id"]
        assert second["conversation_id"] != visitor["conversation_id"]


async def test_a_token_of_another_workspace_makes_nobody_known(desk: Desk) -> None:
    _, elsewhere = await desk.open_workspace()
    visitor = await desk.start(space=elsewhere)
    with pytest.raises(Raised) as refused:
        await desk.register("ann@example.test", with_token(visitor, SPACE))
    assert (refused.value.status, refused.value.code) == (404, "space_not_found")
    assert await desk.count("contact_identities") == 0


async def test_the_first_session_stays_the_linked_one(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    typed = await desk.register("ann@example.test")
    proved = await desk.register("ann@example.test", email_hmac=signed("ann@example.test", SECRET))
    assert proved["contact_id"] == typed["contact_id"]
    assert str(await desk.admin.fetchval("select session_id from public.contacts")) == typed["session_id"]


# Users ---------------------------------------------------------------------------------------------------------------


async def test_a_user_who_confirms_an_email_goes_on_where_they_were(desk: Desk) -> None:
    ann = await desk.sign_up("ann@example.test", confirmed=False)
    before = await desk.start(claims(user(ann, "ann@example.test")))
    await desk.finish(before)
    await desk.admin.execute("update auth.users set email_confirmed_at = now() where id = $1", ann)
    after = await desk.start(claims(user(ann, "ann@example.test")))
    assert (after["contact_id"], after["conversation_id"]) == (before["contact_id"], before["conversation_id"])
    assert set(await known_by(desk, before["contact_id"])) == {f"external:auth:{ann}", "email:ann@example.test"}


async def test_a_user_whose_email_changes_stays_who_they_are(desk: Desk) -> None:
    ann = await desk.sign_up("ann@example.test")
    before = await desk.start(claims(user(ann, "ann@example.test")))
    await desk.finish(before)
    await desk.admin.execute("update auth.users set email = 'new@example.test' where id = $1", ann)
    after = await desk.start(claims(user(ann, "new@example.test")))
    assert after["conversation_id"] == before["conversation_id"]
    assert set(await known_by(desk, before["contact_id"])) == {
        f"external:auth:{ann}", "email:ann@example.test", "email:new@example.test",
    }  # fmt: skip


async def test_an_email_that_somebody_else_proved_is_not_a_users(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    bob = await desk.register("bob@example.test", email_hmac=signed("bob@example.test", SECRET))
    ann = await desk.sign_up("ann@example.test")
    before = await desk.start(claims(user(ann, "ann@example.test")))
    await desk.finish(before)
    await desk.admin.execute("update auth.users set email = 'bob@example.test' where id = $1", ann)
    token = claims(user(ann, "bob@example.test"))
    after = await desk.start(token)
    assert (after["contact_id"], after["conversation_id"]) == (before["contact_id"], before["conversation_id"])
    registered = await desk.register("bob@example.test", token)
    assert registered["contact_id"] == before["contact_id"]
    assert await conflicts(desk) == [(bob["contact_id"], before["contact_id"], "supabase_auth")]
    assert set(await known_by(desk, bob["contact_id"])) == {"email:bob@example.test"}
