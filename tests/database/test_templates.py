"""Session templates: the contents of a session that starts from one; a live session is left as it is.

The access matrix has the callers, and templates of another workspace.
"""

import asyncio
from typing import Any
from uuid import uuid4

from tests.database.desk import JSON, PERSONA, SPACE, WORKSPACE, Answer, Desk, claims, managing, on_behalf, refusal

FIRST = ("Good evening.", "Where would you like to go?")


async def template(desk: Desk, boss: JSON, **members: Any) -> Answer:
    """A new template, named Trip unless a name is given."""
    given = {"name": "Trip", "persona_id": PERSONA, "first_messages": list(FIRST), **members}
    return await desk.create(boss, "template", **given)


async def change(desk: Desk, boss: JSON, template_id: str, **changes: Any) -> Answer:
    return await desk.call("change_settings", managing(boss), kind="template", object_id=template_id, changes=changes)


async def start(desk: Desk, caller: JSON, contact_id: str, template: str = "Trip", **more: Any) -> Answer:
    """Start a session for a contact in a new thread."""
    arguments = {"contact_id": contact_id, "template": template, "thread_key": str(uuid4()), **more}
    return await desk.start_session(on_behalf(caller), **arguments)


async def said(desk: Desk, session_id: str) -> list[tuple[Any, ...]]:
    query = (
        "select role::text, text, persona_id::text from public.messages where session_id = $1 order by created_at, id"
    )
    return await desk.all(query, session_id)


async def test_concurrent_starts_open_one_session_with_the_templates_contents(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    made = await template(desk, boss, metadata={"campaign": "spring", "price": "low"})
    for named in (made["id"], made["id"].upper(), "Trip"):
        given: JSON = {"template": named, "thread_key": str(uuid4()), "context": {"price": "high"}}
        async with desk.crowd(8) as crowd:
            started = await asyncio.gather(*(start(crowd, boss, ann["contact_id"], **given) for _ in range(8)))

        assert sorted(each["created"] for each in started) == [False] * 7 + [True]
        ((session_id, persona),) = {(each["session_id"], each["persona_id"]) for each in started}
        assert persona == PERSONA
        assert await said(desk, session_id) == [("persona", text, PERSONA) for text in FIRST]
        row = await desk.row("sessions", session_id)
        assert (row["message_count"], row["turn_count"]) == (2, 0)
        assert row["metadata"] == {"template": "Trip", "context": {"campaign": "spring", "price": "high"}}
        assert await desk.audited(session_id) == [("session.started", boss["user_id"])]


async def test_the_first_messages_are_in_the_personas_history(desk: Desk) -> None:
    boss = await desk.member("owner")
    await template(desk, boss)
    mine = await desk.start_session(claims(boss), space_id=SPACE, template="Trip")
    turn = await desk.start(claims(boss), message="To Nice, please.")
    assert turn["session_id"] == mine["session_id"]
    assert [(each["role"], each["text"]) for each in turn["history"]] == [("persona", text) for text in FIRST]


async def test_the_named_persona_answers_then_the_templates_then_the_spaces(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    insert = "insert into public.personas (workspace_id, kind, name) values ($1, 'demo', 'Other') returning id::text"
    (own,), (named,) = [await desk.one(insert, WORKSPACE) for _ in range(2)]
    await template(desk, boss, persona_id=own)
    await template(desk, boss, name="Any", persona_id=None)
    for name, more, persona in (
        ("Trip", {"persona_id": named}, named),
        ("Trip", {"space_id": SPACE}, own),
        ("Trip", {}, own),
        ("Any", {"space_id": SPACE}, PERSONA),
    ):
        started = await start(desk, boss, ann["contact_id"], name, **more)
        assert started["persona_id"] == persona
        assert {each for _, _, each in await said(desk, started["session_id"])} == {persona}
    assert await refusal(start(desk, boss, ann["contact_id"], "Any")) == (422, "persona_required")
    # A member's own side is answered by the space's persona only.
    refused = await desk.refused("start_session", claims(boss), space_id=SPACE, template="Trip")
    assert refused == (404, "persona_not_found")


async def test_a_name_is_unique_in_its_workspace_and_a_repeated_id_changes_nothing(desk: Desk) -> None:
    boss = await desk.member("owner")
    made, other = await template(desk, boss), await template(desk, boss, name="Other")
    assert (await template(desk, boss, id=made["id"], name="Ignored")).body == made.body
    for call in (
        template(desk, boss),
        template(desk, boss, id=str(uuid4())),
        change(desk, boss, other["id"], name="Trip"),
    ):
        assert await refusal(call) == (409, "name_taken")


async def test_a_session_keeps_its_contents_when_its_template_changes_or_is_removed(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    made = await template(desk, boss)
    started = await start(desk, boss, ann["contact_id"])
    changes = {"first_messages": ["Something else."], "persona_id": None}
    assert (await change(desk, boss, made["id"], **changes)).body == {**made.body, **changes}
    await desk.call("remove_session_template", managing(boss), template_id=made["id"])
    assert [text for _, text, _ in await said(desk, started["session_id"])] == list(FIRST)
    assert await refusal(start(desk, boss, ann["contact_id"])) == (404, "template_not_found")
    verbs = [verb for verb, _ in await desk.audited(made["id"])]
    assert verbs == ["template.created", "template.changed", "template.removed"]


async def test_a_template_names_a_first_step_of_its_workspaces_workflow(desk: Desk) -> None:
    boss, ann = await desk.member("owner"), await desk.register("ann@example.test")
    await desk.admin.execute(
        "insert into public.workflow_transitions (workspace_id, workflow, from_step, to_step)"
        " values ($1, 'buying', null, 'asked'), ($1, 'buying', 'asked', 'paid'), ($2, 'selling', null, 'asked')",
        WORKSPACE,
        (await desk.open_workspace())[0],
    )
    for workflow, step in (("buying", "paid"), ("selling", "asked"), ("none", "asked")):
        refused = await refusal(template(desk, boss, workflow=workflow, workflow_step=step))
        assert refused == (409, "step_not_allowed")
    assert await refusal(template(desk, boss, workflow="buying")) == (422, "invalid_body")
    assert await desk.count("session_templates") == 0

    made = await template(desk, boss, workflow="buying", workflow_step="asked", workflow_state={"legs": 2})
    started = await start(desk, boss, ann["contact_id"])
    row = await desk.row("sessions", started["session_id"])
    assert (row["workflow"], row["workflow_step"], row["workflow_state"]) == ("buying", "asked", {"legs": 2})
    steps = "select workflow, from_step, to_step, actor_id::text from public.workflow_steps"
    assert await desk.all(steps) == [("buying", None, "asked", boss["user_id"])]
    gone = {"workflow": None, "workflow_step": None}
    assert (await change(desk, boss, made["id"], **gone)).body == {**made.body, **gone}
