"""How visitors become contacts: which contact an email leads to, and what a proof changes.

Proof that leads to another contact is test_identities' and test_merges_visitors'. The access matrix has the spaces that
a caller reaches.
"""

import asyncio

import pytest

from tests.database.desk import JSON, LANDING, SECRET, SPACE, WORKSPACE, Desk, claims, refusal, signed, user, with_token
from tests.database.merging import resolve

LINK = "select session_id::text from public.contacts"
PROFILE = "select first_name, last_name, attributes from public.contacts"
IDENTITY = "select contact_id::text, key, value, evidence::text, verified_by from public.contact_identities"


async def test_a_registration_creates_contact_identity_conversation_and_session(desk: Desk) -> None:
    client = {"address": "192.0.2.1", "user_agent": "Browser"}
    more: JSON = {"first_name": "Ann", "source": "fair", "attributes": {"plan": "pro"}, "client": client}
    ann = await desk.register(" Ann@Example.test", phone="+49 123", phone_key="+49123", **more)

    assert (ann.status, ann["workspace_id"], ann["session_status"]) == (200, WORKSPACE, "active")
    assert ann["proof"] == "asserted"
    assert await desk.all(f"{IDENTITY} order by kind") == [
        (ann["contact_id"], "ann@example.test", " Ann@Example.test", "asserted", None),
        (ann["contact_id"], "+49123", "+49 123", "asserted", None),
    ]
    contact = await desk.row("contacts", ann["contact_id"])
    assert (contact["first_name"], contact["source"], contact["attributes"]) == ("Ann", "fair", {"plan": "pro"})
    assert contact["session_id"] == ann["session_id"]
    session = await desk.row("sessions", ann["session_id"])
    assert (session["contact_id"], session["conversation_id"]) == (ann["contact_id"], ann["conversation_id"])
    assert session["metadata"].pop("registration")["email"] == " Ann@Example.test"
    assert session["metadata"].items() >= client.items()
    verbs = await desk.all("select verb from public.audit_events order by verb")
    assert verbs == [("contact.created",), ("contact.registered",)]


@pytest.mark.parametrize("proven", [False, True])
async def test_a_hundred_concurrent_arrivals_of_one_email_are_one_contact(desk: Desk, *, proven: bool) -> None:
    await desk.believe_hmacs()
    spellings = ("ann@example.test", "ANN@example.test", "Ann@Example.Test", "aNN@EXAMPLE.TEST")

    async with desk.crowd(20) as crowd:
        arrived = await asyncio.gather(
            *((crowd.prove if proven else crowd.register)(spellings[number % 4]) for number in range(100))
        )

    # Only a proof leads into an existing conversation.
    for name in ("conversation_id", "session_id"):
        assert len({each[name] for each in arrived}) == (1 if proven else 100)
    assert await desk.count("contacts") == await desk.count("contact_identities") == 1
    assert (await desk.one(LINK))[0] in {each["session_id"] for each in arrived}
    assert await desk.one("select taken from public.rate_limits where name = 'arrivals_by_space'") == (100,)


async def test_contacts_are_shared_by_the_spaces_of_one_workspace(desk: Desk) -> None:
    _, elsewhere = await desk.open_workspace()
    chat = await desk.register("ann@example.test")
    page = await desk.register("ann@example.test", space=LANDING, kind="landing")
    there = await desk.register("ann@example.test", space=elsewhere)

    assert page["contact_id"] == chat["contact_id"] != there["contact_id"]
    assert there["workspace_id"] != WORKSPACE


async def test_unverified_claims_never_overwrite_stored_data(desk: Desk) -> None:
    await desk.believe_hmacs()
    ann = await desk.prove("ann@example.test", first_name="Ann", attributes={"plan": "pro"})
    claim: JSON = {"first_name": "Eve", "last_name": "X", "attributes": {"plan": "free", "vip": True}}
    again = await desk.register("ann@example.test", phone="+49 123", phone_key="+49123", **claim)

    assert (again["contact_id"], again["proof"]) == (ann["contact_id"], "asserted")
    assert await desk.one(PROFILE) == ("Ann", None, {"plan": "pro"})
    assert (await desk.one(IDENTITY))[3:] == ("verified", "hmac")


