"""The poll for live streams: who reads what, no change of a list missed or repeated, a constant cost, announcements.

The access matrix has the callers.
"""

import asyncio
import itertools
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from tests.database.desk import JSON, SYSTEM, WORKSPACE, Answer, Desk, on_behalf, own_token, with_token
from tests.database.test_following import holding
from tests.servers import Server


async def poll(desk: Desk, **asked: Any) -> Answer:
    return await desk.call("poll_streams", SYSTEM, **{"conversations": [], "workspaces": [], "readers": [], **asked})


async def levels(desk: Desk, conversation_id: str, *tokens: JSON) -> list[str | None]:
    """What these tokens read of a conversation, as a poll says."""
    readers = [
        {"key": str(key), "claims": token, "conversation_id": conversation_id} for key, token in enumerate(tokens)
    ]
    found = (await poll(desk, readers=readers))["readers"]
    return [found[str(key)] for key in range(len(tokens))]


async def test_a_poll_says_what_each_reader_may_read_now(desk: Desk) -> None:
    boss, agent, other = [await desk.member(role) for role in ("owner", "agent", "agent")]
    ann, ben = await desk.register("ann@example.test"), await desk.register("ben@example.test")
    where, nobody = ann["conversation_id"], {"role": "authenticated", "sub": str(uuid4())}
    readers = (holding(ann), holding(ben), *map(own_token, (boss, agent, other)), nobody)
    gone = "conversation_not_found"
    assert await levels(desk, where, *readers) == ["own", gone, "all", gone, gone, gone]
    await desk.assign(boss, ann["session_id"], agent)
    assert await levels(desk, where, *readers) == ["own", gone, "all", "assigned", gone, gone]
    assert (await desk.call("follow_conversation", own_token(agent), conversation_id=where))["level"] == "assigned"
    await desk.assign(boss, ann["session_id"], other)
    await desk.admin.execute("update public.contacts set tokens_revoked_at = now() where id = $1", ann["contact_id"])
    assert await levels(desk, where, *readers) == ["token_revoked", gone, "all", gone, "assigned", gone]
    await desk.admin.execute("delete from public.workspace_members where user_id = $1", boss["user_id"])
    assert await levels(desk, where, *readers) == ["token_revoked", gone, gone, gone, "assigned", gone]
    workspaces = [
        {"key": str(key), "claims": token, "workspace_id": WORKSPACE} for key, token in enumerate(readers[2:])
    ]
    assert (await poll(desk, readers=workspaces))["readers"] == {
        "0": "workspace_not_found", "1": "assigned", "2": "assigned", "3": "workspace_not_found",
    }  # fmt: skip


async def test_a_poll_has_only_news_and_the_rest_of_an_answer(desk: Desk) -> None:
    ann = await desk.register("ann@example.test")
    turn = await desk.start(with_token(ann), "Hello")
    await desk.flush(turn, 0, "Hi ")
    question: JSON = {"id": ann["conversation_id"]}
    (news,) = (await poll(desk, conversations=[question]))["conversations"]
    assert [line["text"] for line in news["messages"]] == ["Hello"]
    assert (news["session"]["status"], news["turn"]["text"]) == ("active", "Hi ")
    last = news["messages"][-1]
    question |= {"at": last["created_at"], "after": last["id"], "turn_id": turn["turn_id"], "characters": 3}
    question |= {"session_id": ann["session_id"], "session_at": news["session_at"]}
    assert (await poll(desk, conversations=[question]))["conversations"] == []
    await desk.flush(turn, 3, "there")
    (news,) = (await poll(desk, conversations=[question]))["conversations"]
    assert (news["messages"], news["session"], news["turn"]["text"]) == ([], None, "there")
    await desk.finish(turn, answer="Hi there")
    (news,) = (await poll(desk, conversations=[question]))["conversations"]
    assert ([line["text"] for line in news["messages"]], news["turn"]) == (["Hi there"], None)


