"""The operators' commands against the running stack."""

import asyncio
import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import click
import pytest

from cli.__main__ import main
from lib import personas
from local.paths import REPOSITORY
from local.stack import Stack
from tests.e2e.commands import Environment, Switchboard, alone, written
from tests.functions.conftest import free_accounts
from tests.standins import discord, telegram, whatsapp
from tests.standins.discord import Discord
from tests.standins.messenger import Fault, MessengerApi
from tests.standins.telegram import Telegram
from tests.standins.whatsapp import WhatsApp


@pytest.fixture
async def unconfirmed(database: asyncpg.Connection) -> str:
    """The email of a user who has not confirmed it."""
    email = f"{uuid4()}@people.test"
    await database.execute("insert into auth.users (id, email) values ($1, $2)", uuid4(), email)
    return email


@pytest.fixture
async def persona(cli: Switchboard, workspace: str) -> dict[str, Any]:
    """A persona of the workspace."""
    made: dict[str, Any] = await cli.told(f"persona create {workspace} demo One")
    return made


async def test_from_nothing_to_a_chat(
    cli: Switchboard, stack: Stack, database: asyncpg.Connection, tmp_path: Path
) -> None:
    email = f"{uuid4()}@people.test"
    create = f"workspace create 'Example Travel' --owner-email ' {email.upper()}'"
    await cli.fails(create, 3, "(user_not_found)")
    workspace = (await cli.told(f"{create} --create-user"))["id"]
    config = written(tmp_path, "config.json", {"delay_ms": 0})
    made = await cli.told(f"persona create {workspace} demo Concierge --config {config}")
    origin = "https://www.example.com"
    space = await cli.told(f"space create {workspace} Website --persona {made['id']} --origin {origin}")
    assert (made["config"], space["allowed_origins"]) == ({"delay_ms": 0}, [origin])
    (owner,) = await cli.told(f"member list {workspace}")
    assert (owner["email"], owner["role"]) == (email, "owner")
    path = f"{stack.api_url}/space/{space['id']}/chat/stream"
    async with aiohttp.ClientSession() as http, http.post(path, json={"message": "Hello!"}) as answer:
        assert (answer.status, "event: done" in await answer.text()) == (200, True)
    audit = await database.fetch(
        "select verb, actor_id from public.audit_events where workspace_id = $1::text::uuid order by verb", workspace
    )
    verbs = [(row["verb"], row["actor_id"]) for row in audit if not row["verb"].startswith("contact.")]
    assert verbs == [(verb, None) for verb in ("member.added", "persona.created", "space.created", "workspace.created")]


async def test_events_are_subscribed_to_and_dead_jobs_discarded(
    cli: Switchboard, database: asyncpg.Connection, workspace: str
) -> None:
    url = "http://127.0.0.1:9/events"
    created = await cli.told(
        f"event-subscription create {workspace} {url} --type message.created --type contact.merged"
    )
    made = {name: value for name, value in created.items() if name != "secret"}
    noun = "event-subscription"
    assert (created["secret"][:6], await cli.told(f"{noun} list {workspace}")) == ("whsec_", [made])
    assert (await cli.told(f"{noun} rotate-secret {made['id']} --overlap-seconds 0"))["secret"] != created["secret"]
    queued = await cli.told(f"{noun} test {made['id']}")
    (sent,) = (await cli.told(f"event-delivery list {made['id']}"))["items"]
    assert (sent["id"], sent["type"]) == (queued["delivery_id"], "subscription.test")
    assert await cli.told(f"event-delivery replay {sent['id']}") == queued
    off = await cli.told(f"{noun} update {made['id']} --disable --type message.created")
    assert (off["disabled_reason"], off["event_types"]) == ("member", ["message.created"])

    found = (await cli.told(f"job list {workspace} --kind deliver_event"))["items"]
    assert [job["id"] for job in found] == [queued["job_id"]]
    await cli.fails(f"{noun} create {workspace} ftp://x --type x", 2, "url: ")
    assert await cli.told(f"{noun} delete {made['id']}") == {"done": True}
    dead = await database.fetchval(
        "insert into public.jobs (workspace_id, kind, status, finished_at) values ($1, 'x', 'dead', now())"
        " returning id::text",
        workspace,
    )
    assert (await cli.told(f"job show {dead}"))["status"] == "dead"
    for verb, status in (("discard", "discarded"), ("replay", "queued")):
        assert (await cli.told(f"job {verb} {dead}"))["status"] == status
    await cli.fails(f"job discard {uuid4()}", 3, "(job_not_found)")


