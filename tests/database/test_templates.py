"""Session templates: what a session that is started by one begins with, and that a live one is left as it is."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from tests.database.desk import (
    JSON,
    PERSONA,
    SPACE,
    WORKSPACE,
    Answer,
    Desk,
    Raised,
    claims,
    managing,
    member,
    on_behalf,
    user,
    with_token,
)
from tests.database.test_sessions_states import audited

FIRST = ("Good evening.", "Where would you like to go?")


async def template(desk: Desk, boss: JSON, **members: Any) -> Answer:
    document = {"name": "Trip", "persona_id": PERSONA, "first_messages": list(FIRST), **members}
    return await desk.call("create_session_template", managing(boss), workspace_id=WORKSPACE, template=document)


async def start(desk: Desk, caller: JSON, contact_id: str, **more: Any) -> Answer:
    return await desk.call("start_session", on_behalf(caller), contact_id=contact_id, **more)


async def said(desk: Desk, session_id: str) -> list[tuple[str, str, str | None]]:
    rows = await desk.admin.fetch(
        "select role::text, text, persona_id::text from public.messages where session_id = $1 order by created_at, id",
        session_id,
    )
    return [tuple(row) for row in rows]


async def test_a_session_begins_as_its_template_says(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    made = await template(desk, boss, metadata={"campaign": "spring", "price": "low"})

    for named in (made["id"], made["id"].upper(), "Trip"):
        thread = str(uuid4())
        started = await start(
            desk, boss, ann["contact_id"], template=named, thread_key=thread, context={"price": "high"}
        )
        assert (started["created"], started["persona_id"]) == (True, PERSONA)
        assert await said(desk, started["session_id"]) == [("persona", text, PERSONA) for text in FIRST]
        row = await desk.admin.fetchrow("select * from public.sessions where id = $1", started["session_id"])
        assert row is not None
        assert (row["message_count"], row["turn_count"]) == (2, 0)
        assert row["metadata"] == {"template": "Trip", "context": {"campaign": "spring", "price": "high"}}
        assert await audited(desk, started["session_id"]) == [("session.started", boss["user_id"])]


async def test_the_first_messages_are_history_for_the_persona(desk: Desk) -> None:
    boss = await member(desk, "owner")
    await template(desk, boss)
    mine = await desk.call("start_session", claims(boss), space_id=SPACE, template="Trip")
    turn = await desk.start(claims(boss), message="To Nice, please.")
    assert turn["session_id"] == mine["session_id"]
    assert [(each["role"], each["text"]) for each in turn["history"]] == [("persona", text) for text in FIRST]
    await desk.finish(turn, answer="Gladly.")
    row = await desk.admin.fetchrow("select * from public.sessions where id = $1", mine["session_id"])
    assert row is not None
    assert (row["message_count"], row["turn_count"]) == (4, 1)


async def test_a_live_session_is_answered_and_a_template_adds_nothing(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    await template(desk, boss, metadata={"a": 1})
    async with Desk(desk.gate_url, desk.admin_url, connections=8) as crowd:
        started = await asyncio.gather(
            *(start(crowd, boss, ann["contact_id"], template="Trip", thread_key="new") for _ in range(8))
        )
    assert sorted(each["created"] for each in started) == [False] * 7 + [True]
    (session_id,) = {each["session_id"] for each in started}
    assert await said(desk, session_id) == [("persona", text, PERSONA) for text in FIRST]
    assert await audited(desk, session_id) == [("session.started", boss["user_id"])]


async def test_who_answers_is_the_given_persona_then_the_template_s_then_the_space_s(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    others = [
        str(
            await desk.admin.fetchval(
                "insert into public.personas (workspace_id, kind, name) values ($1, 'demo', 'Other') returning id",
                WORKSPACE,
            )
        )
        for _ in range(2)
    ]
    await template(desk, boss, persona_id=others[0])
    await template(desk, boss, name="Anybody", persona_id=None)
    for named, more, answers in (
        ("Trip", {"persona_id": others[1]}, others[1]),
        ("Trip", {"space_id": SPACE}, others[0]),
        ("Trip", {}, others[0]),
        ("Anybody", {"space_id": SPACE}, PERSONA),
    ):
        started = await start(desk, boss, ann["contact_id"], template=named, thread_key=str(uuid4()), **more)
        assert started["persona_id"] == answers
        assert {persona for _, _, persona in await said(desk, started["session_id"])} == {answers}
    with pytest.raises(Raised) as refused:
        await start(desk, boss, ann["contact_id"], template="Anybody", thread_key="y")
    assert refused.value.code == "persona_required"
    # On one's own side it is the space's persona that answers.
    with pytest.raises(Raised) as refused:
        await desk.call("start_session", claims(boss), space_id=SPACE, template="Trip")
    assert refused.value.code == "persona_not_found"


async def test_only_members_learn_whether_there_is_a_template(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    await template(desk, boss)
    stranger = user(await desk.sign_up("sue@example.test"), "sue@example.test")
    before = await desk.everything()
    for named in ("Trip", "Nothing"):
        for token in (with_token(ann), claims(stranger)):
            with pytest.raises(Raised) as refused:
                await desk.call("start_session", token, space_id=SPACE, template=named)
            assert (refused.value.status, refused.value.code) == (403, "forbidden")
        with pytest.raises(Raised) as refused:
            await start(desk, stranger, ann["contact_id"], template=named)
        assert refused.value.code == "contact_not_found"
    with pytest.raises(Raised) as refused:
        await start(desk, boss, ann["contact_id"], template="Nothing")
    assert (refused.value.status, refused.value.code) == (404, "template_not_found")
    assert await desk.everything() == before


async def test_a_template_of_another_workspace_is_none(desk: Desk) -> None:
    boss, other = await member(desk, "owner"), await desk.open_workspace()
    ann = await desk.register("ann@example.test")
    their_boss = await member(desk, "owner", other[0])
    theirs = await desk.call(
        "create_session_template", managing(their_boss), workspace_id=other[0], template={"name": "Theirs"}
    )
    for named in (theirs["id"], "Theirs"):
        with pytest.raises(Raised) as refused:
            await start(desk, boss, ann["contact_id"], template=named)
        assert refused.value.code == "template_not_found"


async def test_a_name_is_one_in_its_workspace(desk: Desk) -> None:
    boss = await member(desk, "owner")
    made = await template(desk, boss)
    other = await template(desk, boss, name="Other")
    for call in (
        template(desk, boss),
        desk.call("change_session_template", managing(boss), template_id=other["id"], changes={"name": "Trip"}),
    ):
        with pytest.raises(Raised) as refused:
            await call
        assert (refused.value.status, refused.value.code) == (409, "name_taken")
    assert (await template(desk, boss, id=made["id"], name="Ignored")).body == made.body
    with pytest.raises(Raised) as refused:
        await template(desk, boss, id=made["id"].replace(made["id"][:8], "00000000"), name="Trip")
    assert refused.value.code == "name_taken"


async def test_a_session_stays_what_it_was_when_its_template_changes_or_goes(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    made = await template(desk, boss)
    started = await start(desk, boss, ann["contact_id"], template="Trip", thread_key="x")
    changes = {"first_messages": ["Something else."], "persona_id": None}
    changed = await desk.call("change_session_template", managing(boss), template_id=made["id"], changes=changes)
    assert changed.body == {**made.body, **changes}
    await desk.call("remove_session_template", managing(boss), template_id=made["id"])
    assert [text for _, text, _ in await said(desk, started["session_id"])] == list(FIRST)
    assert await desk.count("session_templates") == 0
    with pytest.raises(Raised) as refused:
        await start(desk, boss, ann["contact_id"], template="Trip", thread_key="z")
    assert refused.value.code == "template_not_found"
    verbs = [verb for verb, _ in await audited(desk, made["id"])]
    assert verbs == ["template.created", "template.changed", "template.removed"]


async def test_a_workflow_begins_with_a_step_that_it_may_begin_with(desk: Desk) -> None:
    boss = await member(desk, "owner")
    ann = await desk.register("ann@example.test")
    await desk.admin.execute(
        "insert into public.workflow_transitions (workspace_id, workflow, from_step, to_step)"
        " values ($1, 'buying', null, 'asked'), ($1, 'buying', 'asked', 'paid'), ($2, 'selling', null, 'asked')",
        WORKSPACE,
        (await desk.open_workspace())[0],
    )
    for workflow, step in (("buying", "paid"), ("selling", "asked"), ("none", "asked")):
        with pytest.raises(Raised) as refused:
            await template(desk, boss, workflow=workflow, workflow_step=step)
        assert (refused.value.status, refused.value.code) == (409, "step_not_allowed")
    with pytest.raises(Raised) as refused:
        await template(desk, boss, workflow="buying")
    assert (refused.value.status, refused.value.code) == (422, "invalid_body")
    assert await desk.count("session_templates") == 0

    made = await template(desk, boss, workflow="buying", workflow_step="asked", workflow_state={"legs": 2})
    started = await start(desk, boss, ann["contact_id"], template="Trip", thread_key="x")
    row = await desk.admin.fetchrow(
        "select workflow, workflow_step, workflow_state from public.sessions where id = $1", started["session_id"]
    )
    assert row is not None
    assert tuple(row) == ("buying", "asked", {"legs": 2})
    steps = await desk.admin.fetch(
        "select workflow, from_step, to_step, actor_id::text from public.workflow_steps where session_id = $1",
        started["session_id"],
    )
    assert [tuple(step) for step in steps] == [("buying", None, "asked", boss["user_id"])]
    gone = {"workflow": None, "workflow_step": None}
    changed = await desk.call("change_session_template", managing(boss), template_id=made["id"], changes=gone)
    assert changed.body == {**made.body, **gone}
