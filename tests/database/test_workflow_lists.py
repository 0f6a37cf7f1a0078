"""Sessions are found by what they work towards, page by page, by way of an index, and by nobody who may not see it."""

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.database.desk import JSON, PERSONA, SPACE, WORKSPACE, Desk, member, on_behalf, own_token, with_token
from tests.database.test_sessions_lists import FILL, FILL_SESSIONS, _plan, find, ids
from tests.database.test_workflow import quote, trip, work
from tests.servers import VERSIONS, Server


def ref(external_id: str, kind: str = "trip") -> JSON:
    return {"system": "avinode", "kind": kind, "external_id": external_id}


async def tag(desk: Desk, caller: JSON, session_id: str, *names: str) -> None:
    managing = {**on_behalf(caller), "scope": {"management": True}}
    await desk.call("set_session_tags", managing, session_id=session_id, names=list(names))


async def sessions(desk: Desk, number: int) -> list[str]:
    return [(await desk.register(f"l{each}@example.test"))["session_id"] for each in range(number)]


async def test_sessions_are_found_by_step_workflow_tag_reference_quote_and_takeover(desk: Desk) -> None:
    boss = await member(desk, "owner")
    made = await sessions(desk, 6)
    for session_id in made[:2]:
        await work(desk, boss, session_id, step="understanding_request")
    await work(desk, boss, made[1], step="searching_aircraft")
    await quote(desk, boss, made[2], "acme", status="received")
    await quote(desk, boss, made[3], "acme", status="requested")
    await tag(desk, boss, made[3], "vip", "late")
    await tag(desk, boss, made[4], "vip")
    await trip(desk, boss, made[4], refs=[ref("atrip-1"), ref("A1B2"), ref("arfq-1", "rfq")])
    await trip(desk, boss, made[5], refs=[ref("atrip-1")])
    await desk.admin.execute(
        "update public.sessions set taken_over_by = $1, taken_over_at = now() where id = $2", boss["user_id"], made[5]
    )
    for filters, expected in (
        ({"step": "understanding_request"}, [0]),
        ({"workflow": "charter"}, [1, 0]),
        ({"workflow": "charter", "step": "searching_aircraft"}, [1]),
        ({"workflow": "refund"}, []),
        ({"has_quote": True}, [2]),
        ({"has_quote": False}, [5, 4, 3, 1, 0]),
        ({"tag": "vip"}, [4, 3]),
        ({"tag": "vip", "has_quote": False, "status": ["active"]}, [4, 3]),
        ({"tag": "late", "status": ["completed"]}, []),
        ({"external_ids": ["atrip-1"]}, [5, 4]),
        ({"external_ids": ["nothing", "A1B2"]}, [4]),
        ({"external_ids": ["arfq-1"]}, [4]),
        ({"external_ids": ["arfq-1"], "ref_kind": "trip"}, []),
        ({"external_ids": ["atrip-1"], "tag": "vip"}, [4]),
        ({"taken_over": True}, [5]),
        ({"taken_over": False, "tag": "vip"}, [4, 3]),
        ({"tag": "' or true) --"}, []),
        ({"external_ids": ["' or true) --"]}, []),
        ({"step": "' or true) --"}, []),
    ):
        asked: JSON = dict(filters)
        assert ids(await find(desk, boss, asked)) == [made[number] for number in expected], asked
        # Within a conversation likewise, where each has its own.
        conversation = await desk.admin.fetchval("select conversation_id from public.sessions where id = $1", made[4])
        within = ids(await find(desk, boss, {**asked, "conversation_id": str(conversation)}))
        assert within == ([made[4]] if 4 in expected else []), asked


async def test_a_filter_finds_only_what_its_caller_sees(desk: Desk) -> None:
    boss, agent = await member(desk, "owner"), await member(desk, "agent")
    ann = with_token(await desk.register("ann@example.test"))["caller"]
    session_id = str(await desk.admin.fetchval("select id from public.sessions"))
    other_workspace, _ = await desk.open_workspace()
    elsewhere = await member(desk, "owner", other_workspace)
    stranger = {"kind": "user", "user_id": await desk.sign_up(None)}
    await trip(desk, boss, session_id, origin="LSZH", refs=[ref("atrip-1")])
    await quote(desk, boss, session_id, "acme", status="received")
    await tag(desk, boss, session_id, "vip")
    filters: list[JSON] = [{"has_quote": True}, {"tag": "vip"}, {"external_ids": ["atrip-1"]}]
    for caller in (agent, elsewhere, stranger):
        for asked in filters:
            assert ids(await find(desk, caller, asked)) == []
            assert ids(await find(desk, caller, {**asked, "workspace_id": WORKSPACE})) == []
        trips = await desk.call("get_chat_sessions_by_trip_id", own_token(caller), trip_ids=["atrip-1"])
        assert ids(trips) == []
    # Whose session it is: no filter tells them of what they are not shown.
    await desk.admin.execute("update public.sessions set user_id = $1 where id = $2", stranger["user_id"], session_id)
    for owner in (ann, stranger):
        assert ids(await find(desk, owner)) == [session_id]
        for asked in filters:
            assert ids(await find(desk, owner, asked)) == []
        assert ids(await find(desk, owner, {"has_quote": False})) == [session_id]
        (item,) = (await find(desk, owner))["items"]
        assert item["request"]["origin"] == "LSZH"
        assert not {"primary_quote", "quote_counts", "tags", "taken_over_by", "taken_over_at"} & set(item)
    await desk.admin.execute(
        "update public.sessions set user_id = null, assigned_user_id = $1 where id = $2", agent["user_id"], session_id
    )
    for asked in filters:
        assert ids(await find(desk, agent, asked)) == [session_id]


