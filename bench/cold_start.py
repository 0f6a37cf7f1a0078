"""From process start to the first answer, for every function, beside functions-framework alone and with pydantic.

    python -m bench.cold_start [--rounds 9] [--uncompiled] [--imports]

Every start is a new process, served as deploy/run.sh serves it, and gets one request: `/healthz`, or the function's
real one on a stack that runs for it. The database is reached through PostgREST, as where starts are cold. The two
baselines answer a constant; one of them has a pydantic model. Each round starts everything once, in another order; what
is added is each round's difference to its pydantic baseline. On a machine with other work CPU time is what compares.
"""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import click
import jwt

from lib.routes import FUNCTIONS
from local.paths import REPOSITORY
from local.ports import free_port
from local.stack import Stack, start_stack

REPLAY_SPACE = "00000000-0000-7000-8000-000000000006"
"""The demo workspace's space whose persona answers at once (supabase/seed.sql)."""

_CALLBACK_SECRET = "the-secret-of-asynchronous-answers"  # noqa: S105 (the stack's own, and it ends with the run)

_BASELINES = {
    "framework": """
import functions_framework.aio

@functions_framework.aio.http
async def framework(request):
    return {"status": "ok"}
""",
    "pydantic": """
import functions_framework.aio
from pydantic import BaseModel

class Answer(BaseModel):
    status: str

@functions_framework.aio.http
async def pydantic(request):
    return Answer(status="ok").model_dump()
""",
}
YARDSTICK = "pydantic"


@dataclass(frozen=True)
class First:
    """The first request of a process; ``until`` begins the line that ends the wait, which else is the body's end."""

    method: str
    path: str
    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    until: bytes | None = None


HEALTH = First("GET", "/healthz")


def real_requests(stack: Stack, turn_id: str) -> Mapping[str, Callable[[], First]]:
    """What each function is there for; a new request each time, so that nothing is a repetition."""
    cron = {"Authorization": f"Bearer {stack.cron_secret}"}
    arrived = _ask(stack, f"/space/{REPLAY_SPACE}/register", {"email": f"{uuid4()}@example.com"})
    credentials = {"email": "owner@demo.test", "password": stack.demo_password}
    signed_in = _ask(stack, "/auth/v1/token?grant_type=password", credentials, {"apikey": stack.anon_key})
    contact = {"Authorization": f"Bearer {arrived['token']}"}
    owner = {"Authorization": f"Bearer {signed_in['access_token']}"}
    conversation_id = jwt.decode(arrived["token"], options={"verify_signature": False})["conversation_id"]

    def delivery() -> First:
        secret = {"Authorization": f"Bearer {_CALLBACK_SECRET}", "webhook-id": str(uuid4())}
        return First("POST", "/webhooks/n8n", 200, {"turnId": turn_id, "output": "Hello."}, secret)

    return {
        "registration": lambda: First(
            "POST", f"/space/{REPLAY_SPACE}/register", 201, {"email": f"{uuid4()}@example.com"}
        ),
        "chat": lambda: First(
            "POST", f"/space/{REPLAY_SPACE}/chat/stream", 200, {"message": "Hello."}, until=b"event: delta"
        ),
        "sessions": lambda: First("POST", f"/chat-sessions/{arrived['session']['id']}/recover", 200, {}, contact),
        "conversations": lambda: First(
            "GET", f"/conversations/{conversation_id}/stream", 200, None, contact, until=b"event: session"
        ),
        "contacts": lambda: First("GET", f"/contacts/{arrived['contact']['id']}", 200, None, owner),
        "workspaces": lambda: First("GET", "/workspaces", 200, None, owner),
        "webhooks": delivery,
        "archive": lambda: First("POST", "/archive", 200, {}, cron),
        "worker": lambda: First("POST", "/worker", 200, {}, cron),
    }


@dataclass(frozen=True)
class Start:
    """Until the first answer: seconds on the clock, and seconds of CPU that the function's processes took."""

    wall: float
    cpu: float


