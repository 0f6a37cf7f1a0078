"""The sessions routes over HTTP: who may, who may not, what is no request, and lists page by page."""

import base64
import json
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Person, Staff, audit, sign_up, staff_of


@pytest_asyncio.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    """Everybody."""
    return await staff_of(client, workspace, stack)


async def session_of(workspace: Workspace, person: Person) -> dict[str, Any]:
    """The session that a contact's registration opened."""
    claims = json.loads(base64.urlsafe_b64decode(str(person.token).split(".")[1] + "=="))
    return await workspace.row(
        "select id, conversation_id, contact_id from public.sessions where conversation_id = $1",
        UUID(claims["conversation_id"]),
    )


async def test_a_session_goes_through_its_states(workspace: Workspace, staff: Staff) -> None:
    session = await session_of(workspace, staff.contact)
    for verb, status in (("pause", "paused"), ("resume", "active"), ("complete", "completed")):
        path = f"/chat-sessions/{session['id']}/{verb}"
        for changed in (True, False):
            answer = await staff.admin.done("PATCH", path)
            assert answer == {
                "session_id": str(session["id"]), "conversation_id": str(session["conversation_id"]),
                "status": status, "changed": changed,
            }  # fmt: skip
    code, document = await staff.owner.ask("PATCH", f"/chat-sessions/{session['id']}/cancel")
    assert (code, document["code"], document["session_status"]) == (409, "transition_not_allowed", "completed")
    done = [(verb, actor) for verb, object_id, actor, _ in await audit(workspace) if object_id == session["id"]]
    assert done == [(f"session.{state}", staff.admin.id) for state in ("paused", "resumed", "completed")]


@pytest.mark.parametrize("verb", ["pause", "resume", "complete", "cancel"])
async def test_who_may_change_a_session(workspace: Workspace, staff: Staff, verb: str) -> None:
    session = await session_of(workspace, staff.contact)
    path = f"/chat-sessions/{session['id']}/{verb}"
    assert await staff.anonymous.refused("PATCH", path) == (401, "token_missing")
    for nobody in (staff.agent, staff.stranger, staff.other_admin, staff.operator):
        assert await nobody.refused("PATCH", path) == (404, "session_not_found")
    for nothing in ("not-an-id", str(uuid4())):
        assert await staff.owner.refused("PATCH", f"/chat-sessions/{nothing}/{verb}") == (404, "session_not_found")
    if verb == "cancel":
        assert (await staff.contact.done("PATCH", path))["status"] == "cancelled"
    else:
        assert await staff.contact.refused("PATCH", path) == (403, "forbidden")
        await workspace.database.execute(
            "update public.sessions set assigned_user_id = $1 where id = $2", staff.agent.id, session["id"]
        )
        assert (await staff.agent.done("PATCH", path))["changed"] is (verb != "resume")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"session_ids": [], "status": "paused"}, {"session_ids": ["x"], "status": "paused"},
        {"session_ids": [f"00000000-0000-4000-8000-{number:012}" for number in range(101)], "status": "paused"},
        {"session_ids": ["00000000-0000-4000-8000-000000000001"], "status": "archived"},
        {"session_ids": ["00000000-0000-4000-8000-000000000001"]},
    ],
    ids=lambda body: str(body)[:60],
)  # fmt: skip
async def test_what_is_no_change_of_many(staff: Staff, body: dict[str, Any]) -> None:
    assert await staff.owner.refused("POST", "/chat-sessions/bulk-status", body) == (422, "invalid_body")
    good = {"session_ids": [str(uuid4())], "status": "paused"}
    assert await staff.anonymous.refused("POST", "/chat-sessions/bulk-status", good) == (401, "token_missing")


# Lists ---------------------------------------------------------------------------------------------------------------


ONE = "00000000-0000-4000-8000-000000000001"


def made_up(text: str) -> str:
    """A cursor that says this."""
    return base64.urlsafe_b64encode(text.encode()).decode()


async def test_a_list_is_paged_and_what_is_new_moves_nothing(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    made = [(await Visitor(client, workspace.space_id).say("hello"))[0].data["session_id"] for _ in range(4)]
    expected = [*made[::-1], str((await session_of(workspace, staff.contact))["id"])]
    seen, path = [], "/chat-sessions?limit=2&status=ACTIVE&status=paused,Failed"
    while True:
        page = await staff.owner.done("GET", path)
        seen += [item["id"] for item in page["items"]]
        if "next_cursor" not in page:
            break
        path = f"/chat-sessions?limit=2&status=ACTIVE&status=paused,Failed&cursor={page['next_cursor']}"
        await Visitor(client, workspace.space_id).say("hello")
    assert seen == expected
    by_offset = await staff.owner.done("GET", "/chat-sessions?offset=2&limit=5")
    assert [item["id"] for item in by_offset["items"]] == expected[:5]
    assert {item["status"] for item in by_offset["items"]} == {"active"}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=201", "limit=x", "offset=-1", "offset=10001", "status=asleep", "status=", "persona_id=x",
        "created_after=yesterday", "created_after=2026-01-01T00:00:00", "text=", "text=%00", "channel=", "surprise=1",
        "cursor=", "cursor=abc", "cursor=%20", "cursor=é", "cursor=" + "A" * 5000,
        "cursor=" + made_up("2026-01-01T00:00:00+00:00 not-an-id"), "cursor=" + made_up(f"never {ONE}"),
        "cursor=" + made_up(f"2026-01-01T00:00:00+00:00 {ONE}' or true"),
    ],
)  # fmt: skip
async def test_a_query_that_is_none(staff: Staff, query: str) -> None:
    assert await staff.owner.refused("GET", f"/chat-sessions?{query}") == (422, "invalid_body")


