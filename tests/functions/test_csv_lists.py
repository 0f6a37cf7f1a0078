"""Lists as CSV: all pages, under the filters and rights of the list."""

import csv
import io

import aiohttp

from tests.functions.conftest import Visitor, Workspace
from tests.functions.people import Person, Staff


async def table(person: Person, path: str, **headers: str) -> list[dict[str, str]]:
    """The rows of a list."""
    headers["Authorization"] = f"Bearer {person.token}"
    async with person.client.get(path, headers=headers) as response:
        assert (response.status, response.content_type) == (200, "text/csv"), await response.text()
        return list(csv.DictReader(io.StringIO(await response.text(), newline="")))


async def test_contacts_of_all_pages_with_their_filters(staff: Staff, workspace: Workspace) -> None:
    await workspace.database.execute(
        "insert into public.contacts (workspace_id, first_name, attributes, created_at)"
        """ select $1, '=HYPERLINK("' || n || '")', '{"a": "x,y"}', now() - n * interval '1 minute'"""
        " from generate_series(1, 205) n",
        workspace.id,
    )
    rows = await table(staff.agent, "/contacts?format=csv")
    assert [row["first_name"] for row in rows][-1] == """'=HYPERLINK("205")"""
    assert len({row["id"] for row in rows}) == len(rows) >= 205
    assert rows[-1]["attributes"] == '{"a": "x,y"}'
    (found,) = await table(staff.agent, "/contacts?email=contact@example.com", Accept="text/csv")
    assert (found["identities"], found["phone"]) == ("email:contact@example.com", "")
    assert await staff.other_admin.refused("GET", f"/contacts?format=csv&workspace_id={workspace.id}") == (
        404,
        "workspace_not_found",
    )
    assert await staff.agent.refused("GET", "/contacts?format=xml") == (422, "invalid_body")


async def test_sessions_that_the_caller_may_see(
    client: aiohttp.ClientSession, staff: Staff, workspace: Workspace, visitor: Visitor
) -> None:
    session_id = (await visitor.say("hello"))[0].data["session_id"]
    seen = await table(staff.admin, "/chat-sessions?format=csv&status=active")
    assert session_id in [row["id"] for row in seen]
    assert {row["persona_name"] for row in seen} == {"x"}
    assert await table(staff.agent, "/chat-sessions?format=csv") == []
    own = await table(Person(client, workspace.id, "", visitor.token), "/chat-sessions?format=csv")
    assert [row["id"] for row in own] == [session_id]
