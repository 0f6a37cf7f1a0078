"""The conversation that a message reaches: with and without a token, as a user, as a member, and when it is repeated.

That callers with the same thread key have conversations of their own is test_isolation's; what a token of another
workspace, conversation or persona reaches is the access matrix's.
"""

import asyncio
import uuid

import pytest

from tests.database.desk import (
    JSON,
    LANDING,
    PERSONA,
    SECRET,
    SPACE,
    WORKSPACE,
    Answer,
    Desk,
    claims,
    on_behalf,
    refusal,
    signed,
    user,
    with_token,
)

NOT_ALLOWED = (422, "thread_key_not_allowed")


def said(turn: Answer) -> list[tuple[str, str]]:
    """The history that the persona receives."""
    return [(message["role"], message["text"]) for message in turn["history"]]


async def test_a_first_message_needs_no_token_and_answers_all_that_the_persona_needs(desk: Desk) -> None:
    await desk.admin.execute("update public.workspaces set allowed_networks = '{10.0.0.0/8}' where id = $1", WORKSPACE)
    await desk.admin.execute("update public.personas set secret_id = $1", await desk.keep_secret("for n8n"))

    turn = await desk.start(message="Hello there", metadata={"page": "/prices"}, client={"user_agent": "Browser"})

    assert (turn["repeat"], turn["status"], turn["proof"], turn["user_id"]) == (False, "active", "asserted", None)
    assert (turn["history"], turn["contact"], turn["allowed_networks"]) == ([], None, ["10.0.0.0/8"])
    assert turn["persona"] == {
        "id": PERSONA,
        "kind": "demo",
        "name": "Demo",
        "config": {"delay_ms": 30},
        "secret": "for n8n",
        "time_limit_seconds": 120,
    }
    message = await desk.row("messages", turn["user_message_id"])
    assert (message["role"], message["text"], message["metadata"]) == ("contact", "Hello there", {"page": "/prices"})
    assert message["contact_id"] == turn["contact_id"]
    session = await desk.row("sessions", turn["session_id"])
    assert (session["turn_count"], session["message_count"], session["metadata"]) == (1, 1, {"user_agent": "Browser"})
    assert (await desk.row("contacts", turn["contact_id"]))["session_id"] == turn["session_id"]


