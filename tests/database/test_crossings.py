"""Changes that cross domains: takeovers and roles, deletions during a turn, merges and statistics."""

import asyncio

import pytest

from tests.database.desk import JSON, WORKSPACE, Desk, call, managing, on_behalf, own_token, refusal, with_token
from tests.database.merging import merge, unmerge
from tests.database.test_statistics import check, count_past, marks
from tests.database.test_templates import template

Call = tuple[str, JSON, JSON]


async def test_a_member_who_may_no_longer_work_on_a_session_leaves_it_to_the_persona(desk: Desk) -> None:
    boss, other, agent = await desk.member("owner"), await desk.member("admin"), await desk.member("agent")
    ann = await desk.register("ann@example.test")
    await desk.assign(boss, ann["session_id"], agent)
    await desk.take_over(other, ann["session_id"])
    await desk.call("set_member", managing(boss), workspace_id=WORKSPACE, user_id=other["user_id"], role="agent")
    row = await desk.row("sessions", ann["session_id"])
    assert (row["taken_over_by"], row["taken_over_at"], row["assigned_user_id"]) == (None, None, agent["user_id"])
    assert ("session.handed_back", boss["user_id"]) in await desk.audited(ann["session_id"])
    assert (await desk.start(with_token(ann), "Hello?"))["status"] == "active"


async def test_a_contact_does_not_learn_the_user_id_of_the_member_who_took_over(desk: Desk) -> None:
    boss = await desk.member("owner")
    ann = await desk.register("ann@example.test")
    await desk.take_over(boss, ann["session_id"])
    await desk.say(boss, ann["session_id"], "Hi")
    token = own_token(with_token(ann)["caller"])
    followed = await desk.call("follow_conversation", token, conversation_id=ann["conversation_id"])
    async with desk.reading(token) as contact:
        events = await contact.fetch("select * from public.session_events($1)", ann["session_id"])
    assert {row["event"] for row in events} >= {"session.taken_over"}
    assert boss["user_id"] not in str([followed.body, await desk.sessions(token), events])
    (mine,) = await desk.sessions(own_token(boss))
    assert mine["assigned_user_id"] == boss["user_id"]


async def test_a_persona_that_a_template_names_is_not_deleted(desk: Desk) -> None:
    boss = await desk.member("owner")
    persona = (await desk.create(boss, "persona", kind="demo", name="Concierge"))["id"]
    made = await template(desk, boss, persona_id=persona)
    assert await desk.refused("delete_persona", managing(boss), persona_id=persona) == (409, "persona_in_use")
    without = {"kind": "template", "object_id": made["id"], "changes": {"persona_id": None}}
    await desk.call("change_settings", managing(boss), **without)
    assert (await desk.call("delete_persona", managing(boss), persona_id=persona))["removed"]


async def test_statistics_follow_a_merge_and_its_undoing_with_a_few_marks_for_each_session(desk: Desk) -> None:
    boss = await desk.member("owner")
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


async def test_a_workspace_that_is_deleted_during_a_turn_and_a_takeover_accepts_no_more_calls(desk: Desk) -> None:
    boss, ann, bob = await desk.member("owner"), await desk.arrive(), await desk.register("bob@example.test")
    turn = await desk.start(ann)
    await desk.flush(turn, 0, "Once upon")
    await desk.take_over(boss, bob["session_id"])
    name = (await desk.row("workspaces", WORKSPACE))["name"]
    await desk.call("delete_workspace", managing(boss), workspace_id=WORKSPACE, name=name)
    assert await desk.count("sessions") == await desk.count("audit_events") == 0
    for late, status in (
        (desk.flush(turn, 9, " a time"), 404),
        (desk.finish(turn), 404),
        (desk.start(ann), 401),
        (desk.call("cancel_turn", ann, turn_id=turn["turn_id"]), 401),
        (desk.take_over(boss, turn["session_id"]), 404),
    ):
        assert (await refusal(late))[0] == status


@pytest.mark.parametrize("first", ["demotion", "takeover"])
async def test_a_member_who_becomes_an_agent_while_taking_over_holds_no_session(desk: Desk, first: str) -> None:
    boss, other, agent = await desk.member("owner"), await desk.member("admin"), await desk.member("agent")
    ann = await desk.register("ann@example.test")
    await desk.assign(boss, ann["session_id"], agent)
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
        await desk.until_waiting()
    if first == "demotion":
        assert await refusal(waiting) == (404, "session_not_found")
    else:
        await waiting
    row = await desk.row("sessions", ann["session_id"])
    assert (row["taken_over_by"], row["assigned_user_id"]) == (None, agent["user_id"])
