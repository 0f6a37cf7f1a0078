"""A running stack: started in its own process, inspected and stopped, for tests and commands."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from local import keys, layout, paths, processes, supervisor
from local.keys import Keys
from local.layout import Layout
from local.supervisor import StackOptions


class StackError(Exception):
    """The stack did not start; the message holds the supervisor's output."""


@dataclass(frozen=True)
class Stack:
    """A running stack. Use it as a context manager, or call `stop`."""

    layout: Layout
    keys: Keys
    extra: Mapping[str, str]
    _supervisor: subprocess.Popen[bytes] | None = None

    @property
    def state_dir(self) -> Path:
        """The folder of data, keys and logs."""
        return Path(self.layout.state_dir)

    @property
    def api_url(self) -> str:
        """The origin of page, functions, /rest/v1 and /auth/v1."""
        return self.layout.api_url

    @property
    def rest_url(self) -> str:
        """PostgREST's own URL."""
        return self.layout.rest_url

    @property
    def db_url(self) -> str:
        """The database's URL as role postgres."""
        return self.layout.db_url("postgres", self.keys.postgres_password)

    @property
    def admin_url(self) -> str:
        """The database's URL as the superuser supabase_admin."""
        return self.layout.db_url("supabase_admin", self.keys.admin_password)

    @property
    def anon_key(self) -> str:
        """The JWT of role anon."""
        return self.keys.anon_key

    @property
    def service_role_key(self) -> str:
        """The JWT of role service_role."""
        return self.keys.service_role_key

    @property
    def publishable_key(self) -> str:
        """The newer form of the anon key."""
        return self.keys.publishable_key

    @property
    def secret_key(self) -> str:
        """The newer form of the service_role key."""
        return self.keys.secret_key

    @property
    def jwt_secret(self) -> str:
        """The HS256 secret of all tokens."""
        return self.keys.jwt_secret

    @property
    def cron_secret(self) -> str:
        """The bearer token of the schedules."""
        return self.keys.cron_secret

    @property
    def demo_password(self) -> str:
        """The password of the demo users."""
        return self.keys.demo_password

    @property
    def workspace_id(self) -> str:
        """The demo workspace."""
        return self.layout.demo.workspace_id

    @property
    def space_id(self) -> str:
        """The demo workspace's chat space."""
        return self.layout.demo.space_id

    @property
    def landing_id(self) -> str:
        """The demo workspace's landing page."""
        return self.layout.demo.landing_id

    @property
    def persona_id(self) -> str:
        """The demo persona."""
        return self.layout.demo.persona_id

    @property
    def env(self) -> dict[str, str]:
        """The content of .env.local."""
        return self.layout.env(self.keys)

    @property
    def functions_env(self) -> dict[str, str]:
        """The environment of the functions."""
        return self.layout.functions_env(self.keys, self.extra)

    def gateway_env(self, port: int, **changed: str) -> dict[str, str]:
        """The environment of another gateway on this port, for `python -m local.gateway`."""
        return {**os.environ, **self.layout.gateway_env(self.keys, {**self.extra, **changed}, port)}

    def pids(self) -> dict[str, int]:
        """The current processes: supervisor, postgres, postgrest, background, gateway; a restart changes them."""
        now = layout.read(self.state_dir) or self.layout
        return {"supervisor": now.supervisor, **now.pids}

    def stop(self, timeout: float = 30.0) -> None:
        """Stop all processes of the stack and wait for them."""
        pids = self.pids()
        _stop_supervisor(pids["supervisor"], self._supervisor, timeout)
        for pid in pids.values():
            if processes.is_alive(pid) and pid != pids["supervisor"]:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def __enter__(self) -> "Stack":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_stack(
    state_dir: Path,
    *,
    functions_env: Mapping[str, str] | None = None,
    postgres: Mapping[str, str] | None = None,
    api_port: int | None = None,
    durable: bool = False,
    timeout: float = 90.0,
) -> Stack:
    """Start a stack in this state folder and wait until it is ready. Raises StackError.

    It stops when the calling thread ends, even by SIGKILL. It listens on the ports of its last run, at first on any;
    `functions_env` overrides the functions' environment, `postgres` the settings of the server.
    """
    environment, settings = dict(functions_env or {}), dict(postgres or {})
    wanted = StackOptions(
        str(state_dir), api_port, any_ports=True, durable=durable, functions_env=environment, postgres=settings
    )
    process = launch(wanted, stay=False)
    return wait_until_ready(wanted, process, timeout)


def launch(wanted: StackOptions, *, stay: bool) -> subprocess.Popen[bytes]:
    """Start a supervisor in the background, logging to supervisor.log; with `stay` it outlives its parent."""
    state_dir = Path(wanted.state_dir)
    paths.open_state_dir(state_dir)
    with log_of(state_dir).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.supervisor"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(paths.REPOSITORY), "PYTHONUNBUFFERED": "1"},
            **({"start_new_session": True} if stay else processes.tied_options(signal.SIGTERM)),
        )
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    process.stdin.write(json.dumps(asdict(wanted)).encode())
    process.stdin.close()
    return process


def wait_until_ready(
    wanted: StackOptions,
    process: subprocess.Popen[bytes],
    timeout: float,
    progress: Callable[[str], None] | None = None,
) -> Stack:
    """Wait for a launched supervisor; `progress` gets each line of its output. Raises StackError after stopping it."""
    state_dir = Path(wanted.state_dir)
    deadline = time.monotonic() + timeout
    said = 0
    while True:
        ended = process.poll() is not None
        lines = log_of(state_dir).read_text(errors="replace").splitlines()
        if progress is not None and not ended:
            for line in lines[said:]:
                progress(line)
            said = len(lines)
        found = layout.read(state_dir)
        if found is not None and found.ready and found.supervisor == process.pid:
            return Stack(found, keys.load(state_dir), wanted.functions_env, process)
        if ended or time.monotonic() > deadline:
            _stop_supervisor(process.pid, process, 30.0)
            raise StackError("\n".join(lines[said:]) or "It did not start.")
        time.sleep(0.05)


def running(state_dir: Path) -> Stack | None:
    """The ready stack of this state folder, or None."""
    found = layout.read(state_dir) if supervisor.is_running(state_dir) else None
    return Stack(found, keys.load(state_dir), {}) if found is not None and found.ready else None


def answers(found: Layout) -> bool:
    """Whether the gateway of this stack answers at its address now, and no other process."""
    connection = http.client.HTTPConnection("127.0.0.1", found.ports.api, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/healthz")
        return connection.getresponse().headers.get(layout.INSTANCE_HEADER) == found.instance
    return False


def stop_supervisor(state_dir: Path, timeout: float = 40.0) -> None:
    """Stop the stack of this state folder, also one that another process started, and wait. Raises StackError."""
    found = layout.read(state_dir)
    pid = found.supervisor if found is not None else None
    if pid is None:
        raise StackError("It is just starting; try again in a moment.")
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while supervisor.is_running(state_dir) or processes.is_alive(pid):
        if time.monotonic() > deadline:
            raise StackError(f"Process {pid} does not stop.")
        time.sleep(0.05)


def log_of(state_dir: Path) -> Path:
    """The log of a background supervisor."""
    return state_dir / "logs" / "supervisor.log"


def _stop_supervisor(pid: int, handle: subprocess.Popen[bytes] | None, timeout: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while processes.is_alive(pid):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if handle is not None:
            handle.poll()
        time.sleep(0.03)
    if handle is not None:
        handle.wait()
