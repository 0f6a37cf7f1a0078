"""The policies that let a member write the settings of a workspace, and the secrets in Vault."""

import asyncio
import json
import uuid

import asyncpg
import pytest

from tests.database.desk import JSON, PERSONA, SPACE, WORKSPACE, Answer, Desk, managing, user

INSERTS = {
    "workspace_members": "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'owner')",
    "personas": "insert into public.personas (workspace_id, kind, name) select $1, 'demo', $2::uuid::text",
    "spaces": "insert into public.spaces (workspace_id, kind, name, persona_id) "
    f"select $1, 'embed', $2::uuid::text, '{PERSONA}'",
}


async def attempt(desk: Desk, caller: JSON, kind: str, object_id: str, statement: str, *values: object) -> str | None:
    """Run a statement as the functions' role that entered to manage; the SQLSTATE that refused it."""
    transaction = desk.admin.transaction()
    await transaction.start()
    try:
        await desk.admin.execute("set local session_replication_role = replica; set local role switchboard")
        claims = json.dumps(managing(caller))
        await desk.admin.execute("select set_config('request.jwt.claims', $1, true)", claims)
        await desk.admin.execute("select private.enter_to_manage($1, $2, 'agent')", kind, object_id)
        await desk.admin.execute(statement, *values)
    except asyncpg.PostgresError as error:
        return error.sqlstate
    finally:
        await transaction.rollback()
    return None


async def rotate(desk: Desk, caller: JSON, slot: str = "hmac", owner_id: str = SPACE) -> Answer:
    arguments = {"slot": slot, "owner_id": owner_id, "action": "rotate", "overlap_seconds": 60}
    return await desk.call("replace_secret", managing(caller), **arguments)


@pytest.mark.parametrize("table", INSERTS)
async def test_a_caller_that_manages_one_workspace_writes_only_there(desk: Desk, table: str) -> None:
    other, _ = await desk.open_workspace()
    admin, agent = await desk.member("admin"), await desk.member("agent")
    for caller, workspace, refused in ((admin, WORKSPACE, None), (admin, other, "42501"), (agent, WORKSPACE, "42501")):
        inserted = await attempt(desk, caller, "workspace", WORKSPACE, INSERTS[table], workspace, uuid.uuid4())
        assert inserted == refused


async def test_a_row_is_not_moved_into_another_workspace(desk: Desk) -> None:
    other, _ = await desk.open_workspace()
    owner = await desk.member("owner")
    moved = "update public.personas set workspace_id = $1 where id = $2"
    assert await attempt(desk, owner, "space", SPACE, moved, other, PERSONA) == "42501"
    renamed = "update public.personas set name = 'x' where workspace_id = $1 and id = $2"
    assert await attempt(desk, owner, "space", SPACE, renamed, WORKSPACE, PERSONA) is None


async def test_concurrent_rotations_lose_no_secret(desk: Desk) -> None:
    admin = await desk.member("admin")
    async with desk.crowd(8) as crowd:
        rotated = await asyncio.gather(*(rotate(crowd, admin) for _ in range(8)))
    held = await desk.admin.fetch(
        "select v.decrypted_secret from private.retired_secrets r join vault.decrypted_secrets v on v.id = r.secret_id "
        "union all select v.decrypted_secret from public.spaces s "
        "join vault.decrypted_secrets v on v.id = s.hmac_secret_id where s.id = $1",
        SPACE,
    )
    assert len(held) == 8
    assert {row[0] for row in held} == {answer["secret"] for answer in rotated}


async def test_a_deletion_removes_only_the_secrets_of_the_deleted_rows(desk: Desk) -> None:
    admin = await desk.member("admin")
    for slot, owner_id in (("hmac", SPACE), ("hmac", SPACE), ("callback", PERSONA)):
        await rotate(desk, admin, slot, owner_id)
    given = {"slot": "secret", "owner_id": PERSONA, "action": "set", "secret": "s"}
    await desk.call("replace_secret", managing(admin), **given)
    by_hand = await desk.keep_secret("x", "another application's")
    _, other_space = await desk.open_workspace()
    await desk.admin.execute("update public.spaces set hmac_secret_id = $1 where id = $2", by_hand, other_space)
    kept = "select count(*) from vault.secrets where description like 'Switchboard: %'"
    retired = "select count(*) from private.retired_secrets"
    assert (await desk.admin.fetchval(kept), await desk.admin.fetchval(retired)) == (4, 1)

    await desk.admin.execute("delete from public.workspaces where id = $1", WORKSPACE)
    assert (await desk.admin.fetchval(kept), await desk.admin.fetchval(retired)) == (0, 0)
    await desk.admin.execute("delete from public.spaces where id = $1", other_space)
    assert await desk.admin.fetchval("select count(*) from vault.secrets where id = $1", by_hand) == 1


