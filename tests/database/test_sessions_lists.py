"""Sessions are found by what is asked for, page by page, by those who may see them, and by way of an index."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.database.desk import JSON, PERSONA, SPACE, WORKSPACE, Answer, Desk, Raised, member, own_token, with_token
from tests.database.test_sessions_states import change
from tests.servers import VERSIONS, Server


async def find(desk: Desk, caller: JSON, filters: JSON | None = None, **paging: Any) -> Answer:
    return await desk.call("list_sessions", own_token(caller), filters=filters or {}, **paging)


def ids(answer: Answer) -> list[str]:
    return [item["id"] for item in answer["items"]]


async def sessions(desk: Desk, number: int) -> list[str]:
    """Sessions of contacts who each said their number, oldest first."""
    made = []
    for each in range(number):
        turn = await desk.start(with_token(await desk.register(f"c{each}@example.test")), f"order number{each} please")
        await desk.finish(turn, answer="Noted, friend.")
        made.append(turn["session_id"])
    return made


async def test_a_member_finds_sessions_by_all_that_is_asked(desk: Desk) -> None:
    boss = await member(desk, "owner")
    made = await sessions(desk, 6)
    await desk.admin.execute("update public.contacts set first_name = 'Ann', last_name = 'Lee'")
    await change(desk, boss, made[0], "pause")
    await change(desk, boss, made[1], "complete")
    await change(desk, boss, made[2], "cancel")
    row = await desk.admin.fetchrow("select * from public.sessions where id = $1", made[4])
    assert row is not None
    at = row["created_at"].isoformat()
    newest_first = made[::-1]
    nobody = "00000000-0000-4000-8000-000000000001"
    for filters, expected in (
        ({}, newest_first),
        ({"status": ["active"]}, newest_first[:3]),
        ({"status": ["completed", "paused"]}, [made[1], made[0]]),
        ({"status": ["failed"]}, []),
        ({"contact_id": str(row["contact_id"])}, [made[4]]),
        ({"persona_id": PERSONA, "status": ["cancelled"]}, [made[2]]),
        ({"persona_id": nobody}, []),
        ({"user_id": nobody}, []),
        ({"space_id": SPACE}, newest_first),
        ({"space_id": nobody}, []),
        ({"channel": "web", "status": ["paused"]}, [made[0]]),
        ({"channel": "telegram"}, []),
        ({"text": "NUMBER4"}, [made[4]]),
        ({"text": "friend"}, newest_first),
        ({"text": "number4 OR number2"}, [made[4], made[2]]),
        ({"text": "number4 friend"}, []),
        ({"text": "number"}, []),
        ({"text": "'; drop table public.sessions; --"}, []),
        ({"text": "?!"}, []),
        ({"text": "friend", "status": ["paused"]}, [made[0]]),
        ({"created_after": at}, newest_first[:2]),
        ({"created_before": at}, newest_first[2:]),
        ({"active_after": row["last_activity_at"].isoformat()}, newest_first[:2]),
        ({"active_before": row["last_activity_at"].isoformat()}, newest_first[2:]),
        ({"conversation_id": str(row["conversation_id"])}, [made[4]]),
        ({"workspace_id": WORKSPACE, "status": ["active", "active"]}, newest_first[:3]),
        ({"workspace_id": nobody}, []),
    ):
        assert ids(await find(desk, boss, filters)) == expected, filters
    item = (await find(desk, boss, {"contact_id": str(row["contact_id"])}))["items"][0]
    assert item["contact"] == {"id": str(row["contact_id"]), "name": "Ann Lee"}
    assert item["persona"]["name"]
    assert (item["turn_count"], item["message_count"], item["channel"], item["space_id"]) == (1, 2, "web", SPACE)


async def test_a_filter_is_a_value_and_never_sql(desk: Desk) -> None:
    boss = await member(desk, "owner")
    await sessions(desk, 1)
    for name in ("status", "persona_id", "created_after"):
        for value in ("' or true --", "x'::uuid or true"):
            with pytest.raises(Raised):
                await find(desk, boss, {name: [value] if name == "status" else value})
    for name in ("channel", "text"):
        assert ids(await find(desk, boss, {name: "' or true) --"})) == []


async def test_pages_are_stable_while_new_sessions_come(desk: Desk) -> None:
    boss = await member(desk, "owner")
    made = await sessions(desk, 7)
    # Several begun at the same moment: the id decides.
    await desk.admin.execute("update public.sessions set created_at = date_trunc('day', now())")
    seen: list[str] = []
    last: JSON | None = None
    while True:
        more = {} if last is None else {"before_created_at": _time(last), "before_id": last["id"]}
        page = await find(desk, boss, {"status": ["active", "paused"]}, page_size=2, **more)
        seen += ids(page)
        last = page["last"]
        if last is None:
            break
        await desk.register(f"late{len(seen)}@example.test")
    assert seen == sorted(made, reverse=True)
    everything = ids(await find(desk, boss))
    assert ids(await find(desk, boss, page_size=3, skip=4)) == everything[4:7]
    assert len(everything) == 10
    assert (await find(desk, boss, skip=10)).body == {"items": [], "last": None}


def _time(last: JSON) -> Any:
    import datetime  # noqa: PLC0415

    return datetime.datetime.fromisoformat(last["created_at"])


async def test_everybody_finds_their_own_and_nothing_else(desk: Desk) -> None:
    made = await sessions(desk, 2)
    ann = with_token(await desk.register("ann@example.test"))["caller"]
    agent, boss = await member(desk, "agent"), await member(desk, "admin")
    stranger = {"kind": "user", "user_id": await desk.sign_up(None)}
    other_workspace, _ = await desk.open_workspace()
    elsewhere = await member(desk, "owner", other_workspace)
    await desk.admin.execute(
        "update public.sessions set assigned_user_id = $1 where id = $2", agent["user_id"], made[0]
    )
    hers = ids(await find(desk, ann))
    assert len(hers) == 1
    assert ids(await find(desk, agent)) == [made[0]]
    assert len(ids(await find(desk, boss))) == 3
    for caller in (stranger, elsewhere):
        assert ids(await find(desk, caller)) == []
        assert ids(await find(desk, caller, {"workspace_id": WORKSPACE})) == []
        assert ids(await find(desk, caller, {"text": "please"})) == []
        with pytest.raises(Raised) as refused:
            await find(desk, caller, {"conversation_id": ann["conversation_id"]})
        assert (refused.value.status, refused.value.code) == (404, "conversation_not_found")
        with pytest.raises(Raised) as refused:
            await desk.call("read_session", own_token(caller), session_id=made[0])
        assert (refused.value.status, refused.value.code) == (404, "session_not_found")
    assert ids(await find(desk, agent, {"text": "number0"})) == [made[0]]
    assert ids(await find(desk, agent, {"text": "number1"})) == []
    assert ids(await find(desk, ann, {"text": "number1"})) == []
    await desk.admin.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'agent')",
        other_workspace,
        boss["user_id"],
    )
    with pytest.raises(Raised) as refused:
        await find(desk, boss)
    assert (refused.value.status, refused.value.code) == (422, "workspace_required")
    assert len(ids(await find(desk, boss, {"workspace_id": WORKSPACE}))) == 3
    assert ids(await find(desk, boss, {"workspace_id": other_workspace})) == []


async def test_a_session_is_read_with_turns_messages_and_what_happened(desk: Desk) -> None:
    boss = await member(desk, "admin")
    ann = with_token(await desk.register("ann@example.test"))
    turns = []
    for number in range(3):
        turns.append(await desk.start(ann, f"message {number}"))
        await desk.finish(
            turns[-1], *(("failed", None) if number == 1 else ()), error_code="persona_failed" if number == 1 else None
        )
    session_id = turns[0]["session_id"]
    await change(desk, boss, session_id, "pause")
    await change(desk, ann["caller"], session_id, "cancel")

    full = await desk.call("read_session", own_token(boss), session_id=session_id)

    assert [turn["id"] for turn in full["turns"]] == [turn["turn_id"] for turn in turns]
    assert [said["text"] for said in full["messages"]] == ["message 0", "Hi", "message 1", "message 2", "Hi"]
    assert full["messages_before"] is None
    assert [happened["event"] for happened in full["timeline"]] == [
        "session.created", "turn.started", "turn.completed", "turn.started", "turn.failed", "turn.started",
        "turn.completed", "session.paused", "session.cancelled",
    ]  # fmt: skip
    assert full["timeline"][-2]["actor_id"] == boss["user_id"]
    to_ann = await desk.call("read_session", own_token(ann["caller"]), session_id=session_id)
    assert [happened["event"] for happened in to_ann["timeline"]] == [
        happened["event"] for happened in full["timeline"]
    ]
    assert {happened["actor_id"] for happened in to_ann["timeline"]} == {None}

    last = await desk.call("read_session", own_token(boss), session_id=session_id, message_limit=2)
    assert [said["text"] for said in last["messages"]] == ["message 2", "Hi"]
    before = await desk.call(
        "read_session", own_token(boss), session_id=session_id, message_limit=2, before=last["messages_before"]
    )
    assert [said["text"] for said in before["messages"]] == ["Hi", "message 1"]
    with pytest.raises(Raised) as refused:
        await desk.call("read_session", own_token(boss), session_id=session_id, before=session_id)
    assert refused.value.code == "message_not_found"


async def test_a_word_that_is_everywhere_is_looked_for_in_the_newest_first(desk: Desk) -> None:
    boss = await member(desk, "owner")
    made = await sessions(desk, 3)
    claims = json.dumps(own_token(boss))
    async with desk.admin.transaction():
        await desk.admin.execute("select set_config('request.jwt.claims', $1, true)", claims)
        await desk.admin.execute("set local role authenticated")
        found = [
            await desk.admin.fetchval("select private.sessions_saying($1, 'friend', $2)", WORKSPACE, most)
            for most in (3, 2)
        ]
    assert (sorted(map(str, found[0])), found[1]) == (sorted(made), None)


async def test_a_word_that_one_in_four_of_the_newest_sessions_has_is_not_looked_up(desk: Desk) -> None:
    boss = await member(desk, "owner")
    (first,) = await sessions(desk, 1)
    # Sixty newer sessions with a word of theirs, and another word in twenty of them.
    await desk.admin.execute(
        """
        with c as (
            insert into public.conversations (id, workspace_id, user_id, persona_id, thread_key)
            select gen_random_uuid(), workspace_id, $2, persona_id, 'n' || n
              from public.sessions, generate_series(1, 60) n where id = $1 returning *
        ), s as (
            insert into public.sessions (workspace_id, conversation_id, user_id, persona_id, created_at)
            select workspace_id, id, user_id, persona_id, now() + interval '1 second' from c returning *
        )
        insert into public.messages (workspace_id, conversation_id, session_id, role, user_id, text)
        select workspace_id, conversation_id, id, 'user', user_id,
               'everywhere' || case when row_number() over () <= 20 then ' somewhere' else '' end
          from s
        """,
        UUID(first),
        UUID(boss["user_id"]),
    )
    await desk.admin.execute("analyze public.messages")
    async with desk.admin.transaction():
        await desk.admin.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(own_token(boss)))
        await desk.admin.execute("set local role authenticated")
        asked = ("everywhere", "somewhere", "nowhere")
        found = [await desk.admin.fetchval("select private.sessions_saying($1, $2)", WORKSPACE, word) for word in asked]
    assert [None if each is None else len(each) for each in found] == [None, 20, 0]
    assert len(ids(await find(desk, boss, {"text": "everywhere"}))) == 50
    assert len(ids(await find(desk, boss, {"text": "somewhere"}))) == 20


async def test_a_long_message_is_stored_and_its_beginning_is_found(desk: Desk) -> None:
    boss = await member(desk, "owner")
    turn = await desk.start(with_token(await desk.register("ann@example.test")))
    words = " ".join(f"w{number:07}" for number in range(200_000))
    await desk.finish(turn, answer="needle " + words + " haystack")
    assert ids(await find(desk, boss, {"text": "needle"})) == [turn["session_id"]]
    assert ids(await find(desk, boss, {"text": "haystack"})) == []


# Plans ---------------------------------------------------------------------------------------------------------------

FILL = """
insert into public.conversations (workspace_id, user_id, persona_id, space_id, thread_key)
select $1, $3, $2, $4, 't' || n from generate_series(1, 20) n;
"""

FILL_SESSIONS = """
insert into public.sessions
       (workspace_id, conversation_id, user_id, persona_id, status, created_at, last_activity_at, ended_at)