@pytest.mark.parametrize("first_with_proof", [False, True])
async def test_a_proof_replaces_unverified_data_and_what_it_names(desk: Desk, *, first_with_proof: bool) -> None:
    await desk.believe_hmacs()
    arrive = desk.prove if first_with_proof else desk.register
    ann = await arrive("ann@example.test", first_name="Ann", attributes={"plan": "pro"})
    more: JSON = {"first_name": "Anna", "last_name": "Lee", "attributes": {"plan": "free", "city": "Bonn"}}
    proven = await desk.prove("ann@example.test", **more)

    assert (proven["contact_id"], proven["proof"]) == (ann["contact_id"], "verified")
    assert await desk.one(PROFILE) == ("Anna", "Lee", {"plan": "free", "city": "Bonn"})
    await desk.prove("ann@example.test", last_name="Lee-Gray", attributes={"city": "x" * 16_384})
    # Attributes that would become too large stay as they are: an optional field never blocks an arrival.
    assert await desk.one(PROFILE) == ("Anna", "Lee-Gray", {"plan": "free", "city": "Bonn"})
    assert await desk.count("contact_identities", "verified_by = 'hmac' and verified_at is not null") == 1


@pytest.mark.parametrize("proof", ["registration", "message", "service"])
async def test_what_was_typed_before_proof_ends_with_it(desk: Desk, proof: str) -> None:
    await desk.believe_hmacs()
    email = "ann@example.test"
    typed: JSON = {"first_name": "Mallory", "last_name": "Lee", "source": "fair"}
    typed |= {"attributes": {"plan": "pro", "city": "Bonn", "vip": True}, "phone": "+49 123", "phone_key": "+49123"}
    await desk.register(email, **typed)
    # A member has corrected the city.
    await desk.admin.execute('update public.contacts set attributes = attributes || \'{"city": "Rome"}\'')
    if proof == "registration":
        await desk.prove(email, first_name="Mallory", attributes={"vip": True})
    elif proof == "message":
        await desk.start(email=email, email_hmac=signed(email, SECRET))
    else:
        await resolve(desk, f"email:{email}", make=True, verified_by="crm", profile={"first_name": "Mallory"})
    given = {
        "registration": ("Mallory", None, {"city": "Rome", "vip": True}),
        "message": (None, None, {"city": "Rome"}),
    }
    assert await desk.one(PROFILE) == given.get(proof, ("Mallory", None, {"city": "Rome"}))
    assert await desk.one("select source, unproven from public.contacts") == (None, {})
    assert [row[1] for row in await desk.all(IDENTITY)] == [email]


async def test_values_that_a_visitor_typed_end_with_the_visitors_proof(desk: Desk) -> None:
    await desk.believe_hmacs()
    await desk.register("ann@example.test")
    visitor = await desk.start()
    await desk.register("ann@example.test", with_token(visitor), first_name="Ann", attributes={"plan": "pro"})
    profile = f"{PROFILE} where id = $1"
    assert await desk.one(profile, visitor["contact_id"]) == ("Ann", None, {"plan": "pro"})
    told = await desk.prove("new@example.test", with_token(visitor), last_name="Lee")
    assert told["contact_id"] == visitor["contact_id"]
    assert await desk.one(profile, visitor["contact_id"]) == (None, "Lee", {})


@pytest.mark.parametrize("text", ["Ann@Example.test", "ann@example.test"])
async def test_the_signed_email_is_the_typed_or_the_normalised_one_with_hex_in_any_case(desk: Desk, text: str) -> None:
    await desk.believe_hmacs()
    for proof in (signed(text, SECRET), signed(text, SECRET).upper()):
        assert (await desk.register("Ann@Example.test", email_hmac=proof))["proof"] == "verified"


