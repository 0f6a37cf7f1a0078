"""Following a conversation: each message exactly once, in order, however many write it, and to nobody it isn't for."""

import asyncio
import json
from typing import Any

import pytest

from tests.database.desk import JSON, Answer, Desk, Raised, member, on_behalf, own_token, with_token
from tests.database.test_takeover import assign, hand_back, say, take_over
from tests.servers import Server

WRITERS, MESSAGES = 8, 12


def holding(arrived: Answer) -> JSON:
    """The claims of the contact token that an arrival was answered with."""
    ids = {name: arrived[name] for name in ("workspace_id", "contact_id", "conversation_id", "proof")}
    return {"role": "contact", "sub": arrived["contact_id"], **ids}


async def follow(desk: Desk, token: JSON, conversation_id: str, **more: Any) -> Answer:
    return await desk.call("follow_conversation", token, conversation_id=conversation_id, **more)


async def test_what_was_said_comes_in_order_and_then_what_is_new(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    where = ann["conversation_id"]
    turn = await desk.start(with_token(ann), "Hello")
    done = await desk.finish(turn, "cancelled", "Hi, I")

    first = await follow(desk, holding(ann), where)
    assert [(line["role"], line["text"], line["partial"], line["turn_id"]) for line in first["messages"]] == [
        ("contact", "Hello", False, turn["turn_id"]),
        ("persona", "Hi, I", True, turn["turn_id"]),
    ]
    assert first["last"] == done["message_id"] == first["messages"][-1]["id"]
    assert first["session"] == {"session_id": ann["session_id"], "status": "active", "taken_over": False}

    await take_over(desk, boss, ann["session_id"])
    spoken = await say(desk, boss, ann["session_id"])
    then = await follow(desk, holding(ann), where, after=first["last"])
    assert [(line["id"], line["role"], line["turn_id"]) for line in then["messages"]] == [
        (spoken["message_id"], "member", None)
    ]
    assert then["session"]["taken_over"] is True
    silent = await follow(desk, holding(ann), where, after=then["last"])
    assert (silent["messages"], silent["last"], silent["more"]) == ([], spoken["message_id"], False)
    await hand_back(desk, boss, ann["session_id"])
    assert (await follow(desk, holding(ann), where, after=then["last"]))["session"]["taken_over"] is False


async def test_who_wants_only_what_is_new_is_told_where_to_go_on(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")
    nothing = await follow(desk, holding(ann), ann["conversation_id"], only_new=True)
    assert (nothing["messages"], nothing["last"]) == ([], None)
    done = await desk.finish(await desk.start(with_token(ann), "Hello"))
    now = await follow(desk, holding(ann), ann["conversation_id"], only_new=True)
    assert (now["messages"], now["last"]) == ([], done["message_id"])


async def test_a_long_conversation_comes_in_parts(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")
    for number in range(3):
        await desk.finish(await desk.start(with_token(ann), f"m{number}"), answer=f"a{number}")
    last, read, parts = None, [], 0
    while True:
        part = await follow(desk, holding(ann), ann["conversation_id"], after=last, message_limit=2)
        read += [line["text"] for line in part["messages"]]
        last, parts = part["last"], parts + 1
        if not part["more"]:
            break
    assert read == ["m0", "a0", "m1", "a1", "m2", "a2"]
    assert parts == 4


async def test_nobody_follows_what_is_not_theirs(desk: Desk) -> None:
    boss, agent = await member(desk, "owner"), await member(desk, "agent")
    elsewhere, _ = await desk.open_workspace()
    foreigner = await member(desk, "owner", elsewhere)
    ann, ben = await desk.register("ann@example.test"), await desk.register("ben@example.test")
    where = ann["conversation_id"]
    await desk.finish(await desk.start(with_token(ann), "Hello"))
    for token in (holding(ben), own_token(agent), own_token(foreigner)):
        with pytest.raises(Raised) as refused:
            await follow(desk, token, where)
        assert (refused.value.status, refused.value.code) == (404, "conversation_not_found")
    bens = (await desk.finish(await desk.start(with_token(ben), "Hello")))["message_id"]
    with pytest.raises(Raised) as refused:
        await follow(desk, holding(ann), where, after=bens)
    assert (refused.value.status, refused.value.code) == (404, "message_not_found")

    assert len((await follow(desk, own_token(boss), where))["messages"]) == 2
    await assign(desk, boss, ann["session_id"], agent)
    assert len((await follow(desk, own_token(agent), where))["messages"]) == 2
    # An agent sees the session that is theirs, and none before or after it.
    await desk.call("change_session_status", on_behalf(boss), session_id=ann["session_id"], status="completed")
    await desk.start(with_token(ann), "A new session")
    seen = await follow(desk, own_token(agent), where)
    assert (len(seen["messages"]), seen["session"]["session_id"]) == (2, ann["session_id"])
    assert len((await follow(desk, own_token(boss), where))["messages"]) == 3


@pytest.mark.parametrize("way", ["turns", "members", "both"])
async def test_a_reader_meets_each_message_once_and_in_order_while_many_write(
    server_18: Server, migrated: str, way: str
) -> None:
    """Sessions end and begin meanwhile, so that the order has to hold from one to the next as well."""
    async with Desk(server_18.gate_url(migrated), server_18.admin_url(migrated), connections=14) as desk:
        await _write_and_follow(desk, way)


async def _write_and_follow(desk: Desk, way: str) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    where, writing = ann["conversation_id"], True

    async def write(writer: int) -> None:
        for number in range(MESSAGES):
            name = f"{writer}-{number}"
            if way == "turns" or (way == "both" and number % 3):
                turn = await _send(desk, ann, name)
                if turn["status"] == "active":
                    await desk.flush(turn, 0, "Ye")
                    await desk.finish(turn, answer="Yes")
            else:
                await desk.call(
                    "capture_message",
                    on_behalf(boss),
                    contact_id=ann["contact_id"],
                    text=name,
                    role="member" if number % 2 else "contact",
                    source="test",
                )
            if way == "both" and writer == 0 and number % 4 == 3:
                live = await desk.admin.fetchval(
                    "select id::text from public.sessions where conversation_id = $1 and ended_at is null", where
                )
                if live:
                    ending = {"session_id": live, "status": "completed"}
                    await desk.call("change_session_status", on_behalf(boss), **ending)

    read: list[str] = []

    async def read_along() -> None:
        last, quiet = None, False
        while not quiet:
            quiet = not writing
            part = await follow(desk, holding(ann), where, after=last, message_limit=3)
            read.extend(line["id"] for line in part["messages"])
            quiet = quiet and not part["more"]
            last = part["last"]

    async def write_all() -> None:
        nonlocal writing
        try:
            await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
        finally:
            writing = False

    await asyncio.gather(write_all(), read_along(), read_along_twice(desk, ann, lambda: writing))
    stored = await desk.admin.fetch(
        "select id::text from public.messages where conversation_id = $1 order by created_at, id", where
    )
    assert len(stored) >= WRITERS * MESSAGES
    assert read == [row["id"] for row in stored]


async def _send(desk: Desk, ann: Answer, name: str) -> Answer:
    """Send a message until none is in its way."""
    while True:
        turn = await desk.start(with_token(ann), name, client_message_id=name)
        if turn.status == 200:
            return turn
        await asyncio.sleep(0.002)


async def read_along_twice(desk: Desk, ann: Answer, is_going_on: Any) -> None:
    """A reader that comes again and again with its last id, as one whose stream ends."""
    last, read = None, []
    while is_going_on():
        part = await follow(desk, holding(ann), ann["conversation_id"], after=last, message_limit=200)
        read += [line["id"] for line in part["messages"]]
        last = part["last"]
        await asyncio.sleep(0.02)
    whole = await follow(desk, holding(ann), ann["conversation_id"], message_limit=200)
    assert read == [line["id"] for line in whole["messages"]][: len(read)]


@pytest.mark.parametrize("who", ["contact", "owner", "agent"])
async def test_a_question_costs_the_same_in_a_long_conversation(desk: Desk, who: str) -> None:
    """In 8 kB pages touched, also once the server has made up its mind about a plan (after five calls)."""
    boss, agent = await member(desk, "owner"), await member(desk, "agent")
    ann = await desk.register("ann@example.test")
    await assign(desk, boss, ann["session_id"], agent)
    token = {"contact": holding(ann), "owner": own_token(boss), "agent": own_token(agent)}[who]
    touched = []
    for messages in (50, 20_000):
        await desk.admin.execute(
            "insert into public.messages (workspace_id, conversation_id, session_id, role, contact_id, text) "
            "select workspace_id, conversation_id, id, 'contact', contact_id, 'word' "
            "from public.sessions, generate_series(1, $2) where id = $1",
            ann["session_id"],
            messages,
        )
        await desk.admin.execute("vacuum analyze public.messages")
        last = await desk.admin.fetchval("select id from public.messages order by created_at desc, id desc limit 1")
        touched.append(await _pages(desk, token, ann["conversation_id"], last))
    assert touched[1] <= touched[0] * 1.3 + 8, touched


async def _pages(desk: Desk, token: JSON, conversation_id: str, last: Any) -> int:
    """The pages that the twentieth question of one connection touches."""
    async with desk.admin.transaction():
        await desk.admin.execute(f"set local role {token['role']}")
        await desk.admin.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(token))
        call = f"public.follow_conversation('{conversation_id}', '{last}')"
        for _ in range(19):
            await desk.admin.execute(f"select {call}")
        plan = await desk.admin.fetchval(f"explain (analyze, buffers, format json) select {call}")
        await desk.admin.execute("reset role")
    root = json.loads(plan)[0]["Plan"]
    return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])
