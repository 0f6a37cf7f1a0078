"""Devices over HTTP: sessions that are issued and linked, and links between devices and users."""

from typing import Any
from uuid import UUID, uuid4

from lib.devices.session_links import is_unguessable
from local.stack import Stack
from tests.functions.conftest import Workspace
from tests.functions.people import Person, Staff, audit, sign_up

LINK = "/sessions/link"
GUESSES = (
    "session-123",
    "20261201-000000000000000000000042",
    "0" * 40,
    "a1b2" * 3,
    "1c9a4e8e-9f1a-11ef-8de9-0242ac120002",
)


def test_only_a_random_id_is_unguessable() -> None:
    random = (str(uuid4()), f"omi-{uuid4().hex}", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b", "rC4kXbT9wQz1LmN8vPaJ2h")
    assert all(map(is_unguessable, random))
    assert not any(map(is_unguessable, GUESSES))


async def heard(workspace: Workspace, session_id: str, uid: str | None = None) -> dict[str, Any]:
    """A session of a device with a conversation, as a delivery opens one, and its ids."""
    contact, conversation = uuid4(), uuid4()
    await workspace.database.execute(
        "insert into public.contacts (id, workspace_id) values ($1, $2)", contact, workspace.id
    )
    await workspace.database.execute(
        "insert into public.conversations (id, workspace_id, contact_id, persona_id, channel, thread_key, proof)"
        " values ($1::uuid, $2, $3, $4, 'omi', $1::uuid::text, 'verified')",
        conversation, workspace.id, contact, workspace.persona_id,
    )  # fmt: skip
    await workspace.database.execute(
        "insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id, channel)"
        " values ($1, $2, $3, $4, 'omi')",
        workspace.id, conversation, contact, workspace.persona_id,
    )  # fmt: skip
    device = await workspace.database.fetchval(
        "insert into public.device_sessions (workspace_id, external_id, uid, conversation_id) values ($1, $2, $3, $4)"
        " returning id", workspace.id, session_id, uid, conversation,
    )  # fmt: skip
    return {"id": device, "conversation_id": conversation, "contact_id": contact}


async def sees(person: Person, conversation: UUID) -> bool:
    return (await person.ask("GET", f"/conversations/{conversation}/messages"))[0] == 200


async def test_a_bare_session_id_is_linked_once_by_its_first_user(
    workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    session_id = str(uuid4())
    device = await heard(workspace, session_id)
    first, second = staff.stranger, await sign_up(staff.owner.client, workspace, stack)
    assert not await sees(first, device["conversation_id"])
    for _ in range(2):
        status, linked = await first.ask("POST", LINK, {"sessionId": session_id})
        assert (status, linked["ok"]) == (200, True)
        assert linked["session"] | {"linked_at": 0, "created_at": 0} == {
            "id": str(device["id"]), "workspace_id": str(workspace.id), "provider": "omi", "session_id": session_id,
            "user_id": str(first.id), "linked_with": "session_id", "linked_at": 0, "created_at": 0,
            "conversation_id": str(device["conversation_id"]),
        }  # fmt: skip
    status, refused = await second.ask("POST", LINK, {"session_id": session_id})
    assert (status, refused["code"], "detail" in refused, str(first.id) in str(refused)) == (
        409, "device_session_linked", False, False,
    )  # fmt: skip
    assert [await sees(each, device["conversation_id"]) for each in (first, second)] == [True, False]
    cookie = {"Cookie": f"sid={first.token}"}
    async with first.client.post(LINK, json={"session_id": session_id}, headers=cookie) as response:
        assert (response.status, (await response.json())["ok"]) == (200, True)
    current = await first.done("GET", "/conversations/current")
    assert current["conversation"]["id"] == str(device["conversation_id"])
    (listed,) = (await first.done("GET", "/chat-sessions"))["items"]
    assert listed["conversation_id"] == str(device["conversation_id"])
    events = [
        (verb, actor, code) for verb, object_id, actor, code in await audit(workspace) if object_id == device["id"]
    ]
    assert events == [
        ("device_session.linked", first.id, "session_id"),
        ("device_session.link_refused", second.id, "device_session_linked"),
    ]


async def test_an_id_that_can_be_guessed_or_is_a_device_s_links_nothing(workspace: Workspace, staff: Staff) -> None:
    uid, linked_uid, mine = (uuid4().hex for _ in range(3))
    await heard(workspace, "session-123")
    await heard(workspace, uid, uid)
    await heard(workspace, linked_uid)
    await staff.owner.done(
        "POST", f"/workspaces/{workspace.id}/device-links", {"uid": linked_uid, "userId": str(staff.agent.id)}
    )
    for session_id in ("session-123", "session-124", uid, linked_uid):
        assert await staff.stranger.refused("POST", LINK, {"session_id": session_id}) == (403, "claim_code_required")
    assert await staff.stranger.refused("POST", LINK, {"session_id": mine}) == (404, "device_session_not_found")
    assert await staff.stranger.refused("POST", LINK, {"claim_code": "AAAA-BBBB"}) == (404, "device_session_not_found")
    for body in ({}, {"session_id": mine, "claim_code": "x"}, {"session_id": ""}):
        assert await staff.stranger.refused("POST", LINK, body) == (422, "invalid_body")
    assert await staff.contact.refused("POST", LINK, {"session_id": mine}) == (403, "forbidden")
    assert await staff.anonymous.refused("POST", LINK, {"session_id": mine}) == (401, "token_missing")


async def test_attempts_to_link_are_limited_also_those_that_find_nothing(workspace: Workspace, staff: Staff) -> None:
    session_id = str(uuid4())
    await heard(workspace, session_id)
    statuses = [(await staff.stranger.ask("POST", LINK, {"session_id": str(uuid4())}))[0] for _ in range(10)]
    assert statuses == [404] * 10
    status, refused = await staff.stranger.ask("POST", LINK, {"session_id": session_id})
    assert (status, refused["code"], 1 <= refused["retry_after"] <= 60) == (429, "rate_limited", True)


async def test_a_claim_code_links_transfers_and_verifies_the_device(workspace: Workspace, staff: Staff) -> None:
    uid = f"device-{uuid4()}"
    path = f"/workspaces/{workspace.id}/device-sessions"
    status, issued = await staff.admin.ask("POST", path, {"uid": uid})
    assert (status, len(issued["session_id"]), len(issued["claim_code"])) == (201, 40, 19)
    (listed,) = (await staff.owner.done("GET", path))["items"]
    assert listed == {name: value for name, value in issued.items() if name != "claim_code"}
    typed = issued["claim_code"].lower().replace("-", " ").replace("0", "o").replace("1", "l")
    for user in (staff.stranger, staff.stranger, staff.agent):
        linked = (await user.done("POST", LINK, {"claimCode": typed}))["session"]
        assert (linked["user_id"], linked["linked_with"]) == (str(user.id), "claim_code")
    former, link = (await staff.stranger.done("GET", "/device-links"))["items"] + (
        await staff.agent.done("GET", "/device-links")
    )["items"]
    assert [(each["status"], each["verified_with"]) for each in (former, link)] == [
        ("revoked", "claim_code"), ("verified", "claim_code"),
    ]  # fmt: skip
    replaced = await staff.admin.done("POST", f"/device-sessions/{issued['id']}/claim-code")
    codes = {"old": issued["claim_code"], "new": replaced["claim_code"]}
    assert await staff.owner.refused("POST", LINK, {"claim_code": codes["old"]}) == (404, "device_session_not_found")
    assert (await staff.owner.done("POST", LINK, {"claim_code": codes["new"]}))["session"]["user_id"] == str(
        staff.owner.id
    )
    verbs = [verb for verb, object_id, *_ in await audit(workspace) if str(object_id) == issued["id"]]
    assert verbs == ["device_session.issued", "device_session.linked", "device_session.transferred",
                     "device_session.claim_code_replaced", "device_session.transferred"]  # fmt: skip


async def test_an_admin_transfers_a_session_with_its_conversation(workspace: Workspace, staff: Staff) -> None:
    device = await heard(workspace, session_id := str(uuid4()))
    path = f"/device-sessions/{device['id']}"
    await staff.stranger.done("POST", LINK, {"session_id": session_id})
    code = await staff.admin.done("POST", f"{path}/claim-code")
    for admin, user in ((staff.admin, staff.agent), (staff.owner, None)):
        moved = await admin.done("PATCH", path, {"user_id": str(user.id) if user else None})
        assert (moved.get("user_id"), moved.get("linked_with")) == ((str(user.id), "member") if user else (None, None))
        assert [await sees(each, device["conversation_id"]) for each in (staff.stranger, staff.agent)] == [
            False,
            bool(user),
        ]
    assert await staff.stranger.refused("POST", LINK, {"claim_code": code["claim_code"]}) == (
        404, "device_session_not_found"
    )  # fmt: skip
    # Attached to nobody, it may be linked by its bare id again.
    await staff.stranger.done("POST", LINK, {"session_id": session_id})
    body = {"user_id": str(staff.agent.id)}
    for person, refusal in ((staff.agent, (403, "forbidden")), (staff.stranger, (404, "device_session_not_found")),
                            (staff.other_admin, (404, "device_session_not_found"))):  # fmt: skip
        assert await person.refused("PATCH", path, body) == refusal
        assert await person.refused("POST", f"{path}/claim-code") == refusal
    assert await staff.owner.refused("PATCH", path, {"user_id": str(uuid4())}) == (404, "user_not_found")


async def test_a_session_of_a_deleted_user_is_not_linked_with_its_bare_id(
    workspace: Workspace, staff: Staff, stack: Stack
) -> None:
    device = await heard(workspace, session_id := str(uuid4()))
    leaver = await sign_up(staff.owner.client, workspace, stack)
    await leaver.done("POST", LINK, {"session_id": session_id})
    await workspace.database.execute("delete from auth.users where id = $1", leaver.id)
    assert await staff.stranger.refused("POST", LINK, {"session_id": session_id}) == (409, "device_session_linked")
    await workspace.database.execute("delete from public.contacts where id = $1", device["contact_id"])
    assert (await staff.owner.done("GET", f"/workspaces/{workspace.id}/device-sessions"))["items"] == []


async def test_a_link_is_asserted_by_its_user_and_verified_or_revoked(workspace: Workspace, staff: Staff) -> None:
    path, uid = f"/workspaces/{workspace.id}/device-links", "device-123"
    assert await staff.stranger.refused("POST", path, {"uid": uid}) == (404, "workspace_not_found")
    await staff.stranger.done("POST", "/chat-sessions", {"space_id": str(workspace.space_id)})
    status, mine = await staff.stranger.ask("POST", path, {"uid": uid})
    assert (status, mine["status"], mine["user_id"]) == (201, "unverified", str(staff.stranger.id))
    assert await staff.stranger.done("POST", path, {"uid": uid}) == mine
    others = {"uid": uid, "user_id": str(staff.owner.id)}
    assert await staff.stranger.refused("POST", path, others) == (403, "forbidden")
    assert await staff.owner.refused("POST", path, {"uid": uid, "user_id": str(uuid4())}) == (404, "user_not_found")
    one = f"/device-links/{mine['id']}"
    for person, wanted in ((staff.stranger, "verified"), (staff.agent, "verified"), (staff.agent, "revoked")):
        assert (await person.refused("PATCH", one, {"status": wanted}))[0] in (403, 404)
    verified = await staff.admin.done("PATCH", one, {"status": "verified"})
    assert (verified["status"], verified["verified_with"]) == ("verified", "member")
    taken = await staff.owner.done("POST", path, others)
    assert [(each["user_id"], each["status"]) for each in (await staff.owner.done("GET", path))["items"]] == [
        (str(staff.stranger.id), "revoked"), (str(staff.owner.id), "verified"),
    ]  # fmt: skip
    assert (await staff.owner.done("PATCH", f"/device-links/{taken['id']}", {"status": "revoked"}))[
        "status"
    ] == "revoked"
    assert (await staff.admin.done("PATCH", one, {"status": "verified"}))["status"] == "verified"
    assert (await staff.stranger.done("PATCH", one, {"status": "revoked"}))["status"] == "revoked"
    assert (
        (await staff.agent.done("GET", path))["items"]
        == (await staff.agent.done("GET", "/device-links"))["items"]
        == []
    )
