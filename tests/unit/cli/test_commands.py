"""The operators' commands without a backend: their options, contradictions among them, and where the key is sent."""

import asyncio
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result
from pydantic import BaseModel

from cli.__main__ import main
from lib.channels import connecting
from lib.contacts import contacts, merges
from lib.database.paging import NewestPageRequest
from lib.devices import device_links, device_sessions
from lib.fields.models import PartialUpdate
from lib.imports.items import ImportRequest
from lib.jobs import jobs
from lib.memory import memories, recall
from lib.sessions import answer_templates, models, session_templates, statistics
from lib.webhooks import event_deliveries, event_subscriptions
from lib.workflow import workflow_transitions
from lib.workspaces import (
    api_keys,
    channels,
    invitations,
    members,
    personas,
    retention,
    spaces,
    turn_errors,
    workspaces,
)
from lib.workspaces.secrets import GivenSecret, Rotation

Typed = Callable[..., Result]

ID = "01a1fe15-0000-7000-8000-000000000001"

BODIES: dict[str, type[BaseModel]] = {
    "workspace create": workspaces.NewWorkspace,
    "workspace update": workspaces.WorkspaceChanges,
    "workspace allow-networks": workspaces.AllowedNetworks,
    "turn errors": turn_errors.TurnErrorsRequest,
    "conversation messages": NewestPageRequest,
    "member add": members.NewMember,
    "member add --email": invitations.NewInvitation,  # at once: an operator needs no invitation
    "member add --user-id": members.RoleGrant,
    "api-key create": api_keys.NewApiKey,
    "space create": spaces.NewSpace,
    "space update": spaces.SpaceChanges,
    "space rotate-hmac-secret": Rotation,
    "persona create": personas.NewPersona,
    "persona update": personas.PersonaChanges,
    "persona set-secret": GivenSecret,
    "persona rotate-callback-secret": Rotation,
    "channel create": channels.NewChannel,
    "channel update": channels.ChannelChanges,
    "channel set-verify-secret": GivenSecret,
    "channel rotate-verify-secret": Rotation,
    "channel set-token": GivenSecret,
    "channel connect": connecting.ConnectRequest,
    "channel test": connecting.TestMessage,
    "template create": session_templates.NewTemplate,
    "template update": session_templates.TemplateChanges,
    "answer-template create": answer_templates.NewAnswerTemplate,
    "answer-template update": answer_templates.AnswerTemplateChanges,
    "transition add": workflow_transitions.NewTransition,
    "device issue": device_sessions.NewDeviceSession,
    "device transfer": device_sessions.DeviceSessionTransfer,
    "device link": device_links.NewDeviceLink,
    "device verify": device_links.DeviceLinkChange,
    "device revoke": device_links.DeviceLinkChange,
    "contact create": contacts.NewContact,
    "contact update": contacts.ContactChanges,
    "contact tag": contacts.NamedTag,
    "contact resolve": contacts.ResolveRequest,
    "contact merge": merges.MergeRequest,
    "session show": models.MessagePageRequest,
    "job list": jobs.JobsRequest,
    "event-subscription create": event_subscriptions.NewEventSubscription,
    "event-subscription update": event_subscriptions.EventSubscriptionChanges,
    "event-subscription rotate-secret": Rotation,
    "event-delivery list": event_deliveries.DeliveriesRequest,
    "session cancel": models.StatusReason,
    "memory remember": memories.RememberRequest,
    "memory remember CONTENT": memories.NewMemory,
    "memory recall": recall.RecallRequest,
    "memory list": memories.MemoryFilter,
    "session tag": contacts.NamedTag,
    "session cleanup": models.CleanupRequest,
    "session stats": statistics.StatisticsQuery,
    "workspace retention": retention.RetentionSettings,
}

