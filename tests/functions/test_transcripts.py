"""What devices hear: deliveries of Omi become messages of a conversation for each session of the device."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest_asyncio

from tests.functions.conftest import Workspace
from tests.functions.people import Person, Staff


class Omi:
    """Omi's server, with the secret of a channel. Each body differs, so that none is a repeated delivery."""

    def __init__(self, workspace: Workspace, admin: Person, channel: str, secret: str) -> None:
        self.workspace, self.admin, self.channel, self.secret = workspace, admin, channel, secret

    async def send(self, body: Any, path: str = "", **query: str) -> None:
        """Deliver a body; the answer is empty."""
        path = path or f"/webhooks/omi/{self.channel}"
        async with self.admin.client.post(path, json=body, params={"secret": self.secret, **query}) as response:
            assert (response.status, await response.json()) == (200, {})

    async def heard(self, uid: str, *segments: Mapping[str, Any]) -> None:
        """Deliver segments as Omi's code does."""
        await self.send({"session_id": uid, "segments": list(segments), "nonce": str(uuid4())}, uid=uid)

    async def sessions(self) -> list[dict[str, Any]]:
        """The device sessions, in order."""
        found = await self.admin.done("GET", f"/workspaces/{self.workspace.id}/device-sessions")
        return list(found["items"])

    async def transcripts(self) -> list[list[str]]:
        """The texts of each session that has a conversation, with their speakers."""
        found = []
        for session in await self.sessions():
            messages = await self.admin.done("GET", f"/conversations/{session['conversation_id']}/messages")
            found.append([f"{each.get('speaker', '')}:{each['text']}" for each in reversed(messages["items"])])
        return found

    async def pass_time(self, seconds: int) -> None:
        """Let the last segments be this much older."""
        await self.workspace.database.execute(
            "update public.device_sessions set last_segment_at = last_segment_at - make_interval(secs => $2)"
            " where workspace_id = $1",
            self.workspace.id, seconds,
        )  # fmt: skip


@pytest_asyncio.fixture
async def omi(workspace: Workspace, staff: Staff) -> Omi:
    """A channel of Omi and its sender."""
    new = {"kind": "omi", "name": "Wearables", "persona_id": str(workspace.persona_id)}
    channel = (await staff.admin.done("POST", f"/workspaces/{workspace.id}/channels", new))["id"]
    secret = (await staff.admin.done("POST", f"/channels/{channel}/verify-secret", {}))["secret"]
    return Omi(workspace, staff.admin, channel, secret)


def segment(key: str | None, text: str, speaker: int = 0) -> dict[str, Any]:
    """A segment; speaker 0 wears the device."""
    known = {"id": key} if key else {}
    return {**known, "text": text, "speaker": f"SPEAKER_0{speaker}", "speaker_id": speaker, "is_user": speaker == 0,
            "start": 0.0, "end": 1.0}  # fmt: skip


async def test_segments_are_merged_by_id_and_grow_in_place(omi: Omi, workspace: Workspace) -> None:
    one, two = str(uuid4()), str(uuid4())
    await omi.heard("u1", segment(one, "I would like"))
    await omi.heard("u1", segment(one, "I would like to fly"), segment(two, "Where to?", 1), segment(None, " "))
    await omi.heard("u1", segment(one, "I would"), segment(two, "Where to?", 1))
    assert await omi.transcripts() == [[":I would like to fly", "SPEAKER_01:Where to?"]]
    (session,) = await omi.sessions()
    (listed,) = (await omi.admin.done("GET", f"/chat-sessions?workspace_id={workspace.id}&channel=omi"))["items"]
    assert (listed["conversation_id"], listed["message_count"], listed["status"]) == (
        session["conversation_id"], 2, "active",
    )  # fmt: skip
    assert (await omi.admin.done("GET", "/contacts?identity=omi:u1"))["items"][0]["id"] == listed["contact"]["id"]
    # Without an id nothing tells that a text has grown; a repeated one is the same.
    for text in ("Ho", "Hotel", "Hotel"):
        await omi.heard("u2", segment(None, text))
    assert (await omi.transcripts())[1:] == [[":Ho", ":Hotel"]]


async def test_a_long_conversation_is_saved_at_once_and_in_its_order(omi: Omi, workspace: Workspace) -> None:
    said = [segment(f"{number}", f"Sentence {number}") for number in range(3_000)]
    await omi.send({"id": "c1", "transcript_segments": [*said, segment("7", "Changed")]}, uid="u1")
    query = "select text from public.messages where workspace_id = $1 order by created_at"
    saved = [row["text"] for row in await workspace.database.fetch(query, workspace.id)]
    assert saved == ["Changed" if each["id"] == "7" else each["text"] for each in said]
    assert (await omi.admin.done("GET", "/jobs"))["items"][0]["attempts"] == 1


async def test_a_session_ends_with_two_minutes_of_silence_if_its_id_is_the_uid(omi: Omi) -> None:
    first, second = str(uuid4()), str(uuid4())
    await omi.heard("u1", segment(first, "One"))
    await omi.pass_time(119)
    await omi.heard("u1", segment(second, "Two"))
    await omi.pass_time(121)
    await omi.heard("u1", segment(str(uuid4()), "Three"))
    # What comes late belongs where it began.
    await omi.heard("u1", segment(second, "Two, too"))
    for _ in range(2):
        await omi.send([segment(str(uuid4()), "Four")], uid="u1", session_id="conversation-1")
        await omi.pass_time(121)
    assert await omi.transcripts() == [[":One", ":Two, too"], [":Three"], [":Four", ":Four"]]
    assert [session.get("closed_at") is not None for session in await omi.sessions()] == [True, False, False]
    listed = (await omi.admin.done("GET", f"/chat-sessions?workspace_id={omi.workspace.id}&channel=omi"))["items"]
    assert [session["status"] for session in listed] == ["active", "active", "completed"]


