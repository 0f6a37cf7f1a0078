"""Exports over HTTP: what they hold, who gets them, and that an imported export is equal to its original."""

import asyncio
import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from lib.imports.readers import own_exports
from local.paths import REPOSITORY
from local.stack import Stack
from tests.functions.conftest import Visitor, Workspace, until
from tests.functions.people import Person, Staff

ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

LOST = {
    "contacts": {"tokens_revoked_at", "unproven"},
    "identities": {"id", "evidence", "verified_by", "verified_at", "asserted_by", "created_at"},
    "tags": {"id", "created_at"},
    "conversations": {"thread_key", "proof"},
    "sessions": {"updated_at"},
    "memories": {"updated_at", "session_id", "message_id", "created_by", "sender_id"},
    "personas": {"kind"},
}
"""What an import does not take over, by kind; docs/export-import.md says why."""


async def exported(person: Person, stack: Stack, workspace: Workspace, path: str) -> bytes:
    """The zip at a path that first answers 202."""
    headers = {"Authorization": f"Bearer {person.token}"}
    found: list[bytes] = []

    async def ready() -> bool:
        async with person.client.get(path, headers=headers) as response:
            assert response.status in (200, 202), await response.text()
            if response.status == 202:
                assert response.headers["Retry-After"]
                return False
            assert response.content_type == "application/zip"
            found.append(await response.read())
            return True

    await until(ready)
    return found[0]


async def export_of(person: Person, stack: Stack, workspace: Workspace) -> bytes:
    """The export of a workspace."""
    status, export = await person.ask("POST", f"/workspaces/{workspace.id}/exports")
    assert (status, export["status"]) == (202, "queued")
    content = await exported(person, stack, workspace, f"/exports/{export['id']}/file")
    described = await person.done("GET", f"/exports/{export['id']}")
    assert described["sha256"] == hashlib.sha256(content).hexdigest()
    return content


def rows_of(content: bytes) -> dict[str, list[dict[str, Any]]]:
    """The rows of each kind, checked against the manifest."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        for file in manifest["files"]:
            assert hashlib.sha256(archive.read(file["name"])).hexdigest() == file["sha256"]
        kinds = [name.removesuffix(".jsonl") for name in archive.namelist() if name.endswith(".jsonl")]
        rows = {kind: [json.loads(line) for line in archive.read(f"{kind}.jsonl").splitlines()] for kind in kinds}
        assert manifest["counts"] == {kind: len(found) for kind, found in rows.items()}
        return rows


def without_ids(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    """The rows with each id replaced by its kind and time, and without what an import does not take over."""
    labels = {
        row["id"]: f"{kind} {row.get('created_at') or row.get('name')}"
        for kind, found in rows.items()
        for row in found
        if "id" in row
    }
    return {
        kind: sorted(
            ID.sub(
                lambda found: labels.get(found[0], found[0]),
                json.dumps({name: value for name, value in row.items() if name not in LOST.get(kind, ())}),
            )
            for row in found
        )
        for kind, found in rows.items()
    }


async def furnish(workspace: Workspace, visitor: Visitor, staff: Staff) -> UUID:
    """Put rows of each kind into a workspace; the visitor's contact."""
    await visitor.say("What does a flight cost? <b>bold</b>")
    heard = await visitor.say("And tomorrow?")
    session_id = UUID(heard[0].data["session_id"])
    async with visitor.client.post(
        f"/personas/{workspace.persona_id}/messages", json={"message": "A note to myself"},
        headers={"Authorization": f"Bearer {staff.owner.token}", "Accept": "application/json"},
    ) as response:  # fmt: skip
        assert response.status == 200
    contact_id: UUID = await workspace.database.fetchval(
        "select contact_id from public.sessions where id = $1", session_id
    )
    await staff.owner.done("PUT", f"/contacts/{contact_id}/tags", {"tags": ["vip", "zürich"]})
    await staff.owner.done("PUT", f"/chat-sessions/{session_id}/tags", {"tags": ["open question"]})
    await staff.owner.done("PATCH", f"/contacts/{contact_id}", {"first_name": "Ann", "attributes": {"size": 4}})
    await workspace.database.execute(
        """
        with r as (insert into public.requests (workspace_id, session_id, origin) values ($1, $2, 'LSZH') returning id),
             q as (insert into public.quotes (workspace_id, session_id, request_id, operator_key, operator, status,
                                              amount, currency, received_at)
                   select $1, $2, r.id, 'acme', 'Acme', 'received', 1200.50, 'EUR', now() from r returning id),
             p as (insert into public.proposals (workspace_id, session_id, request_id, quote_id, title)
                   select $1, $2, r.id, q.id, 'Offer' from r, q returning id),
             f as (insert into public.session_refs (workspace_id, session_id, system, kind, external_id)
                   values ($1, $2, 'avinode', 'trip', 'T1')),
             w as (insert into public.workflow_steps (workspace_id, session_id, workflow, to_step)
                   values ($1, $2, 'charter', 'understanding_request')),
             g as (insert into public.contacts (workspace_id, kind, title, created_at)
                   values ($1, 'group', 'Crew', now() - interval '1 day') returning id),
             o as (insert into public.group_participants (workspace_id, group_id, contact_id, role)
                   select $1, g.id, $3, 'member' from g),
             k as (insert into public.memories (workspace_id, contact_id, persona_id, conversation_id, content)
                   select $1::uuid, $3::uuid, $4::uuid, s.conversation_id, 'Prefers windows.'
                     from public.sessions s where s.id = $2
                    union all select $1, $3, null::uuid, null::uuid, 'Lives in Bern.'
                    union all select $1, null::uuid, $4, null::uuid, 'Knows the fleet.'),
             a as (insert into public.attachments (message_id, place, workspace_id, conversation_id, kind, url)
                   select m.id, 0, $1, m.conversation_id, 'image', 'https://example.com/1.png'
                     from public.messages m where m.session_id = $2 and m.role = 'contact' limit 1)
        update public.sessions s
           set request_id = r.id, primary_quote_id = q.id, proposal_id = p.id, workflow = 'charter',
               workflow_step = 'understanding_request', workflow_state = '{"asked": 1}', subject = 'A flight'
          from r, q, p where s.id = $2
        """,
        workspace.id, session_id, contact_id, workspace.persona_id,
    )  # fmt: skip
    await workspace.database.execute(
        "update public.sessions set status = 'completed', ended_at = now() where workspace_id = $1",
        workspace.id,
    )
    return contact_id


