"""Time from process start to the first answer of every function, on top of functions-framework with pydantic.

Every start is a new process, served as deploy/run.sh serves it, and gets one request: /healthz, or a real one on a
running stack. The baseline answers a constant of one pydantic model. Each round starts everything once, in an order
that rotates; "added" is the difference to the baseline of the same round.
"""

import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import click
import jwt

from bench import rounds, stacks
from bench.stacks import REPLAY_SPACE, Caller
from lib.routes import FUNCTIONS
from local.paths import REPOSITORY
from local.ports import free_port
from local.stack import Stack

BASELINE = "baseline"
_SOURCE = """
import functions_framework.aio
from pydantic import BaseModel

class Answer(BaseModel):
    status: str

@functions_framework.aio.http
async def baseline(request):
    return Answer(status="ok").model_dump()
"""


class Case(NamedTuple):
    """A function and its first request. `$new` in the body is another id each time; `until` begins the last line."""

    function: str
    words: str
    path: str = "/healthz"
    body: str = ""
    token: str = ""
    until: bytes = b""


Start = tuple[float, float]
"""Milliseconds until the first answer, and milliseconds of CPU of the function's processes."""


def cases(stack: Stack, model_url: str) -> list[Case]:
    """All that is measured. Raises ClickException when a function has no real request here."""
    owner, anyone, hello = Caller.member(stack), Caller(stack), '{"message": "Hello."}'
    register, chat = f"/space/{REPLAY_SPACE}/register", "/space/{}/chat/stream"
    arrived = anyone.post(register, {"email": f"{uuid4()}@example.com"})
    contact, recover = arrived["token"], f"/chat-sessions/{arrived['session']['id']}/recover"
    conversation_id = jwt.decode(contact, options={"verify_signature": False})["conversation_id"]
    model_space = stacks.add_model(stack, model_url)
    persona_id, later_space = stacks.add_persona(stack, "n8n", {"url": model_url, "mode": "async"})
    secret = owner.post(f"/personas/{persona_id}/callback-secret", {})["secret"]
    turn_id = anyone.post(chat.format(later_space), json.loads(hello))["turn_id"]
    delivery = json.dumps({"turnId": turn_id, "output": "Hello."})
    real = [
        Case("registration", "register", register, '{"email": "$new@example.com"}'),
        Case("chat", "answer of the demo persona", chat.format(REPLAY_SPACE), hello, until=b"event: delta"),
        Case("chat", "answer of a model", chat.format(model_space), hello, until=b"event: delta"),
        Case("sessions", "recover a session", recover, "{}", contact),
        Case("sessions", "list sessions", "/chat-sessions", "", owner.token),
        Case("conversations", "stream", f"/conversations/{conversation_id}/stream", "", contact, b"event: session"),
        Case("contacts", "list contacts", "/contacts", "", owner.token),
        Case("workspaces", "list workspaces", "/workspaces", "", owner.token),
        Case("webhooks", "deliver an answer", "/webhooks/n8n", delivery, secret),
        Case("memory", "list memories", "/memories", "", owner.token),
        Case("mcp", "list tools", "/mcp", '{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}', owner.token),
        Case("archive", "run", "/archive", "{}", stack.cron_secret),
        Case("worker", "run", "/worker", "{}", stack.cron_secret),
    ]
    if missing := set(FUNCTIONS) - {case.function for case in real}:
        raise click.ClickException(f"There is no real request for {', '.join(sorted(missing))}: add one.")
    return [*(Case(function, "health") for function in (BASELINE, *FUNCTIONS)), *real]


def start(case: Case, source: Path, env: Mapping[str, str]) -> Start:
    """Start a function and wait for its first answer. Raises ClickException when it is a refusal."""
    port = free_port()
    command = [sys.executable, "-m", "functions_framework", "--target", case.function, "--source", str(source)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=dict(env), cwd="/", stdout=log, stderr=log, start_new_session=True)
        try:
            wall = _answered(port, case, process) - started
            return wall * 1000, stacks.cpu_seconds(process.pid) * 1000
        except (OSError, http.client.HTTPException) as wrong:
            log.seek(0)
            raise click.ClickException(f"{case}: {wrong!r}\n{log.read().decode()[-2_000:]}") from wrong
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answered(port: int, case: Case, process: subprocess.Popen[bytes]) -> float:
    """The moment of the first answer. Raises OSError and HTTPException."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while connection.sock is None:
        try:
            connection.connect()
        except ConnectionRefusedError:
            if process.poll() is not None:
                raise
            time.sleep(0.002)
    headers = {"Content-Type": "application/json", "webhook-id": str(uuid4())}
    headers |= {"Authorization": f"Bearer {case.token}"} if case.token else {}
    body = case.body.replace("$new", str(uuid4())) or None
    connection.request("POST" if body else "GET", case.path, body, headers)
    with contextlib.closing(connection), connection.getresponse() as answer:
        lines = iter(answer.readline, b"") if case.until else iter([answer.read()])
        found = next((line for line in lines if line.startswith(case.until)), None)
        if answer.status >= 300 or not found:
            raise OSError(f"{answer.status} {found!r}")
        return time.perf_counter()


def measure(stack: Stack, asked: Sequence[Case], count: int) -> dict[Case, list[Start]]:
    """The starts of each case."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env = {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "FORWARDED_ALLOW_IPS": ""}
    found: dict[Case, list[Start]] = {case: [] for case in asked}
    with tempfile.TemporaryDirectory() as folder:
        baseline = Path(folder) / "main.py"
        baseline.write_text(_SOURCE)
        for counts, case in rounds.interleaved(asked, count):
            source = baseline if case.function == BASELINE else REPOSITORY / "functions" / case.function / "main.py"
            one = start(case, source, env | stack.functions_env)
            found[case].extend([one] if counts else [])
    return found


def rows(found: Mapping[Case, Sequence[Start]]) -> Iterator[list[str]]:
    """A row for each case: medians, and medians of the differences to the baseline, which comes first."""
    base = next(iter(found.values()))
    for case, starts in found.items():
        added = [[one[part] - other[part] for one, other in zip(starts, base, strict=True)] for part in range(2)]
        walls = rounds.spread([wall for wall, _ in starts], 0)
        yield [case.function, case.words, walls, *(f"{statistics.median(values):+.0f}" for values in added)]


@click.command(help=__doc__)
@click.option("--rounds", "count", default=9, show_default=True, type=click.IntRange(1))
@click.option("--only", multiple=True, default=FUNCTIONS, type=click.Choice(FUNCTIONS), help="The functions.")
def command(count: int, only: tuple[str, ...]) -> None:
    with stacks.server("model") as (_, model_url), stacks.own_stack() as stack:
        asked = [case for case in cases(stack, model_url) if case.function in (BASELINE, *only)]
        found = measure(stack, asked, count)
    rounds.show_table(("function", "first answer", "ms (least to most)", "added", "CPU ms added"), rows(found))
