"""GET /chat-sessions/stats over HTTP: who is told what, and what is no question."""

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
    """Everybody."""
    return await staff_of(client, workspace, stack)


async def test_the_figures_of_a_workspace_are_for_those_who_run_it(workspace: Workspace, staff: Staff) -> None:
    today = datetime.now(UTC).date()
    told = await staff.owner.done("GET", PATH)
    assert told["scope"] == "workspace"
    assert told["sessions"]["total"] == sum(told["sessions"]["by_status"].values()) > 0
    assert told["active_now"] == told["sessions"]["by_status"]["active"]
    assert told["funnel"]["registered"] >= 1
    assert told["by_space"][0]["name"]
    assert told["by_day"][-1]["day"] >= (today - timedelta(days=1)).isoformat()
    assert "p50" not in told["first_token_ms"] or told["first_token_ms"]["count"] > 0
    assert "from" not in told
    assert await staff.admin.done("GET", f"{PATH}?workspace_id={told['workspace_id']}") == told

    later = await staff.owner.done(
        "GET", f"{PATH}?from={today + timedelta(days=1)}&spaceId={told['by_space'][0]['id']}"
    )
    assert (later["sessions"]["total"], later["from"]) == (0, (today + timedelta(days=1)).isoformat())
    assert later["active_now"] <= told["active_now"]

    own = await staff.agent.done("GET", PATH)
    assert (own["scope"], own["sessions"]["total"]) == ("own", 0)
    for nobody in (staff.stranger, staff.other_admin):
        asked = await nobody.done("GET", f"{PATH}?workspace_id={told['workspace_id']}")
        assert (asked["scope"], asked["sessions"]["total"], asked["by_persona"]) == ("own", 0, [])


async def test_nobody_else_is_told(staff: Staff) -> None:
    assert await staff.anonymous.refused("GET", PATH) == (401, "token_missing")
    assert await staff.contact.refused("GET", PATH) == (403, "forbidden")


@pytest.mark.parametrize(
    "query",
    ["from=yesterday", "from=2026-02-30", "from=2026-02-02&to=2026-02-01", "persona_id=me", "user_id=me", "channel="],
)
async def test_what_is_no_question_is_refused(staff: Staff, query: str) -> None:
    assert await staff.owner.refused("GET", f"{PATH}?{query}") == (422, "invalid_body")


async def test_what_does_not_fit_is_told_by_the_name_it_came_under(staff: Staff) -> None:
    _, refusal = await staff.owner.ask("GET", f"{PATH}?from=yesterday&to=today&personaId=me&space_id=here")
    assert {error["field"] for error in refusal["errors"]} == {"from", "to", "personaId", "space_id"}
