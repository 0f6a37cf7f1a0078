"""The supervisor of a stack: its four processes, the database's content, and an orderly stop."""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import aiohttp

from lib.memory.embedders import model_of
from local import demo, files, keys, layout, migrations, paths, ports, supabase_shim
from local.keys import Keys
from local.layout import Layout, Ports
from local.migrations import MigrationError
from local.paths import SetupError
from local.postgres import Cluster, PostgresError
from local.processes import ProcessError, ProcessSpec, SupervisedProcess

Report = Callable[[str], None]


@dataclass(frozen=True)
class StackOptions:
    """Options of a stack. It listens on the given ports or does not start.

    None is the port of its last run, else the usual one (with ``any_ports``, none is usual), else the next free one.
    """

    state_dir: str
    api_port: int | None = None
    db_port: int | None = None
    rest_port: int | None = None
    any_ports: bool = False
    durable: bool = True
    functions_env: Mapping[str, str] = field(default_factory=dict)
    postgres: Mapping[str, str] = field(default_factory=dict)
    """Further settings of Postgres."""


_USUAL_PORTS = Ports(api=54321, db=54322, rest=54323, rest_admin=0)
_SERVERS = {"api": "API", "db": "Postgres", "rest": "PostgREST", "rest_admin": "PostgREST's health check"}


class AlreadyRunningError(Exception):
    """Another supervisor runs in this state folder."""


