"""Merging contacts over HTTP: previews, conflicts, undoing, and the redirect from the old id."""

from uuid import UUID, uuid4

from tests.functions.conftest import Workspace
from tests.functions.people import Person, Staff, resolve

INVALID, NOT_FOUND = (422, "invalid_body"), (404, "contact_not_found")


async def test_owners_and_admins_merge_and_unmerge(workspace: Workspace, staff: Staff) -> None:
    ann, bob, group = [await resolve(staff.admin, f"telegram:{number}") for number in (1, 2, -1)]
    far = await resolve(staff.other_admin, "telegram:1")
    merge, unmerge = f"/contacts/{bob}/merge", f"/contacts/{bob}/unmerge"
    for body in ({}, {"into": "x"}, {"into": ann, "nonsense": 1}, {"into": None}):
        assert await staff.admin.refused("POST", merge, body) == INVALID
    for preview in (True, False):
        for into, refusal in (
            (far, NOT_FOUND), (str(uuid4()), NOT_FOUND), (group, (409, "kinds_differ")), (bob, (409, "same_contact")),
        ):  # fmt: skip
            assert await staff.owner.refused("POST", merge, {"into": into, "preview": preview}) == refusal
    assert (await staff.owner.done("POST", merge, {"into": ann}))["changed"] is True
    again = await staff.admin.done("POST", merge, {"into": ann})
    assert (again["changed"], again["merge"]["merged_by"]) == (False, str(staff.owner.id))
    assert (await staff.admin.done("POST", unmerge))["merge"]["undone_by"] == str(staff.admin.id)
    assert await staff.admin.refused("POST", unmerge) == (409, "not_merged")
    standing = "select count(*) from public.contact_merges where workspace_id = $1 and undone_at is null"
    assert await workspace.database.fetchval(standing, workspace.id) == 0


async def test_a_preview_reports_the_moves_and_the_old_id_redirects_members(workspace: Workspace, staff: Staff) -> None:
    ann = await resolve(staff.admin, "telegram:1", first_name="Ann")
    bob = await resolve(staff.admin, "telegram:2", "email:bob@example.com", first_name="Bob", attributes={"seat": 2})
    await staff.agent.done("PUT", f"/contacts/{bob}/tags", {"tags": ["vip"]})
    preview = (await staff.admin.done("POST", f"/contacts/{bob}/merge", {"into": ann, "preview": True}))["preview"]
    assert preview["moves"] == {
        "identities": 2, "conversations": 0, "sessions": 0, "messages": 0, "tags": 1, "groups": 0, "memories": 0,
    }  # fmt: skip
    assert preview["takes_over"] == {"attributes": {"seat": 2}}
    assert preview["collides"]["name"] == {"kept": "Ann", "other": "Bob"}
    assert (await staff.agent.done("GET", f"/contacts/{bob}"))["tags"] == ["vip"]

    await staff.admin.done("POST", f"/contacts/{bob}/merge", {"into": ann})
    headers = {"Authorization": f"Bearer {staff.agent.token}"}
    for path in ("/contacts/{}", "/contacts/{}/activity", "/contacts/{}/journey", "/api/contacts/{}/activity?a=1"):
        url = path.format(bob)
        async with staff.agent.client.get(url, headers=headers, allow_redirects=False) as response:
            document = await response.json()
            assert (response.status, response.headers["Location"]) == (307, path.format(ann))
            assert (document["code"], document["contact_id"]) == ("contact_merged", ann)
        assert await staff.other_admin.refused("GET", url) == NOT_FOUND
    followed = await staff.agent.done("GET", f"/contacts/{bob}")
    assert (followed["id"], followed["tags"], [each["contact_id"] for each in followed["merged"]]) == (
        ann,
        ["vip"],
        [bob],
    )
    assert await ids_of(staff.agent, f"/contacts?workspace_id={workspace.id}&email=bob@example.com") == [UUID(ann)]

    await staff.admin.done("POST", f"/contacts/{bob}/unmerge")
    assert (await staff.agent.done("GET", f"/contacts/{bob}"))["attributes"] == {"seat": 2}
    assert (await staff.agent.done("GET", f"/contacts/{ann}"))["tags"] == []


async def test_conflicts_are_listed_in_pages_and_closed_by_a_dismissal_or_a_merge(
    workspace: Workspace, staff: Staff
) -> None:
    people = [await resolve(staff.admin, f"omi:u{number}") for number in range(4)]
    for number in (1, 1, 2, 3):
        body = {"identities": ["omi:u0", f"omi:u{number}"], "create": True}
        assert await staff.admin.refused("POST", "/admin/contacts/resolve", body) == (409, "identity_conflict")
    path = f"/contacts/conflicts?workspace_id={workspace.id}"
    listed = [item for page in await staff.agent.pages(f"{path}&status=OPEN", 2) for item in page]
    pairs = [{item["contact"]["id"], item["other_contact"]["id"]} for item in listed]
    assert pairs == [{people[0], people[number]} for number in (3, 2, 1)]
    assert {item["found_by"] for item in listed} == {"resolve"}
    for query in ("status=closed", "limit=0", "cursor=x"):
        assert await staff.admin.refused("GET", f"/contacts/conflicts?{query}") == INVALID

    newest, second, _ = (f"/contacts/conflicts/{item['id']}/dismiss" for item in listed)
    for _ in range(2):
        dismissed = await staff.admin.done("POST", newest)
        assert (dismissed["status"], dismissed["closed_by"]) == ("dismissed", str(staff.admin.id))
    await staff.admin.done("POST", f"/contacts/{people[2]}/merge", {"into": people[0]})
    assert await staff.admin.refused("POST", second) == (409, "already_merged")
    assert len(await ids_of(staff.agent, path)) == 1
    (merged,) = (await staff.agent.done("GET", f"{path}&status=merged"))["items"]
    assert {merged["contact"]["standing_id"], merged["other_contact"]["standing_id"]} == {people[0]}


async def ids_of(person: Person, path: str) -> list[UUID]:
    return [UUID(item["id"]) for item in (await person.done("GET", path))["items"]]
