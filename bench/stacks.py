"""A stack of its own for each measure, its functions over HTTP, and the CPU time of its processes."""

import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from signal import SIGTERM
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import click

from local import processes
from local.paths import REPOSITORY
from local.stack import Stack, StackError, start_stack

_TICKS = os.sysconf("SC_CLK_TCK")

REPLAY_SPACE = "00000000-0000-7000-8000-000000000006"
"""The space of the demo workspace whose persona answers without delay (supabase/seed.sql)."""


@contextlib.contextmanager
def own_stack(
    postgres: Mapping[str, str] | None = None, functions_env: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """A running stack in a temporary folder, with a Postgres that writes durably and has these further settings."""
    with tempfile.TemporaryDirectory(prefix="switchboard-bench-", ignore_cleanup_errors=True) as name:
        try:
            running = start_stack(Path(name), postgres=postgres, durable=True, functions_env=functions_env)
        except StackError as problem:
            raise click.ClickException(str(problem)) from problem
        with running:
            yield running


def execute(stack: Stack, *statements: str) -> None:
    """Execute statements as the superuser."""

    async def run() -> None:
        connection = await asyncpg.connect(stack.admin_url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


@contextlib.contextmanager
def server(name: str, *arguments: str, python: str = sys.executable) -> Iterator[tuple[int, str]]:
    """A process of bench/servers: its id and its origin. It prints its port when it listens."""
    command = [python, "-m", f"bench.servers.{name}", *arguments]
    tied = processes.tied_options(SIGTERM)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, **tied) as process:
        try:
            port = process.stdout.readline().strip() if process.stdout is not None else ""
            if not port:
                raise click.ClickException(f"The server {name} does not start.")
            yield process.pid, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


class Caller(NamedTuple):
    """A caller of a stack's functions, with a bearer token or without."""

    stack: Stack
    token: str = ""

    @classmethod
    def member(cls, stack: Stack, email: str = "owner@demo.test") -> "Caller":
        """A member of the demo workspace, signed in."""
        credentials = {"email": email, "password": stack.demo_password}
        path = "/auth/v1/token?grant_type=password"
        return cls(stack, cls(stack).post(path, credentials, apikey=stack.anon_key)["access_token"])

    def post(self, path: str, body: object, **headers: str) -> Any:
        """The JSON document, or that of the first event, of an answer. Raises ClickException when it is a refusal."""
        headers |= {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        connection = http.client.HTTPConnection(urlsplit(self.stack.api_url).netloc, timeout=60)
        connection.request("POST", path, json.dumps(body), headers)
        with contextlib.closing(connection), connection.getresponse() as answer:
            if answer.status >= 400:
                raise click.ClickException(f"{path}: {answer.status} {answer.read().decode()}")
            if answer.getheader("Content-Type", "").startswith("text/event-stream"):
                return next(json.loads(line[6:]) for line in answer if line.startswith(b"data: "))
            return json.loads(answer.read())


def add_persona(stack: Stack, kind: str, config: Mapping[str, object]) -> tuple[str, str]:
    """A persona in the demo workspace, and a space where it answers: their ids. It may call this machine."""
    allow = "update public.workspaces set allowed_networks = '{127.0.0.0/8}' where id = '%s'"
    execute(stack, allow % stack.workspace_id)
    owner, workspace = Caller.member(stack), f"/workspaces/{stack.workspace_id}"
    persona_id = owner.post(f"{workspace}/personas", {"kind": kind, "name": "Measured", "config": config})["id"]
    limits = {"arrivals_per_minute": 1_000_000, "arrivals_per_minute_by_address": 1_000_000}
    return persona_id, owner.post(f"{workspace}/spaces", {"name": "Measured", "persona_id": persona_id, **limits})["id"]


def add_model(stack: Stack, url: str) -> str:
    """A space whose persona asks the model at this URL: its id."""
    return add_persona(stack, "openai", {"base_url": url, "model": "fake"})[1]


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process and its descendants so far; of those that ended, in hundredths of a second."""
    while True:
        spent = ended = _ended_seconds(pid)
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                spent += int((task / "schedstat").read_text().split()[0]) / 1e9
                spent += sum(cpu_seconds(int(child)) for child in (task / "children").read_text().split())
        if _ended_seconds(pid) == ended:  # else one ended meanwhile
            return spent


def _ended_seconds(pid: int) -> float:
    try:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15])) / _TICKS
    except OSError:
        return 0.0
