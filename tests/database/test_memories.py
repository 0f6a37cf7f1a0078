"""Memories: whose they become, what is folded, corrected and forgotten, and how they follow proof and merges."""

import asyncio
from typing import Any

import pytest

from tests.database.desk import (
    JSON,
    PERSONA,
    WORKSPACE,
    Answer,
    Desk,
    managing,
    on_behalf,
    own_token,
    refusal,
    with_token,
)  # fmt: skip
from tests.database.merging import belongings, made, merge, unmerge

EMAIL = "ann@example.test"

SAME = (
    ("Prefers window seats.", "prefers  window seats"),
    ("Prefers a window seat", "Prefers the window seats!"),
    ("Likes pêches", "LIKES PE\u0302CHES"),
    ("Lives in (old) Basel.", "Lives in old Basel"),
    ("Don't call before nine", "Don\u2019t call before nine."),
    ("Er mag den Zug", "er mag Zug"),
    ("订单号是七。", "订单号是七"),
    ("She is really very allergic to nuts", "She is allergic to nuts"),
)
DIFFERENT = (
    ("Likes tea and coffee with milk and sugar every day", "Likes tea and coffee with milk but sugar every day"),
    ("Flies from Zurich to London", "Flies from London to Zurich"),
    ("Does eat meat", "Does not eat meat"),
    ("Costs 3.5", "Costs 35"),
    ("Costs £5", "Costs ¥5"),
    ("It is -5 outside", "It is 5 outside"),
    ("Likes tea?", "Likes tea"),
    ("Ann manages Bob", "Bob manages Ann"),
    ("The party of 8 leaves Paris at ten on Friday with two dogs and a cat and much luggage in the car",
     "The party of 9 leaves Paris at ten on Friday with two dogs and a cat and much luggage in the car"),
    ("Ann is allergic", "Anna is allergic"),
    ("她不喜欢茶", "她喜欢茶"),
    ("Trabajo en Madrid", "Trabajó en Madrid"),
    ("Sống với ba", "Sống với bà"),
    ("Lives in Basel", "Lived in Basel"),
    ("Has hepatitis A", "Has hepatitis"),
    ("10² guests", "102 guests"),
)  # fmt: skip
"""Pairs of texts; among the different ones, some have nearly or exactly the same set of words."""

EARLY, LATE, LATER = [f"{year}-01-01T00:00:00+00:00" for year in (2020, 2100, 2101)]
REPEATS: tuple[tuple[JSON, JSON, JSON], ...] = (
    ({}, {"kind": "preference"}, {"kind": "preference"}),
    ({"kind": "preference"}, {}, {"kind": "preference"}),
    ({"kind": "preference"}, {"kind": "fact"}, {"kind": "fact"}),
    ({"importance": 0.3}, {}, {"importance": 0.3}),
    ({"importance": 0.3}, {"importance": 0.2}, {"importance": 0.3}),
    ({"importance": 0.3}, {"importance": 0.4}, {"importance": 0.4}),
    ({"valid_from": EARLY}, {}, {"valid_from": EARLY}),
    ({}, {"valid_from": EARLY}, {"valid_from": EARLY}),
    ({"expires_at": LATE}, {"expires_at": LATER}, {"expires_at": LATER}),
    ({"expires_at": LATER}, {"expires_at": LATE}, {"expires_at": LATER}),
    ({"expires_at": LATE}, {}, {"expires_at": None}),
    ({}, {"expires_at": LATE}, {"expires_at": None}),
    ({}, {"speaker": "Ann"}, {"speaker": "Ann"}),
    ({"speaker": "Ann"}, {"speaker": "Bo"}, {"speaker": "Ann"}),
)
"""What a memory names, what its repeat names, and what is stored, also after another such repeat."""


def seat(token: JSON) -> JSON:
    """The claims with which a contact token's holder writes memories."""
    return {**token, "scope": {"workspace_id": token["scope"]["workspace_id"]}}


