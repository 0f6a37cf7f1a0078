"""Who may write what makes up a workspace, below the functions: the policies themselves, and what rotation leaves."""

import asyncio
import json
import uuid

import asyncpg
import pytest

from tests.database.desk import JSON, PERSONA, SPACE, WORKSPACE, Desk, Raised, managing, member

ROTATE_HMAC: JSON = {"slot": "hmac", "owner_id": SPACE, "action": "rotate", "overlap_seconds": 60}

INSERTS = {
    "workspace_members": "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'owner')",
    "personas": "insert into public.personas (workspace_id, kind, name) select $1, 'demo', $2::uuid::text",
    "spaces": "insert into public.spaces (workspace_id, kind, name, persona_id) "
    f"select $1, 'embed', $2::uuid::text, '{PERSONA}'",
}


async def tried(desk: Desk, manager: JSON, entrance: str, statement: str, *values: object) -> str | None:
    """Run a statement as the functions' role after an entrance: None, or the sqlstate that stopped it."""
    transaction = desk.admin.transaction()
    await transaction.start()
    try:
        await desk.admin.execute("set local session_replication_role = replica; set local role switchboard")
        await desk.admin.execute(
            "select set_config('request.jwt.claims', $1, true)", json.dumps(managing(manager), default=str)
        )
        await desk.admin.execute(f"select {entrance}")
        await desk.admin.execute(statement, *values)
    except asyncpg.PostgresError as error:
        return error.sqlstate
    finally:
        await transaction.rollback()
    return None


@pytest.mark.parametrize("table", INSERTS)
async def test_whoever_manages_one_workspace_writes_there_and_nowhere_else(desk: Desk, table: str) -> None:
    other, _ = await desk.open_workspace()
    admin, agent = await member(desk, "admin"), await member(desk, "agent")
    entrance = f"private.enter_to_manage('workspace', '{WORKSPACE}', 'agent')"
    someone = uuid.uuid4()

    assert await tried(desk, admin, entrance, INSERTS[table], WORKSPACE, someone) is None
    assert await tried(desk, admin, entrance, INSERTS[table], other, someone) == "42501"
    assert await tried(desk, agent, entrance, INSERTS[table], WORKSPACE, someone) == "42501", "an agent reads"


async def test_a_row_is_not_carried_into_another_workspace(desk: Desk) -> None:
    other, _ = await desk.open_workspace()
    admin = await member(desk, "owner")
    entrance = f"private.enter_to_manage('space', '{SPACE}', 'admin')"

    moved = "update public.personas set workspace_id = $1 where id = $2"
    assert await tried(desk, admin, entrance, moved, other, PERSONA) == "42501"
    renamed = "update public.personas set name = 'x' where workspace_id = $1 and name = $2"
    assert await tried(desk, admin, entrance, renamed, WORKSPACE, "Demo") is None


async def test_two_rotations_at_once_lose_no_secret_and_keep_one_as_the_present(desk: Desk) -> None:
    admin = await member(desk, "admin")
    async with Desk(desk.gate_url, desk.admin_url, connections=8) as crowd:
        made = await asyncio.gather(*(crowd.call("replace_secret", managing(admin), **ROTATE_HMAC) for _ in range(8)))
    secrets = {answer["secret"] for answer in made}
    assert len(secrets) == 8
    held = await desk.admin.fetch(
        "select v.decrypted_secret from private.retired_secrets r join vault.decrypted_secrets v on v.id = r.secret_id "
        "union all select v.decrypted_secret from public.spaces s "
        "join vault.decrypted_secrets v on v.id = s.hmac_secret_id where s.id = $1",
        SPACE,
    )
    assert sorted(row[0] for row in held) == sorted(secrets)


async def test_what_is_deleted_takes_its_secrets_along_and_nobody_elses(desk: Desk) -> None:
    admin = await member(desk, "admin")
    for _ in range(2):
        await desk.call("replace_secret", managing(admin), **ROTATE_HMAC)
    of_persona: JSON = {"owner_id": PERSONA, "overlap_seconds": 60}
    await desk.call("replace_secret", managing(admin), slot="callback", action="rotate", **of_persona)
    await desk.call("replace_secret", managing(admin), slot="secret", action="set", secret="s", owner_id=PERSONA)
    by_hand = await desk.keep_secret("x", "somebody's own")
    _, other_space = await desk.open_workspace()
    await desk.admin.execute("update public.spaces set hmac_secret_id = $1 where id = $2", by_hand, other_space)
    kept = "select count(*) from vault.secrets where description like 'Switchboard: %'"
    assert await desk.admin.fetchval(kept) == 4
    assert await desk.admin.fetchval("select count(*) from private.retired_secrets") == 1

    await desk.admin.execute("delete from public.workspaces where id = $1", WORKSPACE)

    assert await desk.admin.fetchval("select count(*) from private.retired_secrets") == 0
    assert await desk.admin.fetchval(kept) == 0
    await desk.admin.execute("delete from public.spaces where id = $1", other_space)
    assert await desk.admin.fetchval("select count(*) from vault.secrets where id = $1", by_hand) == 1


async def test_secrets_are_forgotten_once_by_two_at_once(desk: Desk) -> None:
    admin = await member(desk, "admin")
    for _ in range(6):
        await desk.call("replace_secret", managing(admin), **ROTATE_HMAC)
    await desk.admin.execute("update private.retired_secrets set accepted_until = clock_timestamp()")
    kept = await desk.admin.fetchval("select count(*) from vault.secrets")
    other = await asyncpg.connect(desk.admin_url)
    try:
        async with desk.admin.transaction():
            assert await desk.admin.fetchval("select private.forget_secrets()") == 5
            assert await other.fetchval("select private.forget_secrets()") == 0
    finally:
        await other.close()
    assert await desk.admin.fetchval("select count(*) from vault.secrets") == kept - 5


async def test_what_an_admin_may_not_grant_tells_nothing_about_an_email(desk: Desk) -> None:
    admin = await member(desk, "admin")
    await desk.sign_up("known@example.test")
    for role in ("owner", "admin"):
        for email in ("known@example.test", "unknown@example.test"):
            with pytest.raises(Raised) as refused:
                await desk.call("add_member", managing(admin), workspace_id=WORKSPACE, email=email, role=role)
            assert (refused.value.status, refused.value.code) == (403, "forbidden")


async def test_whoever_is_no_member_any_more_manages_nothing_at_once(desk: Desk) -> None:
    admin = await member(desk, "admin")
    await desk.call("change_settings", managing(admin), kind="space", object_id=SPACE, changes={"name": "x"})
    await desk.admin.execute("delete from public.workspace_members where user_id = $1", admin["user_id"])
    with pytest.raises(Raised) as refused:
        await desk.call("change_settings", managing(admin), kind="space", object_id=SPACE, changes={"name": "y"})
    assert (refused.value.status, refused.value.code) == (404, "space_not_found")