async def test_who_may_export_what(
    stack: Stack, staff: Staff, workspace: Workspace, visitor: Visitor, tmp_path: Path
) -> None:
    session = (await visitor.say("Hello <script>"))[0].data
    of_session, of_contact = (
        f"/chat-sessions/{session['session_id']}/export",
        f"/contacts/{session['contact_id']}/export",
    )
    for person, path, refusal in (
        (staff.agent, of_session, (404, "session_not_found")),
        (staff.agent, of_contact, (403, "forbidden")),
        (staff.agent, f"/workspaces/{workspace.id}/exports", (403, "forbidden")),
        (staff.other_admin, of_session, (404, "session_not_found")),
        (staff.other_admin, of_contact, (404, "contact_not_found")),
        (staff.other_admin, f"/workspaces/{workspace.id}/exports", (404, "workspace_not_found")),
        (staff.contact, of_contact, (403, "forbidden")),
    ):
        method = "POST" if path.endswith("exports") else "GET"
        assert await person.refused(method, path) == refusal, (path, person)

    await staff.admin.done("PATCH", f"/chat-sessions/{session['session_id']}/assign", {"user_id": str(staff.agent.id)})
    content = await exported(staff.agent, stack, workspace, of_session)
    rows = rows_of(content)
    assert {kind: len(found) for kind, found in rows.items() if kind in ("contacts", "sessions", "messages")} == {
        "contacts": 1, "sessions": 1, "messages": 2,
    }  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        page = archive.read("transcript.html").decode()
    assert "Hello &lt;script&gt;" in page
    # The file is served again, and only members of the workspace know that it is there.
    assert await exported(staff.owner, stack, workspace, of_session) == content
    export_id = await workspace.database.fetchval("select id from public.exports where workspace_id = $1", workspace.id)
    for path in (f"/exports/{export_id}", f"/exports/{export_id}/file"):
        assert await staff.agent.refused("GET", path) == (404, "export_not_found")
        assert await staff.other_admin.refused("GET", path) == (404, "export_not_found")

    # The file goes with its time.
    assert list(stack_files(stack, export_id))
    await workspace.database.execute("update public.exports set expires_at = now() where id = $1", export_id)
    assert await staff.admin.refused("GET", f"/exports/{export_id}/file") == (404, "export_not_found")

    async def is_gone() -> bool:
        headers = {"Authorization": f"Bearer {stack.cron_secret}"}
        async with staff.admin.client.post("/archive", headers=headers) as response:
            assert response.status == 200
        return not list(stack_files(stack, export_id))

    await until(is_gone)
    assert await staff.admin.refused("GET", f"/exports/{export_id}") == (404, "export_not_found")


def stack_files(stack: Stack, export_id: UUID) -> Iterator[Path]:
    """The parts of an export in the store."""
    return (Path(stack.state_dir) / "archive").rglob(f"{export_id}-*")