async def remember(desk: Desk, token: JSON, *contents: str | JSON, **more: Any) -> list[JSON]:
    """Remember texts, or whole items."""
    items = [item if isinstance(item, dict) else {"content": item} for item in contents]
    found: list[JSON] = (await desk.call("remember_memories", token, memories=items, **more))["memories"]
    return found


async def read(desk: Desk, token: JSON) -> set[str]:
    """The contents that the caller's own token reads."""
    async with desk.reading(own_token(token["caller"])) as connection:
        return {row[0] for row in await connection.fetch("select content from public.memories")}


async def history(desk: Desk) -> list[tuple[Any, ...]]:
    """The former versions: content, what ended them, and of which contact they are."""
    columns = "content, operation::text, contact_id::text"
    return await desk.all(f"select {columns} from public.memory_history order by changed_at, id")


async def test_texts_fold_if_they_say_the_same_in_the_same_words_and_only_then(desk: Desk) -> None:
    query = "select private.duplicate_key($1) = private.duplicate_key($2)"
    for pairs, folds in ((SAME, True), (DIFFERENT, False)):
        for one, other in pairs:
            assert await desk.one(query, one, other) == (folds,), (one, other)


async def test_a_contact_writes_and_reads_its_conversation_and_with_proof_its_contact(desk: Desk) -> None:
    await desk.believe_hmacs()
    proven = seat(with_token(await desk.prove(EMAIL)))
    typed, again = [seat(with_token(await desk.register(EMAIL))) for _ in range(2)]
    (kept,) = await remember(desk, proven, {"content": "Prefers window seats", "importance": 0.7})
    assert (kept["contact_id"], kept["persona_id"], kept["conversation_id"]) == (
        proven["caller"]["contact_id"], PERSONA, None,
    )  # fmt: skip
    assert {"internal", "created_by", "scope_id"}.isdisjoint(kept)
    (asserted,) = await remember(desk, typed, "Prefers window seats", persona_id=None, every_persona=True)
    assert (asserted["folded"], asserted["persona_id"]) == (False, None)
    assert asserted["conversation_id"] == typed["caller"]["conversation_id"]

    admin = on_behalf(await desk.member())
    contact = proven["caller"]["contact_id"]
    await remember(desk, admin, "Difficult", contact_id=contact)
    (known,) = await remember(desk, admin, {"content": "Margin is 40 %", "kind": "knowledge"}, persona_id=PERSONA)
    assert (known["contact_id"], known["internal"]) == (None, True)
    # Nothing that members write is for contacts.
    assert await read(desk, proven) == {"Prefers window seats"}
    assert await read(desk, typed) == {"Prefers window seats"}
    assert await read(desk, again) == set()
    assert await read(desk, admin) == {"Prefers window seats", "Difficult", "Margin is 40 %"}
    for caller in (proven, typed):
        turn = remember(desk, caller, {"content": "Hi", "kind": "turn"})
        assert await refusal(turn) == (422, "invalid_body")
    await desk.admin.execute("update public.workspaces set messages_per_minute_by_contact = 1")
    limited = await desk.call("remember_memories", typed, memories=[{"content": "More"}])
    assert (limited.status, limited["limit"]) == (429, "messages_by_contact")
    assert await desk.count("memories", "content = 'More'") == 0
    await desk.call("sign_out_contact", managing(admin["caller"]), contact_id=contact)
    for caller in (proven, typed):
        assert await refusal(remember(desk, caller, "Late")) == (401, "token_revoked")