async def test_members_are_added_promoted_and_removed(cli: Switchboard, workspace: str) -> None:
    email, add = f"{uuid4()}@people.test", f"member add {workspace}"
    created = await cli.told(f"{add} --create-user --email ' {email.upper()}'")
    assert (created["role"], created["email"]) == ("agent", email)
    assert await cli.told(f"{add} --email {email}") == created
    promoted = await cli.told(f"{add} --user-id {created['user_id']} --role owner")
    assert promoted == {**created, "role": "owner"}
    (first,) = [member for member in await cli.told(f"member list {workspace}") if member != promoted]
    assert await cli.told(f"member remove {workspace} {first['user_id']}") == {"done": True}
    assert await cli.told(f"member list {workspace}") == [promoted]


async def test_a_user_is_created_only_where_nothing_else_is_missing(
    cli: Switchboard, stack: Stack, database: asyncpg.Connection, workspace: str, unconfirmed: str
) -> None:
    email, option = f"{uuid4()}@people.test", "--create-user --email"
    postgrest = {"SUPABASE_URL": None, "SUPABASE_REST_URL": stack.rest_url}
    await cli.fails(f"member add {workspace} {option} {unconfirmed}", 3, "(user_not_found)")
    await cli.fails(f"member add {uuid4()} {option} {email}", 3, "(workspace_not_found)")
    await cli.fails(f"member add {workspace} {option} {email}", 1, "Supabase Auth created no user", changed=postgrest)
    users = "select email, email_confirmed_at from auth.users where email = any ($1)"
    assert [tuple(user) for user in await database.fetch(users, [email, unconfirmed])] == [(unconfirmed, None)]
    secret_key: Environment = {"SUPABASE_SERVICE_ROLE_KEY": stack.secret_key}
    assert (await cli.run(f"member add {workspace} {option} {email}", changed=secret_key)).exit_code == 0


