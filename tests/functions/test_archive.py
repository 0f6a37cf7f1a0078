import asyncio
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio

from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace


async def archive(client: aiohttp.ClientSession, stack: Stack) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {stack.cron_secret}"}
    async with client.post("/archive", json={}, headers=headers) as response:
        assert response.status == 200, await response.text()
        report: dict[str, Any] = await response.json()
        return report


class Sessions:
    """Sessions of a workspace, made older and read."""

    def __init__(self, workspace: Workspace, ids: list[UUID]) -> None:
        self._workspace = workspace
        self.ids = ids

    async def age(self, status: str, days: int, only: UUID | None = None) -> None:
        await self._workspace.database.execute(
            """update public.sessions
                  set status = $2::public.session_status, last_activity_at = now() - make_interval(days => $3),
                      ended_at = case when $2 in ('active', 'paused') then null else now() end
                where id = any($1)""",
            [only] if only else self.ids,
            status,
            days,
        )

    async def statuses(self) -> list[tuple[str, str | None]]:
        rows = await self._workspace.database.fetch(
            "select status, status_before_archive as before from public.sessions where id = any($1) order by id",
            self.ids,
        )
        return [(row["status"], row["before"]) for row in rows]


@pytest_asyncio.fixture
async def sessions(client: aiohttp.ClientSession, workspace: Workspace) -> Sessions:
    """Three sessions with a message each."""
    heard = [await Visitor(client, workspace.space_id).say("hello") for _ in range(3)]
    return Sessions(workspace, [UUID(one[0].data["session_id"]) for one in heard])


@pytest.mark.parametrize("status", ["completed", "failed", "timeout", "cancelled"])
async def test_an_old_finished_session_is_archived_and_remembers_what_it_was(
    client: aiohttp.ClientSession, stack: Stack, sessions: Sessions, status: str
) -> None:
    await sessions.age(status, days=91)
    assert await archive(client, stack) == {"archived": 3, "remaining": False}
    assert await sessions.statuses() == [("archived", status)] * 3
    assert await archive(client, stack) == {"archived": 0, "remaining": False}


@pytest.mark.parametrize(("status", "days"), [("completed", 89), ("active", 400), ("paused", 400)])
async def test_what_is_young_or_alive_stays(
    client: aiohttp.ClientSession, stack: Stack, sessions: Sessions, status: str, days: int
) -> None:
    await sessions.age(status, days)
    assert (await archive(client, stack))["archived"] == 0
    assert await sessions.statuses() == [(status, None)] * 3


async def test_a_workspace_decides_what_and_when(
    client: aiohttp.ClientSession, stack: Stack, workspace: Workspace, sessions: Sessions
) -> None:
    await workspace.database.execute(
        "update public.workspaces set archive_after_days = 5, archive_statuses = '{completed}' where id = $1",
        workspace.id,
    )
    await sessions.age("cancelled", days=6)
    await sessions.age("completed", days=6, only=sessions.ids[0])
    assert (await archive(client, stack))["archived"] == 1
    statuses = [status for status, _ in await sessions.statuses()]
    assert sorted(statuses) == ["archived", "cancelled", "cancelled"]


async def test_the_database_calls_the_function_with_the_secret_from_vault(
    workspace: Workspace, sessions: Sessions
) -> None:
    await sessions.age("completed", days=91)
    scheduled = await workspace.row("select * from cron.job where jobname = 'switchboard-archive'")
    await workspace.database.execute(scheduled["command"])
    async with asyncio.timeout(15):
        while await sessions.statuses() != [("archived", "completed")] * 3:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