async def test_concurrent_sweeps_delete_each_expired_secret_once(desk: Desk) -> None:
    admin = await desk.member("admin")
    for _ in range(6):
        await rotate(desk, admin)
    await desk.admin.execute("update private.retired_secrets set accepted_until = clock_timestamp()")
    kept = await desk.admin.fetchval("select count(*) from vault.secrets")
    async with desk.as_owner() as other, desk.admin.transaction():
        assert await desk.admin.fetchval("select private.forget_secrets()") == 5
        assert await other.fetchval("select private.forget_secrets()") == 0
    assert await desk.admin.fetchval("select count(*) from vault.secrets") == kept - 5


def invitation(email: str, role: str = "agent") -> JSON:
    return {"workspace_id": WORKSPACE, "email": email, "email_key": email, "role": role}


async def test_an_admin_touches_no_invitation_of_an_owner(desk: Desk) -> None:
    owner, admin = await desk.member("owner"), await desk.member("admin")
    made = await desk.call("invite_member", managing(owner), **invitation("new@example.test", "owner"))
    for function, arguments in (
        ("invite_member", invitation("new@example.test")),
        ("invite_member", invitation("other@example.test", "admin")),
        ("withdraw_invitation", {"workspace_id": WORKSPACE, "invitation_id": made["id"]}),
    ):
        assert await desk.refused(function, managing(admin), **arguments) == (403, "forbidden")
    assert await desk.all("select id::text, role::text from public.invitations") == [(made["id"], "owner")]


@pytest.mark.parametrize("way", ["demoted", "removed", "deleted"])
async def test_an_invitation_ends_with_the_right_of_its_sender(desk: Desk, way: str) -> None:
    boss, sender = await desk.member("owner"), await desk.member("owner")
    await desk.call("invite_member", managing(sender), **invitation("new@example.test", "owner"))
    member_of = {"workspace_id": WORKSPACE, "user_id": sender["user_id"]}
    match way:
        case "demoted":
            await desk.call("set_member", managing(boss), **member_of, role="admin")
        case "removed":
            await desk.call("remove_member", managing(boss), **member_of)
        case "deleted":
            await desk.admin.execute("delete from auth.users where id = $1", sender["user_id"])
    assert await desk.count("invitations") == 0


async def test_an_invitation_adds_one_member_and_does_not_outlive_the_membership(desk: Desk) -> None:
    boss, email = await desk.member("owner"), "new@example.test"
    guest = user(await desk.sign_up(email), email)
    made = await desk.call("invite_member", managing(boss), **invitation(email))
    accepting = {"invitation_id": made["id"]}
    async with desk.crowd(4) as crowd:
        taken = await asyncio.gather(*(crowd.call("accept_invitation", managing(guest), **accepting) for _ in range(4)))
    assert {answer["role"] for answer in taken} == {"agent"}
    assert await desk.count("audit_events", "verb = 'member.added'") == 1
    member_of = {"workspace_id": WORKSPACE, "user_id": guest["user_id"]}
    await desk.call("set_member", managing(boss), **member_of, role="admin")
    assert await desk.refused("invite_member", managing(boss), **invitation(email)) == (409, "already_member")
    assert (await desk.call("accept_invitation", managing(guest), **accepting))["role"] == "admin", "a member stays it"
    await desk.call("remove_member", managing(boss), **member_of)
    again = await desk.refused("accept_invitation", managing(guest), **accepting)
    assert again == (404, "invitation_not_found")


async def test_a_former_member_manages_nothing(desk: Desk) -> None:
    admin = await desk.member("admin")
    change = {"kind": "space", "object_id": SPACE, "changes": {"name": "x"}}
    await desk.call("change_settings", managing(admin), **change)
    await desk.admin.execute("delete from public.workspace_members where user_id = $1", admin["user_id"])
    assert await desk.refused("change_settings", managing(admin), **change) == (404, "space_not_found")
