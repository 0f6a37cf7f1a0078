"""What a function's process imports, in a fresh interpreter: nothing that its first answer could do without; and which
packages a module may import."""

import ast
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from lib.routes import FUNCTIONS
from local.paths import REPOSITORY

ALLOWED = {
    "pydantic": "bodies, settings and results are its models",
    "pydantic_core": "pydantic",
    "annotated_types": "pydantic",
    "typing_inspection": "pydantic",
    "asyncpg": "calls SQL functions",
    "tenacity": "repeats these calls",
    "uvicorn_worker": "serves; lib/http/app.py sets its HTTP parser",
    "uvicorn": "uvicorn_worker",
    "h11": "uvicorn; lib/http/header_timeout.py limits the time of its heads",
    "gunicorn": "uvicorn_worker",
    "packaging": "gunicorn",
}
"""By top-level package, beyond functions-framework; each with what it is for, or who brings it."""

EVERYWHERE = """
    auth auth.api_keys auth.callers auth.signing config database database.commands database.failures
    database.rate_limits database.refusals database.retries errors fields fields.emails fields.invisible
    fields.models http http.app http.binding http.cors http.header_timeout http.read_limits http.request_body log
    routes
"""
"""The modules of lib that every function imports."""

TURNS = """
    auth.client_info auth.proofs chat chat.events chat.stopping chat.turns fields.types http.sse outbound
    outbound.addresses personas personas.text
"""
DELIVERIES = """
    channels channels.handlers contacts contacts.erasure_jobs fields.external_refs jobs jobs.queue memory
    memory.embedders memory.embedding_jobs personas.failures providers providers.avinode webhooks
    webhooks.deliveries webhooks.event_sender webhooks.handlers workflow workflow.avinode workspaces
    workspaces.retention_jobs
"""
QUERIES = "database.management database.paging database.queries"
SESSIONS = "fields.external_refs sessions workflow workflow.quoting"
CONTACTS = "auth.client_info contacts fields.phones fields.types"
"""The modules that several functions import."""

BESIDES = {
    "archive": f"""
        {QUERIES} {SESSIONS} {TURNS} archive archive.archiver archive.archives archive.erasing archive.handlers
        archive.object_cleanup archive.store archive.sweep archive.transcripts database.copying exports
        exports.builder exports.exports exports.files exports.jobs exports.package exports.rows
        exports.transcript fields.tags fields.types jobs jobs.queue sessions.models workspaces
        workspaces.settings
    """,
    "chat": f"""
        {TURNS} chat.ag_ui chat.ai_sdk chat.protocols chat.turn_runner chat.turn_writer chat.whole_answer
        http.batch_queue http.static_files http.streaming memory memory.embedders memory.turn_recall
        personas.sanitizer workspaces workspaces.looks
    """,
    "contacts": f"""
        {CONTACTS} {QUERIES} chat chat.stopping contacts.contacts contacts.erasures contacts.merges contacts.timeline
        conversations conversations.follow_ups fields.identities fields.tags http.csv_pages workspaces
        workspaces.settings
    """,
    "conversations": f"""
        {TURNS} {SESSIONS} auth.stream_tickets conversations conversations.history conversations.reads conversations.hub
        conversations.presence
        conversations.stream conversations.tickets conversations.workspace_stream database.listening database.paging
        database.queries devices devices.session_links fields.tags http.batch_queue http.streaming sessions.models
    """,
    "mcp": "auth.client_info http.forwarded mcp mcp.messages",
    "memory": f"""
        {QUERIES} database.merge_targets fields.types memory memory.embedders memory.memories memory.recall
        memory.turn_memories
        workspaces workspaces.settings
    """,
    "registration": f"{CONTACTS} auth.proofs contacts.registration",
    "sessions": f"""
        {TURNS} {QUERIES} {SESSIONS} conversations conversations.follow_ups database.merge_targets fields.tags
        sessions.bulk
        sessions.models sessions.session_details sessions.session_lists sessions.session_readers sessions.sessions
        sessions.statistics sessions.takeovers
        workflow.workflow http.csv_pages
    """,
    "webhooks": f"{TURNS} {DELIVERIES} devices devices.transcripts",
    "worker": f"{TURNS} {DELIVERIES} {QUERIES} devices devices.transcripts jobs.jobs workspaces workspaces.settings",
    "workspaces": f"""
        {CONTACTS} {QUERIES} {SESSIONS} auth.proofs channels channels.connecting contacts.registration devices
        devices.device_links devices.device_sessions devices.session_links fields.identities jobs jobs.queue outbound
        outbound.addresses personas personas.text sessions.answer_templates sessions.session_templates webhooks
        webhooks.event_deliveries webhooks.event_sender webhooks.event_subscriptions webhooks.received
        workflow.workflow_transitions workspaces workspaces.api_keys workspaces.channels workspaces.invitations
        workspaces.looks workspaces.members workspaces.personas workspaces.secrets workspaces.health
        workspaces.retention workspaces.settings workspaces.spaces workspaces.turn_errors workspaces.workspaces
        fields.tags imports imports.batches imports.imports imports.items
    """,
}
"""All modules that a function imports besides."""

EDGE = {"auth", "database", "fields", "http", "outbound"}
"""The packages of lib between the domain and the outside; every other package is the domain's."""

POSTGREST = """
    certifi h11 h2 hpack httpcore httpx hyperframe idna multidict postgrest propcache pygments rich yarl
"""
"""The client of PostgREST and what it imports; pygments and rich are for the command line of httpx."""