async def test_a_duplicate_is_folded_and_a_correction_supersedes(desk: Desk) -> None:
    admin = on_behalf(await desk.member())
    contact = await made(desk, "telegram:1")
    raised = {"content": "likes tea!", "importance": 0.9, "expires_at": "2100-01-01T00:00Z"}
    first, *rest = await remember(desk, admin, "Likes tea", raised, "Likes tea", contact_id=contact)
    assert [(each["id"] == first["id"], each["folded"], each["importance"]) for each in rest] == [
        (True, True, 0.9), (True, True, 0.9),
    ]  # fmt: skip
    assert rest[-1]["expires_at"] is None, "never is the later end"
    # A repeat changes nothing, so only the raise left a version.
    assert await history(desk) == [("Likes tea", "changed", contact)]
    (elsewhere,) = await remember(desk, admin, "Likes tea", contact_id=contact, persona_id=PERSONA)
    assert not elsewhere["folded"], "another persona's"
    at_once = [remember(desk, admin, "Likes rum", contact_id=contact) for _ in range(4)]
    assert sorted(each["folded"] for (each,) in await asyncio.gather(*at_once)) == [False, True, True, True]
    turns = await remember(desk, admin, *[{"content": "Yes", "kind": "turn"}] * 3, contact_id=contact)
    assert [turn["previous_id"] for turn in turns] == [None, turns[0]["id"], turns[1]["id"]]

    correction = {"content": "Likes coffee", "supersedes": first["id"]}
    (corrected,) = await remember(desk, admin, correction)
    assert (corrected["contact_id"], corrected["kind"]) == (contact, "fact")
    assert (await desk.row("memories", first["id"]))["superseded_by"] == corrected["id"]
    (repeated,) = await remember(desk, admin, correction)
    assert (repeated["id"], repeated["folded"]) == (corrected["id"], True)
    other = remember(desk, admin, {"content": "Likes cocoa", "supersedes": first["id"]})
    assert await refusal(other) == (409, "memory_superseded")
    # What was corrected may be remembered again.
    assert [each["folded"] for each in await remember(desk, admin, "Likes tea", contact_id=contact)] == [False]

    before = len(await history(desk))
    await desk.call("forget_memory", admin, memory_id=corrected["id"])
    assert await desk.count("memories", "id = any ($1)", [first["id"], corrected["id"]]) == 0
    assert sorted(row[:2] for row in (await history(desk))[before:]) == [
        ("Likes coffee", "forgotten"), ("Likes tea", "forgotten"),
    ]  # fmt: skip
    assert await refusal(desk.call("forget_memory", admin, memory_id=corrected["id"])) == (404, "memory_not_found")
    agent = own_token(await desk.member("agent"))
    assert await desk.select(agent, "memory_history") == []
    assert len(await desk.select(own_token(admin["caller"]), "memory_history")) == await desk.count("memory_history")


async def test_a_repeat_loses_nothing_that_either_statement_names(desk: Desk) -> None:
    admin = on_behalf(await desk.member())
    turn = await desk.start(client_message_id="m")
    await desk.finish(turn)
    again = await desk.start(with_token(turn), "Again")
    await desk.finish(again)
    messages = await desk.all("select id from public.messages where role = 'contact' order by created_at")
    said, more = [{"message_id": str(each)} for (each,) in messages]
    for n, (first, second, kept) in enumerate([*REPEATS, ({}, said, said), (said, more, said), (said, {}, said)]):
        for text, item in ((f"Likes tea {n}", first), (f"likes tea {n}!", second), (f"Likes tea {n}", second)):
            (stored,) = await remember(desk, admin, {"content": text, **item}, session_id=turn["session_id"])
        assert {name: stored[name] for name in ("content", *kept)} == {"content": f"Likes tea {n}", **kept}, n

    # A message of another session is no source of it; what another participant of a group says is folded on its own.
    await desk.change(admin["caller"], turn["session_id"], "complete")
    later = await desk.start(with_token(turn), "Tea, please")
    (other,) = await desk.one("select id from public.messages where session_id = $1", later["session_id"])
    item = {"content": "Likes tea 0", "message_id": str(other)}
    for sender, folded in ((turn["contact_id"], True), (await made(desk, "telegram:1"), False)):
        await desk.admin.execute("update public.messages set contact_id = $1 where id = $2", sender, other)
        (stored,) = await remember(desk, admin, item, session_id=later["session_id"])
        assert (stored["folded"], stored["session_id"]) == (folded, (turn if folded else later)["session_id"])
    await desk.admin.execute("delete from public.contacts where id = $1", sender)
    assert await desk.count("memories", "content = 'Likes tea 0'") == 1


