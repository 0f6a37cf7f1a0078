"""`switchboard import` and `switchboard export` against the running stack."""

import asyncio
import json
import shlex
import zipfile
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main
from local.paths import REPOSITORY
from local.stack import Stack

PAYLOADS = REPOSITORY / "tests" / "payloads"

MESSAGES = """
select m.role::text, m.text, coalesce(m.speaker, '') as speaker, c.first_name
  from public.messages m
  join public.conversations v on v.id = m.conversation_id
  join public.contacts c on c.id = v.contact_id
 where m.workspace_id = $1
 order by m.created_at, m.id
"""


class Commands:
    """The commands in a workspace of their own, with an owner's API key."""

    def __init__(self, stack: Stack, workspace_id: UUID, key: str, database: asyncpg.Connection) -> None:
        self.workspace_id, self.database = workspace_id, database
        self._environment = {"SWITCHBOARD_URL": stack.api_url, "SWITCHBOARD_API_KEY": key}

    async def run(self, command: str) -> Result:
        """Run a command; {workspace} is the workspace."""
        arguments = shlex.split(command.format(workspace=self.workspace_id))
        return await asyncio.to_thread(CliRunner(env=self._environment).invoke, main, arguments)

    async def told(self, command: str, status: int = 0) -> dict[str, Any]:
        """What a command prints as JSON."""
        ran = await self.run(f"{command} --json")
        assert ran.exit_code == status, ran.output
        document: dict[str, Any] = json.loads(ran.stdout)
        return document

    async def imports(self, file: Path, *options: str, status: int = 0) -> tuple[int, ...]:
        """Import a file: created, updated, unchanged, refused."""
        told = await self.told(f"import {file} --workspace {{workspace}} {' '.join(options)}", status)
        return tuple(told[name] for name in ("created", "updated", "unchanged", "refused"))


