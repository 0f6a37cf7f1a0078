"""A private Postgres server on the loopback address, with password authentication."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from local import processes
from local.files import tail

# The servers that this process started, to notice and reap ended ones.
_started: dict[Path, subprocess.Popen[bytes]] = {}


class PostgresError(Exception):
    """The server could not be created or started; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Cluster:
    """A data directory and the server binaries that serve it.

    The superuser is `supabase_admin`, as on hosted Supabase; all roles log in over TCP on 127.0.0.1 with a SCRAM
    password. There is no Unix socket, so it cannot be confused with another server.
    """

    bin_dir: Path
    data_dir: Path
    port: int
    password: str
    run_as: int | None = None
    """The uid that runs the server; None is the current user (Postgres refuses root)."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further server settings, for instance shared_preload_libraries."""
    durable: bool = True
    """False turns fsync off, for tests."""

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.data_dir.with_name(self.data_dir.name + ".log")

    def url(self, user: str = "supabase_admin", password: str | None = None, database: str = "postgres") -> str:
        """The connection URL of a role; without a password, the superuser's."""
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{quote(user)}:{secret}@127.0.0.1:{self.port}/{quote(database)}"

    def version(self) -> int:
        """The server's major version."""
        answer = subprocess.run([self.bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True)
        found = re.search(r"(\d+)\.\d+", answer.stdout)
        if found is None:
            raise PostgresError(f"{self.bin_dir}/postgres gives no version: {answer.stdout}")
        return int(found[1])

    def init(self) -> None:
        """Create the data directory; an existing one is not changed.

        It is created atomically: an interrupted `initdb` leaves nothing that looks like a database.
        """
        if (self.data_dir / "PG_VERSION").exists():
            return
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in self.data_dir.parent.glob(f"{self.data_dir.name}.new-*"):
            shutil.rmtree(abandoned)
        unfinished = Path(tempfile.mkdtemp(dir=self.data_dir.parent, prefix=f"{self.data_dir.name}.new-"))
        secret = unfinished / "password"
        secret.write_text(self.password)
        secret.chmod(0o600)
        if self.run_as is not None:
            os.chown(unfinished, self.run_as, self.run_as)
            os.chown(secret, self.run_as, self.run_as)
        try:
            self._initdb(unfinished / "data", secret)
            (unfinished / "data").rename(self.data_dir)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _initdb(self, folder: Path, secret: Path) -> None:
        command = [
            str(self.bin_dir / "initdb"),
            f"--pgdata={folder}",
            f"--pwfile={secret}",
            "--username=supabase_admin",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            *self._locale(),
            "--no-sync",
            "--no-instructions",
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=self.environment(),
            **({} if self.run_as is None else {"user": self.run_as, "group": self.run_as, "extra_groups": []}),  # type: ignore[call-overload]
        )
        if done.returncode:
            raise PostgresError(f"initdb failed: {(done.stderr or done.stdout).strip()[-1500:]}")

    def _locale(self) -> list[str]:
        """A collation by code point that knows the letters of all languages, available in every build of a version."""
        if self.version() >= 17:
            return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        return ["--locale=C.UTF-8"]

    def command(self) -> list[str]:
        """The command that runs the server in the foreground."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "100",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "logging_collector": "off",
            "log_line_prefix": "%m [%p] ",
            "fsync": "on" if self.durable else "off",
            "synchronous_commit": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            **self.settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.bin_dir / "postgres"), "-D", str(self.data_dir), *options]

    def environment(self) -> dict[str, str]:
        """A clean environment: PG* variables of the caller would change the server's behaviour."""
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

    def start(self, timeout: float = 30.0) -> None:
        """Start the server and wait until it accepts connections. It stops when the calling thread ends.

        Remains of a killed server (a stale postmaster.pid, backends without a postmaster) are removed first. Raises
        PostgresError after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while self.is_running():
            # It may be starting, or was just killed and is about to exit.
            if self.accepts() or time.monotonic() > deadline:
                return
            time.sleep(0.02)
        self.recover()
        with self.log.open("ab") as log:
            server = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self.environment(),
                # SIGINT is a fast, orderly shutdown.
                **processes.tied_options(signal.SIGINT, self.run_as),
            )
        _started[self.data_dir] = server
        while not self.accepts():
            if server.poll() is not None or time.monotonic() > deadline:
                self.stop("immediate")
                raise PostgresError(f"Postgres did not start: {tail(self.log)}")
            time.sleep(0.02)

    def stop(self, mode: str = "fast", timeout: float = 20.0) -> None:
        """Stop the server and wait; does nothing if it does not run.

        `fast` disconnects clients and writes everything; `immediate` is a crash, and the next start recovers.
        """
        pid = self.server_pid()
        handle = _started.pop(self.data_dir, None)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT if mode == "immediate" else signal.SIGINT)
            deadline = time.monotonic() + timeout
            while processes.is_alive(pid):
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)
        if handle is not None:
            handle.wait()

    def is_running(self) -> bool:
        """Whether a server serves this data directory."""
        return self.server_pid() is not None

    def server_pid(self) -> int | None:
        """The postmaster's pid; None if it does not run, whatever postmaster.pid says."""
        try:
            pid = int((self.data_dir / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        if not processes.is_alive(pid):
            return None
        if Path("/proc/self").exists() and pid not in self._processes():
            return None
        return pid

    def accepts(self) -> bool:
        """Whether the server accepts connections: its pid file says `ready` and its port answers."""
        try:
            ready = (self.data_dir / "postmaster.pid").read_text().split("\n")[7].strip() == "ready"
        except (OSError, IndexError):
            return False
        if not ready or self.server_pid() is None:
            return False
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def recover(self) -> None:
        """Remove what a killed server left, so that the next start succeeds.

        Call only if no server should run: backends that outlived their postmaster are killed (they would keep the
        shared memory and so the data directory locked), and a postmaster.pid whose pid was reused is removed.
        """
        if self.is_running():
            return
        deadline = time.monotonic() + 5
        while (orphans := list(self._processes())) and time.monotonic() < deadline:
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _processes(self) -> Iterator[int]:
        """Live Postgres processes of this data directory, which is their working directory."""
        here = os.path.realpath(self.data_dir)
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(entry / "cwd") == here and processes.is_alive(int(entry.name)):
                    yield int(entry.name)