async def test_who_took_over_is_told_to_members_and_that_somebody_did_to_all(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = with_token(await desk.register("ann@example.test"))["caller"]
    await desk.admin.execute("update public.sessions set taken_over_by = $1, taken_over_at = now()", boss["user_id"])
    (item,) = (await find(desk, boss))["items"]
    assert (item["taken_over"], item["taken_over_by"]) == (True, boss["user_id"])
    (own,) = (await find(desk, ann, {"taken_over": True}))["items"]
    assert own["taken_over"] is True
    assert "taken_over_by" not in own


async def test_own_live_sessions_are_listed_from_all_workspaces(desk: Desk) -> None:
    agent = await member(desk, "agent")
    other_workspace, space = await desk.open_workspace()
    await desk.admin.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'agent')",
        other_workspace,
        agent["user_id"],
    )
    made = await sessions(desk, 3)
    there = (await desk.register("there@example.test", space=space))["session_id"]
    await desk.admin.execute(
        "update public.sessions set assigned_user_id = $1 where id = any ($2)", agent["user_id"], [*made[:2], there]
    )
    await desk.admin.execute("update public.sessions set status = 'paused' where id = $1", made[0])
    await desk.admin.execute("update public.sessions set status = 'completed', ended_at = now() where id = $1", made[1])
    mine = await desk.call("get_user_active_chat_sessions", own_token(agent))
    assert ids(mine) == [there, made[0]]
    page = await desk.call("get_user_active_chat_sessions", own_token(agent), page_size=1)
    assert (ids(page), page["last"]["id"]) == ([there], there)


async def test_pages_by_cursor_and_by_offset_are_stable_while_sessions_come(desk: Desk) -> None:
    boss = await member(desk, "owner")
    made = await sessions(desk, 7)
    for session_id in made:
        await tag(desk, boss, session_id, "vip")
    since = datetime.datetime.now(datetime.UTC).isoformat()

    async def pages(**more: Any) -> list[str]:
        seen: list[str] = []
        paging: dict[str, Any] = {}
        while True:
            page = await find(desk, boss, {"tag": "vip", **more.get("filters", {})}, page_size=2, **paging)
            seen += ids(page)
            if page["last"] is None:
                return seen
            new = (await desk.register(f"n{len(seen)}{len(more)}@example.test"))["session_id"]
            await tag(desk, boss, new, "vip")
            if more.get("by") == "offset":
                paging = {"skip": len(seen)}
            else:
                paging = {
                    "before_created_at": datetime.datetime.fromisoformat(page["last"]["created_at"]),
                    "before_id": page["last"]["id"],
                }

    assert await pages() == made[::-1]
    # An offset counts from the newest, so what is new is left out by the time of the first page.
    assert await pages(by="offset", filters={"created_before": since}) == made[::-1]


# Plans ---------------------------------------------------------------------------------------------------------------

FILL_WORK = """
with made as (
    update public.sessions s
       set workflow = case when n.place % 200 = 0 then 'refund' else 'charter' end,
           workflow_step = case when n.place % 500 = 0 then 'proposal_ready' else 'understanding_request' end
      from (select id, row_number() over (order by created_at) as place from public.sessions) n
     where s.id = n.id
    returning s.*, n.place
), asked as (
    insert into public.requests (workspace_id, session_id)
    select workspace_id, id from made where place % 20 = 0
    returning *
), given as (
    insert into public.quotes (workspace_id, request_id, session_id, operator_key, operator, status, received_at)
    select workspace_id, id, session_id, 'acme', 'Acme', 'received', now() from asked
    returning *
), offered as (
    insert into public.proposals (workspace_id, request_id, session_id, quote_id)
    select workspace_id, request_id, session_id, id from given
), named as (
    insert into public.session_refs (workspace_id, session_id, system, kind, external_id)
    select workspace_id, id, 'avinode', 'trip', 'atrip-' || place from made
)
insert into public.tags (workspace_id, session_id, name)
select workspace_id, id, case when place % 4000 = 0 then 'rare' else 'common' end from made;
"""