def start(source: Path, target: str, env: Mapping[str, str], first: First) -> Start:
    """Start a function and wait for its first answer. Raises ClickException when it is another one."""
    port = free_port()
    command = [sys.executable, "-m", "functions_framework", "--target", target, "--source", str(source)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        begun = time.perf_counter()
        process = subprocess.Popen(command, env=dict(env), cwd="/", stdout=log, stderr=log, start_new_session=True)
        try:
            return Start(_answered(port, first, process) - begun, _cpu_seconds(process.pid))
        except (AssertionError, OSError, http.client.HTTPException) as wrong:
            log.seek(0)
            raise click.ClickException(f"{target}: {wrong!r}\n{log.read().decode()[-2_000:]}") from wrong
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answered(port: int, first: First, process: subprocess.Popen[bytes]) -> float:
    """The moment of the first answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    end = time.perf_counter() + 60
    while True:
        try:
            connection.connect()
            break
        except ConnectionRefusedError:
            if process.poll() is not None or time.perf_counter() > end:
                raise
            time.sleep(0.002)
    content = None if first.body is None else json.dumps(first.body)
    connection.request(first.method, first.path, content, {"Content-Type": "application/json", **first.headers})
    answer = connection.getresponse()
    if first.until is None:
        said = answer.read()
    else:
        while (said := answer.readline()) and not said.startswith(first.until):
            pass
    moment = time.perf_counter()
    connection.close()
    if answer.status != first.status or not said:
        raise OSError(f"{answer.status} {said!r}")
    return moment


def _cpu_seconds(group: int) -> float:
    """What the processes of a group have had of the CPUs so far, by the kernel's own count in nanoseconds (Linux)."""
    spent = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                spent += sum(int(task.read_text().split()[0]) for task in folder.glob("task/*/schedstat"))
    return spent / 1e9


@contextlib.contextmanager
def _environment(stack: Stack, uncompiled: bool) -> Iterator[Mapping[str, str]]:
    """What a function's process gets; ``uncompiled``: without any compiled module, as in a fresh artifact."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env = {**kept, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "FORWARDED_ALLOW_IPS": ""}
    with tempfile.TemporaryDirectory() as empty:
        if uncompiled:
            env |= {"PYTHONPYCACHEPREFIX": empty, "PYTHONDONTWRITEBYTECODE": "1"}
        yield {**env, **stack.functions_env}


def measure(stack: Stack, rounds: int, uncompiled: bool) -> dict[str, dict[str, list[Start]]]:
    """The starts by function and kind of request, a value for each round."""
    found: dict[str, dict[str, list[Start]]] = {}
    real = real_requests(stack, asyncio.run(_deferred_turn(stack)))
    missing = set(FUNCTIONS) - set(real)
    if missing:
        raise click.ClickException(f"There is no real request for {', '.join(sorted(missing))}: add one.")
    with _environment(stack, uncompiled) as env, tempfile.TemporaryDirectory() as folder:
        starts: list[tuple[str, Path, str, Callable[[], First]]] = []
        for name, source in _BASELINES.items():
            path = Path(folder) / name / "main.py"
            path.parent.mkdir()
            path.write_text(source)
            starts.append((name, path, "health", lambda: HEALTH))
        for name in FUNCTIONS:
            path = REPOSITORY / "functions" / name / "main.py"
            starts += [(name, path, "health", lambda: HEALTH), (name, path, "real", real[name])]
        for number in range(-1, rounds):
            place = number % len(starts)
            for name, path, kind, first in (*starts[place:], *starts[:place]):
                one = start(path, name, env, first())
                if number >= 0:  # the first round fills the caches
                    found.setdefault(name, {}).setdefault(kind, []).append(one)
            click.echo(f"round {number + 1} of {rounds}", err=True)
    return found


def table(found: Mapping[str, Mapping[str, list[Start]]]) -> list[str]:
    """Milliseconds as Markdown: the clock's median (least to most), and the medians of what is added, of CPU too."""
    base = found[YARDSTICK]["health"]
    heads = ["function", "/healthz", "added", "CPU added", "first real answer", "added", "CPU added"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name, kinds in found.items():
        cells = [name]
        for kind in ("health", "real"):
            starts = kinds.get(kind)
            if starts is None:
                cells += ["", "", ""]
            else:
                cells += [_spread([one.wall for one in starts])]
                cells += [_added([one.wall - other.wall for one, other in zip(starts, base, strict=True)])]
                cells += [_added([one.cpu - other.cpu for one, other in zip(starts, base, strict=True)])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values) * 1e3:.0f} ({min(values) * 1e3:.0f} to {max(values) * 1e3:.0f})"


def _added(differences: list[float]) -> str:
    return f"{statistics.median(differences) * 1e3:+.0f}"


async def _deferred_turn(stack: Stack) -> str:
    """A turn that an asynchronous answer may be delivered for."""
    connection = await asyncpg.connect(stack.admin_url)
    try:
        persona, space = uuid4(), uuid4()
        await connection.execute(
            "insert into public.personas (id, workspace_id, kind, name, config) "
            "values ($1, $2, 'demo', 'Later', '{\"delay_ms\": 0}')",
            persona,
            stack.workspace_id,
        )
        await connection.execute(
            "insert into public.spaces (id, workspace_id, kind, name, persona_id) "
            "values ($1, $2, 'embed', 'Later', $3)",
            space,
            stack.workspace_id,
            persona,
        )
        await asyncio.to_thread(_say, stack, f"/space/{space}/chat/stream")
        await connection.execute(
            'update public.personas set config = \'{"mode": "async"}\', '
            "callback_secret_id = vault.create_secret($2, 'cold start') where id = $1",
            persona,
            _CALLBACK_SECRET,
        )
        return str(await connection.fetchval("select id from public.turns order by created_at desc limit 1"))
    finally:
        await connection.close()


def _say(stack: Stack, path: str) -> None:
    status, content = _post(stack, path, {"message": "Hello."}, {})
    if status != 200 or b"event: done" not in content:
        raise click.ClickException(f"The stack does not chat: {status}")


def _ask(stack: Stack, path: str, body: object, headers: Mapping[str, str] | None = None) -> Any:
    status, content = _post(stack, path, body, headers or {})
    if status >= 400:
        raise click.ClickException(f"{path}: {status} {content!r}")
    return json.loads(content)


def _post(stack: Stack, path: str, body: object, headers: Mapping[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(stack.api_url.removeprefix("http://"), timeout=30)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    return answer.status, answer.read()


def imports(stack: Stack, name: str) -> list[str]:
    """What a function imports beyond the baseline with pydantic, by top-level package: ms of its own, and modules."""
    script = (
        "import gc; gc.disable()\n"
        "import functions_framework.aio, flask, gunicorn.app.base, uvloop\n"
        "import uvicorn_worker, uvicorn.protocols.http.h11_impl\n"
        "from pydantic import BaseModel\n"
        "type('Answer', (BaseModel,), {'__annotations__': {'status': str}})\n"
        "import sys; print('----', file=sys.stderr, flush=True)\n"
        "from functions_framework import _function_registry as registry\n"
        f"path = {str(REPOSITORY / 'functions' / name / 'main.py')!r}\n"
        "module, spec = registry.load_function_module(path)\n"
        "spec.loader.exec_module(module)\n"
    )
    with _environment(stack, uncompiled=False) as env:
        said = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", script], env=env, capture_output=True, text=True, check=True
        ).stderr
    own: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    for line in said.partition("----")[2].splitlines():
        cells = line.removeprefix("import time:").split("|")
        if len(cells) == 3 and cells[0].strip().isdigit():
            package = cells[2].strip().partition(".")[0]
            own[package] += int(cells[0])
            modules[package] += 1
    most = ", ".join(f"{package} {spent / 1e3:.1f} ({modules[package]})" for package, spent in own.most_common(12))
    return [f"{name}: {sum(own.values()) / 1e3:.1f} ms: {most}"]


@click.command(help=__doc__)
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1))
@click.option("--uncompiled", is_flag=True, help="Without compiled modules, as a process finds the deployed artifact.")
@click.option("--imports", "show_imports", is_flag=True, help="Only list what each function imports.")
def main(rounds: int, uncompiled: bool, show_imports: bool) -> None:
    folder = Path(tempfile.mkdtemp(prefix="switchboard-cold-"))
    try:
        with start_stack(folder) as stack:
            if show_imports:
                for name in FUNCTIONS:
                    click.echo("\n".join(imports(stack, name)))
            else:
                click.echo("\n".join(table(measure(stack, rounds, uncompiled))))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
