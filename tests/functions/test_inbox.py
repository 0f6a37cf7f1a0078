"""The members' inbox: the last message of each session, and what the member has not read."""

from contextlib import AsyncExitStack
from typing import Any

from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Person, Staff
from tests.functions.test_api_keys import key_of
from tests.functions.test_conversations import following, take


async def listed(person: Person, session_id: str, query: str = "") -> dict[str, Any] | None:
    """The session's item in the person's list, or None."""
    found = await person.done("GET", f"/chat-sessions?{query}")
    return next((item for item in found["items"] if item["id"] == session_id), None)


async def test_a_member_reads_each_message_once_and_for_nobody_else(visitor: Visitor, staff: Staff) -> None:
    opened = (await visitor.say("First."))[0].data
    session, conversation = opened["session_id"], opened["conversation_id"]
    path, history = f"/conversations/{conversation}/read", f"/conversations/{conversation}/messages"
    item = await listed(staff.owner, session)
    answer, first = (await staff.owner.done("GET", history))["items"]

    assert item is not None
    assert item["last_message"] == {name: answer[name] for name in ("id", "role", "text", "created_at")}
    assert item["unread"] is True
    steps: list[tuple[dict[str, str] | None, bool]] = [({"message_id": first["id"]}, False), (None, False)]
    for body, unread in steps:
        state = await staff.owner.done("PUT", path, body)
        assert (state["conversation_id"], state["read_at"] >= first["created_at"]) == (conversation, True)
        for query, is_listed in (
            ("unread=true", unread),
            ("unread=true&order=activity", unread),
            ("unread=false", not unread),
            ("unread=true&text=first", unread),
        ):
            assert (await listed(staff.owner, session, query) is not None) == is_listed, (body, query)
        item = await listed(staff.owner, session)
        assert item is not None
        assert item["unread"] is unread

    # Another member has read nothing, and an earlier message takes nothing back.
    assert await listed(staff.admin, session, "unread=true&limit=1&offset=0") is not None
    again = await staff.owner.done("PUT", path, {"message_id": first["id"]})
    assert again["read_at"] == state["read_at"]
    await visitor.say("Second.")
    second = (await staff.owner.done("GET", history))["items"][1]
    for query in (
        "unread=true",
        "unread=true&order=activity&limit=1",
        "unread=true&status=active&text=second",
        f"unread=true&contact_id={opened['contact_id']}",
    ):
        assert await listed(staff.owner, session, query) is not None, query
    assert await listed(staff.owner, session, "unread=true&status=paused") is None
    await staff.owner.done("PUT", path, {"message_id": second["id"]})
    assert await listed(staff.owner, session, "unread=true") is None


async def test_only_who_sees_a_conversation_as_a_member_marks_it_read(
    visitor: Visitor, staff: Staff, workspace: Workspace
) -> None:
    opened = (await visitor.say("Hello?"))[0].data
    path, session = f"/conversations/{opened['conversation_id']}/read", opened["session_id"]
    key = await key_of(staff.owner, workspace, "admin")
    holder = Person(staff.owner.client, staff.owner.id, "", visitor.token)
    missing = (404, "conversation_not_found")
    denied = [
        (staff.agent, missing), (staff.stranger, missing), (staff.other_admin, missing), (key, (403, "user_required")),
        (holder, (403, "forbidden")), (staff.anonymous, (401, "token_missing")),
    ]  # fmt: skip
    for person, refusal in denied:
        assert await person.refused("PUT", path) == refusal
    assert await staff.owner.refused("PUT", path, {"message_id": opened["turn_id"]}) == (404, "message_not_found")
    unread = await listed(key, session)
    assert unread is not None
    assert "unread" not in unread
    assert await listed(key, session, "unread=true") is None
    # The contact's own list has neither.
    own = await listed(holder, session)
    assert own is not None
    assert own.keys().isdisjoint({"unread", "last_message"})
    assert await listed(holder, session, "unread=true") is None

    await staff.admin.done("PATCH", f"/chat-sessions/{session}/assign", {"user_id": str(staff.agent.id)})
    assert await listed(staff.agent, session, "unread=true") is not None
    await staff.agent.done("PUT", path)
    assert await listed(staff.agent, session, "unread=true") is None


async def test_members_see_who_has_the_conversation_open_until_they_leave_or_go_silent(
    visitor: Visitor, staff: Staff, workspace: Workspace
) -> None:
    where = (await visitor.say("Hello?"))[0].data["conversation_id"]
    path, owner = f"/conversations/{where}/presence", str(staff.owner.id)
    holder = Person(staff.owner.client, staff.owner.id, "", visitor.token)
    missing, body = (404, "conversation_not_found"), {"typing": True}
    key = await key_of(staff.owner, workspace, "admin")
    denied = [
        (staff.agent, missing), (staff.stranger, missing), (staff.other_admin, missing), (key, (403, "user_required")),
        (holder, (403, "forbidden")), (staff.anonymous, (401, "token_missing")),
    ]  # fmt: skip
    for person, refusal in denied:
        assert await person.refused("PUT", path, body) == refusal
    async with AsyncExitStack() as rest:
        latest = {"params": {"after": "latest"}}
        members, own = [
            await rest.enter_async_context(following(person, where, **latest)) for person in (staff.admin, holder)
        ]
        for stream in (members, own):
            assert [event.name for event in await take(stream, 1)] == ["session"]
        typing = [{"user_id": owner, "typing": True}]
        assert (await staff.owner.done("PUT", path, body))["members"] == typing
        (event,) = await take(members, 1)
        assert (event.name, event.data) == ("presence", {"members": typing})
        await staff.owner.done("PUT", path, {"typing": False})
        (event,) = await take(members, 1)
        assert event.data == {"members": [{"user_id": owner, "typing": False}]}
        # It ends by itself.
        silent = "update private.presences set ends_at = now() where conversation_id = $1::text::uuid"
        await workspace.database.execute(silent, where)
        assert [event.data for event in await take(members, 1)] == [{"members": []}]
        await staff.owner.done("PUT", path, body)
        assert [event.data for event in await take(members, 1)] == [{"members": typing}]
        left = await staff.owner.done("PUT", path, {"typing": False, "present": False})
        assert left["members"] == []
        assert [event.data for event in await take(members, 1)] == [{"members": []}]
        # The contact is told what is said, and nothing of this.
        await visitor.say("Still there?")
        assert {event.name for event in await take(own, 2)} <= {"message", "delta"}