SAID_OTHERWISE = {
    "device verify": {"status"},  # by the command
    "device revoke": {"status"},
    "persona set-secret": {"secret"},  # on standard input
    "channel set-verify-secret": {"secret"},
    "channel set-token": {"secret"},
    "contact create": {"evidence"},  # by --verified-by
    "contact update": {"evidence"},
    "contact resolve": {"platform", "platform_id", "evidence"},  # as platform:id; by --verified-by
    "memory remember": {"memories"},  # by its content and options
    "session stats": {"first", "last"},  # by --from and --to
}


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Runs a command where there is no backend: what is not refused before it is asked exits with 5."""
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "key")
    monkeypatch.delenv("SUPABASE_REST_URL", raising=False)

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, arguments, stdin)

    return run


def members_of(typed_as: str) -> set[str]:
    """What a command's arguments and options are about."""
    noun, verb, *_ = typed_as.split()
    group = main.commands[noun]
    assert isinstance(group, click.Group)
    return {parameter.name or "" for parameter in group.commands[verb].params}


def test_every_command_can_print_json() -> None:
    groups = [command for command in main.commands.values() if isinstance(command, click.Group)]
    commands = [command for group in groups for command in group.commands.values()]
    commands += [command for command in main.commands.values() if command not in groups]
    assert len(commands) > 50
    assert [command.name for command in commands if "as_json" not in {option.name for option in command.params}] == []


@pytest.mark.parametrize("typed_as", BODIES)
def test_a_command_has_an_option_for_every_member_of_its_route(typed_as: str) -> None:
    fields = set(BODIES[typed_as].model_fields) - SAID_OTHERWISE.get(typed_as, set())
    assert fields - members_of(typed_as) == set()


@pytest.mark.parametrize("typed_as", [name for name in BODIES if name.endswith(" update")])
def test_a_command_can_remove_everything_that_its_route_can(typed_as: str) -> None:
    body = BODIES[typed_as]
    assert issubclass(body, PartialUpdate)
    lists = {name for name, field in body.model_fields.items() if "tuple" in str(field.annotation)}
    taken_away = {f"no_{name}" for name in body.nullable | lists}
    # A workflow goes with its step; identities are removed one by one; a subscription is to one type at least.
    taken_away -= {"no_workflow_step", "no_add_identities", "no_remove_identities", "no_event_types"}
    assert taken_away - members_of(typed_as) == set()


def test_every_body_that_managing_takes_has_a_command() -> None:
    bindings = importlib.import_module("functions.workspaces.main")._serve.bindings
    read = {taken.type for bound in bindings for taken in bound.parameters if taken.source == "body"} - {
        Rotation,
        ImportRequest,
    }  # of a file
    assert len(read) > 10
    assert read - set(BODIES.values()) == set()