async def test_a_cursor_and_an_offset_do_not_go_together(staff: Staff) -> None:
    cursor = made_up(f"2026-01-01T00:00:00+00:00 {ONE}")
    assert (await staff.owner.ask("GET", f"/chat-sessions?cursor={cursor}"))[0] == 200
    assert await staff.owner.refused("GET", f"/chat-sessions?cursor={cursor}&offset=1") == (422, "invalid_body")


async def test_a_cursor_that_somebody_makes_up_shows_nothing_more(workspace: Workspace, staff: Staff) -> None:
    session = await session_of(workspace, staff.contact)
    future = made_up(f"2999-01-01T00:00:00+00:00 {session['id']}")
    for nobody in (staff.stranger, staff.other_admin, staff.agent):
        assert await nobody.done("GET", f"/chat-sessions?cursor={future}") == {"items": []}
    assert len((await staff.contact.done("GET", f"/chat-sessions?cursor={future}"))["items"]) == 1


async def test_everybody_finds_their_own(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    session = await session_of(workspace, staff.contact)
    visitor = Visitor(client, workspace.space_id)
    other = (await visitor.say("where is my ticket"))[0].data
    for person, found in (
        (staff.owner, {str(session["id"]), other["session_id"]}),
        (staff.contact, {str(session["id"])}),
        (staff.agent, set()), (staff.stranger, set()), (staff.other_admin, set()), (staff.operator, set()),
    ):  # fmt: skip
        assert {item["id"] for item in (await person.done("GET", "/chat-sessions"))["items"]} == found
    assert await staff.anonymous.refused("GET", "/chat-sessions") == (401, "token_missing")
    searched = await staff.owner.done("GET", "/chat-sessions?text=Ticket")
    assert [item["id"] for item in searched["items"]] == [other["session_id"]]
    path = f"/conversations/{other['conversation_id']}/chat-sessions"
    assert [item["id"] for item in (await staff.owner.done("GET", path))["items"]] == [other["session_id"]]
    for nobody in (staff.contact, staff.agent, staff.stranger, staff.other_admin):
        assert await nobody.refused("GET", path) == (404, "conversation_not_found")
    member_of_two = await sign_up(client, workspace, stack, "agent")
    await workspace.database.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) "
        "select workspace_id, $1, 'agent' from public.workspace_members where user_id = $2",
        member_of_two.id,
        staff.other_admin.id,
    )
    assert await member_of_two.refused("GET", "/chat-sessions") == (422, "workspace_required")
    assert await member_of_two.done("GET", f"/chat-sessions?workspaceId={workspace.id}") == {"items": []}


async def test_one_session_in_full(client: aiohttp.ClientSession, workspace: Workspace, staff: Staff) -> None:
    visitor = Visitor(client, workspace.space_id)
    first = (await visitor.say("one"))[0].data
    await visitor.say("two")
    path = f"/chat-sessions/{first['session_id']}"
    full = await staff.owner.done("GET", path)
    assert (full["id"], full["turn_count"], full["message_count"]) == (first["session_id"], 2, 4)
    assert [said["role"] for said in full["messages"]] == ["contact", "persona"] * 2
    assert len(full["turns"]) == 2
    assert [event["event"] for event in full["timeline"]][:2] == ["session.created", "turn.started"]
    assert "messages_before" not in full
    last = await staff.owner.done("GET", f"{path}?limit=3")
    rest = await staff.owner.done("GET", f"{path}?limit=3&before={last['messages_before']}")
    assert [*rest["messages"], *last["messages"]] == full["messages"]
    for nobody in (staff.contact, staff.agent, staff.stranger, staff.other_admin):
        assert await nobody.refused("GET", path) == (404, "session_not_found")
    assert await staff.anonymous.refused("GET", path) == (401, "token_missing")
    assert await staff.owner.refused("GET", f"{path}?before={uuid4()}") == (404, "message_not_found")
    assert await staff.owner.refused("GET", f"{path}?limit=0") == (422, "invalid_body")
    assert await staff.owner.refused("GET", "/chat-sessions/x") == (404, "session_not_found")


# Starting ------------------------------------------------------------------------------------------------------------


