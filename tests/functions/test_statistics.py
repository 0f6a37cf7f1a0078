"""GET /chat-sessions/stats over HTTP: each caller's figures, and the queries that are refused."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.functions.people import Staff

PATH = "/chat-sessions/stats"


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

    own = await staff.agent.done("GET", f"{PATH}?workspace_id={told['workspace_id']}")
    assert (own["scope"], own["sessions"]["total"], own["by_persona"]) == ("own", 0, [])


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
