"""How outside people become contacts: who counts as whom, what proof changes, and what the limits keep out."""

import asyncio
from collections.abc import Callable

import pytest

from tests.database.desk import JSON, LANDING, PERSONA, SPACE, WORKSPACE, Desk, Raised, claims, signed, user

SECRET = "the customer's own"


async def _name(desk: Desk, contact: str) -> tuple[str | None, str | None]:
    row = await desk.admin.fetchrow("select first_name, last_name from public.contacts where id = $1", contact)
    assert row is not None
    return row["first_name"], row["last_name"]


async def test_a_registration_makes_contact_identity_conversation_session_and_link(desk: Desk) -> None:
    ann = await desk.register(
        " Ann@Example.test",
        first_name="Ann",
        source="fair",
        attributes={"plan": "pro"},
        client={"address": "192.0.2.1", "user_agent": "Browser"},
    )

    assert (ann.status, ann["workspace_id"], ann["session_status"], ann["proof"]) == (
        200,
        WORKSPACE,
        "active",
        "asserted",
    )
    identity = await desk.admin.fetchrow("select * from public.contact_identities")
    assert identity is not None
    assert (str(identity["contact_id"]), identity["kind"], identity["key"], identity["value"]) == (
        ann["contact_id"],
        "email",
        "ann@example.test",
        " Ann@Example.test",
    )
    assert (identity["evidence"], identity["verified_by"], identity["verified_at"]) == ("asserted", None, None)
    contact = await desk.admin.fetchrow("select * from public.contacts where id = $1", ann["contact_id"])
    assert contact is not None
    assert (contact["first_name"], contact["source"], contact["attributes"]) == ("Ann", "fair", {"plan": "pro"})
    assert str(contact["session_id"]) == ann["session_id"]
    session = await desk.admin.fetchrow("select * from public.sessions where id = $1", ann["session_id"])
    assert session is not None
    assert (str(session["contact_id"]), str(session["conversation_id"])) == (ann["contact_id"], ann["conversation_id"])
    assert (session["metadata"]["address"], session["metadata"]["user_agent"]) == ("192.0.2.1", "Browser")
    assert session["metadata"]["registration"]["email"] == " Ann@Example.test"
    verbs = await desk.admin.fetch("select verb from public.audit_events order by verb")
    assert [row["verb"] for row in verbs] == ["contact.created", "contact.registered"]


async def test_a_landing_page_and_a_chat_share_the_contacts_of_their_workspace(desk: Desk) -> None:
    chat = await desk.register("ann@example.test")
    page = await desk.register("ann@example.test", space=LANDING, kind="landing")

    assert page["contact_id"] == chat["contact_id"]
    with pytest.raises(Raised, match="space_not_found"):
        await desk.register("ann@example.test", space=LANDING, kind="embed")


async def test_a_hundred_arrivals_of_one_email_in_mixed_case_are_one_contact(desk: Desk) -> None:
    spellings = ("ann@example.test", "ANN@example.test", "Ann@Example.Test", "aNN@EXAMPLE.TEST")

    async with Desk(desk.gate_url, desk.admin_url, connections=20) as crowd:
        arrived = await asyncio.gather(*(crowd.register(spellings[n % 4], first_name=f"A{n}") for n in range(100)))

    assert len({each["contact_id"] for each in arrived}) == 1
    assert len({each["conversation_id"] for each in arrived}) == 100
    assert await desk.count("contacts") == 1
    assert await desk.count("contact_identities") == 1
    linked = await desk.admin.fetchval("select session_id::text from public.contacts")
    assert linked in {each["session_id"] for each in arrived}
    assert await desk.admin.fetchval("select taken from public.rate_limits where name = 'arrivals_by_space'") == 100