async def test_a_finished_conversation_closes_its_session_and_may_come_again(omi: Omi) -> None:
    first, second = str(uuid4()), str(uuid4())
    finished = {"id": "c1", "structured": {"title": "A trip"}, "transcript_segments": [segment(first, "Fly to Nice")]}
    await omi.heard("u1", segment(first, "Fly too nice"))
    await omi.send(finished, uid="u1")
    await omi.heard("u1", segment(second, "Next"))
    again = {
        "structured": {"title": "To Nice"},
        "transcript_segments": [segment(first, "Fly"), segment(str(uuid4()), "!")],
    }
    await omi.send(finished | again, uid="u1")
    await omi.send(finished | {"id": "c2", "transcript_segments": [segment(str(uuid4()), "Other")]}, uid="u1")
    await omi.heard("u1", segment(second, "Next one"))
    assert await omi.transcripts() == [[":Fly", ":!"], [":Next one"], [":Other"]]
    assert [session.get("closed_at") is not None for session in await omi.sessions()] == [True, False, True]
    listed = (await omi.admin.done("GET", f"/chat-sessions?workspace_id={omi.workspace.id}&channel=omi"))["items"]
    assert {session.get("subject") for session in listed} == {"To Nice", "A trip", None}


async def test_devices_share_no_session_whatever_ids_they_send(omi: Omi) -> None:
    one, finished = segment(str(uuid4()), "Mine"), {"id": "c1", "structured": {}}
    for uid in ("u1", "u2"):
        await omi.send({"session_id": "shared", "segments": [one]}, uid=uid)
        await omi.send(finished | {"transcript_segments": [one | {"text": f"{uid}'s"}]}, uid=uid)
    assert await omi.transcripts() == [[":u1's"], [":u2's"]]


async def test_a_verified_device_attaches_new_sessions_and_nothing_overrides_a_link(omi: Omi, staff: Staff) -> None:
    links = f"/workspaces/{omi.workspace.id}/device-links"
    await staff.stranger.done("POST", "/chat-sessions", {"space_id": str(omi.workspace.space_id)})
    mine = await staff.stranger.done("POST", links, {"uid": "u1"})
    await omi.heard("u1", segment(str(uuid4()), "One"))
    assert (await omi.sessions())[0].get("user_id") is None
    await staff.admin.done("PATCH", f"/device-links/{mine['id']}", {"status": "verified"})
    body = {"session_id": "s1", "uid": "u1", "segments": [segment(str(uuid4()), "Two")]}
    await omi.send(body, "/omi-webhook", channel=omi.channel)
    session = (await omi.sessions())[1]
    assert (session["user_id"], session["linked_with"]) == (str(staff.stranger.id), "uid")
    ((text,),) = [
        [each["text"] for each in (await staff.stranger.done("GET", f"/conversations/{each_id}/messages"))["items"]]
        for each_id in [session["conversation_id"]]
    ]
    assert text == "Two"
    # The next owner of the device gets the next session, the former one keeps theirs.
    await staff.admin.done("POST", links, {"uid": "u1", "user_id": str(staff.agent.id)})
    await omi.send(body | {"segments": [segment(str(uuid4()), "Three")]}, "/omi-webhook", channel=omi.channel)
    await omi.heard("u1", segment(str(uuid4()), "Four"))
    users = [session.get("user_id") for session in await omi.sessions()]
    assert users == [str(staff.agent.id), str(staff.stranger.id)]


async def test_an_issued_session_is_claimed_before_and_after_it_is_heard(omi: Omi, staff: Staff) -> None:
    path = f"/workspaces/{omi.workspace.id}/device-sessions"
    issued = [await staff.admin.done("POST", path, {}) for _ in range(2)]
    before, after = issued
    await staff.stranger.done("POST", "/sessions/link", {"claim_code": before["claim_code"]})
    for each in issued:
        await omi.send({"session_id": each["session_id"], "segments": [segment(str(uuid4()), "Hello")]})
    linked = (await staff.stranger.done("POST", "/sessions/link", {"session_id": after["session_id"]}))["session"]
    assert linked["user_id"] == str(staff.stranger.id)
    own = (await staff.stranger.done("GET", "/chat-sessions"))["items"]
    assert {each["conversation_id"] for each in own} == {each["conversation_id"] for each in await omi.sessions()}


async def test_a_transcript_that_cannot_be_saved_is_a_dead_job(omi: Omi) -> None:
    await omi.admin.done("PATCH", f"/channels/{omi.channel}", {"persona_id": None})
    await omi.heard("u1", segment(str(uuid4()), "One"))
    assert await omi.sessions() == []
    (dead,) = (await omi.admin.done("GET", f"/jobs?workspace_id={omi.workspace.id}&status=dead"))["items"]
    assert (dead["kind"], dead["last_error"]) == ("conversation_save", "persona_required")