@pytest.mark.parametrize(
    ("functions", "model", "status", "said"),
    [
        ("", (), 2, "SWITCHBOARD_EMBEDDINGS is not set"),
        ("none", (), 2, "no embedder"),
        ("local", ("--model", "all-minilm"), 2, "the functions' embedder is all-MiniLM-L6-v2"),
        ("https://models.test/v1", ("--model", "all-MiniLM-L6-v2"), 2, "the functions' embedder is small"),
        ("https://models.test/v1", ("--model", "small"), 5, "cannot be reached"),
        ("local", (), 5, "cannot be reached"),
    ],
)
def test_no_vectors_are_asked_of_a_model_that_the_functions_do_not_have(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, functions: str, model: tuple[str, ...], status: int, said: str
) -> None:
    monkeypatch.setenv("SWITCHBOARD_EMBEDDINGS", functions)
    monkeypatch.setenv("SWITCHBOARD_EMBEDDINGS_MODEL", "small")
    ran = typed("memory", "embed", ID, *model)
    assert (ran.exit_code, said in ran.stderr) == (status, True), ran.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (f"space rotate-hmac-secret {ID} --remove --overlap-seconds 5", "Either --overlap-seconds or --remove."),
        (f"persona rotate-callback-secret {ID} --remove --overlap-seconds 0", "Either --overlap-seconds or --remove."),
        (f"contact resolve {ID} omi:u1 --first-name Ann", "--first-name needs --create"),
        (f"contact resolve {ID} omi:u1 --verified-by omi", "--verified-by needs --create"),
        (f"contact resolve {ID} omi:u1 --group {ID}", "--group needs --create"),
        (f"workspace create x --owner-id {ID} --owner-email a@example.com", "not by both"),
        (f"member add {ID} --user-id {ID} --email a@example.com", "--email or by --user-id"),
        (f"member add {ID} --user-id {ID} --create-user", "--create-user needs --email"),
        (f"workspace create x --owner-id {ID} --create-user", "--create-user needs --owner-email"),
        *(
            (f"{command} {one} {other}", f"Either {one.split()[0]} or {other}.")
            for command, one, other in (
                (f"contact list {ID}", f"--session {ID}", "--no-session"),
                (f"contact update {ID}", "--source x", "--no-source"),
                (f"space update {ID}", "--origin *", "--no-origins"),
                (f"template update {ID}", f"--persona {ID}", "--no-persona"),
                (f"template update {ID}", "--workflow x", "--no-workflow"),
                (f"template update {ID}", "--step x", "--no-workflow"),
                (f"template update {ID}", "--say x", "--no-first-messages"),
                (f"workspace update {ID}", "--archive-status failed", "--no-archive-statuses"),
                (f"workspace update {ID}", "--session-timeout-hours 0", "--instance-session-timeout"),
            )
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(typed: Typed, arguments: str, said: str) -> None:
    ran = typed(*arguments.split())
    assert (ran.exit_code, said in ran.stderr) == (2, True), ran.stderr


@pytest.mark.parametrize(
    "command",
    [
        f"template update {ID} --metadata -",
        f"template update {ID} --workflow-state -",
        f"persona update {ID} --config -",
        f"space update {ID} --look -",
        f"contact resolve {ID} omi:u1 --create --attributes -",
    ],
)
def test_a_file_of_json_is_an_object(typed: Typed, command: str) -> None:
    for content in ("", "[1]", '{"a": NaN}'):
        wrong = typed(*command.split(), stdin=content)
        assert (wrong.exit_code, "is no JSON object" in wrong.stderr) == (2, True), wrong.stderr


def test_a_file_of_json_and_a_settings_file_may_begin_with_a_byte_order_mark(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "env"
    file.write_text("API_URL=http://127.0.0.1:9\nREST_URL=http://127.0.0.1:9\nSERVICE_ROLE_KEY=key\n", "utf-8-sig")
    monkeypatch.setenv("SWITCHBOARD_ENV_FILE", str(file))
    assert "cannot be reached" in typed("persona", "update", ID, "--config", "-", stdin='\ufeff{"delay_ms": 0}').stderr


def test_a_picture_is_an_image_by_its_content(typed: Typed) -> None:
    for content, said in (("<svg/>", "is no PNG, JPEG or WebP image"), ("RIFF", "cannot be reached")):
        assert said in typed("persona", "update", ID, "--picture", "-", stdin=content).stderr


@pytest.mark.parametrize(("key", "bearer"), [("a.b.c", "Bearer a.b.c"), ("sb_secret_key", None)])
async def test_a_key_is_sent_in_its_headers_and_not_after_a_redirect(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, key: str, bearer: str | None
) -> None:
    asked = set()

    async def answer(request: web.Request) -> web.Response:
        asked.add(request.path)
        assert (request.headers["apikey"], request.headers.get("Authorization")) == (key, bearer)
        if request.path.endswith("create_workspace"):
            return web.json_response({"code": "PT404", "message": "user_not_found"}, status=404)
        raise web.HTTPTemporaryRedirect("/elsewhere")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(application, host="127.0.0.1") as server:
        monkeypatch.setenv("SUPABASE_URL", str(server.make_url("/")))
        monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", key)
        create = "workspace create x --owner-email a@example.com --create-user"
        for arguments in ("workspace list", f"space delete {ID}", create):
            ran = await asyncio.to_thread(typed, *arguments.split())
            assert ran.exit_code == 1, ran.output
    rpc = {f"/rest/v1/rpc/{name}" for name in ("delete_space", "create_workspace")}
    assert asked == {"/rest/v1/workspace_settings", *rpc, "/auth/v1/admin/users"}


def test_the_help_does_not_wait_for_the_client_of_supabase() -> None:
    script = "import sys, cli.__main__; sys.exit('supabase' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
