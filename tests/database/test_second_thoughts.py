"""The second time: lost answers, late repeats, identities that somebody else proves, arrivals that go on and on."""

import uuid

import pytest

from tests.database.desk import JSON, SPACE, Desk, Raised, claims, signed, user, with_token

SECRET = "the space's secret"


async def test_a_request_that_lost_the_databases_answer_still_answers_its_turn(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")
    sent: JSON = {"client_message_id": "m1", "attempt_id": str(uuid.uuid4())}
    first = await desk.start(with_token(ann), **sent)

    again = await desk.start(with_token(ann), **sent)
    other = await desk.start(with_token(ann), **(sent | {"attempt_id": str(uuid.uuid4())}))
    nameless = await desk.start(with_token(ann), client_message_id="m1")

    assert {first["turn_id"], again["turn_id"], other["turn_id"], nameless["turn_id"]} == {first["turn_id"]}
    assert (first["repeat"], again["repeat"], other["repeat"], nameless["repeat"]) == (False, False, True, True)
    assert again["history"] == []
    assert await desk.count("messages") == 1

    await desk.finish(first)
    assert (await desk.start(with_token(ann), **sent))["repeat"] is True


async def test_a_first_message_is_found_again_for_a_while_and_its_id_is_not_kept_in_the_key(desk: Desk) -> None:
    message = str(uuid.uuid4())
    first = await desk.start(client_message_id=message)
    again = await desk.start(client_message_id=message)
    assert again["turn_id"] == first["turn_id"]
    assert await desk.count("conversations", "thread_key like '%' || $1 || '%'", message) == 0

    await desk.finish(first)
    await desk.admin.execute("update public.conversations set created_at = now() - interval '11 minutes'")
    late = await desk.start(client_message_id=message)
    assert late["conversation_id"] != first["conversation_id"]


async def test_an_identity_goes_to_whoever_proves_it_and_leaves_everything_else(desk: Desk) -> None:
    await desk.believe_hmacs(SECRET)
    mallory = await desk.register(
        "mallory@example.test", email_hmac=signed("mallory@example.test", SECRET), phone="+1 555 1", phone_key="+15551"
    )
    async with desk.admin.transaction():
        await desk.admin.execute(
            "select set_config('switchboard.workspace_id', workspace_id::text, true) from public.spaces where id = $1",
            SPACE,
        )
        owner = await desk.admin.fetchval(
            "select private.find_or_create_contact('phone', '+15551', '+1 555 1', 'whatsapp', '{}')"
        )

    assert str(owner) != mallory["contact_id"]
    kept = await desk.admin.fetch("select kind::text, contact_id::text from public.contact_identities order by kind")
    assert [tuple(row) for row in kept] == [("email", mallory["contact_id"]), ("phone", str(owner))]


async def test_a_user_who_opens_many_conversations_meets_the_limit(desk: Desk) -> None:
    ann = await desk.sign_up("ann@example.test")
    await desk.admin.execute("update public.spaces set arrivals_per_minute_by_address = 2")
    who = claims(user(ann, "ann@example.test"))
    client = {"address": "192.0.2.7"}
    told = [(await desk.start(who, thread_key=f"t{n}", client=client)).status for n in range(4)]
    assert told == [200, 200, 429, 429]
    assert await desk.count("conversations") == 2


async def test_a_user_finds_the_conversation_they_registered(desk: Desk) -> None:
    ann = await desk.sign_up("ann@example.test")
    who = claims(user(ann, "ann@example.test"))
    registered = await desk.register("ann@example.test", who)
    turn = await desk.start(who)
    assert (turn["conversation_id"], turn["session_id"]) == (registered["conversation_id"], registered["session_id"])


async def test_a_token_ends_with_the_space_it_was_given_in(desk: Desk) -> None:
    other = uuid.uuid4()
    ann = await desk.register("ann@example.test")
    await desk.admin.execute(
        "insert into public.spaces (id, workspace_id, kind, name, persona_id)"
        " select $1, workspace_id, kind, 'Other', persona_id from public.spaces where id = $2",
        other,
        SPACE,
    )
    await desk.admin.execute("update public.spaces set enabled = false where id = $1", SPACE)
    with pytest.raises(Raised) as refused:
        await desk.start(with_token(ann, str(other)), space=str(other))
    assert (refused.value.status, refused.value.code) == (404, "conversation_not_found")


async def test_reading_beyond_the_end_tells_where_the_end_is(desk: Desk) -> None:
    turn = await desk.start()
    await desk.finish(turn, answer="Hello")
    for after in (5, 500, 2_147_483_647):
        state = await desk.read(turn, after)
        assert (state["position"], state["text"]) == (5, "")