async def test_a_token_continues_its_conversation_with_the_last_of_its_history(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set history_limit = 3")
    ann = await desk.register("ann@example.test")
    for number in range(3):
        turn = await desk.start(with_token(ann), f"q{number}")
        assert (turn["conversation_id"], turn["session_id"]) == (ann["conversation_id"], ann["session_id"])
        await desk.finish(turn, answer=f"a{number}")

    turn = await desk.start(with_token(ann), "now")
    assert said(turn) == [("persona", "a1"), ("contact", "q2"), ("persona", "a2")]


@pytest.mark.parametrize("foreign", ["contact", "conversation", "workspace"])
async def test_a_token_whose_ids_do_not_belong_together_reaches_nothing(desk: Desk, foreign: str) -> None:
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    _, elsewhere = await desk.open_workspace()
    eve = await desk.register("ann@example.test", space=elsewhere)
    turn, token = await desk.start(with_token(ann)), with_token(ann)
    token["caller"] |= {
        "contact": {"contact_id": bob["contact_id"]},
        "conversation": {"conversation_id": bob["conversation_id"]},
        "workspace": {"contact_id": eve["contact_id"], "conversation_id": eve["conversation_id"]},
    }[foreign]

    assert await refusal(desk.start(token)) == (404, "conversation_not_found")
    cancel = desk.call("cancel_turn", on_behalf(token["caller"]), turn_id=turn["turn_id"])
    assert await refusal(cancel) == (404, "turn_not_found")
    assert await desk.count("turns", "cancel_requested_at is null") == await desk.count("turns") == 1


async def test_only_the_spaces_own_enabled_persona_is_reached(desk: Desk) -> None:
    assert (await desk.start(persona_id=PERSONA)).status == 200
    assert await refusal(desk.start(persona_id=str(uuid.uuid4()))) == (404, "persona_not_found")
    await desk.admin.execute("update public.personas set enabled = false")
    assert await refusal(desk.start()) == (404, "persona_not_found")
    assert await desk.count("contacts") == 1


async def test_a_thread_needs_proof_and_no_key_leads_into_an_unproven_conversation(desk: Desk) -> None:
    await desk.believe_hmacs()
    message = str(uuid.uuid4())
    first = await desk.start(client_message_id=message)
    ann = claims(user(await desk.sign_up("ann@example.test"), "ann@example.test"))
    proof = {"email": "ann@example.test"}

    # A contact token is for its own conversation.
    for token, more in ((with_token(first), {}), (claims(), {}), (claims(), proof)):
        assert await refusal(desk.start(token, thread_key="prices", **more)) == NOT_ALLOWED
    proof["email_hmac"] = signed("ann@example.test", SECRET)
    for key in (f"first:{message}:", f"arrival:{message}"):
        for token, more in ((claims(), proof), (claims(), {}), (ann, {}), (claims(await desk.member()), {})):
            assert await refusal(desk.start(token, thread_key=key, **more)) == NOT_ALLOWED
    assert await desk.count("turns") == 1


# Users and members ---------------------------------------------------------------------------------------------------


async def test_a_persona_is_told_about_a_contact_only_with_proof(desk: Desk) -> None:
    await desk.believe_hmacs()
    await desk.prove("ann@example.test", first_name="Ann", last_name="Lee", attributes={"vip": True})
    proven = await desk.start(email="ann@example.test", email_hmac=signed("ann@example.test", SECRET))
    typed = await desk.start(email="ann@example.test")
    facts = {"name": "Ann Lee", "email": "ann@example.test", "attributes": {"vip": True}}
    assert (typed["contact_id"], typed["contact"], proven["contact"]) == (proven["contact_id"], None, facts)


@pytest.mark.parametrize("kind", ["unconfirmed", "foreign email", "anonymous"])
async def test_a_user_without_a_confirmed_email_is_a_contact_of_their_own(desk: Desk, kind: str) -> None:
    known = await desk.register("ann@example.test")
    if kind == "anonymous":
        visitor = user(await desk.sign_up(None, anonymous=True))
    else:
        visitor = user(await desk.sign_up("ann@example.test", confirmed=kind != "unconfirmed"), "ann@example.test")
    if kind == "foreign email":
        visitor["user_id"] = await desk.sign_up("eve@example.test")

    turn = await desk.start(claims(visitor))
    await desk.finish(turn)
    again = await desk.start(claims(visitor))

    assert turn["contact_id"] != known["contact_id"]
    assert (again["contact_id"], again["conversation_id"]) == (turn["contact_id"], turn["conversation_id"])
    identity = "select kind, key, evidence from public.contact_identities where contact_id = $1"
    expected = ("external", f"auth:{visitor['user_id']}", "verified")
    assert await desk.one(identity, turn["contact_id"]) == expected


async def test_a_member_talks_without_a_contact_and_apart_from_a_contact_with_the_same_email(desk: Desk) -> None:
    owner = await desk.member("owner")
    email = await desk.admin.fetchval("select email from auth.users where id = $1", owner["user_id"])
    token = claims(user(owner["user_id"], email))
    as_contact = await desk.register(email)
    await desk.finish(await desk.start(with_token(as_contact), "as a contact"))

    turn = await desk.start(token, "secret plans", thread_key="plans")
    await desk.finish(turn)
    again = await desk.start(token, thread_key="plans")
    assert (turn["contact_id"], turn["user_id"], turn["proof"]) == (None, owner["user_id"], None)
    assert turn["history"] == []
    assert said(again) == [("user", "secret plans"), ("persona", "Hi")]


async def test_a_member_of_another_workspace_is_a_contact_here(desk: Desk) -> None:
    workspace, _ = await desk.open_workspace()
    assert (await desk.start(claims(await desk.member("owner", workspace))))["contact_id"] is not None


# Repeats -------------------------------------------------------------------------------------------------------------


async def test_the_same_client_message_in_a_conversation_is_the_same_turn(desk: Desk) -> None:
    await desk.admin.execute("update public.personas set secret_id = $1", await desk.keep_secret("for n8n"))
    ann = with_token(await desk.register("ann@example.test"))

    async with desk.crowd(10) as crowd:
        turns = await asyncio.gather(*(crowd.start(ann, client_message_id="m1") for _ in range(10)))
    first = next(each for each in turns if not each["repeat"])
    await desk.finish(first)
    turns.append(await desk.start(ann, client_message_id="m1"))

    assert {(each["turn_id"], each["user_message_id"]) for each in turns} == {
        (first["turn_id"], first["user_message_id"])
    }
    assert [each["status"] for each in turns] == ["active"] * 10 + ["completed"]
    # Only the first is called a persona for.
    assert sorted(str(each["persona"]["secret"]) for each in turns) == ["None"] * 10 + ["for n8n"]
    assert turns[-1]["history"] == []
    assert await desk.count("messages", "role = 'contact'") == 1


async def test_a_first_message_repeated_under_its_uuid_is_the_same_turn_whatever_the_limit(desk: Desk) -> None:
    message = str(uuid.uuid4())
    await desk.admin.execute("update public.spaces set arrivals_per_minute = 1 where id = $1", SPACE)
    async with desk.crowd(10) as crowd:
        turns = await asyncio.gather(*(crowd.start(client_message_id=message) for _ in range(10)))

    assert {each.status for each in turns} == {200}
    assert len({each["turn_id"] for each in turns}) == 1
    assert sorted(each["repeat"] for each in turns) == [False] + [True] * 9
    assert await desk.count("contacts") == 1
    assert await desk.admin.fetchval("select taken from public.rate_limits where name = 'arrivals_by_space'") == 1
    assert (await desk.start(client_message_id=str(uuid.uuid4()))).status == 429


@pytest.mark.parametrize("has_token", [True, False])
async def test_a_client_message_id_with_another_message_is_refused(desk: Desk, *, has_token: bool) -> None:
    token = await desk.arrive() if has_token else claims()
    sent: JSON = {"message": "Hello", "client_message_id": str(uuid.uuid4()), "metadata": {"page": "/prices"}}
    first = await desk.start(token, **sent)
    await desk.finish(first)
    before = await desk.everything()
    others: tuple[JSON, ...] = ({"message": "hello"}, {"metadata": {}})
    for other in others:
        answer = await desk.refused("start_turn", token, space_id=SPACE, **{**sent, **other})
        assert answer == (409, "idempotency_key_reused")
    assert (await desk.start(token, **sent))["turn_id"] == first["turn_id"]
    assert await desk.everything() == before


async def test_a_retry_of_the_same_attempt_still_calls_the_persona(desk: Desk) -> None:
    ann = await desk.arrive()
    attempts = [{"attempt_id": str(uuid.uuid4())} for _ in range(2)]
    turns = [
        await desk.start(ann, client_message_id="m1", **more) for more in (attempts[0], attempts[0], attempts[1], {})
    ]
    assert len({each["turn_id"] for each in turns}) == 1
    assert [each["repeat"] for each in turns] == [False, False, True, True]
    assert turns[1]["history"] == []
    assert await desk.count("messages") == 1
    await desk.finish(turns[0])
    assert (await desk.start(ann, client_message_id="m1", **attempts[0]))["repeat"] is True


async def test_a_first_message_is_found_for_ten_minutes_and_its_id_is_not_stored_in_the_key(desk: Desk) -> None:
    message = str(uuid.uuid4())
    first = await desk.start(client_message_id=message)
    await desk.finish(first)
    assert await desk.count("conversations", "thread_key like '%' || $1 || '%'", message) == 0
    for minutes, is_found in ((9, True), (11, False)):
        age = "update public.conversations set created_at = now() - make_interval(mins => $1)"
        await desk.admin.execute(age, minutes)
        again = await desk.start(client_message_id=message)
        assert (again["conversation_id"] == first["conversation_id"]) == is_found


async def test_a_first_message_is_not_found_by_a_guessable_id_another_email_or_another_space(desk: Desk) -> None:
    message = str(uuid.uuid4())
    turns = [
        await desk.start(client_message_id="1"),
        await desk.start(client_message_id="1"),
        await desk.start(client_message_id=message),
        await desk.start(client_message_id=message, email="ann@example.test"),
        await desk.start(client_message_id=message, email="bob@example.test"),
        await desk.start(client_message_id=message, space=LANDING),
    ]
    for name in ("turn_id", "contact_id", "conversation_id"):
        assert len({each[name] for each in turns}) == 6, name