@contextlib.contextmanager
def sole_owner(state_dir: Path) -> Iterator[None]:
    """Hold the state folder's lock, which the kernel releases when the process ends. Raises AlreadyRunningError."""
    with (state_dir / "run" / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(str(state_dir)) from None
        yield


def is_running(state_dir: Path) -> bool:
    """Whether a supervisor runs in this state folder (it may be starting or stopping)."""
    if not (state_dir / "run" / "lock").exists():
        return False
    try:
        with sole_owner(state_dir):
            return False
    except AlreadyRunningError:
        return True


async def serve(wanted: StackOptions, report: Report, on_ready: Callable[[Layout, Keys], None] | None = None) -> None:
    """Start the stack, call `on_ready`, keep it running until SIGINT, SIGTERM or SIGHUP, then stop it.

    Raises AlreadyRunningError, SetupError, ProcessError, PostgresError or MigrationError if it cannot start; then
    nothing runs.
    """
    state_dir = Path(wanted.state_dir)
    paths.open_state_dir(state_dir)
    with sole_owner(state_dir):
        # A file that a killed supervisor left describes ended processes.
        layout.file_of(state_dir).unlink(missing_ok=True)
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        stack = _Stack(wanted, state_dir, report)
        starting = asyncio.create_task(stack.start())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                if on_ready is not None:
                    on_ready(stack.layout, stack.keys)
                await stopping
            report("Stopping")
        finally:
            for task in (starting, stopping):
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await starting
            await stack.stop()
            layout.file_of(state_dir).unlink(missing_ok=True)
        report("Stopped, nothing runs any more")


class _Stack:
    def __init__(self, wanted: StackOptions, state_dir: Path, report: Report) -> None:
        self._wanted = wanted
        self._state_dir = state_dir
        self._report = report
        self._processes: list[SupervisedProcess] = []
        self.keys = keys.load(state_dir)
        self._reserved = ports.Reservations()
        self.layout = Layout(
            str(state_dir),
            self._pick_ports(),
            layout.Demo(),
            os.getpid(),
            secrets.token_hex(8),
            embedding_model=model_of({**os.environ, **wanted.functions_env}) or "",
        )
        self._cluster = Cluster(
            bin_dir=paths.server_binaries(),
            data_dir=state_dir / "postgres" / "data",
            port=self.layout.ports.db,
            password=self.keys.admin_password,
            run_as=paths.server_user(),
            settings=wanted.postgres,
            durable=wanted.durable,
        )

    def _pick_ports(self) -> Ports:
        wanted = self._wanted
        given = {"api": wanted.api_port, "db": wanted.db_port, "rest": wanted.rest_port}
        picked = {name: port for name, port in given.items() if port is not None}
        for name, port in picked.items():
            if not self._reserved.take(port):
                raise SetupError(f"Port {port}, which was chosen for {_SERVERS[name]}, is taken.")
        wishes = layout.ports_of_last_run(self._state_dir) or (Ports(0, 0, 0, 0) if wanted.any_ports else _USUAL_PORTS)
        open_wishes = {name: wish for name, wish in asdict(wishes).items() if name not in picked}
        picked |= {name: wish for name, wish in open_wishes.items() if wish and self._reserved.take(wish)}
        for name, wish in open_wishes.items():
            if name in picked:
                continue
            picked[name] = self._reserved.pick(wish)
            if wish:
                self._report(f"Port {wish} is taken: {_SERVERS[name]} listens on {picked[name]}")
        return Ports(**picked)

    async def start(self) -> None:
        """Start one process after another, each when the one before is ready."""
        self._save()
        if not (self._cluster.data_dir / "PG_VERSION").exists():
            self._report("Making the database")
        await asyncio.to_thread(self._cluster.init)
        self._report("Starting Postgres")
        await self._run(self._postgres())
        await self._prepare()
        self._report("Starting PostgREST")
        await self._run(self._postgrest())
        self._report("Starting the scheduler and sender (pg_cron, pg_net)")
        await self._run(self._background())
        self._report("Starting the gateway and the functions")
        await self._run(self._gateway())
        self.layout = replace(self.layout, ready=True)
        self._save()

    async def stop(self) -> None:
        """Stop the processes in reverse order."""
        for process in reversed(self._processes):
            await process.stop()
        self._reserved.release()

    async def _run(self, spec: ProcessSpec) -> None:
        process = SupervisedProcess(spec, self._report, self._save)
        self._processes.append(process)
        await process.start()

    def _save(self) -> None:
        pids = {process.spec.name: process.pid for process in self._processes}
        self.layout = replace(self.layout, pids={name: pid for name, pid in pids.items() if pid is not None})
        self.layout.save()

    async def _prepare(self) -> None:
        self._report("Applying migrations")
        url = self._cluster.url("postgres", self.keys.postgres_password)
        await supabase_shim.apply(self._cluster.url(), self.keys.passwords)
        applied = await migrations.apply(url)
        if applied:
            self._report(f"  {len(applied)} new, up to {applied[-1]}")
        await migrations.seed(url)
        await supabase_shim.let_in(url, "switchboard_login", self.keys.login_password)
        found = await demo.find(url)
        self.layout = replace(self.layout, demo=found)
        auth_url = self._cluster.url("supabase_auth_admin", self.keys.auth_admin_password)
        await demo.add_users(auth_url, url, found, self.keys.demo_password)
        schedules = {
            "archive_url": f"{self.layout.api_url}/archive",
            "worker_url": f"{self.layout.api_url}/worker",
            "session_cleanup_url": f"{self.layout.api_url}/chat-sessions/cleanup",
        }
        await demo.set_secrets(url, {**schedules, "cron_secret": self.keys.cron_secret})

    def _log(self, name: str) -> Path:
        return self._state_dir / "logs" / f"{name}.log"

    def _postgres(self) -> ProcessSpec:
        async def ready() -> bool:
            return self._cluster.accepts()

        return ProcessSpec(
            "postgres",
            self._cluster.command(),
            self._cluster.environment(),
            self._log("postgres"),
            ready,
            stop_signal=signal.SIGINT,
            run_as=self._cluster.run_as,
            before=self._cluster.recover,
        )

    def _postgrest(self) -> ProcessSpec:
        at = self.layout.ports
        functions_env = self.layout.functions_env(self.keys, self._wanted.functions_env)
        accepted = keys.jwk_set(self.keys.jwt_secret, functions_env.get("SWITCHBOARD_SIGNING_KEY"))
        files.write_private(self.layout.jwk_set_file, accepted)
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PGRST_DB_URI": self._cluster.url("authenticator", self.keys.authenticator_password),
            "PGRST_DB_SCHEMAS": "public",
            "PGRST_DB_EXTRA_SEARCH_PATH": "public,extensions",
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_POOL": "10",
            "PGRST_DB_PREPARED_STATEMENTS": "true",
            "PGRST_DB_MAX_ROWS": "1000",
            "PGRST_JWT_SECRET": f"@{self.layout.jwk_set_file}",
            "PGRST_JWT_CACHE_MAX_LIFETIME": "60",
            "PGRST_OPENAPI_MODE": "follow-privileges",
            "PGRST_OPENAPI_SERVER_PROXY_URI": f"{self.layout.api_url}/rest/v1",
            "PGRST_SERVER_HOST": "127.0.0.1",
            "PGRST_SERVER_PORT": str(at.rest),
            "PGRST_ADMIN_SERVER_PORT": str(at.rest_admin),
            "PGRST_LOG_LEVEL": "error",
        }
        ready = _answers(f"http://127.0.0.1:{at.rest_admin}/ready")
        return ProcessSpec("postgrest", [str(paths.postgrest_binary())], environment, self._log("postgrest"), ready)

    def _background(self) -> ProcessSpec:
        flag = self._state_dir / "run" / "background.ready"

        async def ready() -> bool:
            return flag.exists()

        environment = {**_python_environment(), "BACKGROUND_DB_URL": self._cluster.url(), "BACKGROUND_READY": str(flag)}
        return ProcessSpec(
            "background",
            [sys.executable, "-m", "local.background"],
            environment,
            self._log("background"),
            ready,
            before=lambda: flag.unlink(missing_ok=True),
        )

    def _gateway(self) -> ProcessSpec:
        environment = {**os.environ, **self.layout.gateway_env(self.keys, self._wanted.functions_env)}
        ready = _answers(f"{self.layout.api_url}/healthz", self.layout.instance)
        return ProcessSpec("gateway", [sys.executable, "-m", "local.gateway"], environment, self._log("gateway"), ready)


def _python_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(paths.REPOSITORY), "PYTHONUNBUFFERED": "1"}


def _answers(url: str, instance: str | None = None) -> Callable[[], Awaitable[bool]]:
    """Whether a server is well; with ``instance``, whether it is the gateway of this stack and no other process."""

    async def ready() -> bool:
        timeout = aiohttp.ClientTimeout(total=2)
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
                return response.status == 200 and instance in (None, response.headers.get(layout.INSTANCE_HEADER))
        return False

    return ready


def main() -> None:
    """Run the stack with the options (StackOptions as JSON) on standard input, for start_stack and `make up`."""

    def report(line: str) -> None:
        print(line, flush=True)

    try:
        asyncio.run(serve(StackOptions(**json.load(sys.stdin)), report))
    except AlreadyRunningError as error:
        sys.exit(f"A stack already runs in {error}")
    except (SetupError, ProcessError, PostgresError, MigrationError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