async def test_a_call_names_nothing_of_another_workspace_of_its_caller(desk: Desk) -> None:
    member = await desk.member()
    other, _ = await desk.open_workspace()
    await desk.join(member["user_id"], "admin", other)
    caller = on_behalf(member)
    contact = await made(desk, "telegram:1")
    (far,) = await remember(desk, caller, "Far", workspace_id=other)
    for item in (
        {"supersedes": far["id"]},
        {"kind": "turn", "previous_id": far["id"]},
        {"kind": "turn", "previous_id": other},
    ):
        refused = await refusal(remember(desk, caller, {"content": "x", **item}, workspace_id=WORKSPACE))
        assert refused == (404, "memory_not_found"), item
    named = {"workspace_id": other, "contact_id": contact}
    assert await refusal(remember(desk, caller, "x", **named)) == (404, "workspace_not_found")
    assert await refusal(desk.call("recall_memories", caller, query="x", **named)) == (404, "workspace_not_found")


async def test_an_expired_memory_is_not_folded_into_and_is_pruned(desk: Desk) -> None:
    admin = on_behalf(await desk.member())
    contact = await made(desk, "telegram:1")
    gone = {"content": "In Rome", "expires_at": "2020-01-01T00:00:00Z"}
    (old,) = await remember(desk, admin, gone, contact_id=contact)
    (new,) = await remember(desk, admin, "In Rome", contact_id=contact)
    assert not new["folded"]
    prune = await desk.admin.fetchval("select command from cron.job where jobname = 'switchboard-prune'")
    await desk.admin.execute(prune)
    assert await desk.all("select id::text from public.memories") == [(new["id"],)]
    assert await history(desk) == [("In Rome", "expired", contact)]
    group = await made(desk, "telegram:-5")
    columns = "(workspace_id, contact_id, sender_id, kind, content)"
    said = f"insert into public.memories {columns} values ($1, $2, $3, 'turn', 'x')"
    await desk.admin.execute(said, WORKSPACE, group, contact)
    # With the contact go its memories, what it said in a group, and their history.
    await desk.admin.execute("delete from public.contacts where id = $1", contact)
    assert (await desk.count("memories"), await desk.count("memory_history")) == (0, 0)
    assert old["id"] != new["id"]


@pytest.mark.parametrize("known", [False, True])
async def test_memories_join_the_contact_that_their_own_speaker_proved_to_be(desk: Desk, *, known: bool) -> None:
    await desk.believe_hmacs()
    if known:
        await desk.prove(EMAIL)
    visitor = await desk.start(client_message_id="m")
    await desk.finish(visitor)
    await remember(desk, seat(with_token(visitor)), "Said as a visitor")
    impostor = seat(with_token(await desk.register(EMAIL)))
    await remember(desk, impostor, "Said by an impostor")
    typed = with_token(await desk.register(EMAIL))
    await remember(desk, seat(typed), "Said after typing the email")

    proven = seat(with_token(await desk.prove(EMAIL, with_token(visitor))))
    assert await read(desk, proven) == {"Said as a visitor"}
    assert (await desk.prove(EMAIL, typed))["contact_id"] == proven["caller"]["contact_id"]
    assert await read(desk, proven) == {"Said as a visitor", "Said after typing the email"}
    assert await read(desk, impostor) == {"Said by an impostor"}
    assert await read(desk, seat(typed)) == set()