AIOHTTP = "aiohappyeyeballs aiohttp aiosignal attr frozenlist idna multidict propcache yarl"
"""aiohttp and what it imports."""

MCP = "mcp mcp_types httpx2 idna opentelemetry sse_starlette cryptography"
"""The Model Context Protocol's package and what it imports."""

LATER = {
    "a token of ours": (
        "callers.contact_token(*[UUID(int=1)] * 3, 'verified', UUID(int=4), datetime.now())",
        set(),
    ),
    "an email": ("emails.parse('ana@example.com')", {"email_validator", "idna"}),
    "the demo persona": ("personas.find('demo')", set()),
    "a run of an agent": (
        "importlib.import_module('lib.chat.ag_ui').read({'runId': 'r', 'threadId': 't', 'messages': [{'id': 'm', "
        "'role': 'user', 'content': 'hello'}]}, callers.Anonymous())",
        {"ag_ui"},
    ),
    "a call out": ("personas.find('n8n')", set(AIOHTTP.split())),
    "a query": ("importlib.import_module('lib.database.queries').connect('http:', '')", set(POSTGREST.split())),
    "tools for a program": ("importlib.import_module('lib.mcp.server')", set(MCP.split())),
    "a token that is shown": ("importlib.import_module('lib.auth.tokens')", {"jwt", "cryptography"}),
}
"""What a step that not every request takes may import besides."""

_SCRIPT = """
import asyncio, importlib, json, sys
from datetime import datetime
from uuid import UUID

def packages():
    names = {name.partition(".")[0] for name, module in sys.modules.items() if getattr(module, "__spec__", None)}
    ours = {"lib", "functions", "main", "__main__"}
    return sorted(name for name in names - set(sys.stdlib_module_names) - ours if not name.startswith("_"))

def modules():
    return sorted(name.removeprefix("lib.") for name in sys.modules if name.startswith("lib."))

import functions_framework.aio
found = {"framework": packages()}
name, source, step = sys.argv[1:]
app = functions_framework.aio.create_asgi_app(name, source, "http")
found["function"], found["modules"] = packages(), modules()

async def request():
    sent = []
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        sent.append(message)
    await app({"type": "http", "method": "GET", "path": "/healthz", "raw_path": b"/healthz", "query_string": b"",
               "headers": [], "scheme": "http", "http_version": "1.1", "client": None, "server": None}, receive, send)
    return sent[0]["status"]

found["status"] = asyncio.run(request())
found["healthz"], found["modules after healthz"] = packages(), modules()
if step:
    from lib import personas
    from lib.auth import callers
    from lib.fields import emails
    eval(step)
    found["step"] = packages()
print(json.dumps(found))
"""


def imported(function: str, step: str = "") -> Mapping[str, Any]:
    """What is imported when, in a process of its own."""
    source = REPOSITORY / "functions" / function / "main.py"
    command = [sys.executable, "-c", _SCRIPT, function, str(source), step]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_imports_what_it_needs_and_nothing_else(function: str) -> None:
    found = imported(function)
    assert found["status"] == 200
    assert set(found["function"]) - set(found["framework"]) == set(ALLOWED) - set(found["framework"])
    assert set(found["healthz"]) == set(found["function"])
    assert set(found["modules"]) == {*EVERYWHERE.split(), *BESIDES[function].split()}
    assert found["modules after healthz"] == found["modules"]


@pytest.mark.parametrize("step", sorted(LATER))
def test_a_step_of_few_requests_imports_its_packages_itself(step: str) -> None:
    source, allowed = LATER[step]
    found = imported("chat", source)
    assert set(found["step"]) - set(found["healthz"]) == allowed - set(found["healthz"])
    assert not set(found["framework"]) & {"jwt", "cryptography", "aiohttp", "postgrest", "email_validator"}


def test_models_are_built_when_they_are_first_used() -> None:
    """Building all of them was a third of a function's start, and a request uses a few."""
    names = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in _sources()]
    for name in names:
        importlib.import_module(name.removesuffix(".__init__"))
    models = [model for model in _models(BaseModel) if model.__module__.startswith(("lib.", "functions."))]
    assert {model.__module__.partition(".")[0] for model in models} == {"lib", "functions"}
    built = [model for model in models if not model.model_config.get("defer_build")]
    assert [f"{model.__module__}.{model.__name__}" for model in built] == []


def test_dependencies_run_one_way() -> None:
    """The functions and lib do without the tools, the domain without HTTP requests, and the edge without the domain."""
    packages = {path.parent.name for path in (REPOSITORY / "lib").glob("*/__init__.py")}
    domain = {f"lib.{name}" for name in packages - EDGE}
    wrong = []
    for path in _sources():
        forbidden = {"bench", "cli", "local", "tests", "web"}
        if path.is_relative_to(REPOSITORY / "lib"):
            forbidden |= {"functions"}
            forbidden |= {"starlette"} if path.parent.name in packages - EDGE else set()
            forbidden |= domain if path.parent.name in EDGE else set()
        found = _imports(path) & forbidden
        wrong += [f"{path.relative_to(REPOSITORY)} imports {package}" for package in sorted(found)]
    assert wrong == []


def _imports(path: Path) -> set[str]:
    """The packages that a module imports anywhere: those at the top level, and those of lib."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.partition(".")[0] for name in names} | {".".join(name.split(".")[:2]) for name in names}


def _sources() -> Iterator[Path]:
    for folder in ("lib", "functions"):
        yield from (REPOSITORY / folder).rglob("*.py")


def _models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _models(model)
