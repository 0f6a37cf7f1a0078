"""Groups: contacts with participants, and what a group may never be."""

import asyncpg
import pytest

from tests.database.desk import OPERATOR, WORKSPACE, Desk, Raised
from tests.database.merging import made, resolve


async def _group(desk: Desk, name: str = "telegram:-1001234567890") -> str:
    return await made(desk, name, profile={"title": "Trip to Rome"}, verified_by="telegram")


async def test_a_group_is_resolved_as_anybody_is(desk: Desk) -> None:
    for name in ("telegram:-1001234567890", "whatsapp:1203@g.us", "discord:channel:5"):
        group = await resolve(desk, name, make=True, profile={"title": "Trip to Rome"})
        assert (group["contact"]["kind"], group["contact"]["title"]) == ("group", "Trip to Rome")
        assert await made(desk, name) == group["contact"]["id"]


async def test_participants_join_leave_and_come_back(desk: Desk) -> None:
    group = await _group(desk)
    ann = await made(desk, "telegram:1", group_id=group, group_role="administrator")
    bob = await made(desk, "telegram:2", group_id=group)
    await made(desk, "telegram:2", group_id=group, group_role="member")
    read = await desk.call("read_contact", OPERATOR, contact_id=group)
    assert {(each["contact_id"], each["role"], each["left_at"]) for each in read["participants"]} == {
        (ann, "administrator", None),
        (bob, "member", None),
    }
    (mine,) = (await desk.call("read_contact", OPERATOR, contact_id=ann))["groups"]
    assert (mine["contact_id"], mine["title"], mine["role"]) == (group, "Trip to Rome", "administrator")

    async def leave() -> bool:
        async with desk.admin.transaction():
            await desk.admin.execute("select set_config('switchboard.workspace_id', $1, true)", WORKSPACE)
            left: bool = await desk.admin.fetchval("select private.leave_group($1, $2, $3)", WORKSPACE, group, ann)
            return left

    assert (await leave(), await leave()) == (True, False)
    assert await desk.count("group_participants", "left_at is not null and role = 'administrator'") == 1
    await made(desk, "telegram:1", group_id=group)
    assert await desk.count("group_participants", "left_at is null") == 2


async def test_a_group_is_in_no_group(desk: Desk) -> None:
    group, other = await _group(desk), await _group(desk, "telegram:-5")
    with pytest.raises(Raised) as refused:
        await resolve(desk, "telegram:-5", make=True, group_id=group)
    assert (refused.value.status, refused.value.code) == (422, "group_in_group")
    # Whatever a writer says, the kind is held by the key.
    for kind in ("person", "group"):
        with pytest.raises((asyncpg.ForeignKeyViolationError, asyncpg.CheckViolationError)):
            await desk.admin.execute(
                "insert into public.group_participants (workspace_id, group_id, contact_id, contact_kind) "
                "values ($1, $2, $3, $4)",
                WORKSPACE,
                group,
                other,
                kind,
            )
    assert await desk.count("group_participants") == 0


async def test_a_person_has_no_participants(desk: Desk) -> None:
    ann = await made(desk, "telegram:1")
    with pytest.raises(Raised) as refused:
        await resolve(desk, "telegram:2", make=True, group_id=ann)
    assert (refused.value.status, refused.value.code) == (404, "group_not_found")
    assert await desk.count("contacts") == 1


async def test_a_group_of_another_workspace_is_not_found(desk: Desk) -> None:
    other, _ = await desk.open_workspace()
    group = await made(desk, "telegram:-5", workspace_id=other)
    with pytest.raises(Raised) as refused:
        await resolve(desk, "telegram:2", make=True, group_id=group)
    assert (refused.value.status, refused.value.code) == (404, "group_not_found")


@pytest.mark.parametrize(
    ("kind", "key"),
    [("email", "ann@example.test"), ("phone", "+15551"), ("omi", "u"), ("telegram", "42"), ("whatsapp", "+15551"),
     ("discord", "42")],
)  # fmt: skip
async def test_a_group_is_known_by_nothing_private(desk: Desk, kind: str, key: str) -> None:
    group = await _group(desk)
    for contact_kind in ("group", "person"):
        with pytest.raises((asyncpg.CheckViolationError, asyncpg.ForeignKeyViolationError)):
            await desk.admin.execute(
                "insert into public.contact_identities"
                " (workspace_id, contact_id, contact_kind, kind, key, value, evidence)"
                " values ($1, $2, $3, $4, $5, $5, 'asserted')",
                WORKSPACE,
                group,
                contact_kind,
                kind,
                key,
            )


async def test_a_person_is_known_by_no_groups_id(desk: Desk) -> None:
    ann = await made(desk, "telegram:1")
    for kind, key in (("telegram", "-5"), ("whatsapp", "group:1203@g.us"), ("discord", "channel:5")):
        with pytest.raises(asyncpg.CheckViolationError):
            await desk.admin.execute(
                "insert into public.contact_identities (workspace_id, contact_id, kind, key, value, evidence)"
                " values ($1, $2, $3, $4, $4, 'asserted')",
                WORKSPACE,
                ann,
                kind,
                key,
            )


async def test_an_id_that_belongs_to_a_person_is_not_a_groups(desk: Desk) -> None:
    ann = await made(desk, "external:crm:1")
    asked = await resolve(desk, "external:crm:1", "telegram:-5", make=True)
    assert asked["conflict"] == [ann]
    assert await desk.count("contacts") == 1


async def test_a_kind_never_changes_under_what_hangs_on_it(desk: Desk) -> None:
    group = await _group(desk)
    with pytest.raises((asyncpg.ForeignKeyViolationError, asyncpg.CheckViolationError)):
        await desk.admin.execute("update public.contacts set kind = 'person', title = null where id = $1", group)