select c.workspace_id, c.id, c.user_id, c.persona_id,
       case when n % 5000 = 0 then 'failed' else 'completed' end::public.session_status,
       now() - make_interval(secs => n), now() - make_interval(secs => n), now()
  from generate_series(1, 20000) n
  join (select c.*, row_number() over () - 1 as place from public.conversations c where c.thread_key ~ '^t\\d+$') c
    on c.place = n % 20
"""

MEMBERS: dict[str, tuple[JSON, str]] = {
    "everything": ({}, "sessions_created_at_idx"),
    "a status": ({"status": ["failed"]}, "sessions_failed_idx"),
    "several statuses": ({"status": ["failed", "timeout"]}, "sessions_failed_idx"),
    "a persona and a status": ({"persona_id": "$persona", "status": ["failed"]}, "sessions_failed_idx"),
    "a persona that nobody asked": ({"persona_id": "$nobody"}, "sessions_persona_created_at_idx"),
    "a contact": ({"contact_id": "$nobody"}, "sessions_contact_id_idx"),
    "a user": ({"user_id": "$nobody"}, "sessions_user_id_idx"),
    "a range": ({"created_before": "2020-01-01T00:00:00Z"}, "sessions_created_at_idx"),
    "since when it is idle": ({"active_before": "2020-01-01T00:00:00Z"}, "sessions_"),
    "a space": ({"space_id": "$space"}, "sessions_created_at_idx"),
    "a conversation": ({"conversation_id": "$conversation"}, "sessions_conversation_id_idx"),
}


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_list_reads_its_sessions_by_an_index(server: Callable[[int], Server], version: int) -> None:
    running = server(version)
    name = await running.migrated()
    async with Desk(running.gate_url(name), running.admin_url(name)) as desk:
        boss, agent = await member(desk, "owner"), await member(desk, "agent")
        nobody = await desk.sign_up(None)
        await desk.admin.execute("update public.personas set enabled = true")
        owner = await desk.sign_up(None)
        await desk.admin.execute(FILL, WORKSPACE, PERSONA, owner, SPACE)
        # Without triggers: of thousands of sessions of one contact each would mark the hours of all later ones.
        await desk.admin.execute("set session_replication_role = replica")
        await desk.admin.execute(FILL_SESSIONS)
        await desk.admin.execute("insert into public.contacts (workspace_id) values ($1)", UUID(WORKSPACE))
        await desk.admin.execute(
            "update public.sessions set contact_id = (select id from public.contacts) where right(id::text, 1) < '8'"
        )
        await desk.admin.execute("reset session_replication_role")
        await desk.admin.execute("analyze")
        places = {
            "$persona": PERSONA,
            "$nobody": nobody,
            "$space": SPACE,
            "$conversation": str(await desk.admin.fetchval("select id from public.conversations limit 1")),
        }
        for what, (filters, index) in MEMBERS.items():
            asked = {
                name: places.get(value, value) if isinstance(value, str) else value for name, value in filters.items()
            }
            for caller in (boss, {"kind": "user", "user_id": nobody}, agent):
                if what == "a conversation" and caller is not boss:
                    continue
                plan = await _plan(desk, caller, asked)
                assert "Seq Scan on sessions" not in plan, f"{what} on {version}\n{plan}"
                if caller is boss:
                    assert index in plan, f"{what} on {version}\n{plan}"
                else:
                    assert "sessions_user_id_idx" in plan or index in plan, f"{what} on {version}\n{plan}"
        # Words that no index is asked for are looked for session by session, and not in all messages at once.
        plan = await _plan(desk, agent, {"text": "word"})
        assert "SubPlan" in plan, plan
        assert "Semi Join" not in plan, plan
    await running.drop(name)


@pytest.mark.parametrize("version", VERSIONS)
async def test_words_are_looked_up_in_an_index(server: Callable[[int], Server], version: int) -> None:
    running = server(version)
    name = await running.migrated()
    connection = await asyncpg.connect(running.admin_url(name))
    try:
        await connection.execute("set enable_seqscan = off")
        body = await connection.fetchval("select prosrc from pg_proc where proname = 'sessions_saying'")
        inner = "select m.session_id" + body.partition("from (select m.session_id")[2].partition(") m;")[0]
        inner = inner.replace("sessions_saying.workspace_id", f"'{WORKSPACE}'::uuid").replace(
            "asked", "websearch_to_tsquery('simple', 'word')"
        )
        plan = "\n".join(row[0] for row in await connection.fetch("explain " + inner.replace("most + 1", "11")))
        assert "messages_words_idx" in plan, plan
        assert "Index Cond" in plan, plan
    finally:
        await connection.close()
        await running.drop(name)


async def _plan(desk: Desk, caller: JSON, filters: JSON) -> str:
    """How the query for one page is run under the caller's own policies."""
    async with desk.admin.transaction():
        await desk.admin.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(own_token(caller)))
        await desk.admin.execute("set local role authenticated")
        status = filters.pop("status", None) if isinstance(filters, dict) else None
        query = await desk.admin.fetchval("select private.session_query($1, private.claims())", filters)
        branches = [f" and s.status = '{each}'" for each in status] if status else [""]
        pages = " union all ".join(
            f"({query}{each} order by s.created_at desc, s.id desc limit 51)" for each in branches
        )
        if status:
            filters["status"] = status
        return "\n".join(row[0] for row in await desk.admin.fetch(f"explain {pages}"))