async def test_settings_are_changed_one_by_one_and_shown(cli: Switchboard, workspace: str) -> None:
    shown = await cli.told(f"workspace show {workspace}")
    for options, changes in (
        ("--archive-after-days 30 --archive-retention drop", {"archive_after_days": 30, "archive_retention": "drop"}),
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
    other = await cli.told(f"persona create {workspace} demo Two --fallback {made['id']}")
    options = "--turn-policy interrupt --disable --collect-seconds 2 --recall-limit 5 --remember-turns"
    updated = await cli.told(f"persona update {made['id']} {options}")
    memory = {"recall_limit": 5, "remember_turns": True}
    assert updated == {**made, "turn_policy": "interrupt", "enabled": False, "collect_seconds": 2, **memory}
    cleared = await cli.told(f"persona update {other['id']} --no-fallback")
    assert {**other, "fallback_persona_id": None} == cleared != other
    assert await cli.told(f"persona list {workspace}") == [updated, cleared]

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


async def test_a_creation_that_is_repeated_changes_nothing_and_names_what_differs(
    cli: Switchboard, tmp_path: Path
) -> None:
    ids = {noun: str(uuid4()) for noun in ("workspace", "persona", "space", "template")}
    workspace, persona = ids["workspace"], ids["persona"]
    file = written(tmp_path, "file.json", {"delay_ms": 0})
    limits = "--archive-status timeout --archive-status failed --session-timeout-hours 0"
    made = {
        "workspace": f"create One --owner-email {uuid4()}@people.test --create-user {limits}",
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
    environment = {name: value for name, value in {**os.environ, **cli.environment}.items() if value is not None}

    def typed() -> tuple[int, bytes]:
        shown = b""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(REPOSITORY)
            arguments = [sys.executable, "-m", "cli", "persona", "set-secret", persona["id"]]
            os.execve(sys.executable, arguments, environment)  # noqa: S606
        with contextlib.suppress(OSError):  # the terminal of a process that has ended
            while True:
                shown += os.read(terminal, 1024)
                if shown.endswith(b": "):
                    os.write(terminal, b"typed secret\n")
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown

    status, shown = await asyncio.to_thread(typed)
    assert (status, b"Kept." in shown, b"typed secret" in shown) == (0, True, False)
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


async def test_spaces_personas_and_workspaces_are_deleted(
    cli: Switchboard, workspace: str, persona: dict[str, Any]
) -> None:
    space = await cli.told(f"space create {workspace} One --persona {persona['id']}")
    await cli.fails(f"persona delete {persona['id']}", 4, "(persona_in_use)")
    for noun, deleted in (("space", space), ("persona", persona)):
        await cli.told(f"{noun} delete {deleted['id']}")
        assert await cli.told(f"{noun} list {workspace}") == []
    await cli.told(f"workspace delete {workspace} --name 'By command'")
    await cli.fails(f"workspace show {workspace}", 3, "(workspace_not_found)")


async def test_a_failure_is_a_sentence_and_an_exit_status(
    cli: Switchboard, workspace: str, persona: dict[str, Any], unconfirmed: str
) -> None:
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
        (f"space rotate-hmac-secret {uuid4()} --overlap-seconds 604801", 2, "overlap_seconds"),
        (f"contact resolve {workspace} telegram:42 --kind person", 3, "(contact_not_found)"),
        (f"contact resolve {workspace} icq:1", 2, "platform must be one of"),
        (f"transition add {workspace} charter here --from here", 2, "does not follow itself"),
        (f"template create {workspace} Half --step first", 2, "A workflow and its first step"),
        (f"template create {workspace} Half --workflow none --step first", 4, "(step_not_allowed)"),
        (f"workspace delete {workspace}", 2, "Missing option '--name'"),
        (f"workspace delete {workspace} --name 'By Command'", 4, "(wrong_name)"),
        (f"persona delete {uuid4()}", 3, "(persona_not_found)"),
        (f"persona set-secret {persona['id']} 'on the command line'", 2, "unexpected extra argument"),
        (f"persona set-secret {persona['id']}", 2, "Error: secret: "),
    ):
        await cli.fails(command, status, said)


async def test_a_missing_or_wrong_setting_is_named(cli: Switchboard, stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("".join(f'{name}="{value}"\n' for name, value in stack.env.items()))
    cases: tuple[tuple[Environment, int, str], ...] = (
        ({"SUPABASE_SERVICE_ROLE_KEY": stack.secret_key}, 0, ""),
        ({"SUPABASE_URL": None, "SUPABASE_REST_URL": stack.rest_url}, 0, ""),
        (alone(file), 0, ""),
        ({"SUPABASE_SERVICE_ROLE_KEY": None}, 2, "SUPABASE_SERVICE_ROLE_KEY is not set"),
        ({"SUPABASE_URL": None}, 2, "SUPABASE_URL is not set"),
        ({"SUPABASE_SERVICE_ROLE_KEY": "a.b.c"}, 1, "the service key is not accepted"),
        ({"SUPABASE_SERVICE_ROLE_KEY": "sb_secret_wrong"}, 1, "the service key is not accepted"),
        ({"SUPABASE_SERVICE_ROLE_KEY": stack.anon_key}, 1, "the service key is not accepted"),
        ({"SUPABASE_URL": "http://127.0.0.1:9"}, 5, "The backend cannot be reached now."),
        ({"SUPABASE_URL": "http://localhost:port"}, 2, "SUPABASE_URL is not a URL"),
        ({"SUPABASE_REST_URL": "not a URL"}, 2, "SUPABASE_REST_URL is not a URL"),
        (alone(tmp_path / "none"), 2, "make up"),
    )
    create = f"workspace create x --owner-email {uuid4()}@people.test"
    for changed, status, said in cases:
        listed = await cli.run("workspace list", changed=changed)
        assert (listed.exit_code, "Demo" in listed.stdout, said in listed.stderr) == (status, not status, True), changed
        await cli.fails(create, status or 3, said or "(user_not_found)", changed=changed)


def test_every_command_explains_itself_with_an_example_as_the_installed_program_does() -> None:
    explained = 0
    for group in main.commands.values():
        commands = group.commands.values() if isinstance(group, click.Group) else (group,)
        for command in commands:
            typed = f"{group.name} {command.name}" if command is not group else group.name
            assert f"\n    switchboard {typed}" in f"{command.help}"
            explained += 1
    assert explained >= 47
    program = [sys.executable, "-m", "cli", "workspace", "list", "--help"]
    assert "switchboard workspace list" in subprocess.run(program, capture_output=True, text=True, check=True).stdout


async def test_a_user_is_created_and_gets_a_token_by_password(cli: Switchboard, stack: Stack, tmp_path: Path) -> None:
    email, password = f"{uuid4()}@people.test", "correct horse"
    user = await cli.told(f"user create {email} --password", stdin=f"{password}\n")
    assert user["email"] == email
    await cli.fails(f"user create {email}", 4, "(email_exists)")
    await cli.fails(f"token {email}", 4, "(invalid_credentials)", stdin="wrong")
    file = tmp_path / "env"
    file.write_text("".join(f'{name}="{value}"\n' for name, value in stack.env.items()))
    for token in (
        (await cli.run(f"token {email}", stdin=password)).stdout,
        (await cli.run("token owner@demo.test", changed=alone(file))).stdout,
    ):
        bearer = {"Authorization": f"Bearer {token.strip()}"}
        async with aiohttp.request("GET", f"{stack.api_url}/chat-sessions", headers=bearer) as listed:
            assert listed.status == 200
    assert (await cli.told(f"token {email}", stdin=password))["expires_in"] > 0


async def test_api_keys_are_created_listed_and_revoked(cli: Switchboard, stack: Stack, workspace: str) -> None:
    made = await cli.told(f"api-key create {workspace} n8n --role admin --expires-at 2999-01-01")
    headers = {"Authorization": f"Bearer {made.pop('secret')}"}
    async with aiohttp.ClientSession(stack.api_url, headers=headers) as machine:
        for expected in (200, 401):
            async with machine.get("/chat-sessions") as response:
                assert response.status == expected
            (listed,) = await cli.told(f"api-key list {workspace}")
            used = {name: listed.pop(name) for name in ("last_used_at", "revoked_at")}
            assert listed == {name: value for name, value in made.items() if name not in used}
            assert used["last_used_at"] is not None
            assert (used["revoked_at"] is None) == (expected == 200)
            await cli.told(f"api-key revoke {workspace} {made['id']}")


async def test_transitions_are_added_listed_and_removed(cli: Switchboard, workspace: str) -> None:
    built_in = await cli.told(f"transition list {workspace}")
    assert {one["built_in"] for one in built_in} == {True}
    add = f"transition add {workspace} charter asking_back --from proposal_ready"
    added, again = await cli.told(add), await cli.told(add)
    assert (added["created"], again) == (True, {**added, "created": False})
    assert (added["from_step"], added["to_step"]) == ("proposal_ready", "asking_back")
    first = await cli.told(f"transition add {workspace} refit measuring")
    assert first.get("from_step") is None
    listed = await cli.told(f"transition list {workspace}")
    assert [one["id"] for one in listed] == [one["id"] for one in (*built_in, added, first)]
    for one in (added, first):
        await cli.told(f"transition remove {workspace} {one['id']}")
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
    without: dict[str, Any] = {"workflow": None, "workflow_step": None, "persona_id": None, "first_messages": []}
    bare = {**made, "name": "Journey", **without}
    update = f"template update {made['id']} --name Journey --no-workflow --no-persona --no-first-messages"
    assert await cli.told(update) == bare
    assert await cli.told(f"template list {workspace}") == [bare]
    await cli.told(f"template remove {made['id']}")
    assert await cli.told(f"template list {workspace}") == []


@pytest.mark.parametrize(
    ("api", "token", "options", "set_up"),
    [
        (Telegram(), telegram.TOKEN, "--chat 42", ["getMe", "setWebhook", "sendMessage"]),
        (WhatsApp(), whatsapp.TOKEN, f"--external-id {whatsapp.NUMBER} --account 7 --chat 42",
         ["fields=display_phone_number,verified_name", "subscribed_apps", "messages"]),
        (Discord(), discord.TOKEN, "", ["@me", "commands", "@me"]),
    ],
    ids=["telegram", "whatsapp", "discord"],
)  # fmt: skip
async def test_a_channel_is_connected_by_one_command_that_can_be_repeated(
    cli: Switchboard, workspace: str, database: asyncpg.Connection, tmp_path: Path, api: MessengerApi, token: str,
    options: str, set_up: list[str],
) -> None:  # fmt: skip
    await free_accounts(database)
    kind = type(api).__name__.lower()
    secret = tmp_path / "secret"
    secret.write_text("the-app-secret\n")
    persona = (await cli.told(f"persona create {workspace} demo Guide"))["id"]
    await cli.told(f"workspace allow-networks {workspace} --network 127.0.0.0/8")
    async with api:
        connect = (
            f"channel connect {kind} {workspace} --persona {persona} --token-file - --url https://api.test/"
            f" --api-base {api.url} {options}" + (f" --app-secret-file {secret}" if kind == "whatsapp" else "")
        )
        first, again = [await cli.told(connect, stdin=f"{token}\n") for _ in range(2)]
        assert again == first | {"test_message_id": again["test_message_id"]}
        assert first["webhook_url"] == f"https://api.test/webhooks/{kind}/{first['channel_id']}"
        assert bool(first["verify_token"]) == (kind == "whatsapp")
        assert [re.split(r"[/?]", call.path)[-1] for call in api.received] == set_up * 2
        (channel,) = await cli.told(f"channel list {workspace}")
        assert (channel["has_token"], channel["has_verify_secret"], channel["persona_id"]) == (True, True, persona)
        key = (await cli.told(f"api-key create {workspace} Test --role admin"))["secret"]
        test = f"channel test {first['channel_id']} --url {cli.environment['SUPABASE_URL']} --token-file - --to 42000"
        assert (await cli.told(test, stdin=key))["outcome"] == "sent"
        api.faults += [Fault(400), Fault(401, {"description": "Unauthorized"})]
        assert (await cli.run(test, stdin=key)).exit_code == 1
        await cli.fails(connect, 2, "The provider says: 401", stdin="wrong")
    if kind == "telegram":
        asked = api.received[1].document
        assert (asked["url"], asked["allowed_updates"]) == (first["webhook_url"], ["message", "edited_message"])
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,256}", asked["secret_token"])


async def test_a_workspace_keeps_what_it_says_and_previews_what_would_go(cli: Switchboard, workspace: str) -> None:
    retention = f"workspace retention {workspace}"
    kept = await cli.told(f"{retention} --messages-days 365 --no-events-days")
    assert (kept["messages_days"], kept["events_days"], kept["raw_events_days"]) == (365, None, 30)
    assert await cli.told(retention) == kept
    assert (await cli.told(f"{retention} --audit-days 1 --preview"))["places"]["audit"]["rows"] == 0
    await cli.fails(f"{retention} --raw-events-days 1", 2, "raw_events_days")
