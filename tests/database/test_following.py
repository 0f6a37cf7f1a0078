"""Following a conversation: each message once and in order, also during concurrent writes, at a constant cost.

The access matrix has the callers.
"""

import asyncio
import json
from typing import Any

import pytest

from tests.database.desk import JSON, Answer, Desk, on_behalf, own_token, with_token
from tests.servers import Server

WRITERS, MESSAGES = 8, 12


def holding(arrived: Answer) -> JSON:
    """The claims of an arrival's own contact token."""
    return own_token({**with_token(arrived)["caller"], "workspace_id": arrived["workspace_id"]})


async def follow(desk: Desk, token: JSON, conversation_id: str, **more: Any) -> Answer:
    return await desk.call("follow_conversation", token, conversation_id=conversation_id, **more)


async def test_stored_messages_come_in_order_and_new_ones_after_them(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    where = ann["conversation_id"]
    nothing = await follow(desk, holding(ann), where, only_new=True)
    assert (nothing["messages"], nothing["last"]) == ([], None)
    turn = await desk.start(with_token(ann), "Hello")
    done = await desk.finish(turn, "cancelled", "Hi, I")

    first = await follow(desk, holding(ann), where)
    assert [(line["role"], line["text"], line["partial"], line["turn_id"]) for line in first["messages"]] == [
        ("contact", "Hello", False, turn["turn_id"]),
        ("persona", "Hi, I", True, turn["turn_id"]),
    ]
    assert first["last"] == done["message_id"] == first["messages"][-1]["id"]
    state = {"session_id": ann["session_id"], "status": "active", "taken_over": False}
    state |= {"contact_id": ann["contact_id"], "user_id": None}
    assert first["session"] == {**state, "proof": None}
    assert (await follow(desk, own_token(boss), where))["session"] == {**state, "proof": "asserted"}
    new = await follow(desk, holding(ann), where, only_new=True)
    assert (new["messages"], new["last"]) == ([], done["message_id"])

    await desk.take_over(boss, ann["session_id"])
    spoken = await desk.say(boss, ann["session_id"])
    then = await follow(desk, holding(ann), where, after=first["last"])
    (line,) = then["messages"]
    assert (line["id"], line["role"], line["turn_id"]) == (spoken["message_id"], "member", None)
    assert then["session"]["taken_over"] is True
    await desk.hand_back(boss, ann["session_id"])
    last = await follow(desk, holding(ann), where, after=then["last"])
    assert (last["messages"], last["last"], last["more"]) == ([], spoken["message_id"], False)
    assert last["session"]["taken_over"] is False


async def test_messages_of_the_same_moment_are_split_over_parts_without_a_loss(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")
    for number in range(3):
        await desk.finish(await desk.start(with_token(ann), f"m{number}"), answer=f"a{number}")
    await desk.admin.execute("update public.messages set created_at = now()")
    last: str | None = None
    parts: list[Answer] = []
    while not parts or parts[-1]["more"]:
        parts.append(await follow(desk, holding(ann), ann["conversation_id"], after=last, message_limit=2))
        last = parts[-1]["last"]
    read = [line["text"] for part in parts for line in part["messages"]]
    assert (read, len(parts)) == (["m0", "a0", "m1", "a1", "m2", "a2"], 4)


@pytest.mark.parametrize("way", ["turns", "members", "both"])
async def test_a_reader_gets_each_message_once_and_in_order_during_concurrent_writes(
    server_18: Server, migrated: str, way: str
) -> None:
    """With `both`, sessions end and begin meanwhile: the order holds from one session to the next."""
    async with Desk(server_18.gate_url(migrated), server_18.admin_url(migrated), connections=14) as desk:
        boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
        writing = asyncio.gather(*(_write(desk, boss, ann, way, writer) for writer in range(WRITERS)))
        reading = [asyncio.create_task(_read(desk, ann, writing, limit)) for limit in (3, 200)]
        await writing
        stored = await desk.all(
            "select id::text from public.messages where conversation_id = $1 order by created_at, id",
            ann["conversation_id"],
        )
        assert len(stored) >= WRITERS * MESSAGES
        for read in await asyncio.gather(*reading):
            assert read == [key for (key,) in stored]


async def _write(desk: Desk, boss: JSON, ann: Answer, way: str, writer: int) -> None:
    for number in range(MESSAGES):
        name = f"{writer}-{number}"
        if way == "turns" or (way == "both" and number % 3):
            turn = await _send(desk, ann, name)
            if turn["status"] == "active":
                await desk.flush(turn, 0, "Ye")
                await desk.finish(turn, answer="Yes")
        else:
            said = {"text": name, "role": "member" if number % 2 else "contact", "source": "test"}
            await desk.call("capture_message", on_behalf(boss), contact_id=ann["contact_id"], **said)
        if way == "both" and writer == 0 and number % 4 == 3:
            live = "select id::text from public.sessions where conversation_id = $1 and ended_at is null"
            for (session_id,) in await desk.all(live, ann["conversation_id"]):
                await desk.change(boss, session_id, "complete")


async def _send(desk: Desk, ann: Answer, name: str) -> Answer:
    """Send a message until no other turn is active."""
    while (turn := await desk.start(with_token(ann), name, client_message_id=name)).status != 200:
        pass
    return turn


async def _read(desk: Desk, ann: Answer, writing: "asyncio.Future[Any]", limit: int) -> list[str]:
    """The ids of all messages, in parts, until nothing follows after the last write."""
    last, read = None, list[str]()
    while True:
        ended = writing.done()
        part = await follow(desk, holding(ann), ann["conversation_id"], after=last, message_limit=limit)
        read += [line["id"] for line in part["messages"]]
        last = part["last"]
        if ended and not part["more"]:
            return read


@pytest.mark.parametrize("who", ["contact", "owner", "agent"])
async def test_a_poll_costs_the_same_in_a_long_conversation(desk: Desk, who: str) -> None:
    """In 8 kB pages, also with a generic plan, which the server considers after five calls."""
    boss, agent = await desk.member("owner"), await desk.member("agent")
    ann = await desk.register("ann@example.test")
    await desk.assign(boss, ann["session_id"], agent)
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
        (last,) = await desk.one("select id from public.messages order by created_at desc, id desc limit 1")
        async with desk.reading(token) as connection:
            call = f"select public.follow_conversation('{ann['conversation_id']}', '{last}')"
            for _ in range(19):
                await connection.execute(call)
            plan = json.loads(await connection.fetchval(f"explain (analyze, buffers, format json) {call}"))
        root = plan[0]["Plan"]
        touched.append(root["Shared Hit Blocks"] + root["Shared Read Blocks"])
    assert touched[1] <= touched[0] * 1.3 + 8, touched