async def test_a_merge_moves_memories_and_its_undo_returns_them(desk: Desk) -> None:
    await desk.believe_hmacs()
    admin = on_behalf(await desk.member())
    ann, bob = [await desk.prove(f"{name}@example.test") for name in ("ann", "bob")]
    typed = with_token(await desk.register(EMAIL))
    (kept,) = await remember(desk, admin, "Likes tea", contact_id=ann["contact_id"])
    await remember(desk, admin, {"content": "Likes green tea", "supersedes": kept["id"]})
    await remember(desk, seat(typed), "Typed")
    await remember(desk, admin, "Likes tea", contact_id=bob["contact_id"])
    before = await belongings(desk)

    await merge(desk, ann["contact_id"], bob["contact_id"])
    assert await desk.count("memories", "contact_id = $1", bob["contact_id"]) == 4
    assert await desk.count("memory_history", "contact_id = $1", bob["contact_id"]) == 1
    assert await desk.count("memories", "scope_id = $1", typed["caller"]["conversation_id"]) == 1
    # The old id names the contact that stands for it, and no token is widened.
    (folded,) = await remember(desk, admin, "Likes green tea", contact_id=ann["contact_id"])
    assert folded["folded"]
    assert await read(desk, seat(with_token(ann))) == set()
    # Said meanwhile: it goes back with its conversation.
    await remember(desk, seat(with_token(ann)), "Said as Ann, as one")
    await remember(desk, admin, "Said of both", contact_id=bob["contact_id"])

    await unmerge(desk, ann["contact_id"])
    after = await belongings(desk)
    meanwhile = {row[4]: row[1] for row in set(after["memories"]) - set(before["memories"])}
    assert {text: str(contact) for text, contact in meanwhile.items()} == {
        "Said as Ann, as one": ann["contact_id"], "Said of both": bob["contact_id"],
    }  # fmt: skip
    assert set(before["memories"]) <= set(after["memories"])
    assert after["memory_history"] == before["memory_history"]


async def told(desk: Desk, token: JSON, message: str, answer: str) -> Answer:
    """A turn to its end, and what the functions do then."""
    turn = await desk.start(token, message)
    await desk.finish(turn, answer=answer)
    for _ in range(2):
        async with desk.admin.transaction():
            await desk.admin.execute("select set_config('switchboard.workspace_id', $1, true)", WORKSPACE)
            ended = "select private.remember_turn(t) from public.turns t where id = $1"
            await desk.admin.execute(ended, turn["turn_id"])
    return turn


async def test_turns_are_remembered_unchanged_in_their_order_and_once(desk: Desk) -> None:
    await desk.believe_hmacs()
    ann = with_token(await desk.prove(EMAIL, first_name="Ann"))
    visitor = await desk.start(client_message_id="m")
    await desk.finish(visitor)
    await told(desk, ann, "Not yet", "No")
    await desk.admin.execute("update public.personas set remember_turns = true where id = $1", PERSONA)
    await told(desk, ann, "  I like tea. ", "Tea it is.")
    await told(desk, ann, "Two sugars", "Noted.")
    await told(desk, with_token(visitor), "Who am I?", "A visitor.")

    turns = await desk.all(
        "select m.content, p.content, m.speaker, m.contact_id::text, m.conversation_id::text, m.persona_id::text"
        " from public.memories m left join public.memories p on p.id = m.previous_id order by m.valid_from"
    )
    contact, conversation = ann["caller"]["contact_id"], visitor["conversation_id"]
    (name,) = await desk.one("select name from public.personas where id = $1", PERSONA)
    assert turns == [
        ("  I like tea. ", None, "Ann", contact, None, PERSONA),
        ("Tea it is.", "  I like tea. ", name, contact, None, PERSONA),
        ("Two sugars", "Tea it is.", "Ann", contact, None, PERSONA),
        ("Noted.", "Two sugars", name, contact, None, PERSONA),
        ("Who am I?", None, None, visitor["contact_id"], conversation, PERSONA),
        ("A visitor.", "Who am I?", name, visitor["contact_id"], conversation, PERSONA),
    ]
    # It follows an edit of its message, and outlives it.
    await desk.admin.execute("update public.messages set text = 'Two' where text = 'Two sugars'")
    assert await desk.count("memories", "content = 'Two'") == 1
    await desk.admin.execute("delete from public.messages where text = 'Noted.'")
    assert await desk.count("memories", "content = 'Noted.' and message_id is null") == 1
