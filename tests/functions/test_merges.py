"""Merging contacts over HTTP: who may, what the preview and the conflicts say, and where the old id leads."""

from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest_asyncio

from local.stack import Stack
from tests.functions.conftest import Workspace
from tests.functions.people import Person, Staff, staff_of

RESOLVE = "/admin/contacts/resolve"


@pytest_asyncio.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    """Everybody; one contact has registered."""
    return await staff_of(client, workspace, stack)


async def made(person: Person, *identities: str, **more: Any) -> str:
    """The id of the contact that is found or created."""
    answer = await person.done("POST", RESOLVE, {"identities": list(identities), "create": True, **more})
    found: str = answer["contact"]["id"]
    return found


async def merges_of(workspace: Workspace) -> int:
    """How many merges stand."""
    stand: int = await workspace.database.fetchval(
        "select count(*) from public.contact_merges where workspace_id = $1 and undone_at is null", workspace.id
    )
    return stand


async def test_only_owners_and_admins_merge_and_part(workspace: Workspace, staff: Staff) -> None:
    ann, bob = await made(staff.admin, "telegram:1"), await made(staff.admin, "telegram:2")
    far = await made(staff.other_admin, "telegram:1")
    merge, unmerge = f"/contacts/{bob}/merge", f"/contacts/{bob}/unmerge"
    for preview in (True, False):
        body = {"into": ann, "preview": preview}
        for person, refusal in (
            (staff.anonymous, (401, "token_missing")),
            (staff.contact, (403, "forbidden")),
            (staff.agent, (403, "forbidden")),
            (staff.stranger, (404, "contact_not_found")),
            (staff.other_admin, (404, "contact_not_found")),
            (staff.operator, (404, "contact_not_found")),
        ):
            assert await person.refused("POST", merge, body) == refusal
        for elsewhere in (far, str(uuid4())):
            assert await staff.owner.refused("POST", merge, {"into": elsewhere, "preview": preview}) == (
                404,
                "contact_not_found",
            )
    assert await merges_of(workspace) == 0
    assert (await staff.owner.done("POST", merge, {"into": ann}))["changed"] is True
    assert (await staff.admin.done("POST", merge, {"into": ann}))["changed"] is False
    for person, refusal in (
        (staff.anonymous, (401, "token_missing")),
        (staff.contact, (403, "forbidden")),
        (staff.agent, (403, "forbidden")),
        (staff.other_admin, (404, "contact_not_found")),
    ):
        assert await person.refused("POST", unmerge) == refusal
    assert (await staff.admin.done("POST", unmerge))["merge"]["undone_by"] == str(staff.admin.id)
    assert await staff.admin.refused("POST", unmerge) == (409, "not_merged")
    assert await merges_of(workspace) == 0


async def test_what_does_not_fit_is_refused(staff: Staff) -> None:
    ann, group = await made(staff.admin, "telegram:1"), await made(staff.admin, "telegram:-1")
    path = f"/contacts/{ann}/merge"
    for unfit in ({}, {"into": "x"}, {"into": group, "nonsense": 1}, {"into": None}):
        assert await staff.admin.refused("POST", path, unfit) == (422, "invalid_body")
    assert await staff.admin.refused("POST", path, {"into": group}) == (409, "kinds_differ")
    assert await staff.admin.refused("POST", path, {"into": ann}) == (409, "same_contact")
    for unfit_query in ("status=closed", "limit=0", "cursor=x"):
        assert await staff.admin.refused("GET", f"/contacts/conflicts?{unfit_query}") == (422, "invalid_body")


async def test_a_preview_tells_and_the_old_id_leads_members_to_the_one_that_stands(
    workspace: Workspace, staff: Staff
) -> None:
    ann = await made(staff.admin, "telegram:1", first_name="Ann")
    bob = await made(staff.admin, "telegram:2", "email:bob@example.com", first_name="Bob", attributes={"seat": 2})
    await staff.agent.done("PUT", f"/contacts/{bob}/tags", {"tags": ["vip"]})
    said = (await staff.admin.done("POST", f"/contacts/{bob}/merge", {"into": ann, "preview": True}))["preview"]
    assert said["moves"] == {
        "identities": 2, "conversations": 0, "sessions": 0, "messages": 0, "tags": 1, "groups": 0,
    }  # fmt: skip
    assert said["takes_over"] == {"attributes": {"seat": 2}}
    assert said["collides"]["name"] == {"kept": "Ann", "other": "Bob"}
    assert (await staff.agent.done("GET", f"/contacts/{bob}"))["tags"] == ["vip"]

    await staff.admin.done("POST", f"/contacts/{bob}/merge", {"into": ann})
    for path in ("/contacts/{}", "/contacts/{}/activity", "/api/contacts/{}/activity?a=1"):
        url = path.format(bob)
        async with staff.agent.client.get(
            url, headers={"Authorization": f"Bearer {staff.agent.token}"}, allow_redirects=False
        ) as response:
            assert (response.status, response.headers["Location"]) == (307, path.format(ann))
            document = await response.json()
            assert (document["code"], document["contact_id"]) == ("contact_merged", ann)
        followed = await staff.agent.done("GET", url)
        assert (followed["id"], followed["tags"]) == (ann, ["vip"])
        assert await staff.other_admin.refused("GET", url) == (404, "contact_not_found")
        assert await staff.contact.refused("GET", url) == (403, "forbidden")
        assert await staff.anonymous.refused("GET", url) == (401, "token_missing")
    assert [one["contact_id"] for one in (await staff.agent.done("GET", f"/contacts/{ann}"))["merged"]] == [bob]
    listed = await staff.agent.done("GET", f"/contacts?workspace_id={workspace.id}&email=bob@example.com")
    assert [item["id"] for item in listed["items"]] == [ann]

    await staff.admin.done("POST", f"/contacts/{bob}/unmerge")
    assert (await staff.agent.done("GET", f"/contacts/{bob}"))["attributes"] == {"seat": 2}
    assert (await staff.agent.done("GET", f"/contacts/{ann}"))["tags"] == []