FILL_TAKEN_OVER = """
with threads as (
    insert into public.conversations (workspace_id, user_id, persona_id, thread_key)
    select $1, $3, $2, 'taken ' || n from generate_series(1, 100) n
    returning *
)
insert into public.sessions (workspace_id, conversation_id, user_id, persona_id, taken_over_by, taken_over_at)
select workspace_id, id, user_id, persona_id, user_id, now() from threads
"""

LISTS: dict[str, tuple[JSON, str]] = {
    "a step that few are at": ({"step": "proposal_ready"}, "sessions_workflow_step_idx"),
    "a step that most are at": ({"step": "understanding_request"}, "sessions_"),
    "a workflow that few follow": ({"workflow": "refund"}, "sessions_workflow_idx"),
    "a quote": ({"has_quote": True}, "sessions_with_quote_idx"),
    "no quote": ({"has_quote": False}, "sessions_created_at_idx"),
    "a takeover": ({"taken_over": True}, "sessions_taken_over_idx"),
    "a rare tag": ({"tag": "rare"}, "sessions_pkey"),
    "a common tag": ({"tag": "common"}, "sessions_created_at_idx"),
    "a reference": ({"external_ids": ["atrip-17"]}, "sessions_pkey"),
    "one's own live ones": ({"mine": True, "status": ["active", "paused"]}, "sessions_"),
    "a step and a status": ({"step": "proposal_ready", "status": ["failed"]}, "sessions_"),
}


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_list_by_work_reads_few_sessions_by_an_index(server: Callable[[int], Server], version: int) -> None:
    running = server(version)
    name = await running.migrated()
    async with Desk(running.gate_url(name), running.admin_url(name)) as desk:
        boss, agent = await member(desk, "owner"), await member(desk, "agent")
        await desk.admin.execute(FILL, WORKSPACE, PERSONA, await desk.sign_up(None), SPACE)
        await desk.admin.execute(FILL_SESSIONS)
        await desk.admin.execute(FILL_WORK)
        await desk.admin.execute(FILL_TAKEN_OVER, WORKSPACE, PERSONA, boss["user_id"])
        await desk.admin.execute(
            "update public.sessions s set request_id = q.request_id, primary_quote_id = q.id "
            "from public.quotes q where q.session_id = s.id"
        )
        await desk.admin.execute("vacuum analyze")
        for what, (filters, index) in LISTS.items():
            plan = await _plan(desk, boss, dict(filters))
            assert "Seq Scan on sessions" not in plan, f"{what} on {version}\n{plan}"
            assert index in plan, f"{what} on {version}\n{plan}"
            # In the list's order from the index, and no more of it than a page; or few looked up by their ids.
            few = ("sessions_pkey", "failed", "user_id_idx")
            assert "Sort" not in plan or any(index in plan for index in few), f"{what} on {version}\n{plan}"
            plan = await _plan(desk, agent, dict(filters))
            assert "Seq Scan on sessions" not in plan, f"{what} for an agent on {version}\n{plan}"
        # What is shown of a row is looked up row by row.
        shown = await _looked_up(desk, boss)
        assert "Seq Scan" not in shown, f"{version}\n{shown}"
        for index in ("session_refs_key", "tags_name_idx", "quotes_operator_key", "proposals_session_id_idx"):
            assert index in shown, f"{version}\n{shown}"
    await running.drop(name)


async def _looked_up(desk: Desk, caller: JSON) -> str:
    """How sessions are looked up by what names them, and what a page shows of each."""
    async with desk.admin.transaction():
        await desk.admin.execute("select set_config('request.jwt.claims', $1, true)", json.dumps(own_token(caller)))
        await desk.admin.execute("set local role authenticated")
        plans = []
        for table, condition in (
            ("session_refs", f"workspace_id = '{WORKSPACE}' and external_id = any ('{{atrip-17,x}}'::text[])"),
            ("tags", f"workspace_id = '{WORKSPACE}' and name = 'rare' and session_id is not null"),
            ("requests", "id = $1"),
            ("quotes", "id = $1"),
            ("quotes", "request_id = $1"),
            ("proposals", "session_id = $1"),
            ("tags", "session_id = $1"),
        ):
            rows = await desk.admin.fetch(f"explain select * from public.{table} where {condition.replace('$1', _ONE)}")
            plans.append("\n".join(row[0] for row in rows if "workspace_members" not in row[0]))
        return "\n".join(plans)


_ONE = "'00000000-0000-4000-8000-000000000001'::uuid"