async def test_an_export_imported_elsewhere_is_equal_to_its_original(
    stack: Stack, staff: Staff, workspace: Workspace, elsewhere: Workspace, visitor: Visitor, tmp_path: Path
) -> None:
    contact_id = await furnish(workspace, visitor, staff)
    await elsewhere.database.execute(
        "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, 'owner')",
        elsewhere.id,
        staff.owner.id,
    )
    original = await export_of(staff.owner, stack, workspace)
    file = tmp_path / "export.zip"
    file.write_bytes(original)
    own_exports.verify(file)
    batch: dict[str, list[Any]] = {"contact": [], "conversation": [], "memory": []}
    for found in own_exports.read(file, {}):
        batch[found.kind].append(found.document)
    body = {
        "source": "switchboard",
        "contacts": batch["contact"],
        "conversations": batch["conversation"],
        "memories": batch["memory"],
    }
    for expected in ("created", "unchanged"):
        result = await staff.owner.done("POST", f"/workspaces/{elsewhere.id}/imports", body)
        assert {one["status"] for kind in ("contacts", "conversations", "memories") for one in result[kind]} == {
            expected
        }, result

    before, after = without_ids(rows_of(original)), without_ids(rows_of(await export_of(staff.owner, stack, elsewhere)))
    for kind in before.keys() - {"personas", "spaces"}:
        assert after[kind] == before[kind], kind
        assert before[kind] or kind == "reasons", kind

    # Archived and dropped from the database, the messages are the same.
    await workspace.database.execute(
        "update public.sessions set ended_at = now() - interval '91 days' where workspace_id = $1", workspace.id
    )
    await drop(workspace, staff, stack)
    archived = rows_of(await export_of(staff.owner, stack, workspace))
    for kind in ("messages", "attachments", "turns"):
        assert archived[kind] == rows_of(original)[kind]
    # So they are in the export of one contact, and in that of one session.
    sessions = [row["id"] for row in archived["sessions"] if row["contact_id"] == str(contact_id)]
    for path, ids in ((f"/contacts/{contact_id}", sessions), (f"/chat-sessions/{sessions[0]}", sessions[:1])):
        part = rows_of(await exported(staff.owner, stack, workspace, f"{path}/export"))
        ours = [row for row in archived["messages"] if row["session_id"] in ids]
        assert part["messages"] == ours != []


async def drop(workspace: Workspace, staff: Staff, stack: Stack) -> None:
    """Have all messages of the workspace archived and dropped."""
    dropping = "update public.workspaces set archive_retention = 'drop' where id = $1"
    await workspace.database.execute(dropping, workspace.id)
    count = "select count(*) from public.messages where workspace_id = $1"

    async def is_archived() -> bool:
        headers = {"Authorization": f"Bearer {stack.cron_secret}"}
        async with staff.admin.client.post("/archive", headers=headers) as response:
            assert response.status == 200
        return bool(await workspace.database.fetchval(count, workspace.id) == 0)

    await until(is_archived)


LARGE = """
with c as (
    insert into public.contacts (workspace_id) values ($1) returning *
), t as (
    insert into public.conversations (workspace_id, contact_id, persona_id, thread_key, proof)
    select workspace_id, id, $2, 'x', 'verified' from c returning *
), s as (
    insert into public.sessions (workspace_id, conversation_id, contact_id, persona_id, status, ended_at, message_count)
    select workspace_id, id, contact_id, persona_id, 'completed', now() - interval '91 days', $3
      from t, generate_series(1, $4) n returning *
)
insert into public.messages (workspace_id, conversation_id, session_id, role, contact_id, text)
select s.workspace_id, s.conversation_id, s.id, 'contact', s.contact_id,
       (select string_agg(md5(n || ':' || i), '') from generate_series(1, 500) i)
  from s, generate_series(1, $3) n
"""


@pytest.mark.parametrize("sessions", [1, 60])
async def test_an_export_takes_less_memory_than_its_messages(
    workspace: Workspace, elsewhere: Workspace, staff: Staff, stack: Stack, sessions: int
) -> None:
    """Of a workspace with one long session; of a contact with many, whose messages are in the archive only."""
    database, jobs, messages = workspace.database, [], 6000
    schedule = "update cron.job set active = {} where jobname = 'switchboard-archive-jobs'; notify pg_cron"
    await database.execute(schedule.format("false"))
    for place, count in ((elsewhere, 10), (workspace, messages)):
        await database.execute(LARGE, place.id, place.persona_id, count // sessions or 1, sessions)
        if sessions > 1:
            await drop(place, staff, stack)
    # Not before the archive has been called, which would make the first export.
    for place in (elsewhere, workspace):
        queued = (
            "with e as (insert into public.exports (workspace_id, contact_id)"
            " select $1, case when $2 then (select contact_id from public.sessions where workspace_id = $1"
            " order by message_count desc limit 1) end"
            " returning id)"
            " insert into public.jobs (workspace_id, kind, runs_in, payload)"
            " select $1, 'make_export', 'archive', jsonb_build_object('export_id', id) from e returning id"
        )
        jobs.append(str(await database.fetchval(queued, place.id, sessions > 1)))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.functions.export_child", *jobs,
        env=stack.gateway_env(0), cwd=REPOSITORY, stdout=subprocess.PIPE,
    )  # fmt: skip
    grown = float((await child.communicate())[0])
    await database.execute(schedule.format("true"))
    rows = "select (counts ->> 'messages')::int from public.exports where workspace_id = $1 and status = 'stored'"
    assert await database.fetchval(rows, workspace.id) == messages
    print(f"{grown} MB")
    # A message has 16,000 characters.
    assert grown < 80 < messages * 16_000 / 1024**2
