"""Contacts over HTTP: created and changed by members, with their identities."""

import asyncio
from typing import Any
from uuid import UUID

import pytest

from tests.functions.conftest import Workspace
from tests.functions.people import Person, Staff, audit, resolve

INVALID, CONFLICT = (422, "invalid_body"), (409, "identity_conflict")


async def made(person: Person, *identities: str, **more: Any) -> str:
    """The id of a new contact."""
    return str((await person.done("POST", "/contacts", {"identities": list(identities), **more}))["id"])


def known_by(contact: dict[str, Any]) -> set[str]:
    """The identities of a contact, `!` after the verified ones."""
    return {
        f"{one['kind']}:{one['key']}{'!' if one['evidence'] == 'verified' else ''}" for one in contact["identities"]
    }


async def verbs(workspace: Workspace, contact: str) -> list[str]:
    """What was recorded of a contact."""
    rows = await workspace.database.fetch(
        "select verb from public.audit_events where object_id = $1 order by created_at, verb", UUID(contact)
    )
    return [row["verb"] for row in rows]


async def test_a_member_creates_a_contact_whose_identities_are_asserted(workspace: Workspace, staff: Staff) -> None:
    body = {
        "firstName": "Ann", "last_name": "Lee", "attributes": {"plan": "pro"},
        "identities": ["telegram:42", "email: Ann@Example.com"],
    }  # fmt: skip
    status, ann = await staff.agent.ask("POST", "/contacts", body)
    assert (status, ann["name"], ann["email"], ann["attributes"]) == (
        201,
        "Ann Lee",
        "Ann@Example.com",
        {"plan": "pro"},
    )
    assert known_by(ann) == {"telegram:42", "email:ann@example.com"}
    assert {one["asserted_by"] for one in ann["identities"]} == {"member"}
    assert await staff.agent.done("GET", f"/contacts/{ann['id']}") == ann | {
        "participants": [],
        "groups": [],
        "merged": [],
    }
    assert await verbs(workspace, ann["id"]) == ["contact.created"]
    trip = await staff.admin.done("POST", "/contacts", {"kind": "group", "title": "Trip"})
    assert (trip["kind"], trip["name"], trip["identities"]) == ("group", "Trip", [])
    proven = await made(staff.admin, "omi:u1", evidence={"verified_by": "crm"})
    assert known_by(await staff.agent.done("GET", f"/contacts/{proven}")) == {"omi:u1!"}


@pytest.mark.parametrize(
    ("changes", "first_name", "attributes"),
    [
        ({"last_name": "Lee"}, "Ann", {"plan": "pro", "seat": {"row": 3, "side": "left"}}),
        ({"first_name": None, "attributes": {}}, None, {"plan": "pro", "seat": {"row": 3, "side": "left"}}),
        ({"attributes": {"plan": None, "seat": {"row": 4}}}, "Ann", {"seat": {"row": 4, "side": "left"}}),
        ({"attributes": {"seat": [1], "vip": True}}, "Ann", {"plan": "pro", "seat": [1], "vip": True}),
        ({"attributes": {"plan": {"name": "pro", "until": None}}}, "Ann",
         {"plan": {"name": "pro"}, "seat": {"row": 3, "side": "left"}}),
        ({"attributes": None}, "Ann", {}),
    ],
)  # fmt: skip
async def test_a_patch_changes_what_it_names(
    staff: Staff, changes: dict[str, Any], first_name: str | None, attributes: dict[str, Any]
) -> None:
    seat = {"row": 3, "side": "left"}
    ann = await made(staff.agent, first_name="Ann", attributes={"plan": "pro", "seat": seat})
    for _ in range(2):
        changed = await staff.agent.done("PATCH", f"/contacts/{ann}", changes)
        assert (changed.get("first_name"), changed["attributes"]) == (first_name, attributes)
        assert changed.get("last_name") == changes.get("last_name")