@pytest.fixture
async def commands(stack: Stack, database: asyncpg.Connection) -> Commands:
    """The commands in a new workspace."""
    workspace_id = await database.fetchval("insert into public.workspaces (name) values ('Import') returning id")
    environment = {"SUPABASE_URL": stack.api_url, "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key}
    create = ["api-key", "create", str(workspace_id), "Import", "--role", "admin", "--json"]
    made = await asyncio.to_thread(CliRunner(env=environment).invoke, main, create)
    return Commands(stack, workspace_id, json.loads(made.stdout)["secret"], database)


async def test_contacts_of_a_csv_file_whatever_its_columns(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        '\ufeffNr;Full name;E-Mail privat;Mobile;Labels;Town;Created\n'
        '1;Ann Lee;ann@example.com;+41 44 668 18 00;"vip, new";"Bern;""West"""\n'
        "2;Bo;not an email;;;;01/02/2024\n"
        ";Cy;;;;Basel\n"
        "4;Di;ann@example.com;;;Chur\n",
        encoding="utf-8",
    )  # fmt: skip
    mapped = ("--map", '"E-Mail privat=email"', "--map", "Nr=external_id")
    ran = await commands.run(f"import {file} --workspace {{workspace}} {' '.join(mapped)} --dry-run")
    assert "Mobile -> phone" in ran.stderr
    assert "Town -> attributes.Town" in ran.stderr
    count = "select count(*) from public.contacts where workspace_id = $1"
    assert await commands.database.fetchval(count, commands.workspace_id) == 0

    assert await commands.imports(file, *mapped, status=4) == (2, 1, 0, 1)
    listed = map(json.loads, file.with_name("people.csv.refused.jsonl").read_text().splitlines())
    reasons = {one["line"]: (one["code"], one["reason"]) for one in listed}
    assert reasons[4] == ("unreadable", "external_id: the row has neither an id nor an identity")
    assert reasons[3] == ("left_out", "stored without what does not fit: created_at, email")
    assert set(reasons) == {3, 4}
    assert await commands.imports(file, *mapped, status=4) == (0, 0, 3, 1)
    (ann,) = await commands.database.fetch(
        "select first_name, last_name, attributes, (select array_agg(t.name order by t.name) from public.tags t"
        " where t.contact_id = c.id) as tags from public.contacts c where workspace_id = $1 and first_name = 'Ann'",
        commands.workspace_id,
    )
    assert (ann["first_name"], ann["last_name"], ann["tags"]) == ("Ann", "Lee", ["new", "vip"])
    assert json.loads(ann["attributes"]) == {"Town": 'Bern;"West"'}

    nowhere = f"--report {tmp_path}/nowhere/x"
    for arguments in ('--map "Nowhere=email"', '--map "Nr=external:"', '--source "A b"', nowhere):
        assert (await commands.run(f"import {file} --workspace {{workspace}} {arguments}")).exit_code == 2


@pytest.mark.parametrize(
    ("system", "created", "said"),
    [
        (
            "chatwoot",
            3,
            [
                ("contact", "Where is my order?", "", "Ann"),
                ("persona", "One moment, please.", "", "Ann"),
                ("member", "It left yesterday.", "Max", "Ann"),
            ],
        ),
        (
            "intercom",
            2,
            [
                ("contact", "My invoice is wrong.\nCan you check?", "", "Cy"),
                ("persona", "Let me look.", "", "Cy"),
                ("member", "Corrected & sent.", "Max", "Cy"),
            ],
        ),
    ],
)
async def test_conversations_of_other_systems(
    commands: Commands, system: str, created: int, said: list[tuple[str, ...]]
) -> None:
    file = PAYLOADS / system / "export.jsonl"
    promised = await commands.imports(file, "--format", system, "--dry-run")
    first = await commands.imports(file, "--format", system)
    assert promised == first
    assert (first[0], first[3]) == (created, 0)
    again = await commands.imports(file, "--format", system)
    assert (again[0], again[1], again[3]) == (0, 0, 0)
    rows = await commands.database.fetch(MESSAGES, commands.workspace_id)
    assert [tuple(row) for row in rows] == said
    (counted,) = await commands.database.fetch(
        "select sum(message_count), (select count(*) from public.attachments a where a.workspace_id = $1)"
        "  from public.sessions where workspace_id = $1",
        commands.workspace_id,
    )
    assert tuple(counted) == (3, 1)


async def test_a_long_conversation_is_sent_in_parts_and_a_broken_import_resumed(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.imports.BATCH_MESSAGES", 10)
    file = tmp_path / "talk.jsonl"
    messages = [
        {"role": "contact", "text": f"Message {n}", "created_at": f"2024-03-01T10:00:{n:02}Z"} for n in range(25)
    ]
    talk = {"external_id": "t", "contact": "1", "persona": "Old bot", "messages": messages}
    lines = [{"external_id": str(n), "first_name": f"N{n}"} for n in range(3)] + [talk, {"external_id": "x" * 300}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines[:3]) + "no JSON\n" + json.dumps(talk) + "\n")
    assert (await commands.imports(file, status=4))[3] == 1
    assert await commands.database.fetchval(
        "select array_agg(m.text order by m.created_at, m.id) = array_agg('Message ' || n order by n)"
        "   and bool_and(s.message_count = 25)"
        "  from generate_series(0, 24) n join public.messages m on m.text = 'Message ' || n"
        "  join public.sessions s on s.id = m.session_id where m.workspace_id = $1",
        commands.workspace_id,
    )
    # As if it had broken off after two items: what was sent is not sent again.
    version = [file.stat().st_size, file.stat().st_mtime_ns]
    state = {"workspace": str(commands.workspace_id), "source": "jsonl:talk.jsonl", "format": "jsonl", "mapping": {},
             "version": version, "done": 2, "totals": {"created": 2}}  # fmt: skip
    changed = {**state, "version": [1, 1]}
    file.with_name("talk.jsonl.import-state.json").write_text(json.dumps(changed))
    assert (await commands.run(f"import {file} --workspace {{workspace}} --resume")).exit_code == 2
    file.with_name("talk.jsonl.import-state.json").write_text(json.dumps(state))
    assert await commands.imports(file, "--resume", status=4) == (2, 0, 4, 1)


async def test_an_item_that_no_batch_can_hold_is_refused_alone(commands: Commands, tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    odd = ('{"external_id": "1", "attributes": {"size": NaN}}', json.dumps({"external_id": "2", "source": "x" * 2**22}))
    file.write_text("\n".join(['{"external_id": "0"}', *odd, '{"external_id": "3"}']))
    assert await commands.imports(file, status=4) == (2, 0, 0, 2)
    refused = map(json.loads, file.with_name("people.jsonl.refused.jsonl").read_text().splitlines())
    assert {one["line"]: one["code"] for one in refused} == {2: "invalid_json", 3: "body_too_large"}
    file.with_name("people.jsonl.import-state.json").write_text("{")
    assert (await commands.run(f"import {file} --workspace {{workspace}} --resume")).exit_code == 2


async def test_a_workspace_and_a_contact_are_exported_to_files(commands: Commands, tmp_path: Path) -> None:
    await commands.imports(PAYLOADS / "intercom" / "export.jsonl", "--format", "intercom")
    file = tmp_path / "all.zip"
    told = await commands.told(f"export --workspace {{workspace}} -o {file}")
    assert (told["counts"]["contacts"], told["counts"]["messages"]) == (1, 3)
    with zipfile.ZipFile(file) as archive:
        page = archive.read("transcript.html").decode()
    assert "Corrected &amp; sent." in page
    assert "<script" not in page
    contact_id = await commands.database.fetchval(
        "select id from public.contacts where workspace_id = $1", commands.workspace_id
    )
    told = await commands.told(f"export --contact {contact_id} -o {tmp_path / 'one.zip'}")
    assert told["counts"]["sessions"] == 1
    # Not into the workspace that it is of.
    assert (await commands.run(f"import {file} --workspace {{workspace}}")).exit_code == 2
    assert (await commands.run(f"export --workspace {contact_id} -o {file}")).exit_code == 3
