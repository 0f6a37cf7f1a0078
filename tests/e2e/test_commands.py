"""The operators' commands against the running stack."""

import asyncio
import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import click
import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main
from lib import personas
from local.paths import REPOSITORY
from local.stack import Stack

Environment = dict[str, str | None]


class Switchboard:
    """`switchboard …` with the variables that an operator sets, and none of those of the functions."""

    def __init__(self, stack: Stack) -> None:
        ours = [name for name in os.environ if name.startswith(("SUPABASE_", "SWITCHBOARD_"))]
        self.environment: Environment = dict.fromkeys(ours)
        self.environment |= {"SUPABASE_URL": stack.api_url, "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key}

    async def run(self, command: str, *, stdin: str = "", changed: Environment | None = None) -> Result:
        """Run a command with these variables changed, or removed."""
        runner = CliRunner(env={**self.environment, **(changed or {})})
        return await asyncio.to_thread(runner.invoke, main, shlex.split(command), stdin)

    async def told(self, command: str, *, stdin: str = "") -> Any:
        """What a command that succeeds prints as JSON."""
        ran = await self.run(f"{command} --json", stdin=stdin)
        assert ran.exit_code == 0, ran.stderr
        return json.loads(ran.stdout)

    async def fails(self, command: str, status: int, said: str, **options: Any) -> None:
        """The command exits with this status, prints nothing, and says this."""
        ran = await self.run(command, **options)
        assert (ran.exit_code, ran.stdout) == (status, ""), (command, ran.output)
        assert said in ran.stderr, command
        assert "Traceback" not in ran.stderr


@pytest.fixture
def cli(stack: Stack) -> Switchboard:
    """The commands."""
    return Switchboard(stack)


def alone(settings_file: Path) -> Environment:
    """Nothing set, and a settings file that a local backend may have written."""
    return {"SUPABASE_URL": None, "SUPABASE_SERVICE_ROLE_KEY": None, "SWITCHBOARD_ENV_FILE": str(settings_file)}


async def _user(database: asyncpg.Connection, *, confirmed: bool = True) -> tuple[str, str]:
    user_id, email = uuid4(), f"{uuid4()}@people.test"
    await database.execute(
        "insert into auth.users (id, email, email_confirmed_at) values ($1, $2, case when $3 then now() end)",
        user_id,
        email,
        confirmed,
    )
    return str(user_id), email


@pytest.fixture
async def workspace(cli: Switchboard, database: asyncpg.Connection) -> str:
    """The id of a workspace that a command made."""
    _, email = await _user(database)
    return str((await cli.told(f"workspace create 'By command' --owner-email {email}"))["id"])


@pytest.fixture
async def persona(cli: Switchboard, workspace: str) -> dict[str, Any]:
    """A persona of the workspace."""
    made: dict[str, Any] = await cli.told(f"persona create {workspace} demo One")
    return made


def written(folder: Path, name: str, value: object) -> Path:
    """A file with this JSON."""
    file = folder / name
    file.write_text(json.dumps(value))
    return file


async def test_from_nothing_to_a_chat(
    cli: Switchboard, stack: Stack, database: asyncpg.Connection, tmp_path: Path
) -> None:
    owner_id, email = await _user(database)
    workspace = (await cli.told(f"workspace create 'Example Travel' --owner-email {email.upper()}"))["id"]
    config = written(tmp_path, "config.json", {"delay_ms": 0})
    made = await cli.told(f"persona create {workspace} demo Concierge --config {config}")
    origin = "https://www.example.com"
    space = await cli.told(f"space create {workspace} Website --persona {made['id']} --origin {origin}")
    assert (made["config"], space["allowed_origins"]) == ({"delay_ms": 0}, [origin])
    (owner,) = await cli.told(f"member list {workspace}")
    assert (owner["user_id"], owner["email"], owner["role"]) == (owner_id, email, "owner")
    path = f"{stack.api_url}/space/{space['id']}/chat/stream"
    async with aiohttp.ClientSession() as http, http.post(path, json={"message": "Hello!"}) as answer:
        assert (answer.status, "event: done" in await answer.text()) == (200, True)
    audit = await database.fetch(
        "select verb, actor_id from public.audit_events where workspace_id = $1::text::uuid order by verb", workspace
    )
    verbs = [(row["verb"], row["actor_id"]) for row in audit if not row["verb"].startswith("contact.")]
    assert verbs == [(verb, None) for verb in ("member.added", "persona.created", "space.created", "workspace.created")]


async def test_settings_are_changed_one_by_one_and_shown(cli: Switchboard, workspace: str) -> None:
    shown = await cli.told(f"workspace show {workspace}")
    for options, changes in (
        ("--archive-after-days 30", {"archive_after_days": 30}),
        ("--session-timeout-hours 0 --no-archive-statuses", {"session_timeout_hours": 0, "archive_statuses": []}),
        ("--instance-session-timeout", {"session_timeout_hours": None}),
    ):
        shown |= changes
        assert await cli.told(f"workspace update {workspace} {options}") == shown
    networks = {"allowed_networks": ["10.1.0.0/16"]}
    assert await cli.told(f"workspace allow-networks {workspace} --network 10.1.0.0/16") == networks
    assert shown | networks in await cli.told("workspace list")
    assert await cli.told(f"workspace allow-networks {workspace} --no-networks") == {"allowed_networks": []}
    assert await cli.told(f"turn errors {workspace}") == {"items": [], "next_cursor": None}

    made = await cli.told(f"persona create {workspace} demo One")
    updated = await cli.told(f"persona update {made['id']} --turn-policy interrupt --disable")
    assert updated == {**made, "turn_policy": "interrupt", "enabled": False}
    assert await cli.told(f"persona list {workspace}") == [updated]

    space = await cli.told(f"space create {workspace} One --persona {made['id']} --origin '*'")
    renamed = await cli.told(f"space update {space['id']} --name Two --no-origins")
    assert renamed == {**space, "name": "Two", "allowed_origins": []}
    assert await cli.told(f"space list {workspace}") == [renamed]


async def test_without_json_a_command_prints_a_table(cli: Switchboard, workspace: str, persona: dict[str, Any]) -> None:
    assert f"id: {workspace}\n" in (await cli.run(f"workspace show {workspace}")).stdout
    heading, owner = (await cli.run(f"member list {workspace}")).stdout.splitlines()
    assert (heading.split(), owner.split()[1]) == (["user_id", "role", "email"], "owner")
    heading, row = (await cli.run(f"persona list {workspace}")).stdout.splitlines()
    assert (heading.split()[-1], row.split()[-1]) == ("breaker.state", "closed")


async def test_members_are_added_promoted_and_removed(
    cli: Switchboard, database: asyncpg.Connection, workspace: str
) -> None:
    user_id, email = await _user(database)
    added = await cli.told(f"member add {workspace} --email ' {email.upper()}'")
    assert (added["user_id"], added["role"], added["email"]) == (user_id, "agent", email)
    promoted = await cli.told(f"member add {workspace} --user-id {user_id} --role owner")
    assert promoted == {**added, "role": "owner"}
    members = await cli.told(f"member list {workspace}")
    assert promoted in members
    (first,) = (member["user_id"] for member in members if member["user_id"] != user_id)
    assert await cli.told(f"member remove {workspace} {first}") == {"done": True}
    await cli.fails(f"member remove {workspace} {user_id}", 4, "(last_owner)")


async def test_a_creation_that_is_repeated_changes_nothing_and_names_what_differs(
    cli: Switchboard, database: asyncpg.Connection, tmp_path: Path
) -> None:
    _, email = await _user(database)
    ids = {noun: str(uuid4()) for noun in ("workspace", "persona", "space", "template")}
    workspace, persona = ids["workspace"], ids["persona"]
    file = written(tmp_path, "file.json", {"delay_ms": 0})
    limits = "--archive-status timeout --archive-status failed --session-timeout-hours 0"
    made = {
        "workspace": f"create One --owner-email {email} {limits}",
        "persona": f"create {workspace} demo One --config {file} --disable",
        "space": f"create {workspace} One --persona {persona} --origin HTTPS://A.example:443",
        "template": f"create {workspace} One --workflow CHARTER --step understanding_request --say Hello."
        f" --metadata {file} --persona {persona}",
    }
    for noun, arguments in made.items():
        first, again = [await cli.run(f"{noun} {arguments} --id {ids[noun]}") for _ in range(2)]
        assert (first.exit_code, first.stderr) == (0, ""), noun
        assert (again.exit_code, again.stdout, again.stderr) == (0, first.stdout, ""), noun
        named = await cli.run(f"{noun} {arguments.replace(' One', ' Two')} --id {ids[noun]}")
        note = "Note: this was made before and stays as it is. It differs in: name.\n"
        assert (named.exit_code, named.stdout, named.stderr) == (0, first.stdout, note), noun
    changed = await cli.run(f"space {made['space']} --origin https://b.example --disable --id {ids['space']}")
    assert changed.stderr.endswith("It differs in: allowed_origins, enabled.\n")


async def test_a_secret_is_read_from_standard_input_and_not_shown(
    cli: Switchboard, database: asyncpg.Connection, workspace: str, persona: dict[str, Any]
) -> None:
    command = f"persona set-secret {persona['id']}"
    kept = await cli.run(command, stdin="the secret\n")
    assert (kept.exit_code, kept.stdout, kept.stderr) == (0, "Kept.\n", "")
    assert await secret_of(database, persona) == "the secret"
    assert (await cli.told(f"persona list {workspace}"))[0]["has_secret"] is True
    await cli.fails(f"{command} 'on the command line'", 2, "", stdin="x")
    await cli.fails(command, 2, "Error: secret: ", stdin="")
    await cli.told(f"{command} --remove")
    assert await secret_of(database, persona) is None


async def secret_of(database: asyncpg.Connection, persona: dict[str, Any]) -> str | None:
    """The secret in Vault."""
    query = """
        select v.decrypted_secret from public.personas p join vault.decrypted_secrets v on v.id = p.secret_id
        where p.id = $1::text::uuid"""
    secret: str | None = await database.fetchval(query, persona["id"])
    return secret


async def test_a_terminal_asks_for_a_secret_and_does_not_echo_it(
    cli: Switchboard, database: asyncpg.Connection, persona: dict[str, Any]
) -> None:
    changed = {name: value for name, value in cli.environment.items() if value is not None}
    environment = {name: value for name, value in os.environ.items() if name not in cli.environment} | changed

    def typed() -> tuple[int, str]:
        shown = b""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(REPOSITORY)
            arguments = [sys.executable, "-m", "cli", "persona", "set-secret", persona["id"]]
            os.execve(sys.executable, arguments, environment)  # noqa: S606
        for _ in range(2):
            while not shown.endswith(b": "):
                shown += os.read(terminal, 1024)
            os.write(terminal, b"typed secret\n")
            shown += b"\n"
        while True:
            try:
                shown += os.read(terminal, 1024)
            except OSError:
                break
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()

    status, shown = await asyncio.to_thread(typed)
    assert (status, "Kept." in shown, "typed secret" in shown) == (0, True, False)
    assert await secret_of(database, persona) == "typed secret"


@pytest.mark.parametrize(("noun", "verb"), [("space", "rotate-hmac-secret"), ("persona", "rotate-callback-secret")])
async def test_a_rotated_secret_is_printed_once(
    cli: Switchboard, database: asyncpg.Connection, workspace: str, persona: dict[str, Any], noun: str, verb: str
) -> None:
    made = persona
    if noun == "space":
        made = await cli.told(f"space create {workspace} One --persona {persona['id']}")
    command = f"{noun} {verb} {made['id']}"
    secrets = [(await cli.told(f"{command} --overlap-seconds 60"))["secret"] for _ in range(2)]
    held = "select count(distinct decrypted_secret) from vault.decrypted_secrets where decrypted_secret = any ($1)"
    assert await database.fetchval(held, secrets) == 2
    assert secrets[0] not in json.dumps(await cli.told(f"{noun} list {workspace}"))
    await cli.told(f"{command} --remove")
    assert await database.fetchval(held, secrets) == 0
    await cli.fails(f"{command} --overlap-seconds 604801", 2, "overlap_seconds")


async def test_only_unused_things_are_deleted_and_a_workspace_by_its_name(
    cli: Switchboard, database: asyncpg.Connection, workspace: str, persona: dict[str, Any]
) -> None:
    space = await cli.told(f"space create {workspace} One --persona {persona['id']}")
    await cli.fails(f"persona delete {persona['id']}", 4, "(persona_in_use)")
    await cli.told(f"space delete {space['id']}")
    await cli.told(f"persona delete {persona['id']}")
    await cli.fails(f"persona delete {persona['id']}", 3, "(persona_not_found)")
    await cli.fails(f"workspace delete {workspace}", 2, "")
    await cli.fails(f"workspace delete {workspace} --name 'By Command'", 4, "(wrong_name)")
    await cli.told(f"workspace delete {workspace} --name 'By command'")
    assert await database.fetchval("select count(*) from public.audit_events where workspace_id = $1", workspace) == 0


async def test_a_failure_is_a_sentence_and_an_exit_status(
    cli: Switchboard, database: asyncpg.Connection, workspace: str
) -> None:
    _, unconfirmed = await _user(database, confirmed=False)
    for command, status, said in (
        (f"workspace show {uuid4()}", 3, "There is no such workspace. (workspace_not_found)"),
        ("workspace show x", 2, "'x' is not a valid UUID"),
        ("workspace create x", 2, "Name the first owner"),
        (f"workspace create x --owner-email {unconfirmed}", 3, "(user_not_found)"),
        (f"workspace update {workspace} --archive-after-days 0", 2, "archive_after_days: "),
        (f"member add {workspace}", 2, "--email or by --user-id"),
        (f"member add {workspace} --email {unconfirmed}", 3, "(user_not_found)"),
        (f"persona create {workspace} nobody x", 2, f"kind: must be one of {', '.join(personas.kinds())}"),
        (f"persona create {workspace} n8n x", 2, "config.url: "),
        (f"space create {workspace} x --persona {uuid4()}", 3, "(persona_not_found)"),
        (f"space list {uuid4()}", 3, "(workspace_not_found)"),
    ):
        await cli.fails(command, status, said)


async def test_a_missing_or_wrong_setting_is_named(cli: Switchboard, stack: Stack, tmp_path: Path) -> None:
    cases: tuple[tuple[Environment, int, str], ...] = (
        ({"SUPABASE_SERVICE_ROLE_KEY": None}, 2, "SUPABASE_SERVICE_ROLE_KEY is not set"),
        ({"SUPABASE_URL": None}, 2, "SUPABASE_URL is not set"),
        ({"SUPABASE_SERVICE_ROLE_KEY": "a.b.c"}, 1, "the service key is not accepted"),
        ({"SUPABASE_SERVICE_ROLE_KEY": "sb_secret_wrong"}, 1, "the service key is not accepted"),
        ({"SUPABASE_SERVICE_ROLE_KEY": stack.anon_key}, 1, "the service key is not accepted"),
        ({"SUPABASE_URL": "http://127.0.0.1:9"}, 5, "The backend cannot be reached now."),
        ({"SUPABASE_URL": "no address"}, 2, "SUPABASE_URL is no address"),
        (alone(tmp_path / "none"), 2, "make up"),
    )
    for changed, status, said in cases:
        await cli.fails("workspace list", status, said, changed=changed)


async def test_either_service_key_or_postgrest_itself_or_the_local_settings_file_is_enough(
    cli: Switchboard, stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "env"
    file.write_text("".join(f'{name}="{value}"\n' for name, value in stack.env.items()))
    cases: tuple[Environment, ...] = (
        {},
        {"SUPABASE_SERVICE_ROLE_KEY": stack.secret_key},
        {"SUPABASE_URL": None, "SUPABASE_REST_URL": stack.rest_url},
        alone(file),
    )
    for changed in cases:
        ran = await cli.run("workspace list", changed=changed)
        assert (ran.exit_code, "Demo" in ran.stdout) == (0, True), (changed, ran.stderr)


def test_every_command_explains_itself_with_an_example_as_the_installed_program_does() -> None:
    explained = 0
    for group in main.commands.values():
        assert isinstance(group, click.Group)
        for name, command in group.commands.items():
            assert f"\n    switchboard {group.name} {name}" in f"{command.help}"
            explained += 1
    assert explained == 34
    program = [sys.executable, "-m", "cli", "workspace", "list", "--help"]
    assert "switchboard workspace list" in subprocess.run(program, capture_output=True, text=True, check=True).stdout


async def test_contacts_are_resolved_listed_and_shown(cli: Switchboard, workspace: str, tmp_path: Path) -> None:
    resolve = f"contact resolve {workspace}"
    await cli.fails(f"{resolve} telegram:42", 3, "contact_not_found")
    asked = f"{resolve} telegram:42 email:ann@example.com --create"
    made = await cli.told(f"{asked} --first-name Ann --verified-by telegram")
    assert {(one["kind"], one["verified_by"], one["asserted_by"]) for one in made["identities"]} == {
        ("telegram", "telegram", "service"),
        ("email", "telegram", "service"),
    }
    assert [one["id"] for one in await cli.told(f"contact list {workspace} --text ann")] == [made["id"]]
    group = await cli.told(f"{resolve} discord:channel:7 --create --title Crew")
    more = written(tmp_path, "more.json", {"seat": "window"})
    joined = await cli.told(f"{asked} --group {group['id']} --group-role guest --attributes {more}")
    assert joined["attributes"] == {"seat": "window"}
    participants = (await cli.told(f"contact show {group['id']}"))["participants"]
    assert [(one["contact_id"], one["role"]) for one in participants] == [(made["id"], "guest")]
    assert (await cli.told(f"contact show {made['id']}"))["identities"] == made["identities"]
    await cli.told(f"{resolve} omi:u1 --create")
    await cli.fails(f"{resolve} telegram:42 omi:u1", 4, made["id"])
    await cli.fails(f"{resolve} icq:1", 2, "platform must be one of")


async def test_transitions_are_added_listed_and_removed(cli: Switchboard, workspace: str) -> None:
    built_in = await cli.told(f"transition list {workspace}")
    assert built_in
    assert all(one["built_in"] for one in built_in)
    add = f"transition add {workspace}"
    added = await cli.told(f"{add} charter asking_back --from proposal_ready")
    assert (added.pop("created"), added["from_step"], added["to_step"]) == (True, "proposal_ready", "asking_back")
    again = await cli.told(f"{add} charter asking_back --from proposal_ready")
    assert (again["created"], again["id"]) == (False, added["id"])
    first = await cli.told(f"{add} refit measuring")
    assert first.get("from_step") is None
    ids = [one["id"] for one in await cli.told(f"transition list {workspace}")]
    assert ids == [*(one["id"] for one in built_in), added["id"], first["id"]]
    await cli.fails(f"{add} charter here --from here", 2, "does not follow itself")
    for one in (added, first):
        await cli.told(f"transition remove {workspace} {one['id']}")
    await cli.fails(f"transition remove {workspace} {built_in[0]['id']}", 3, "transition_not_found")
    assert await cli.told(f"transition list {workspace}") == built_in


async def test_templates_are_made_changed_listed_and_removed(
    cli: Switchboard, workspace: str, persona: dict[str, Any], tmp_path: Path
) -> None:
    kept, state = (written(tmp_path, name, {name: 1}) for name in ("metadata", "state"))
    begins = f"--workflow charter --step understanding_request --workflow-state {state}"
    says = f"--persona {persona['id']} --metadata {kept} --say Hello. --say 'Where to?'"
    made = await cli.told(f"template create {workspace} Trip {begins} {says}")
    assert (made["metadata"], made["workflow_state"]) == ({"metadata": 1}, {"state": 1})
    assert made["first_messages"] == ["Hello.", "Where to?"]
    update = f"template update {made['id']}"
    without: dict[str, Any] = {"workflow": None, "workflow_step": None, "persona_id": None, "first_messages": []}
    bare = {**made, "name": "Journey", **without}
    assert await cli.told(f"{update} --name Journey --no-workflow --no-persona --no-first-messages") == bare
    assert await cli.told(f"template list {workspace}") == [bare]
    for half in ("--step first", "--workflow charter"):
        for command in (update, f"template create {workspace} Half"):
            await cli.fails(f"{command} {half}", 2, "A workflow and its first step")
    await cli.fails(f"{update} --workflow none --step first", 4, "step_not_allowed")
    await cli.told(f"template remove {made['id']}")
    assert await cli.told(f"template list {workspace}") == []


async def test_contacts_are_merged_and_unmerged_and_conflicts_listed(cli: Switchboard, workspace: str) -> None:
    resolve = f"contact resolve {workspace}"
    ann, bob = [(await cli.told(f"{resolve} omi:m{n} --create"))["id"] for n in (1, 2)]
    await cli.run(f"{resolve} omi:m1 omi:m2 --create")
    (conflict,) = await cli.told(f"contact conflicts {workspace}")
    assert {conflict["contact"]["id"], conflict["other_contact"]["id"]} == {ann, bob}

    merge = f"contact merge {bob} {ann}"
    said = await cli.told(f"{merge} --preview")
    assert (said["into_id"], said["moves"]["identities"]) == (ann, 1)
    assert 'identities: {"kind": "omi", "key": "m2"' in (await cli.run(f"{merge} --preview")).stdout
    assert (await cli.told(f"contact show {bob}"))["id"] == bob
    merged = await cli.told(merge)
    assert (merged["contact_id"], merged["into_id"], merged["merged_by"]) == (bob, ann, None)
    assert [one["contact_id"] for one in (await cli.told(f"contact show {ann}"))["merged"]] == [bob]
    await cli.fails(f"contact show {bob}", 4, ann)
    await cli.fails(f"contact show {bob}", 4, "contact_merged")
    assert await cli.told(f"contact conflicts {workspace}") == []
    assert len(await cli.told(f"contact conflicts {workspace} --status merged")) == 1

    assert (await cli.told(f"contact unmerge {bob}"))["undone_at"]
    assert (await cli.told(f"contact show {bob}"))["id"] == bob
    await cli.fails(f"contact unmerge {bob}", 4, "not_merged")
