"""Whose message lands where: callers with and without a token, users, members, and what is repeated."""

import asyncio
import uuid

import asyncpg
import pytest

from tests.database.desk import JSON, LANDING, PERSONA, SPACE, WORKSPACE, Desk, Raised, claims, signed, user, with_token

SECRET = "the customer's own"


async def _member(desk: Desk, role: str = "agent") -> str:
    member = await desk.sign_up(f"{uuid.uuid4()}@example.test")
    await desk.admin.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, $3)",
        WORKSPACE,
        member,
        role,
    )
    return member


async def test_a_first_message_needs_nothing_and_brings_all_that_the_persona_needs(desk: Desk) -> None:
    await desk.admin.execute("update public.workspaces set allowed_networks = '{10.0.0.0/8}' where id = $1", WORKSPACE)
    await desk.admin.execute(
        "update public.personas set secret_id = $1 where id = $2", await desk.keep_secret("for n8n"), PERSONA
    )

    turn = await desk.start(message="Hello there", metadata={"page": "/prices"}, client={"user_agent": "Browser"})

    assert (turn["repeat"], turn["status"], turn["proof"], turn["user_id"]) == (False, "active", "asserted", None)
    assert turn["history"] == []
    assert turn["persona"] == {
        "id": PERSONA,
        "kind": "demo",
        "name": "Demo",
        "config": {"delay_ms": 30},
        "secret": "for n8n",
        "time_limit_seconds": 120,
    }
    assert turn["allowed_networks"] == ["10.0.0.0/8"]
    message = await desk.admin.fetchrow("select * from public.messages where id = $1", turn["user_message_id"])
    assert message is not None
    assert (message["role"], message["text"], message["metadata"], str(message["contact_id"])) == (
        "contact",
        "Hello there",
        {"page": "/prices"},
        turn["contact_id"],
    )
    session = await desk.admin.fetchrow("select * from public.sessions where id = $1", turn["session_id"])
    assert session is not None
    assert (session["turn_count"], session["message_count"], session["metadata"]) == (1, 1, {"user_agent": "Browser"})
    assert str(await desk.admin.fetchval("select session_id from public.contacts")) == turn["session_id"]