async def test_identities_are_added_and_removed(workspace: Workspace, staff: Staff) -> None:
    ann = await made(staff.agent, "telegram:42")
    steps: tuple[tuple[Person, dict[str, Any], set[str]], ...] = (
        (staff.agent, {"add_identities": ["email:ann@example.com"]}, {"telegram:42", "email:ann@example.com"}),
        (staff.agent, {"removeIdentities": ["TELEGRAM:042", "omi:unknown"]}, {"email:ann@example.com"}),
        (staff.admin, {"add_identities": ["email:ANN@example.com"], "evidence": {"verified_by": "crm"}},
         {"email:ann@example.com!"}),
        # An unverified claim changes no verified identity.
        (staff.agent, {"add_identities": ["email:ann@example.com"]}, {"email:ann@example.com!"}),
        (staff.agent, {"add_identities": ["whatsapp:+49 151 1234567"]},
         {"email:ann@example.com!", "whatsapp:+491511234567", "phone:+491511234567"}),
    )  # fmt: skip
    for person, changes, known in steps:
        assert known_by(await person.done("PATCH", f"/contacts/{ann}", changes)) == known, changes
    assert await verbs(workspace, ann) == [
        "contact.created", "contact.identified", "contact.unidentified", "contact.identified", "contact.identified",
    ]  # fmt: skip


async def test_an_identity_of_another_contact_is_refused_with_its_id(workspace: Workspace, staff: Staff) -> None:
    ann, bob = await made(staff.agent, "email:ann@example.com", "omi:a"), await made(staff.agent, "omi:b")
    for method, path, body in (
        ("POST", "/contacts", {"first_name": "Eve", "identities": ["email:ann@example.com", "omi:c"]}),
        ("PATCH", f"/contacts/{bob}", {"first_name": "Eve", "add_identities": ["omi:c", "omi:a"],
                                       "remove_identities": ["omi:b"]}),
    ):  # fmt: skip
        before = await workspace.counts()
        status, problem = await staff.agent.ask(method, path, body)
        assert (status, problem["code"], problem["contact_ids"]) == (*CONFLICT, [ann])
        assert await workspace.counts() == before
    assert known_by(await staff.agent.done("GET", f"/contacts/{bob}")) == {"omi:b"}
    # A typed identity moves to the contact that proves it; a proven one stays.
    proven = {"add_identities": ["omi:a"], "evidence": {"verified_by": "omi"}}
    assert known_by(await staff.admin.done("PATCH", f"/contacts/{bob}", proven)) == {"omi:a!", "omi:b"}
    assert await staff.admin.refused("PATCH", f"/contacts/{ann}", proven) == CONFLICT


async def test_of_parallel_claims_of_one_identity_one_succeeds(staff: Staff) -> None:
    contacts = [await made(staff.agent) for _ in range(6)]
    claim = {"add_identities": ["omi:one", "email:one@example.com"]}
    told = await asyncio.gather(
        *(staff.agent.ask("PATCH", f"/contacts/{contact}", claim) for contact in contacts),
        *(staff.agent.ask("POST", "/contacts", {"identities": ["email:one@example.com"]}) for _ in range(4)),
    )
    owners = [answer["id"] for status, answer in told if status < 300]
    assert len(owners) == 1
    assert {tuple(answer["contact_ids"]) for status, answer in told if status == 409} == {tuple(owners)}


