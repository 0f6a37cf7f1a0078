"""Groups: contacts with participants, which no group and no private identity may become."""

import asyncpg
import pytest

from tests.database.desk import OPERATOR, WORKSPACE, Desk, refusal
from tests.database.merging import made, resolve

HELD = (asyncpg.CheckViolationError, asyncpg.ForeignKeyViolationError)
PRIVATE = {
    "email": "ann@example.test",
    "phone": "+15551",
    "omi": "u",
    "telegram": "42",
    "whatsapp": "+15551",
    "discord": "42",
}
SHARED = {"telegram": "-5", "whatsapp": "group:1203@g.us", "discord": "channel:5"}


async def new_group(desk: Desk, name: str = "telegram:-1001234567890") -> str:
    return await made(desk, name, profile={"title": "Trip to Rome"}, verified_by="telegram")


@pytest.mark.parametrize(
    "name", ["telegram:-1001234567890", "telegram:@rome", "whatsapp:1203@g.us", "discord:channel:5"]
)
async def test_the_id_of_a_group_resolves_to_a_group(desk: Desk, name: str) -> None:
    group = await resolve(desk, name, make=True, kind="group", profile={"title": "Trip to Rome"})
    assert (group["contact"]["kind"], group["contact"]["title"]) == ("group", "Trip to Rome")
    assert await made(desk, name) == group["contact"]["id"]


async def test_participants_join_leave_and_return(desk: Desk) -> None:
    group = await new_group(desk)
    ann = await made(desk, "telegram:1", group_id=group, group_role="administrator")
    bob = await made(desk, "telegram:2", group_id=group)
    await made(desk, "telegram:2", group_id=group, group_role="member")
    (read,) = await desk.select(OPERATOR, "contact_details", "id = $1", group)
    assert {(each["contact_id"], each["role"], each["left_at"]) for each in read["participants"]} == {
        (ann, "administrator", None),
        (bob, "member", None),
    }
    ((mine,),) = [each["groups"] for each in await desk.select(OPERATOR, "contact_details", "id = $1", ann)]
    assert (mine["contact_id"], mine["title"], mine["role"]) == (group, "Trip to Rome", "administrator")

    for left in (True, False):
        async with desk.admin.transaction():
            await desk.admin.execute("select set_config('switchboard.workspace_id', $1, true)", WORKSPACE)
            assert await desk.one("select private.leave_group($1, $2, $3)", WORKSPACE, group, ann) == (left,)
    assert await desk.count("group_participants", "left_at is not null and role = 'administrator'") == 1
    await made(desk, "telegram:1", group_id=group)
    assert await desk.count("group_participants", "left_at is null") == 2


async def test_only_a_person_joins_and_only_a_group_of_the_workspace_is_joined(desk: Desk) -> None:
    group, other = await new_group(desk), await new_group(desk, "telegram:-5")
    ann = await made(desk, "telegram:1")
    elsewhere = await made(desk, "telegram:-5", workspace_id=(await desk.open_workspace())[0])
    for name, joined, expected in (
        ("telegram:-5", group, (422, "group_in_group")),
        ("telegram:2", ann, (404, "group_not_found")),
        ("telegram:2", elsewhere, (404, "group_not_found")),
    ):
        assert await refusal(resolve(desk, name, make=True, group_id=joined)) == expected
    # The key holds the kind, whatever a writer claims.
    for kind in ("person", "group"):
        columns = "workspace_id, group_id, contact_id, contact_kind"
        insert = f"insert into public.group_participants ({columns}) values ($1, $2, $3, $4)"
        with pytest.raises(HELD):
            await desk.admin.execute(insert, WORKSPACE, group, other, kind)
    assert await desk.count("group_participants") == 0


async def test_a_group_has_no_private_identity_and_a_person_none_of_a_group(desk: Desk) -> None:
    group, ann = await new_group(desk), await made(desk, "telegram:1")
    insert = (
        "insert into public.contact_identities (workspace_id, contact_id, contact_kind, kind, key, value, evidence)"
        " values ($1, $2, $3, $4, $5, $5, 'asserted')"
    )
    tried = [(group, claimed, kind, key) for claimed in ("group", "person") for kind, key in PRIVATE.items()]
    for contact, claimed, kind, key in (*tried, *((ann, "person", kind, key) for kind, key in SHARED.items())):
        with pytest.raises(HELD):
            await desk.admin.execute(insert, WORKSPACE, contact, claimed, kind, key)
    with pytest.raises(HELD):
        await desk.admin.execute("update public.contacts set kind = 'person', title = null where id = $1", group)


async def test_a_group_is_not_resolved_by_an_identity_of_a_person(desk: Desk) -> None:
    ann = await made(desk, "external:crm:1")
    asked = await resolve(desk, "external:crm:1", "telegram:-5", make=True)
    assert asked["conflict"] == [ann]
    assert await desk.count("contacts") == 1