async def test_a_changed_message_comes_again_at_its_new_place(desk: Desk) -> None:
    """Also to a reader that resumes after a message which has changed again meanwhile."""
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    where = {"conversation_id": ann["conversation_id"]}
    said = {"contact_id": ann["contact_id"], "role": "contact", "source": "test"}
    ids = [(await desk.call("capture_message", on_behalf(boss), text=text, **said))["message_id"] for text in "abc"]

    async def change(message_id: str, text: str) -> None:
        change = "update public.messages set text = $2, changed_at = clock_timestamp() where id = $1"
        await desk.admin.execute(change, message_id, text)

    async def read(**after: Any) -> tuple[list[str], Answer]:
        found = await desk.call("follow_conversation", holding(ann), **where, **after)
        return [line["text"] for line in found["messages"]], found

    assert (await read(after=ids[1]))[0] == ["c"]
    await change(ids[0], "a+")
    texts, found = await read(after=ids[1])
    assert (texts, found["last"]) == (["c", "a+"], ids[0])
    first = {"after": ids[0], "after_at": datetime.fromisoformat(found["last_at"])}
    await change(ids[2], "c+")
    await change(ids[0], "a++")
    assert (await read(**first))[0] == ["c+", "a++"]
    # A made-up time is no position of the poll, which serves other readers too.
    made_up = {"after": ids[1], "after_at": datetime(2286, 1, 1, tzinfo=UTC)}
    assert (await read(**made_up))[0] == ["c+", "a++"]
    assert (await read())[0] == ["b", "c+", "a++"]
    _, latest = await read(only_new=True)
    assert (latest["last"], latest["last_changed"], latest["messages"]) == (ids[0], True, [])
    position = {"id": ann["conversation_id"], "after": first["after"], "at": found["last_at"]}
    (news,) = (await poll(desk, conversations=[position]))["conversations"]
    assert [line["text"] for line in news["messages"]] == ["c+", "a++"]


async def test_no_change_of_a_list_is_missed_or_repeated_during_concurrent_writes(
    server_18: Server, migrated: str
) -> None:
    """Transactions that commit late are found too, and so is what a resume finds."""
    async with Desk(server_18.gate_url(migrated), server_18.admin_url(migrated), connections=14) as desk:
        await desk.lift_limits()
        boss = await desk.member("owner")
        contacts = [await desk.register(f"{number}@example.test") for number in range(6)]
        opening = await desk.call("follow_workspace", own_token(boss), workspace_id=WORKSPACE)
        writing = asyncio.gather(*(_write(desk, boss, ann) for ann in contacts))
        seen: dict[str, int] = dict(opening["window"])
        heard: list[tuple[str, int]] = []
        now, ended, turns = opening["now"], False, itertools.cycle(range(3))
        while not ended:
            ended = writing.done()
            since = await desk.admin.fetchval("select to_timestamp($1::numeric / 1000000)", now)
            asked = {"workspace_id": WORKSPACE, "since": since, "known": seen}
            if next(turns) == 0:
                found = await desk.call("follow_workspace", own_token(boss), **asked)
                changed, now = found["sessions"], found["now"]
            else:
                topic = {"id": WORKSPACE, "since": since.isoformat(), "known": seen}
                polled = await poll(desk, workspaces=[topic])
                changed, now = polled["workspaces"][WORKSPACE], polled["now"]
            heard += [(each["session_id"], each["at"]) for each in changed]
            seen |= {each["session_id"][-8:]: each["at"] for each in changed}
        await writing
        assert len(heard) == len(set(heard))
        stored = "select id::text, (extract(epoch from updated_at) * 1000000)::bigint from public.sessions"
        latest = dict(heard)
        assert [
            row for row in await desk.all(f"{stored} where id = any($1)", list(latest)) if latest[row[0]] != row[1]
        ] == []
        assert latest.keys() >= {ann["session_id"] for ann in contacts}


async def _write(desk: Desk, boss: JSON, ann: Answer) -> None:
    connection = await asyncpg.connect(desk.admin_url)
    for number in range(6):
        await desk.finish(await desk.start(with_token(ann), f"m{number}"), answer="Yes")
        async with connection.transaction():
            # A slow writer, whose changes are older than what is read meanwhile.
            await connection.execute(
                "insert into public.messages (workspace_id, conversation_id, session_id, role, contact_id, text) select"
                " workspace_id, conversation_id, id, 'contact', contact_id, 'late' from public.sessions where id = $1",
                ann["session_id"],
            )
            await connection.execute(
                "update public.sessions set message_count = message_count + 1 where id = $1", ann["session_id"]
            )
            await asyncio.sleep(0.02 * number)
        await desk.take_over(boss, ann["session_id"])
        await desk.hand_back(boss, ann["session_id"])
    await connection.close()


