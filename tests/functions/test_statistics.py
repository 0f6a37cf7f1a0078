"""GET /chat-sessions/stats over HTTP: each caller's figures, and the queries that are refused."""

from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import pytest_asyncio

from local.stack import Stack
from tests.functions.conftest import Workspace
from tests.functions.people import Staff, staff_of

PATH = "/chat-sessions/stats"


@pytest_asyncio.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    """All callers."""
    return await staff_of(client, workspace, stack)


async def test_admins_read_the_workspaces_figures_and_others_their_own(staff: Staff) -> None:
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    told = await staff.owner.done("GET", PATH)
    assert told["scope"] == "workspace"
    assert told["sessions"]["total"] == sum(told["sessions"]["by_status"].values()) > 0
    assert told["active_now"] == told["sessions"]["by_status"]["active"]
    assert told["funnel"]["registered"] >= 1
    assert told["by_space"][0]["name"]
    assert told["by_day"][-1]["day"] >= str(tomorrow - timedelta(days=2))
    assert "from" not in told
    assert await staff.admin.done("GET", f"{PATH}?workspace_id={told['workspace_id']}") == told

    later = await staff.owner.done("GET", f"{PATH}?from={tomorrow}&spaceId={told['by_space'][0]['id']}")
    assert (later["sessions"]["total"], later["from"]) == (0, str(tomorrow))

    for other in (staff.agent, staff.stranger, staff.other_admin):
        asked = await other.done("GET", f"{PATH}?workspace_id={told['workspace_id']}")
        assert (asked["scope"], asked["sessions"]["total"], asked["by_persona"]) == ("own", 0, [])
    assert await staff.anonymous.refused("GET", PATH) == (401, "token_missing")
    assert await staff.contact.refused("GET", PATH) == (403, "forbidden")


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("from=yesterday&to=today&personaId=me&space_id=here", {"from", "to", "personaId", "space_id"}),
        ("from=2026-02-30&channel=&user_id=me", {"from", "channel", "user_id"}),
        ("from=2026-02-02&to=2026-02-01", None),
    ],
)
async def test_an_invalid_query_is_refused_by_its_parameters(staff: Staff, query: str, fields: set[str] | None) -> None:
    status, refusal = await staff.owner.ask("GET", f"{PATH}?{query}")
    assert (status, refusal["code"]) == (422, "invalid_body")
    assert fields is None or {error["field"] for error in refusal["errors"]} == fields