async def test_a_wrong_hmac_is_refused_and_leaves_nothing(desk: Desk) -> None:
    _, elsewhere = await desk.open_workspace()
    secret = await desk.keep_secret(SECRET)
    await desk.admin.execute("update public.spaces set hmac_secret_id = $1 where id = $2", secret, elsewhere)
    before = await desk.everything()
    right = signed("ann@example.test", SECRET)
    invalid = (401, "email_hmac_invalid")

    # A space without a secret accepts none, whatever the secret of another space.
    for proof in (right, signed("ann@example.test", "")):
        assert await refusal(desk.register("ann@example.test", email_hmac=proof)) == invalid
    await desk.believe_hmacs()
    others = (signed("ann@example.test", "another"), signed("eve@example.test", SECRET))
    for proof in (*others, right[:-2], "z" * 64, ""):
        assert await refusal(desk.register("ann@example.test", email_hmac=proof)) == invalid
        assert await refusal(desk.start(email="ann@example.test", email_hmac=proof)) == invalid

    assert await desk.everything() == before
    assert await desk.count("rate_limits") == 0


async def test_a_user_proves_only_their_own_confirmed_email(desk: Desk) -> None:
    ann = await desk.sign_up("ann@example.test")
    bob = await desk.sign_up("bob@example.test", confirmed=False)
    arrivals = (
        ("Ann@example.test", user(ann, "ann@example.test"), "verified"),
        ("carl@example.test", user(ann, "ann@example.test"), "asserted"),
        ("bob@example.test", user(bob, "bob@example.test"), "asserted"),
        ("dora@example.test", user(ann, "dora@example.test"), "asserted"),
    )
    for email, caller, proof in arrivals:
        assert (await desk.register(email, claims(caller)))["proof"] == proof
    verified = await desk.all(f"{IDENTITY} where kind = 'email' and evidence = 'verified'")
    assert [row[4] for row in verified] == ["supabase_auth"]
    # The user's next message continues in the conversation of the registration.
    own = await desk.register("ann@example.test", claims(user(ann, "ann@example.test")))
    turn = await desk.start(claims(user(ann, "ann@example.test")))
    assert (turn["conversation_id"], turn["session_id"]) == (own["conversation_id"], own["session_id"])


async def test_a_phone_of_another_contact_stays_theirs(desk: Desk) -> None:
    ann = await desk.register("ann@example.test", phone="+49 123", phone_key="+49123")
    bob = await desk.register("bob@example.test", phone="+49123", phone_key="+49123")

    assert bob["contact_id"] != ann["contact_id"]
    assert (await desk.one(f"{IDENTITY} where kind = 'phone'"))[0] == ann["contact_id"]
    session = await desk.row("sessions", bob["session_id"])
    assert session["metadata"]["registration"]["phone"] == "+49123"


async def test_the_link_to_the_first_session_moves_only_when_that_session_is_deleted(desk: Desk) -> None:
    first = await desk.register("ann@example.test")
    await desk.register("ann@example.test")
    await desk.admin.execute("update public.sessions set status = 'completed', ended_at = now()")
    await desk.register("ann@example.test")
    assert await desk.one(LINK) == (first["session_id"],)

    await desk.admin.execute("delete from public.sessions where id = $1", first["session_id"])
    assert await desk.one(LINK) == (None,)
    last = await desk.register("ann@example.test")
    assert await desk.one(LINK) == (last["session_id"],)


async def test_a_token_ends_with_the_space_that_issued_it(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")
    await desk.admin.execute("update public.spaces set enabled = false where id = $1", SPACE)
    refused = await refusal(desk.start(with_token(ann, LANDING), space=LANDING))
    assert refused == (401, "token_revoked")