async def test_a_poll_costs_the_same_in_a_long_conversation_and_a_large_workspace(desk: Desk) -> None:
    """In 8 kB pages, those for planning included."""
    ann, touched = await desk.register("ann@example.test"), list[int]()
    for messages in (2_000, 40_000):
        await desk.admin.execute(
            "insert into public.messages"
            " (id, workspace_id, conversation_id, session_id, role, contact_id, text, created_at)"
            " select private.first_id_of(at), workspace_id, conversation_id, id, 'contact', contact_id, 'word', at"
            " from public.sessions, generate_series(1, $2) n,"
            " lateral (select now() - interval '1 day' - n * '1 s'::interval - $2 * '1 ms'::interval) t (at)"
            " where id = $1",
            ann["session_id"],
            messages,
        )
        await desk.admin.execute("vacuum analyze public.messages")
        last = "select id::text, created_at::text from public.messages order by created_at desc, id desc limit 1"
        (message_id, at) = await desk.one(last)
        conversations = [{"id": ann["conversation_id"], "after": message_id, "at": at}]
        workspaces = [{"id": WORKSPACE, "since": str(await desk.admin.fetchval("select now()")), "known": {}}]
        async with desk.reading(SYSTEM) as connection:
            # Else estimates decide whether the last call is planned again, and these pages are most of its cost.
            await connection.execute("set plan_cache_mode = force_custom_plan")
            given = ", ".join(f"'{json.dumps(each)}'" for each in (conversations, workspaces, []))
            for _ in range(9):
                await connection.execute(f"select public.poll_streams({given})")
            plan = json.loads(
                await connection.fetchval(
                    f"explain (analyze, buffers, format json) select public.poll_streams({given})"
                )
            )
        root = plan[0]["Plan"]
        touched.append(root["Shared Hit Blocks"] + root["Shared Read Blocks"])
    assert touched[1] <= touched[0] * 1.3 + 16, touched


async def test_changes_are_announced_only_while_a_connection_listens(desk: Desk) -> None:
    ann, heard = await desk.register("ann@example.test"), asyncio.Queue[str]()

    async def announced(**named: Any) -> bool:
        listeners: bool = (await desk.call("announce_change", SYSTEM, **named))["listeners"]
        return listeners

    assert not await announced(conversation_id=ann["conversation_id"])
    listener = await asyncpg.connect(desk.admin_url)
    await listener.add_listener("switchboard_changes", lambda *given: heard.put_nowait(given[-1]))
    await listener.execute("select set_config('request.jwt.claims', $1, false)", json.dumps(SYSTEM))
    await listener.execute("select public.begin_listening()")
    turn = await desk.start(with_token(ann), "Hello")
    for named in (
        {"conversation_id": ann["conversation_id"]},
        {"session_id": ann["session_id"]},
        {"turn_id": turn["turn_id"]},
    ):
        assert await announced(**named)
        async with asyncio.timeout(5):
            assert await heard.get() == f"{ann['conversation_id']} {WORKSPACE}"
    assert await announced(session_id=str(uuid4()))
    process = listener.get_server_pid()
    await listener.close()
    async with asyncio.timeout(5):
        while await desk.admin.fetchval("select count(*) from pg_stat_activity where pid = $1", process):
            pass
    assert not await announced(conversation_id=ann["conversation_id"])
    assert heard.empty()


@pytest.mark.parametrize("function", ["poll_streams", "announce_change", "begin_listening"])
async def test_what_serves_all_streams_is_for_the_system(desk: Desk, function: str) -> None:
    arguments: JSON = {"conversations": [], "workspaces": [], "readers": []} if function == "poll_streams" else {}
    assert await desk.refused(function, await desk.arrive(), **arguments) == (403, "forbidden")
