"""The operators' commands as programs of their own, against the running stack."""

import asyncio
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import click
import pytest

from cli.__main__ import main
from lib import personas
from local.paths import REPOSITORY
from local.stack import Stack

Ran = subprocess.CompletedProcess[str]
Changed = dict[str, str | None]


def _environment(stack: Stack) -> dict[str, str]:
    """What an operator sets, and nothing of what the functions have."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUPABASE_", "SWITCHBOARD_"))}
    return {**kept, "SUPABASE_URL": stack.api_url, "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key}


async def switchboard(stack: Stack, *arguments: str, stdin: str = "", changed: Changed | None = None) -> Ran:
    """Run the command with these variables changed, or taken away."""
    environment: dict[str, str | None] = {**_environment(stack), **(changed or {})}
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={name: value for name, value in environment.items() if value is not None},
        timeout=60,
    )


def alone(settings_file: Path) -> Changed:
    """Nothing set, and a settings file that a local backend may have written."""
    return {"SUPABASE_URL": None, "SUPABASE_SERVICE_ROLE_KEY": None, "SWITCHBOARD_ENV_FILE": str(settings_file)}


async def told(stack: Stack, *arguments: str, stdin: str = "") -> Any:
    """What a command that succeeds prints as JSON."""
    ran = await switchboard(stack, *arguments, "--json", stdin=stdin)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


async def _user(database: asyncpg.Connection, *, confirmed: bool = True) -> tuple[UUID, str]:
    user_id, email = uuid4(), f"{uuid4()}@people.test"
    await database.execute(
        "insert into auth.users (id, email, email_confirmed_at) values ($1, $2, case when $3 then now() end)",
        user_id,
        email,
        confirmed,
    )
    return user_id, email


@pytest.fixture
async def workspace_id(stack: Stack, database: asyncpg.Connection) -> str:
    """A workspace that a command made."""
    _, email = await _user(database)
    made = await told(stack, "workspace", "create", "By command", "--owner-email", email)
    return str(made["id"])


async def test_from_nothing_to_a_chat(stack: Stack, database: asyncpg.Connection, tmp_path: Path) -> None:
    owner_id, email = await _user(database)
    workspace = await told(stack, "workspace", "create", "Example Travel", "--owner-email", email.upper())
    config = tmp_path / "config.json"
    config.write_text('{"delay_ms": 0}')
    made = await told(stack, "persona", "create", workspace["id"], "demo", "Concierge", "--config", str(config))
    origin = "https://www.example.com"
    space = await told(
        stack, "space", "create", workspace["id"], "Website", "--persona", made["id"], "--origin", origin
    )
    assert (made["config"], space["allowed_origins"]) == ({"delay_ms": 0}, [origin])
    members = await told(stack, "member", "list", workspace["id"])
    assert [(member["user_id"], member["email"], member["role"]) for member in members] == [
        (str(owner_id), email, "owner")
    ]
    path = f"{stack.api_url}/space/{space['id']}/chat/stream"
    async with aiohttp.ClientSession() as http, http.post(path, json={"message": "Hello!"}) as answer:
        assert (answer.status, "event: done" in await answer.text()) == (200, True)
    audit = await database.fetch(
        "select verb, actor_id from public.audit_events where workspace_id = $1 order by verb",
        UUID(workspace["id"]),
    )
    verbs = [(row["verb"], row["actor_id"]) for row in audit if not row["verb"].startswith("contact.")]
    assert verbs == [(verb, None) for verb in ("member.added", "persona.created", "space.created", "workspace.created")]


async def test_settings_are_changed_one_by_one_and_shown(stack: Stack, workspace_id: str) -> None:
    before = await told(stack, "workspace", "show", workspace_id)
    changed = await told(stack, "workspace", "update", workspace_id, "--archive-after-days", "30")
    assert changed == {**before, "archive_after_days": 30}
    assert changed in await told(stack, "workspace", "list")
    limited = await told(
        stack, "workspace", "update", workspace_id, "--session-timeout-hours", "0", "--no-archive-statuses"
    )
    assert limited == {**changed, "session_timeout_hours": 0, "archive_statuses": []}
    as_before = await told(stack, "workspace", "update", workspace_id, "--instance-session-timeout")
    assert as_before == {**limited, "session_timeout_hours": None}

    made = await told(stack, "persona", "create", workspace_id, "demo", "One")
    updated = await told(stack, "persona", "update", made["id"], "--turn-policy", "interrupt", "--disable")
    assert updated == {**made, "turn_policy": "interrupt", "enabled": False}
    assert await told(stack, "persona", "list", workspace_id) == [updated]

    space = await told(stack, "space", "create", workspace_id, "One", "--persona", made["id"], "--origin", "*")
    renamed = await told(stack, "space", "update", space["id"], "--name", "Two", "--no-origins")
    assert renamed == {**space, "name": "Two", "allowed_origins": []}
    assert await told(stack, "space", "list", workspace_id) == [renamed]


async def test_a_table_is_for_people(stack: Stack, workspace_id: str) -> None:
    shown = await switchboard(stack, "workspace", "show", workspace_id)
    assert f"id: {workspace_id}\n" in shown.stdout
    listed = await switchboard(stack, "member", "list", workspace_id)
    heading, owner = listed.stdout.splitlines()
    assert heading.split() == ["user_id", "role", "email"]
    assert owner.split()[1] == "owner"
    await told(stack, "persona", "create", workspace_id, "demo", "Concierge")
    heading, persona = (await switchboard(stack, "persona", "list", workspace_id)).stdout.splitlines()
    assert (heading.split()[-1], persona.split()[-1]) == ("breaker.state", "closed")


async def test_members_come_and_go(stack: Stack, database: asyncpg.Connection, workspace_id: str) -> None:
    user_id, email = await _user(database)
    added = await told(stack, "member", "add", workspace_id, "--email", f" {email.upper()}")
    assert (added["user_id"], added["role"], added["email"]) == (str(user_id), "agent", email)
    assert added in await told(stack, "member", "list", workspace_id)
    promoted = await told(stack, "member", "add", workspace_id, "--user-id", str(user_id), "--role", "owner")
    assert promoted == {**added, "role": "owner"}
    assert promoted in await told(stack, "member", "list", workspace_id)
    first = next(item for item in await told(stack, "member", "list", workspace_id) if item["user_id"] != str(user_id))
    assert await told(stack, "member", "remove", workspace_id, first["user_id"]) == {"done": True}
    last = await switchboard(stack, "member", "remove", workspace_id, str(user_id))
    assert (last.returncode, last.stderr) == (4, "Error: A workspace keeps at least one owner. (last_owner)\n")


async def test_what_is_made_under_an_id_is_made_once(stack: Stack, workspace_id: str) -> None:
    chosen = ("--id", str(uuid4()))
    arguments = ("persona", "create", workspace_id, "demo", "Once", *chosen)
    assert await told(stack, *arguments) == await told(stack, *arguments)
    assert len(await told(stack, "persona", "list", workspace_id)) == 1


async def test_what_was_made_before_under_another_name_is_said_to_be(
    stack: Stack, database: asyncpg.Connection, tmp_path: Path
) -> None:
    _, email = await _user(database)
    ids = {noun: str(uuid4()) for noun in ("workspace", "persona", "space", "template")}
    file = tmp_path / "file.json"
    file.write_text('{"delay_ms": 0}')
    limits = ("--archive-status", "timeout", "--archive-status", "failed", "--session-timeout-hours", "0")
    made = {
        "workspace": ("create", "One", "--owner-email", email, *limits),
        "persona": ("create", ids["workspace"], "demo", "One", "--config", str(file), "--disable"),
        "space": ("create", ids["workspace"], "One", "--persona", ids["persona"], "--origin", "HTTPS://A.example:443"),
        "template": ("create", ids["workspace"], "One", "--workflow", "CHARTER", "--step", "understanding_request",
                     "--say", "Hello.", "--metadata", str(file), "--persona", ids["persona"]),
    }  # fmt: skip
    for noun, arguments in made.items():
        first, again = [await switchboard(stack, noun, *arguments, "--id", ids[noun]) for _ in range(2)]
        assert (first.returncode, first.stderr) == (0, ""), noun
        assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, ""), noun
        other = ["Two" if argument == "One" else argument for argument in arguments]
        named = await switchboard(stack, noun, *other, "--id", ids[noun])
        note = "Note: this was made before and stays as it is. It differs in: name.\n"
        assert (named.returncode, named.stdout, named.stderr) == (0, first.stdout, note), noun
    changed = await switchboard(
        stack, "space", *made["space"], "--origin", "https://b.example", "--disable", "--id", ids["space"]
    )
    assert changed.stderr.endswith("It differs in: allowed_origins, enabled.\n")


async def test_a_secret_is_read_from_standard_input_and_shown_to_nobody(
    stack: Stack, database: asyncpg.Connection, workspace_id: str
) -> None:
    made = await told(stack, "persona", "create", workspace_id, "demo", "One")
    kept = await switchboard(stack, "persona", "set-secret", made["id"], stdin="the secret\n")
    assert (kept.returncode, kept.stdout, kept.stderr) == (0, "Kept.\n", "")
    query = (
        "select v.decrypted_secret from public.personas p join vault.decrypted_secrets v on v.id = p.secret_id "
        "where p.id = $1"
    )
    assert await database.fetchval(query, UUID(made["id"])) == "the secret"
    assert (await told(stack, "persona", "list", workspace_id))[0]["has_secret"] is True
    refused = await switchboard(stack, "persona", "set-secret", made["id"], "on the command line", stdin="x")
    assert refused.returncode == 2
    empty = await switchboard(stack, "persona", "set-secret", made["id"], stdin="")
    assert empty.returncode == 2
    assert empty.stderr.startswith("Error: secret: ")
    await told(stack, "persona", "set-secret", made["id"], "--remove")
    assert await database.fetchval(query, UUID(made["id"])) is None


async def test_at_a_terminal_a_secret_is_asked_for_and_not_echoed(
    stack: Stack, database: asyncpg.Connection, workspace_id: str
) -> None:
    made = await told(stack, "persona", "create", workspace_id, "demo", "One")

    def typed() -> tuple[int, str]:
        shown = b""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(REPOSITORY)
            arguments = [sys.executable, "-m", "cli", "persona", "set-secret", made["id"]]
            os.execve(sys.executable, arguments, _environment(stack))  # noqa: S606
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
    row = await database.fetchrow("select secret_id from public.personas where id = $1", UUID(made["id"]))
    assert row is not None
    assert row["secret_id"] is not None


@pytest.mark.parametrize(("noun", "command"), [("space", "rotate-hmac-secret"), ("persona", "rotate-callback-secret")])
async def test_a_rotated_secret_is_printed_this_once(
    stack: Stack, database: asyncpg.Connection, workspace_id: str, noun: str, command: str
) -> None:
    made = await told(stack, "persona", "create", workspace_id, "demo", "One")
    if noun == "space":
        made = await told(stack, "space", "create", workspace_id, "One", "--persona", made["id"])
    first, second = [
        (await told(stack, noun, command, made["id"], "--overlap-seconds", "60"))["secret"] for _ in range(2)
    ]
    assert first != second
    held = "select count(*) from vault.decrypted_secrets where decrypted_secret = any ($1)"
    assert await database.fetchval(held, [first, second]) == 2
    assert first not in json.dumps(await told(stack, noun, "list", workspace_id))
    await told(stack, noun, command, made["id"], "--remove")
    assert await database.fetchval(held, [first, second]) == 0
    too_long = await switchboard(stack, noun, command, made["id"], "--overlap-seconds", "604801")
    assert (too_long.returncode, "overlap_seconds" in too_long.stderr) == (2, True)


async def test_what_is_deleted_is_gone_and_what_is_in_use_stays(
    stack: Stack, database: asyncpg.Connection, workspace_id: str
) -> None:
    persona = await told(stack, "persona", "create", workspace_id, "demo", "One")
    space = await told(stack, "space", "create", workspace_id, "One", "--persona", persona["id"])
    used = await switchboard(stack, "persona", "delete", persona["id"])
    assert (used.returncode, "(persona_in_use)" in used.stderr) == (4, True)
    await told(stack, "space", "delete", space["id"])
    await told(stack, "persona", "delete", persona["id"])
    again = await switchboard(stack, "persona", "delete", persona["id"])
    assert (again.returncode, "(persona_not_found)" in again.stderr) == (3, True)
    unnamed = await switchboard(stack, "workspace", "delete", workspace_id)
    misnamed = await switchboard(stack, "workspace", "delete", workspace_id, "--name", "By Command")
    assert (unnamed.returncode, misnamed.returncode, "(wrong_name)" in misnamed.stderr) == (2, 4, True)
    await told(stack, "workspace", "delete", workspace_id, "--name", "By command")
    left = await database.fetchval("select count(*) from public.audit_events where workspace_id = $1", workspace_id)
    assert left == 0


async def test_what_goes_wrong_is_a_sentence_and_an_exit_status(
    stack: Stack, database: asyncpg.Connection, workspace_id: str
) -> None:
    _, unconfirmed = await _user(database, confirmed=False)
    for arguments, status, said in (
        (("workspace", "show", str(uuid4())), 3, "There is no such workspace. (workspace_not_found)"),
        (("workspace", "show", "x"), 2, "'x' is not a valid UUID"),
        (("workspace", "create", "x"), 2, "Name the first owner"),
        (("workspace", "create", "x", "--owner-email", unconfirmed), 3, "(user_not_found)"),
        (("workspace", "update", workspace_id, "--archive-after-days", "0"), 2, "archive_after_days: "),
        (("member", "add", workspace_id), 2, "--email or by --user-id"),
        (("member", "add", workspace_id, "--email", unconfirmed), 3, "(user_not_found)"),
        (("persona", "create", workspace_id, "nobody", "x"), 2, f"kind: must be one of {', '.join(personas.kinds())}"),
        (("persona", "create", workspace_id, "n8n", "x"), 2, "config.url: "),
        (("space", "create", workspace_id, "x", "--persona", str(uuid4())), 3, "(persona_not_found)"),
        (("space", "list", str(uuid4())), 3, "(workspace_not_found)"),
    ):
        ran = await switchboard(stack, *arguments)
        assert (ran.returncode, ran.stdout) == (status, ""), (arguments, ran.stderr)
        assert said in ran.stderr, arguments
        assert "Traceback" not in ran.stderr


async def test_what_the_environment_lacks_is_named(stack: Stack, tmp_path: Path) -> None:
    cases: tuple[tuple[Changed, int, str], ...] = (
        ({"SUPABASE_SERVICE_ROLE_KEY": None}, 2, "SUPABASE_SERVICE_ROLE_KEY is not set"),
        ({"SUPABASE_URL": None}, 2, "SUPABASE_URL is not set"),
        ({"SUPABASE_SERVICE_ROLE_KEY": "a.b.c"}, 1, "the service key is not accepted"),
        ({"SUPABASE_SERVICE_ROLE_KEY": "sb_secret_wrong"}, 1, "the service key is not accepted"),
        ({"SUPABASE_SERVICE_ROLE_KEY": stack.anon_key}, 1, "the service key is not accepted"),
        ({"SUPABASE_URL": "http://127.0.0.1:9"}, 5, "The backend cannot be reached now."),
        ({"SUPABASE_URL": "no address"}, 2, "SUPABASE_URL is no address"),
    )
    for changed, status, said in cases:
        ran = await switchboard(stack, "workspace", "list", changed=changed)
        assert (ran.returncode, said in ran.stderr) == (status, True), (changed, ran.stderr)
        assert "Traceback" not in ran.stderr
    missing = await switchboard(stack, "workspace", "list", changed=alone(tmp_path / "none"))
    assert (missing.returncode, "make up" in missing.stderr) == (2, True)


async def test_the_settings_file_of_the_local_backend_is_enough(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("".join(f'{name}="{value}"\n' for name, value in stack.env.items()))
    ran = await switchboard(stack, "workspace", "list", changed=alone(file))
    assert (ran.returncode, "Demo" in ran.stdout) == (0, True), ran.stderr


@pytest.mark.parametrize("key", ["service_role_key", "secret_key"])
async def test_both_kinds_of_service_key_and_postgrest_itself_will_do(stack: Stack, key: str) -> None:
    ran = await switchboard(stack, "workspace", "list", changed={"SUPABASE_SERVICE_ROLE_KEY": getattr(stack, key)})
    assert ran.returncode == 0, ran.stderr
    direct = await switchboard(
        stack, "workspace", "list", changed={"SUPABASE_URL": None, "SUPABASE_REST_URL": stack.rest_url}
    )
    assert direct.returncode == 0, direct.stderr


def test_every_command_explains_itself_with_an_example() -> None:
    explained = 0
    for group in main.commands.values():
        assert isinstance(group, click.Group)
        for name, command in group.commands.items():
            assert f"\n    switchboard {group.name} {name}" in f"{command.help}"
            explained += 1
    assert explained == 32


async def test_contacts_are_resolved_listed_and_shown(stack: Stack, workspace_id: str, tmp_path: Path) -> None:
    unknown = await switchboard(stack, "contact", "resolve", workspace_id, "telegram:42")
    assert (unknown.returncode, "contact_not_found" in unknown.stderr) == (3, True)
    asked = ("contact", "resolve", workspace_id, "telegram:42", "email:ann@example.com", "--create")
    made = await told(stack, *asked, "--first-name", "Ann", "--verified-by", "telegram")
    assert {(one["kind"], one["verified_by"], one["asserted_by"]) for one in made["identities"]} == {
        ("telegram", "telegram", "service"),
        ("email", "telegram", "service"),
    }
    assert [one["id"] for one in await told(stack, "contact", "list", workspace_id, "--text", "ann")] == [made["id"]]
    group = await told(stack, "contact", "resolve", workspace_id, "discord:channel:7", "--create", "--title", "Crew")
    more = tmp_path / "more.json"
    more.write_text('{"seat": "window"}')
    joined = ("--group", group["id"], "--group-role", "guest", "--attributes", str(more))
    assert (await told(stack, *asked, *joined))["attributes"] == {"seat": "window"}
    participants = (await told(stack, "contact", "show", group["id"]))["participants"]
    assert [(one["contact_id"], one["role"]) for one in participants] == [(made["id"], "guest")]
    assert (await told(stack, "contact", "show", made["id"]))["identities"] == made["identities"]
    await told(stack, "contact", "resolve", workspace_id, "omi:u1", "--create")
    conflict = await switchboard(stack, "contact", "resolve", workspace_id, "telegram:42", "omi:u1")
    assert (conflict.returncode, made["id"] in conflict.stderr) == (4, True)
    wrong = await switchboard(stack, "contact", "resolve", workspace_id, "icq:1")
    assert (wrong.returncode, "platform must be one of" in wrong.stderr) == (2, True)


async def test_steps_are_added_listed_and_removed(stack: Stack, workspace_id: str) -> None:
    built_in = await told(stack, "transition", "list", workspace_id)
    assert built_in
    assert all(one["built_in"] for one in built_in)

    added = await told(stack, "transition", "add", workspace_id, "charter", "asking_back", "--from", "proposal_ready")
    assert (added.pop("created"), added["from_step"], added["to_step"]) == (True, "proposal_ready", "asking_back")
    again = await told(stack, "transition", "add", workspace_id, "charter", "asking_back", "--from", "proposal_ready")
    assert (again["created"], again["id"]) == (False, added["id"])
    first = await told(stack, "transition", "add", workspace_id, "refit", "measuring")
    assert first.get("from_step") is None
    ids = [one["id"] for one in await told(stack, "transition", "list", workspace_id)]
    assert ids == [*(one["id"] for one in built_in), added["id"], first["id"]]

    same = await switchboard(stack, "transition", "add", workspace_id, "charter", "here", "--from", "here")
    assert (same.returncode, "does not follow itself" in same.stderr) == (2, True)
    for one in (added, first):
        await told(stack, "transition", "remove", workspace_id, one["id"])
    gone = await switchboard(stack, "transition", "remove", workspace_id, built_in[0]["id"])
    assert (gone.returncode, "transition_not_found" in gone.stderr) == (3, True)
    assert await told(stack, "transition", "list", workspace_id) == built_in


async def test_templates_are_made_changed_listed_and_removed(stack: Stack, workspace_id: str) -> None:
    made = await told(stack, "template", "create", workspace_id, "Trip", "--say", "Hello.", "--say", "Where to?")
    assert made["first_messages"] == ["Hello.", "Where to?"]
    changed = await told(stack, "template", "update", made["id"], "--name", "Journey")
    assert changed == {**made, "name": "Journey"}
    assert await told(stack, "template", "list", workspace_id) == [changed]
    for half in (("--step", "first"), ("--workflow", "charter")):
        for command in (("template", "update", made["id"]), ("template", "create", workspace_id, "Half")):
            ran = await switchboard(stack, *command, *half)
            said = "Error: A workflow and its first step are given together. (invalid_body)\n"
            assert (ran.returncode, ran.stderr) == (2, said)
    no_step = await switchboard(stack, "template", "update", made["id"], "--workflow", "none", "--step", "first")
    assert (no_step.returncode, "step_not_allowed" in no_step.stderr) == (4, True)
    await told(stack, "template", "remove", made["id"])
    assert await told(stack, "template", "list", workspace_id) == []


async def test_a_template_keeps_all_that_a_command_says_until_it_is_taken_away(
    stack: Stack, workspace_id: str, tmp_path: Path
) -> None:
    persona = await told(stack, "persona", "create", workspace_id, "demo", "One")
    kept, state = tmp_path / "metadata.json", tmp_path / "state.json"
    kept.write_text('{"campaign": "spring"}')
    state.write_text('{"budget": 20000}')
    begins = ("--workflow", "charter", "--step", "understanding_request", "--workflow-state", str(state))
    says = ("--persona", persona["id"], "--metadata", str(kept), "--say", "Hello.")
    made = await told(stack, "template", "create", workspace_id, "Trip", *begins, *says)
    assert (made["metadata"], made["workflow_state"]) == ({"campaign": "spring"}, {"budget": 20_000})
    bare = await told(stack, "template", "update", made["id"], "--no-workflow", "--no-persona", "--no-first-messages")
    assert bare == {**made, "workflow": None, "workflow_step": None, "persona_id": None, "first_messages": []}


async def test_contacts_are_merged_and_parted_and_conflicts_listed(stack: Stack, workspace_id: str) -> None:
    made = [await told(stack, "contact", "resolve", workspace_id, f"omi:m{n}", "--create") for n in (1, 2)]
    ann, bob = (one["id"] for one in made)
    await switchboard(stack, "contact", "resolve", workspace_id, "omi:m1", "omi:m2", "--create")
    (conflict,) = await told(stack, "contact", "conflicts", workspace_id)
    assert {conflict["contact"]["id"], conflict["other_contact"]["id"]} == {ann, bob}

    said = await told(stack, "contact", "merge", bob, ann, "--preview")
    assert (said["into_id"], said["moves"]["identities"]) == (ann, 1)
    shown = await switchboard(stack, "contact", "merge", bob, ann, "--preview")
    assert 'identities: {"kind": "omi", "key": "m2"' in shown.stdout
    assert (await told(stack, "contact", "show", bob))["id"] == bob
    merge = await told(stack, "contact", "merge", bob, ann)
    assert (merge["contact_id"], merge["into_id"], merge["merged_by"]) == (bob, ann, None)
    assert [one["contact_id"] for one in (await told(stack, "contact", "show", ann))["merged"]] == [bob]
    moved = await switchboard(stack, "contact", "show", bob)
    assert (moved.returncode, ann in moved.stderr, "contact_merged" in moved.stderr) == (4, True, True)
    assert await told(stack, "contact", "conflicts", workspace_id) == []
    assert len(await told(stack, "contact", "conflicts", workspace_id, "--status", "merged")) == 1

    assert (await told(stack, "contact", "unmerge", bob))["undone_at"]
    assert (await told(stack, "contact", "show", bob))["id"] == bob
    again = await switchboard(stack, "contact", "unmerge", bob)
    assert (again.returncode, "not_merged" in again.stderr) == (4, True)