async def test_what_a_contact_cannot_have_is_refused_and_changes_nothing(workspace: Workspace, staff: Staff) -> None:
    ann = await made(staff.agent, first_name="Ann", attributes={"a": "x" * 9_000})
    group = await made(staff.agent, kind="group", title="Trip")
    before = await workspace.counts(), await staff.agent.done("GET", f"/contacts/{ann}")
    proof = {"evidence": {"verified_by": "crm"}}
    user = [f"external:auth:{staff.agent.id}"]
    unfit_changes: tuple[tuple[str, dict[str, Any]], ...] = (
        (ann, {"title": "x"}), (ann, {"add_identities": ["telegram:-42"]}), (group, {"first_name": "x"}),
        (group, {"add_identities": ["email:a@example.com"]}), (ann, {"attributes": {"b": "x" * 9_000}}),
        (ann, {"add_identities": user}), (ann, proof), (ann, {"nonsense": 1}), (ann, {"add_identities": None}),
        (ann, {"first_name": " "}), (ann, {"add_identities": ["icq:1"]}),
    )  # fmt: skip
    unfit_contacts: tuple[dict[str, Any], ...] = (
        {"title": "x"}, {"kind": "group", "first_name": "x"}, {"kind": "group", "identities": ["email:a@example.com"]},
        {"identities": user}, {"identities": ["telegram:1", "telegram:-1"]}, {"email": "a@example.com"},
    )  # fmt: skip
    for contact, body in unfit_changes:
        assert await staff.admin.refused("PATCH", f"/contacts/{contact}", body) == INVALID, body
    for body in unfit_contacts:
        assert await staff.admin.refused("POST", "/contacts", body) == INVALID, body
    # Agents verify nothing.
    for method, path, name in (("PATCH", f"/contacts/{ann}", "add_identities"), ("POST", "/contacts", "identities")):
        assert await staff.agent.refused(method, path, {name: ["omi:a"], **proof}) == (403, "forbidden")
    assert (await workspace.counts(), await staff.agent.done("GET", f"/contacts/{ann}")) == before


async def test_the_id_of_a_merged_contact_leads_to_its_target(staff: Staff) -> None:
    ann, bob = await resolve(staff.admin, "omi:a"), await resolve(staff.admin, "omi:b")
    await staff.admin.done("POST", f"/contacts/{bob}/merge", {"into": ann})
    changes = {"first_name": "Ann", "remove_identities": ["omi:b"]}
    path = f"/contacts/{bob}"
    headers = {"Authorization": f"Bearer {staff.agent.token}"}
    async with staff.agent.client.patch(path, json=changes, headers=headers, allow_redirects=False) as response:
        assert (response.status, response.headers["location"]) == (307, f"/contacts/{ann}")
    changed = await staff.agent.done("PATCH", path, changes)
    assert (changed["id"], changed["first_name"], known_by(changed)) == (ann, "Ann", {"omi:a"})


async def test_a_change_records_ids_and_verbs_only(workspace: Workspace, staff: Staff) -> None:
    ann = await made(staff.agent, "omi:a")
    await staff.agent.done("PATCH", f"/contacts/{ann}", {"first_name": "Secret", "add_identities": ["omi:secret"]})
    rows = await workspace.database.fetch(
        "select e::text from public.audit_events e where e.object_id = $1 and e.actor_id = $2",
        UUID(ann),
        staff.agent.id,
    )
    assert len(rows) == 3
    assert not any("ecret" in row[0] for row in rows)
    assert await audit(workspace) == []


async def test_a_single_tag_is_added_and_removed(workspace: Workspace, staff: Staff) -> None:
    (contact,) = (await staff.owner.done("GET", "/contacts"))["items"]
    for path, verb in (
        (f"/contacts/{contact['id']}/tags", "contact.tagged"),
        (f"/chat-sessions/{contact['session_id']}/tags", "session.tagged"),
    ):
        await staff.owner.done("PUT", path, {"tags": ["b"]})
        for method, tag, tags in (
            ("PUT", "Follow%20%20Up", ["b", "follow up"]), ("PUT", "follow%20up", ["b", "follow up"]),
            ("DELETE", "B", ["follow up"]), ("DELETE", "b", ["follow up"]), ("DELETE", "%C3%84", ["follow up"]),
        ):  # fmt: skip
            assert await staff.owner.done(method, f"{path}/{tag}") == {"tags": tags}, (method, tag)
        counted = "select count(*) from public.audit_events where workspace_id = $1 and verb = $2"
        assert await workspace.database.fetchval(counted, workspace.id, verb) == 3
        assert await staff.owner.refused("PUT", f"{path}/{'x' * 65}") == INVALID
        await staff.owner.done("PUT", path, {"tags": [str(number) for number in range(100)]})
        assert await staff.owner.refused("PUT", f"{path}/more") == INVALID
        assert len((await staff.owner.done("PUT", f"{path}/99"))["tags"]) == 100
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(staff.owner.done("DELETE", f"{path}/{number}"))
        assert await staff.owner.done("PUT", f"{path}/last") == {"tags": ["last"]}