async def test_a_chain_is_parted_from_its_end(staff: Staff) -> None:
    ann, bob, eve = [await made(staff.admin, f"telegram:{number}") for number in (1, 2, 3)]
    await staff.admin.done("POST", f"/contacts/{ann}/merge", {"into": bob})
    await staff.admin.done("POST", f"/contacts/{bob}/merge", {"into": eve})
    assert (await staff.agent.done("GET", f"/contacts/{ann}"))["id"] == eve
    assert await staff.admin.refused("POST", f"/contacts/{ann}/merge", {"into": eve}) == (409, "already_merged")
    assert await staff.admin.refused("POST", f"/contacts/{ann}/unmerge") == (409, "merged_further")
    await staff.admin.done("POST", f"/contacts/{bob}/unmerge")
    await staff.admin.done("POST", f"/contacts/{ann}/unmerge")
    assert (await staff.agent.done("GET", f"/contacts/{ann}"))["id"] == ann


async def test_conflicts_are_listed_in_pages_dismissed_by_admins_and_closed_by_a_merge(
    workspace: Workspace, staff: Staff
) -> None:
    people = [await made(staff.admin, f"telegram:{number}") for number in range(1, 6)]
    for number in (2, 3, 4, 5):
        for _ in range(2):
            refusal = await staff.admin.refused(
                "POST", RESOLVE, {"identities": ["telegram:1", f"telegram:{number}"], "create": True}
            )
            assert refusal == (409, "identity_conflict")
    path = f"/contacts/conflicts?workspace_id={workspace.id}"
    first = await staff.agent.done("GET", f"{path}&limit=3")
    # Whoever comes meanwhile comes before the first page.
    await made(staff.admin, "telegram:6")
    await staff.admin.refused("POST", RESOLVE, {"identities": ["telegram:1", "telegram:6"], "create": True})
    rest = await staff.agent.done("GET", f"{path}&limit=3&status=OPEN&cursor={first['next_cursor']}")
    pairs = [{item["contact"]["id"], item["other_contact"]["id"]} for item in (*first["items"], *rest["items"])]
    assert pairs == [{people[0], people[number]} for number in (4, 3, 2, 1)]
    assert "next_cursor" not in rest
    assert {item["found_by"] for item in first["items"]} == {"resolve"}

    newest, second = (f"/contacts/conflicts/{item['id']}/dismiss" for item in first["items"][:2])
    for person, refusal in (
        (staff.anonymous, (401, "token_missing")),
        (staff.contact, (403, "forbidden")),
        (staff.agent, (403, "forbidden")),
        (staff.stranger, (404, "conflict_not_found")),
        (staff.other_admin, (404, "conflict_not_found")),
    ):
        assert await person.refused("POST", newest) == refusal
    for _ in range(2):
        dismissed = await staff.admin.done("POST", newest)
        assert (dismissed["status"], dismissed["closed_by"]) == ("dismissed", str(staff.admin.id))
    await staff.admin.done("POST", f"/contacts/{people[3]}/merge", {"into": people[0]})
    assert await staff.admin.refused("POST", second) == (409, "already_merged")
    assert len((await staff.agent.done("GET", path))["items"]) == 3
    (merged,) = (await staff.agent.done("GET", f"{path}&status=merged"))["items"]
    assert {merged["contact"]["standing_id"], merged["other_contact"]["standing_id"]} == {people[0]}
    await staff.admin.done("POST", f"/contacts/{people[3]}/unmerge")
    assert len((await staff.agent.done("GET", path))["items"]) == 4
    for person, refusal in (
        (staff.anonymous, (401, "token_missing")),
        (staff.contact, (403, "forbidden")),
        (staff.stranger, (404, "workspace_not_found")),
        (staff.other_admin, (404, "workspace_not_found")),
    ):
        assert await person.refused("GET", path) == refusal


async def test_a_contact_goes_on_with_its_token_after_a_merge_and_after_its_undoing(
    workspace: Workspace, staff: Staff
) -> None:
    row = await workspace.row("select id, session_id from public.contacts where workspace_id = $1", workspace.id)
    ann = await made(staff.admin, "telegram:1", first_name="Ann")
    for path, body in ((f"/contacts/{row['id']}/merge", {"into": ann}), (f"/contacts/{row['id']}/unmerge", None)):
        await staff.admin.done("POST", path, body)
        assert await ids_of(staff.contact, "/chat-sessions") == [row["session_id"]]
        assert (await staff.contact.done("GET", f"/chat-sessions/{row['session_id']}"))["status"] == "active"
    assert (await staff.contact.done("PATCH", f"/chat-sessions/{row['session_id']}/cancel"))["changed"] is True


async def ids_of(person: Person, path: str) -> list[UUID]:
    """The ids that a list gives."""
    return [UUID(item["id"]) for item in (await person.done("GET", path))["items"]]
