"""The archive's entry point and its schedule; what is archived is tests/database/test_archive.py's."""

from uuid import UUID

import aiohttp

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, until


async def test_the_function_and_the_schedule_archive_old_finished_sessions(
    client: aiohttp.ClientSession, stack: Stack, visitor: Visitor, workspace: Workspace
) -> None:
    async def archived() -> bool:
        query = "select status = 'archived' from public.sessions where id = $1"
        return bool(await workspace.database.fetchval(query, session_id))

    session_id = UUID((await visitor.say("hello"))[0].data["session_id"])
    headers = {"Authorization": f"Bearer {stack.cron_secret}"}
    await workspace.database.execute(
        "update public.sessions set status = 'completed', ended_at = now() - interval '91 days' where id = $1",
        session_id,
    )
    for is_first in (True, False):
        async with client.post("/archive", json={}, headers=headers) as response:
            assert response.status == 200
            report = await response.json()
        # Of all workspaces, so also what other tests left.
        assert (report["archived"] >= 1, report["remaining"]) == (is_first, False)
    assert await archived()

    # The schedule calls the function with the secret from Vault.
    await workspace.database.execute(
        "update public.sessions set status = 'completed', status_before_archive = null, archived_at = null"
        " where id = $1",
        session_id,
    )
    command = await workspace.database.fetchval("select command from cron.job where jobname = 'switchboard-archive'")
    await workspace.database.execute(command)
    await until(archived)