async def test_a_session_is_started_for_a_contact_or_for_oneself(workspace: Workspace, staff: Staff) -> None:
    session = await session_of(workspace, staff.contact)
    asked = {"contactId": str(session["contact_id"]), "threadKey": "offer", "context": {"deal": 7}}
    status, new = await staff.agent.ask("POST", "/chat-sessions", asked)
    assert (status, new["created"], new["contact_id"]) == (201, True, str(session["contact_id"]))
    status, same = await staff.agent.ask("POST", "/chat-sessions", asked)
    assert (status, same["created"], same["session_id"]) == (200, False, new["session_id"])
    assert [item["id"] for item in (await staff.agent.done("GET", "/chat-sessions"))["items"]] == [new["session_id"]]
    status, own = await staff.contact.ask("POST", "/chat-sessions")
    assert (status, own["session_id"]) == (200, str(session["id"]))
    status, hers = await staff.stranger.ask("POST", "/chat-sessions", {"space_id": str(workspace.space_id)})
    assert (status, hers["user_id"]) == (201, str(staff.stranger.id))
    linked = await workspace.row("select session_id from public.contacts where id = $1", UUID(hers["contact_id"]))
    assert str(linked["session_id"]) == hers["session_id"]
    for person in (staff.other_admin, staff.stranger, staff.operator):
        assert await person.refused("POST", "/chat-sessions", asked) == (404, "contact_not_found")
    assert await staff.anonymous.refused("POST", "/chat-sessions", asked) == (401, "token_missing")
    bodies: list[Any] = [{}, {"contact_id": "x"}, {"thread_key": ""}, {"surprise": 1}, {"context": []}, []]
    for body in bodies:
        assert await staff.owner.refused("POST", "/chat-sessions", body) == (422, "invalid_body")


async def test_an_agent_is_told_that_a_contact_talks_and_nothing_else_of_it(workspace: Workspace, staff: Staff) -> None:
    contact_id = str((await session_of(workspace, staff.contact))["contact_id"])
    asked = {"contact_id": contact_id, "thread_key": "offer"}
    live = await staff.owner.done("POST", "/chat-sessions", asked)
    before = await workspace.counts()
    status, refusal = await staff.agent.ask("POST", "/chat-sessions", asked)
    assert (status, refusal["code"]) == (403, "forbidden")
    assert live["session_id"] not in str(refusal)
    assert await staff.agent.refused("GET", f"/chat-sessions/{live['session_id']}") == (404, "session_not_found")
    assert (await staff.agent.done("GET", "/chat-sessions"))["items"] == []
    assert await workspace.counts() == before


# Cleaning up ---------------------------------------------------------------------------------------------------------


async def test_idle_sessions_time_out_for_an_admin_and_for_the_schedule(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    session = await session_of(workspace, staff.contact)
    await workspace.database.execute("delete from private.sweeps")
    path, body = "/chat-sessions/cleanup", {"workspace_id": str(workspace.id), "max_age_hours": 2}
    assert await staff.agent.refused("POST", path, body) == (403, "forbidden")
    for nobody in (staff.other_admin, staff.stranger, staff.operator):
        assert await nobody.refused("POST", path, body) == (404, "workspace_not_found")
    assert await staff.contact.refused("POST", path, body) == (403, "forbidden")
    assert await staff.anonymous.refused("POST", path, body) == (401, "token_missing")
    for wrong in (
        {},
        {"workspace_id": str(workspace.id)},
        {**body, "max_age_hours": 0},
        {**body, "max_age_hours": 8761},
    ):
        assert await staff.owner.refused("POST", path, wrong) == (422, "invalid_body")
    assert await staff.admin.done("POST", path, body) == {"timed_out": 0, "remaining": False}

    cron = Person(client, uuid4(), "", stack.cron_secret)
    assert await cron.refused("POST", path, body) == (422, "invalid_body")
    await workspace.database.execute(
        "update public.sessions set last_activity_at = now() - interval '25 hours' where workspace_id = $1",
        workspace.id,
    )
    # Of all workspaces, so also what other tests left idle.
    swept = await cron.done("POST", path, {})
    assert (swept["timed_out"] >= 1, swept["remaining"]) == (True, False)
    swept_session = await staff.contact.done("GET", f"/chat-sessions/{session['id']}")
    assert swept_session["status"] == "timeout"
    assert await cron.done("POST", path, {}) == {"timed_out": 0, "remaining": False}
    await staff.contact.done("POST", f"/chat-sessions/{session['id']}/recover")
    await workspace.database.execute(
        "update public.sessions set last_activity_at = now() - interval '3 hours' where workspace_id = $1", workspace.id
    )
    assert await staff.admin.done("POST", path, body) == {"timed_out": 1, "remaining": False}


async def test_a_workspace_sets_its_own_hours_and_takes_them_back(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}"
    assert "session_timeout_hours" not in await staff.owner.done("GET", path)
    assert (await staff.owner.done("PATCH", path, {"session_timeout_hours": 0}))["session_timeout_hours"] == 0
    assert (await staff.owner.done("PATCH", path, {"name": "y"}))["session_timeout_hours"] == 0
    assert "session_timeout_hours" not in await staff.owner.done("PATCH", path, {"sessionTimeoutHours": None})
    for wrong in (-1, 8761, "x"):
        assert await staff.owner.refused("PATCH", path, {"session_timeout_hours": wrong}) == (422, "invalid_body")
    assert await staff.owner.refused("PATCH", path, {"name": None}) == (422, "invalid_body")