async def test_a_hundred_verified_arrivals_of_one_email_share_one_conversation_and_session(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    proof = signed("ann@example.test", SECRET)

    async with Desk(desk.gate_url, desk.admin_url, connections=20) as crowd:
        arrived = await asyncio.gather(*(crowd.register("ann@example.test", email_hmac=proof) for _ in range(100)))

    assert len({(each["contact_id"], each["conversation_id"], each["session_id"]) for each in arrived}) == 1
    assert await desk.count("sessions") == 1


async def test_the_same_email_in_another_workspace_is_another_contact(desk: Desk) -> None:
    _, elsewhere = await desk.open_workspace()

    here = await desk.register("ann@example.test")
    there = await desk.register("ann@example.test", space=elsewhere)

    assert here["contact_id"] != there["contact_id"]
    assert here["workspace_id"] != there["workspace_id"]


async def test_somebodys_word_never_changes_a_contact(desk: Desk) -> None:
    ann = await desk.register("ann@example.test", first_name="Ann", attributes={"plan": "pro"})
    again = await desk.register(
        "ann@example.test", first_name="Mallory", last_name="Impostor", attributes={"plan": "free", "vip": True}
    )

    assert again["contact_id"] == ann["contact_id"]
    assert await _name(desk, ann["contact_id"]) == ("Ann", None)
    assert await desk.admin.fetchval("select attributes from public.contacts") == {"plan": "pro"}
    assert await desk.admin.fetchval("select evidence from public.contact_identities") == "asserted"


async def test_somebodys_word_opens_a_conversation_of_its_own_each_time(desk: Desk) -> None:
    first = await desk.register("ann@example.test")
    second = await desk.register("ann@example.test")

    assert first["conversation_id"] != second["conversation_id"]
    assert (first["proof"], second["proof"]) == ("asserted", "asserted")


async def test_what_was_typed_gives_way_to_what_comes_with_proof(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    ann = await desk.register("ann@example.test", first_name="Ann", attributes={"plan": "pro"})

    proven = await desk.register(
        "ann@example.test",
        email_hmac=signed("ann@example.test", SECRET),
        first_name="Anna",
        last_name="Lee",
        attributes={"plan": "free", "city": "Bonn"},
    )

    assert (proven["contact_id"], proven["proof"]) == (ann["contact_id"], "verified")
    assert await _name(desk, ann["contact_id"]) == ("Anna", "Lee")
    attributes = await desk.admin.fetchval("select attributes from public.contacts")
    assert attributes == {"plan": "free", "city": "Bonn"}
    identity = await desk.admin.fetchrow("select evidence, verified_by, verified_at from public.contact_identities")
    assert identity is not None
    assert tuple(identity)[:2] == ("verified", "hmac")
    assert identity["verified_at"] is not None


async def test_later_proof_fills_in_what_is_missing_and_nothing_else(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    proof = signed("ann@example.test", SECRET)
    ann = await desk.register("ann@example.test", email_hmac=proof, first_name="Ann", attributes={"plan": "pro"})

    again: JSON = {"first_name": "Anna", "last_name": "Lee", "attributes": {"plan": "free", "city": "Bonn"}}
    await desk.register("ann@example.test", email_hmac=proof, **again)

    assert await _name(desk, ann["contact_id"]) == ("Ann", "Lee")
    attributes = await desk.admin.fetchval("select attributes from public.contacts")
    assert attributes == {"plan": "pro", "city": "Bonn"}


async def test_nobody_adds_a_phone_to_somebody_elses_contact(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    await desk.register("boss@example.test", email_hmac=signed("boss@example.test", SECRET))

    await desk.register("boss@example.test", phone="+1 555 0001", phone_key="+15550001")

    assert await desk.count("contact_identities", "kind = 'phone'") == 0


async def test_proof_once_given_is_not_lost_to_a_later_word(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    await desk.register("ann@example.test", email_hmac=signed("ann@example.test", SECRET))

    later = await desk.register("ann@example.test")

    assert later["proof"] == "asserted"
    assert await desk.admin.fetchval("select evidence from public.contact_identities") == "verified"


async def test_a_verified_person_finds_their_conversation_and_session_again(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    proof = signed("ann@example.test", SECRET)

    first = await desk.register("ann@example.test", email_hmac=proof)
    second = await desk.register("ann@example.test", email_hmac=proof)

    assert (second["conversation_id"], second["session_id"]) == (first["conversation_id"], first["session_id"])


@pytest.mark.parametrize("text", ["Ann@Example.test", "ann@example.test"])
@pytest.mark.parametrize("form", [str.lower, str.upper])
async def test_the_email_may_be_signed_as_typed_or_normalised_and_hex_in_any_case(
    desk: Desk, text: str, form: Callable[[str], str]
) -> None:
    await desk.believe_hmacs(SECRET)

    ann = await desk.register("Ann@Example.test", email_hmac=form(signed(text, SECRET)))

    assert ann["proof"] == "verified"


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(signed("ann@example.test", "another secret"), id="another secret"),
        pytest.param(signed("eve@example.test", SECRET), id="another email"),
        pytest.param(signed("ann@example.test", SECRET)[:-2], id="cut short"),
        pytest.param("z" * 64, id="no hex"),
        pytest.param("", id="empty"),
    ],
)
async def test_a_wrong_hmac_is_refused_and_leaves_nothing(desk: Desk, wrong: str) -> None:
    await desk.believe_hmacs(SECRET)
    before = await desk.everything()

    with pytest.raises(Raised) as registering:
        await desk.register("ann@example.test", email_hmac=wrong)
    with pytest.raises(Raised) as writing:
        await desk.start(email="ann@example.test", email_hmac=wrong)

    for refused in (registering.value, writing.value):
        assert (refused.status, refused.code) == (401, "email_hmac_invalid")

    assert await desk.everything() == before
    assert await desk.count("rate_limits") == 0


async def test_a_space_without_a_secret_believes_no_hmac(desk: Desk) -> None:
    for secret in ("", SECRET):
        with pytest.raises(Raised, match="email_hmac_invalid"):
            await desk.register("ann@example.test", email_hmac=signed("ann@example.test", secret))


async def test_another_spaces_secret_proves_nothing_here(desk: Desk) -> None:
    _, elsewhere = await desk.open_workspace()
    secret = await desk.keep_secret(SECRET)
    await desk.admin.execute("update public.spaces set hmac_secret_id = $1 where id = $2", secret, elsewhere)

    with pytest.raises(Raised, match="email_hmac_invalid"):
        await desk.register("ann@example.test", email_hmac=signed("ann@example.test", SECRET))


async def test_a_signed_in_user_registers_with_proof_only_for_their_own_confirmed_email(desk: Desk) -> None:
    ann = await desk.sign_up("ann@example.test")
    bob = await desk.sign_up("bob@example.test", confirmed=False)

    own = await desk.register("Ann@example.test", claims(user(ann, "ann@example.test")))
    foreign = await desk.register("carl@example.test", claims(user(ann, "ann@example.test")))
    unconfirmed = await desk.register("bob@example.test", claims(user(bob, "bob@example.test")))
    claimed = await desk.register("dora@example.test", claims(user(ann, "dora@example.test")))

    assert [each["proof"] for each in (own, foreign, unconfirmed, claimed)] == [
        "verified",
        "asserted",
        "asserted",
        "asserted",
    ]
    by = await desk.admin.fetchval("select verified_by from public.contact_identities where evidence = 'verified'")
    assert by == "supabase_auth"


async def test_a_phone_is_kept_as_an_asserted_identity(desk: Desk) -> None:
    ann = await desk.register("ann@example.test", phone="+49 123", phone_key="+49123")

    phone = await desk.admin.fetchrow("select * from public.contact_identities where kind = 'phone'")
    assert phone is not None
    assert (str(phone["contact_id"]), phone["key"], phone["value"], phone["evidence"]) == (
        ann["contact_id"],
        "+49123",
        "+49 123",
        "asserted",
    )


async def test_a_phone_that_is_somebody_elses_stays_theirs(desk: Desk) -> None:
    ann = await desk.register("ann@example.test", phone="+49 123", phone_key="+49123")
    bob = await desk.register("bob@example.test", phone="+49123", phone_key="+49123")

    assert bob["contact_id"] != ann["contact_id"]
    owners = await desk.admin.fetch("select contact_id::text from public.contact_identities where kind = 'phone'")
    assert [row[0] for row in owners] == [ann["contact_id"]]
    typed = await desk.admin.fetchval(
        "select metadata -> 'registration' ->> 'phone' from public.sessions where id = $1", bob["session_id"]
    )
    assert typed == "+49123"


async def test_the_link_to_the_first_session_is_never_repointed(desk: Desk) -> None:
    first = await desk.register("ann@example.test")
    await desk.register("ann@example.test")
    await desk.admin.execute("update public.sessions set status = 'completed', ended_at = now()")
    await desk.register("ann@example.test")

    assert str(await desk.admin.fetchval("select session_id from public.contacts")) == first["session_id"]
    assert await desk.count("sessions", "contact_id = $1", first["contact_id"]) == 3


async def test_the_link_empties_with_its_session_and_the_next_session_takes_its_place(desk: Desk) -> None:
    first = await desk.register("ann@example.test")
    await desk.admin.execute("delete from public.sessions where id = $1", first["session_id"])
    assert await desk.admin.fetchval("select session_id from public.contacts") is None

    second = await desk.register("ann@example.test")

    assert str(await desk.admin.fetchval("select session_id from public.contacts")) == second["session_id"]


@pytest.mark.parametrize("change", ["enabled = false", "kind = 'landing'"])
async def test_a_space_that_is_closed_or_of_another_kind_is_not_there(desk: Desk, change: str) -> None:
    await desk.admin.execute(f"update public.spaces set {change} where id = $1", SPACE)

    with pytest.raises(Raised) as refused:
        await desk.register("ann@example.test")

    assert (refused.value.status, refused.value.code) == (404, "space_not_found")
    assert await desk.count("contacts") == 0


async def test_a_token_for_one_workspace_opens_no_space_of_another(desk: Desk) -> None:
    workspace, elsewhere = await desk.open_workspace()

    for token in (
        claims(space=SPACE),
        {**claims(), "scope": {"workspace_id": workspace, "space_id": SPACE}},
        {**claims(), "scope": {"system": True}},
        {**claims(), "scope": {}},
    ):
        with pytest.raises(Raised, match="space_not_found"):
            await desk.register("ann@example.test", token, space=elsewhere)
    assert await desk.count("contacts") == 0


async def test_a_space_tells_its_origins(desk: Desk) -> None:
    await desk.admin.execute(
        "update public.spaces set allowed_origins = '{https://a.example,https://b.example}' where id = $1", SPACE
    )

    told = await desk.call("space_origins", claims(), space_id=SPACE)

    assert told.body == {"origins": ["https://a.example", "https://b.example"]}
    assert await desk.admin.fetchval("select count(*) from public.spaces where persona_id = $1", PERSONA) == 2
