"""The commands about contacts, their conversations and their sessions, against the running stack."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import asyncpg

from local.stack import Stack
from tests.e2e.commands import Switchboard, written


async def test_contacts_are_resolved_listed_and_shown(cli: Switchboard, workspace: str, tmp_path: Path) -> None:
    resolve = f"contact resolve {workspace}"
    asked = f"{resolve} telegram:42 email:ann@example.com --create --first-name Ann --verified-by telegram"
    made = await cli.told(asked)
    assert {(one["kind"], one["verified_by"], one["asserted_by"]) for one in made["identities"]} == {
        ("telegram", "telegram", "service"),
        ("email", "telegram", "service"),
    }
    assert [one["id"] for one in await cli.told(f"contact list {workspace} --text ann")] == [made["id"]]
    group = await cli.told(f"{resolve} discord:channel:7 --create --title Crew")
    more = written(tmp_path, "more.json", {"seat": "window"})
    joined = await cli.told(f"{asked} --group {group['id']} --group-role guest --attributes {more}")
    assert joined["attributes"] == {"seat": "window"}
    assert (await cli.told(f"contact sign-out {made['id']}"))["contact_id"] == made["id"]
    participants = (await cli.told(f"contact show {group['id']}"))["participants"]
    assert [(one["contact_id"], one["role"]) for one in participants] == [(made["id"], "guest")]


async def test_contacts_are_created_changed_and_tagged(cli: Switchboard, workspace: str, tmp_path: Path) -> None:
    plan = written(tmp_path, "plan.json", {"plan": "pro", "seat": "window"})
    create = f"contact create {workspace} omi:c1 --first-name Ann --attributes {plan}"
    ann = await cli.told(create)
    assert (ann["name"], ann["attributes"]["plan"], ann["identities"][0]["evidence"]) == ("Ann", "pro", "asserted")
    await cli.fails(create, 4, ann["id"])
    patch = written(tmp_path, "patch.json", {"plan": None})
    update = f"contact update {ann['id']} --no-first-name --last-name Lee --attributes {patch}"
    changed = await cli.told(
        f"{update} --add-identity email:ann@example.com --remove-identity omi:c1 --verified-by crm"
    )
    assert (changed["name"], changed["email"], changed["attributes"]) == ("Lee", "ann@example.com", {"seat": "window"})
    assert [(one["kind"], one["verified_by"]) for one in changed["identities"]] == [("email", "crm")]
    await cli.fails(f"contact update {ann['id']} --title x", 2, "first_name and last_name")
    assert await cli.told(f"contact tag {ann['id']} ' VIP'") == {"tags": ["vip"]}
    assert await cli.told(f"contact tag {ann['id']} vip --remove") == {"tags": []}


async def test_a_conversation_is_read(cli: Switchboard, stack: Stack) -> None:
    path = f"{stack.api_url}/space/{stack.space_id}/chat/stream"
    async with aiohttp.request("POST", path, json={"message": "Hi"}, headers={"Accept": "application/json"}) as said:
        answer = await said.json()
    command = f"conversation messages {answer['conversation_id']}"
    page = await cli.told(f"{command} --limit 1")
    assert [message["text"] for message in page["items"]] == [answer["text"]]
    (first,) = (await cli.told(f"{command} --cursor {page['next_cursor']}"))["items"]
    assert (first["role"], first["text"]) == ("contact", "Hi")
    await cli.fails(f"conversation messages {uuid4()}", 3, "(conversation_not_found)")


async def test_sessions_are_listed_shown_tagged_cancelled_cleaned_up_and_counted(
    cli: Switchboard, stack: Stack, database: asyncpg.Connection, workspace: str
) -> None:
    persona = await cli.told(f"persona create {workspace} demo One")
    space = await cli.told(f"space create {workspace} One --persona {persona['id']}")
    path, headers = f"{stack.api_url}/space/{space['id']}/chat/stream", {"Accept": "application/json"}
    ids = []
    for _ in range(2):
        async with aiohttp.request("POST", path, json={"message": "Hi"}, headers=headers) as said:
            ids.append((await said.json())["session_id"])
    idle, live = ids
    list_all = f"session list {workspace}"
    assert [one["id"] for one in (await cli.told(list_all))["items"]] == [live, idle]
    assert await cli.told(f"session tag {live} ' Urgent'") == {"tags": ["urgent"]}
    ref = "insert into public.session_refs (workspace_id, session_id, system, kind, external_id)"
    await database.execute(
        f"{ref} select workspace_id, id, 'avinode', 'trip', 'T-1' from public.sessions where id = $1", UUID(live)
    )
    register = {"email": "ana@example.com", "first_name": "Ana"}
    async with aiohttp.request("POST", f"{stack.api_url}/space/{space['id']}/register", json=register) as registered:
        known = (await registered.json())["session"]["id"]
    for option, expected in (
        ("--tag urgent", [live]), ("--external-id T-1", [live]), ("--email Ana@Example.com", [known]),
        ("--email bob@example.com", []), ("--text 'Hi'", [live, idle]), ("--text 'Café'", []),
    ):  # fmt: skip
        assert [one["id"] for one in (await cli.told(f"{list_all} {option}"))["items"]] == expected, option
    shown = await cli.told(f"session show {live} --limit 1")
    assert ([one["role"] for one in shown["messages"]], shown["tags"]) == (["persona"], ["urgent"])
    assert "session.tagged" in [entry["event"] for entry in shown["timeline"]]
    cancel = f"session cancel {live} --reason 'Sent twice'"
    assert [(await cli.told(cancel))["changed"] for _ in range(2)] == [True, False]
    (entry,) = [
        one for one in (await cli.told(f"session show {live}"))["timeline"] if one["event"] == "session.cancelled"
    ]
    assert (entry["reason"], entry["actor_id"]) == ("Sent twice", None)
    age = "update public.sessions set last_activity_at = now() - interval '3 hours' where id = $1::text::uuid"
    await database.execute(age, idle)
    assert await cli.told(f"session cleanup {workspace}") == {"timed_out": 0, "remaining": False}
    assert await cli.told(f"session cleanup {workspace} --max-age-hours 2") == {"timed_out": 1, "remaining": False}
    await cli.fails(f"session cancel {idle}", 4, "(transition_not_allowed)")
    assert (await cli.run(f"{list_all} --status timeout")).stdout.count(idle) == 1
    counted = await cli.told(f"session stats {workspace} --from 2026-01-01")
    assert (counted["scope"], counted["sessions"]["total"]) == ("workspace", 3)
    for command in ("list", "stats", "cleanup"):
        await cli.fails(f"session {command} {uuid4()}", 3, "(workspace_not_found)")
    for command in ("show", "cancel", "tag"):
        await cli.fails(f"session {command} {uuid4()} {'x' if command == 'tag' else ''}", 3, "(session_not_found)")


async def test_an_answer_under_way_is_stopped_by_a_cancel(cli: Switchboard, stack: Stack, workspace: str) -> None:
    persona = await cli.told(f"persona create {workspace} demo One --config -", stdin='{"delay_ms": 500}')
    space = await cli.told(f"space create {workspace} One --persona {persona['id']}")
    path = f"{stack.api_url}/space/{space['id']}/chat/stream"
    async with aiohttp.request("POST", path, json={"message": "Tell me all about it."}) as answer:
        turn = json.loads((await answer.content.readuntil(b"\n\n")).decode().split("data: ")[1])
        assert (await cli.told(f"session cancel {turn['session_id']}"))["changed"] is True
        assert '"status":"cancelled"' in (await answer.content.read()).decode()


async def test_contacts_are_merged_and_unmerged_and_conflicts_listed(cli: Switchboard, workspace: str) -> None:
    resolve = f"contact resolve {workspace}"
    ann, bob = [(await cli.told(f"{resolve} omi:m{n} --create"))["id"] for n in (1, 2)]
    await cli.fails(f"{resolve} omi:m1 omi:m2 --create", 4, ann)
    (conflict,) = await cli.told(f"contact conflicts {workspace}")
    assert {conflict["contact"]["id"], conflict["other_contact"]["id"]} == {ann, bob}

    merge = f"contact merge {bob} {ann}"
    said = await cli.told(f"{merge} --preview")
    assert (said["into_id"], said["moves"]["identities"]) == (ann, 1)
    assert 'identities: {"kind": "omi", "key": "m2"' in (await cli.run(f"{merge} --preview")).stdout
    assert (await cli.told(f"contact show {bob}"))["id"] == bob
    merged = await cli.told(merge)
    assert (merged["contact_id"], merged["into_id"], merged["merged_by"]) == (bob, ann, None)
    for named in (ann, "contact_merged"):
        await cli.fails(f"contact show {bob}", 4, named)
    assert await cli.told(f"contact conflicts {workspace}") == []
    assert len(await cli.told(f"contact conflicts {workspace} --status merged")) == 1

    assert (await cli.told(f"contact unmerge {bob}"))["undone_at"]
    assert (await cli.told(f"contact show {bob}"))["id"] == bob


async def test_contacts_are_erased_and_erasures_replayed(cli: Switchboard, workspace: str, tmp_path: Path) -> None:
    made = await cli.told(f"contact create {workspace} omi:erased")
    receipt = await cli.told(f"contact erase {made['id']} --yes")
    assert (receipt["status"], receipt["requester_kind"], receipt["counts"]["contacts"]) == ("finished", "operator", 1)
    assert (await cli.told(f"contact check-erasure {receipt['id']}"))["clean"] is True
    await cli.fails(f"contact show {made['id']}", 3, "contact_not_found")
    kept = tmp_path / "erasures.jsonl"
    await cli.run(f"contact export-erasures {kept}")
    assert [one["id"] for one in await cli.told(f"contact replay-erasures {kept}")].count(receipt["id"]) == 1
    assert [one["id"] for one in await cli.told(f"contact erasures {workspace}")] == [receipt["id"]]