async def test_a_contact_token_goes_on_with_its_conversation(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")

    turn = await desk.start(with_token(ann), "One")
    await desk.finish(turn, answer="Two")
    again = await desk.start(with_token(ann), "Three")

    assert (turn["conversation_id"], turn["session_id"]) == (ann["conversation_id"], ann["session_id"])
    assert again["session_id"] == ann["session_id"]
    assert [(each["role"], each["text"]) for each in again["history"]] == [("contact", "One"), ("persona", "Two")]


async def test_history_is_the_last_of_the_conversation_oldest_first(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set history_limit = 3")
    ann = await desk.register("ann@example.test")
    for number in range(3):
        await desk.finish(await desk.start(with_token(ann), f"q{number}"), answer=f"a{number}")

    turn = await desk.start(with_token(ann), "now")

    assert [each["text"] for each in turn["history"]] == ["a1", "q2", "a2"]


@pytest.mark.parametrize("stranger", ["contact", "conversation", "workspace"])
async def test_a_token_reaches_no_other_contact_conversation_or_workspace(desk: Desk, stranger: str) -> None:
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    _, elsewhere = await desk.open_workspace()
    eve = await desk.register("ann@example.test", space=elsewhere)
    token = with_token(ann)
    if stranger == "contact":
        token["caller"]["contact_id"] = bob["contact_id"]
    elif stranger == "conversation":
        token["caller"]["conversation_id"] = bob["conversation_id"]
    else:
        token["caller"] |= {"contact_id": eve["contact_id"], "conversation_id": eve["conversation_id"]}

    with pytest.raises(Raised) as refused:
        await desk.start(token)

    assert (refused.value.status, refused.value.code) == (404, "conversation_not_found")
    assert await desk.count("turns") == 0


async def test_a_token_of_another_workspace_does_not_even_find_the_space(desk: Desk) -> None:
    _, elsewhere = await desk.open_workspace()
    eve = await desk.register("eve@example.test", space=elsewhere)

    with pytest.raises(Raised, match="space_not_found"):
        await desk.start(with_token(eve))


async def test_a_contact_token_names_no_other_thread(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")

    with pytest.raises(Raised) as refused:
        await desk.start(with_token(ann), thread_key="other")

    assert (refused.value.status, refused.value.code) == (422, "thread_key_not_allowed")


async def test_only_the_spaces_own_enabled_persona_is_talked_to(desk: Desk) -> None:
    assert (await desk.start(persona_id=PERSONA)).status == 200

    with pytest.raises(Raised, match="persona_not_found"):
        await desk.start(persona_id=str(uuid.uuid4()))
    await desk.admin.execute("update public.personas set enabled = false")
    with pytest.raises(Raised) as refused:
        await desk.start()

    assert (refused.value.status, refused.value.code) == (404, "persona_not_found")
    assert await desk.count("contacts") == 1


async def test_a_user_with_a_confirmed_email_is_the_contact_of_that_email(desk: Desk) -> None:
    known = await desk.register("ann@example.test", first_name="Ann")
    ann = await desk.sign_up("ann@example.test")

    turn = await desk.start(claims(user(ann, "Ann@example.test")))

    assert (turn["contact_id"], turn["user_id"], turn["proof"]) == (known["contact_id"], ann, "verified")
    assert turn["conversation_id"] != known["conversation_id"]
    assert turn["history"] == []
    assert await desk.admin.fetchval("select evidence from public.contact_identities") == "verified"


async def test_a_user_finds_their_conversation_again_and_opens_others_by_thread(desk: Desk) -> None:
    ann = claims(user(await desk.sign_up("ann@example.test"), "ann@example.test"))

    first = await desk.start(ann)
    await desk.finish(first)
    again = await desk.start(ann)
    other = await desk.start(ann, thread_key="prices")

    assert again["conversation_id"] == first["conversation_id"]
    assert other["conversation_id"] != first["conversation_id"]
    assert other["contact_id"] == first["contact_id"]


@pytest.mark.parametrize("kind", ["unconfirmed", "foreign email", "anonymous"])
async def test_a_user_without_a_confirmed_email_is_a_contact_of_their_own(desk: Desk, kind: str) -> None:
    known = await desk.register("ann@example.test")
    if kind == "anonymous":
        visitor = user(await desk.sign_up(None, anonymous=True))
    elif kind == "unconfirmed":
        visitor = user(await desk.sign_up("ann@example.test", confirmed=False), "ann@example.test")
    else:
        await desk.sign_up("ann@example.test")
        visitor = user(await desk.sign_up("eve@example.test"), "ann@example.test")

    turn = await desk.start(claims(visitor))
    await desk.finish(turn)
    again = await desk.start(claims(visitor))

    assert turn["contact_id"] != known["contact_id"]
    assert (again["contact_id"], again["conversation_id"]) == (turn["contact_id"], turn["conversation_id"])
    identity = await desk.admin.fetchrow(
        "select kind, key, evidence from public.contact_identities where contact_id = $1", turn["contact_id"]
    )
    assert identity is not None
    assert tuple(identity) == ("external", f"auth:{visitor['user_id']}", "verified")


async def test_a_member_talks_on_the_owners_side_and_never_with_a_contacts_history(desk: Desk) -> None:
    member = await _member(desk)
    email = await desk.admin.fetchval("select email from auth.users where id = $1", member)
    as_contact = await desk.register(email)
    await desk.finish(await desk.start(with_token(as_contact), "as a contact"))

    turn = await desk.start(claims(user(member, email)), "as a member")
    await desk.finish(turn)
    again = await desk.start(claims(user(member, email)))

    assert (turn["contact_id"], turn["user_id"], turn["proof"]) == (None, member, None)
    assert turn["conversation_id"] != as_contact["conversation_id"]
    assert turn["history"] == []
    assert [(each["role"], each["text"]) for each in again["history"]] == [("user", "as a member"), ("persona", "Hi")]


async def test_a_contact_never_finds_the_owners_side_even_under_its_thread_key(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    member = await _member(desk, "owner")
    owner = await desk.start(claims(user(member)), "secret plans", thread_key="plans")
    ann = await desk.sign_up("ann@example.test")

    as_user = await desk.start(claims(user(ann, "ann@example.test")), thread_key="plans")
    signed_in = await desk.start(
        email="bob@example.test", email_hmac=signed("bob@example.test", SECRET), thread_key="plans"
    )

    assert len({each["conversation_id"] for each in (owner, as_user, signed_in)}) == 3
    assert as_user["history"] == signed_in["history"] == []


async def test_two_members_do_not_share_a_conversation(desk: Desk) -> None:
    first = await desk.start(claims(user(await _member(desk))))
    second = await desk.start(claims(user(await _member(desk))))

    assert first["conversation_id"] != second["conversation_id"]


async def test_a_member_of_another_workspace_is_an_outsider_here(desk: Desk) -> None:
    workspace, _ = await desk.open_workspace()
    member = await desk.sign_up("boss@example.test")
    await desk.admin.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'owner')", workspace, member
    )

    turn = await desk.start(claims(user(member, "boss@example.test")))

    assert turn["contact_id"] is not None


async def test_a_thread_of_ones_own_needs_proof(desk: Desk) -> None:
    typed: tuple[JSON, ...] = ({}, {"email": "ann@example.test"})
    for who in typed:
        with pytest.raises(Raised) as refused:
            await desk.start(thread_key="prices", **who)
        assert (refused.value.status, refused.value.code) == (422, "thread_key_not_allowed")
    assert await desk.count("conversations") == 0


async def test_a_workspace_goes_with_everything_in_it(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")
    await desk.finish(await desk.start(with_token(ann)))
    await desk.start(with_token(ann))

    await desk.admin.execute("delete from public.workspaces")

    for table in ("personas", "contacts", "conversations", "sessions", "turns", "messages"):
        assert await desk.count(table) == 0


async def test_a_persona_with_conversations_cannot_be_deleted(desk: Desk) -> None:
    await desk.register("ann@example.test")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await desk.admin.execute("delete from public.personas")
    assert await desk.count("conversations") == 1


async def test_a_signed_email_goes_to_the_contacts_main_thread(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    proof: JSON = {"email": "ann@example.test", "email_hmac": signed("ann@example.test", SECRET)}

    ann = await desk.register("ann@example.test", email_hmac=proof["email_hmac"])
    turn = await desk.start(**proof)
    other = await desk.start(thread_key="prices", **proof)

    assert (turn["conversation_id"], turn["proof"]) == (ann["conversation_id"], "verified")
    assert other["conversation_id"] != turn["conversation_id"]
    assert other["contact_id"] == turn["contact_id"]


async def test_a_typed_email_links_the_contact_but_shows_nothing_from_before(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")
    await desk.finish(await desk.start(with_token(ann), "private"))

    turn = await desk.start(email="ANN@example.test")

    assert (turn["contact_id"], turn["proof"]) == (ann["contact_id"], "asserted")
    assert turn["conversation_id"] != ann["conversation_id"]
    assert turn["history"] == []


async def test_the_same_client_message_in_a_conversation_is_the_same_turn(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set secret_id = $1", await desk.keep_secret("for n8n"))
    ann = with_token(await desk.register("ann@example.test"))

    first = await desk.start(ann, client_message_id="m1")
    meanwhile = await desk.start(ann, client_message_id="m1")
    await desk.finish(first)
    afterwards = await desk.start(ann, client_message_id="m1")

    assert [each["repeat"] for each in (first, meanwhile, afterwards)] == [False, True, True]
    assert {each["turn_id"] for each in (first, meanwhile, afterwards)} == {first["turn_id"]}
    assert [each["status"] for each in (first, meanwhile, afterwards)] == ["active", "active", "completed"]
    assert (first["persona"]["secret"], meanwhile["persona"]["secret"]) == ("for n8n", None)
    assert afterwards["history"] == []
    assert meanwhile["user_message_id"] == first["user_message_id"]
    assert await desk.count("messages", "role = 'contact'") == 1


async def test_ten_copies_of_a_message_at_once_are_one_turn(desk: Desk) -> None:
    ann = with_token(await desk.register("ann@example.test"))

    async with Desk(desk.gate_url, desk.admin_url, connections=10) as crowd:
        turns = await asyncio.gather(*(crowd.start(ann, client_message_id="m1") for _ in range(10)))

    assert len({each["turn_id"] for each in turns}) == 1
    assert sorted(each["repeat"] for each in turns) == [False] + [True] * 9


async def test_a_first_message_repeated_under_its_uuid_is_the_same_turn(desk: Desk) -> None:
    message = str(uuid.uuid4())

    async with Desk(desk.gate_url, desk.admin_url, connections=10) as crowd:
        turns = await asyncio.gather(*(crowd.start(client_message_id=message) for _ in range(10)))

    assert len({each["turn_id"] for each in turns}) == 1
    assert sorted(each["repeat"] for each in turns) == [False] + [True] * 9
    assert await desk.count("contacts") == 1
    assert await desk.admin.fetchval("select taken from public.rate_limits where name = 'arrivals_by_space'") == 1


async def test_a_repeat_is_answered_even_when_the_limit_is_used_up(desk: Desk) -> None:
    await desk.admin.execute("update public.spaces set arrivals_per_minute = 1 where id = $1", SPACE)
    message = str(uuid.uuid4())
    first = await desk.start(client_message_id=message)

    again = await desk.start(client_message_id=message)

    assert (again.status, again["repeat"], again["turn_id"]) == (200, True, first["turn_id"])
    assert (await desk.start(client_message_id=str(uuid.uuid4()))).status == 429


async def test_a_first_message_under_an_id_that_can_be_guessed_opens_a_conversation_of_its_own(desk: Desk) -> None:
    first = await desk.start(client_message_id="1")
    second = await desk.start(client_message_id="1")

    assert first["conversation_id"] != second["conversation_id"]
    assert first["contact_id"] != second["contact_id"]


async def test_one_uuid_never_reaches_across_emails_or_spaces(desk: Desk) -> None:
    message = str(uuid.uuid4())

    turns = [
        await desk.start(client_message_id=message),
        await desk.start(client_message_id=message, email="ann@example.test"),
        await desk.start(client_message_id=message, email="bob@example.test"),
        await desk.start(client_message_id=message, space=LANDING),
    ]

    assert len({each["turn_id"] for each in turns}) == 4
    assert len({each["contact_id"] for each in turns}) == 4


@pytest.mark.parametrize("key", ["first:{message}:", "arrival:{message}"])
async def test_a_conversation_opened_without_proof_is_never_asked_for_by_its_key(desk: Desk, key: str) -> None:
    await desk.believe_hmacs(SECRET)
    message = str(uuid.uuid4())
    ann = user(await desk.sign_up("ann@example.test"), "ann@example.test")
    first = await desk.start(client_message_id=message)

    for token, more in (
        (claims(), {"email": "ann@example.test", "email_hmac": signed("ann@example.test", SECRET)}),
        (claims(), {}),
        (claims(ann), {}),
        (claims(user(await _member(desk))), {}),
    ):
        with pytest.raises(Raised) as refused:
            await desk.start(token, thread_key=key.format(message=message), **more)
        assert (refused.value.status, refused.value.code) == (422, "thread_key_not_allowed")

    assert await desk.count("turns") == await desk.count("turns", "id = $1", first["turn_id"]) == 1
