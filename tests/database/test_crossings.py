"""Where one thing meets another: merged contacts, sessions taken over, and what is deleted meanwhile."""

import asyncio
import uuid

import asyncpg
import pytest

from tests.database.desk import JSON, WORKSPACE, Desk, Raised, call, managing, member, on_behalf, own_token, with_token
from tests.database.merging import merge, unmerge
from tests.database.test_statistics import check, count_past, marks
from tests.database.test_takeover import audited, say, session_of, take_over

Call = tuple[str, JSON, JSON]


async def test_a_workspace_is_deleted_while_a_member_answers_in_it(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    await take_over(desk, boss, ann["session_id"])
    name = await desk.admin.fetchval("select name from public.workspaces where id = $1", WORKSPACE)

    await desk.call("delete_workspace", managing(boss), workspace_id=WORKSPACE, name=name)

    assert await desk.count("sessions", "workspace_id = $1", uuid.UUID(WORKSPACE)) == 0
    assert await desk.count("audit_events", "workspace_id = $1", uuid.UUID(WORKSPACE)) == 0


async def test_a_member_who_may_no_longer_work_on_a_session_leaves_it_to_the_persona(desk: Desk) -> None:
    boss, other, agent = await member(desk, "owner"), await member(desk, "admin"), await member(desk, "agent")
    ann = await desk.register("ann@example.test")
    await desk.call("assign_session", on_behalf(boss), session_id=ann["session_id"], user_id=agent["user_id"])
    await take_over(desk, other, ann["session_id"])
    await desk.call("set_member", managing(boss), workspace_id=WORKSPACE, user_id=other["user_id"], role="agent")
    row = await session_of(desk, ann["session_id"])
    assert (row["taken_over_by"], row["taken_over_at"], row["assigned_user_id"]) == (None, None, agent["user_id"])
    assert ("session.handed_back", boss["user_id"], None) in await audited(desk, ann["session_id"])
    assert (await desk.start(with_token(ann), "Hello?"))["status"] == "active"


async def test_a_contact_is_told_by_no_id_who_took_over(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    await take_over(desk, boss, ann["session_id"])
    await say(desk, boss, ann["session_id"], "Hi")
    token = own_token(with_token(ann)["caller"])
    followed = await desk.call("follow_conversation", token, conversation_id=ann["conversation_id"])
    async with desk.reading(token) as contact:
        events = await contact.fetch("select * from public.session_events($1)", ann["session_id"])
    assert {row["event"] for row in events} >= {"session.taken_over"}
    assert boss["user_id"] not in str([followed.body, await desk.sessions(token), events])
    for hidden in ("assigned_user_id from public.sessions", "user_id from public.messages"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with desk.reading(token) as contact:
                await contact.fetch(f"select {hidden}")
    (mine,) = await desk.sessions(own_token(boss))
    assert mine["assigned_user_id"] == boss["user_id"]


async def test_a_persona_that_a_template_names_stays_and_so_does_the_template(desk: Desk) -> None:
    boss = managing(await member(desk, "owner"))
    persona = await desk.call(
        "create_in_workspace",
        boss,
        kind="persona",
        workspace_id=WORKSPACE,
        settings={"kind": "demo", "name": "Concierge"},
    )
    template = await desk.call(
        "create_in_workspace",
        boss,
        kind="template",
        workspace_id=WORKSPACE,
        settings={"name": "vip", "persona_id": persona["id"], "first_messages": ["Welcome."]},
    )
    with pytest.raises(Raised) as refused:
        await desk.call("delete_persona", boss, persona_id=persona["id"])
    assert (refused.value.status, refused.value.code) == (409, "persona_in_use")
    assert await desk.count("session_templates", "id = $1", uuid.UUID(template["id"])) == 1

    await desk.call("change_settings", boss, kind="template", object_id=template["id"], changes={"persona_id": None})
    assert (await desk.call("delete_persona", boss, persona_id=persona["id"]))["removed"]


async def test_statistics_follow_a_merge_and_its_undoing_with_a_few_marks_for_each_session(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann, bob = await desk.register("ann@example.test"), await desk.register("bob@example.test")
    await desk.admin.execute(
        "insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id, status, turn_count,"
        " created_at, ended_at) select s.workspace_id, s.conversation_id, s.contact_id, s.persona_id, 'completed', 1,"
        " now() - make_interval(days => 3 + (i * 7) % 40, mins => i), now()"
        " from public.sessions s, generate_series(1, 400) i where s.id = any ($1)",
        [ann["session_id"], bob["session_id"]],
    )
    await count_past(desk)
    apart = await check(desk, boss)
    assert apart["funnel"]["chatted"] == 2
    changes = {
        "merged": merge(desk, ann["contact_id"], bob["contact_id"]),
        "unmerged": unmerge(desk, ann["contact_id"]),
        "deleted": desk.admin.execute("delete from public.sessions where contact_id = $1", ann["contact_id"]),
    }
    for what, change in changes.items():
        await change
        assert 400 <= await marks(desk) <= 1200
        said = await check(desk, boss)
        assert (said == apart) == (what == "unmerged")
        await count_past(desk)
        assert await check(desk, boss) == said


async def test_nobody_writes_to_a_workspace_that_was_deleted_under_their_turn(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    turn = await desk.start(with_token(ann))
    await desk.flush(turn, 0, "Once upon")
    name = await desk.admin.fetchval("select name from public.workspaces where id = $1", WORKSPACE)
    await desk.call("delete_workspace", managing(boss), workspace_id=WORKSPACE, name=name)
    for late in (
        lambda: desk.flush(turn, 9, " a time"),
        lambda: desk.finish(turn),
        lambda: desk.start(with_token(ann)),
        lambda: desk.call("cancel_turn", with_token(ann), turn_id=turn["turn_id"]),
        lambda: desk.call("take_over_session", on_behalf(boss), session_id=ann["session_id"]),
    ):
        with pytest.raises(Raised) as refused:
            await late()
        assert refused.value.status == 404


@pytest.mark.parametrize("first", ["demotion", "takeover"])
async def test_who_takes_over_while_they_become_an_agent_leaves_nothing_silent(desk: Desk, first: str) -> None:
    boss, other, agent = await member(desk, "owner"), await member(desk, "admin"), await member(desk, "agent")
    ann = await desk.register("ann@example.test")
    await desk.call("assign_session", on_behalf(boss), session_id=ann["session_id"], user_id=agent["user_id"])
    demotion: Call = (
        "set_member",
        managing(boss),
        {"workspace_id": WORKSPACE, "user_id": other["user_id"], "role": "agent"},
    )
    takeover: Call = ("take_over_session", on_behalf(other), {"session_id": ann["session_id"]})
    one, two = (demotion, takeover) if first == "demotion" else (takeover, demotion)
    async with desk.reading(one[1]) as connection:
        await call(connection, one[0], one[1], **one[2])
        waiting = asyncio.ensure_future(desk.call(two[0], two[1], **two[2]))
        await asyncio.sleep(0.3)
        assert not waiting.done()
    if first == "demotion":
        with pytest.raises(Raised) as refused:
            await waiting
        assert refused.value.code == "session_not_found"
    else:
        await waiting
    row = await session_of(desk, ann["session_id"])
    assert (row["taken_over_by"], row["assigned_user_id"]) == (None, agent["user_id"])
