"""The stack as a whole: what is killed comes back, nothing is left behind, data and keys stay, ports may be taken."""

import asyncio
import contextlib
import http.server
import os
import re
import shlex
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from local import paths, processes, stack
from local.ports import free_port
from local.stack import Stack, start_stack

PARTS = ["postgres", "postgrest", "background", "gateway"]


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """A stack that may be broken, apart from the one that other tests use."""
    folder = Path(tempfile.mkdtemp(prefix="switchboard-"))
    with start_stack(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty state folder."""
    made = Path(tempfile.mkdtemp(prefix="switchboard-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def until(claim: Callable[[], Any], seconds: float = 20.0) -> Any:
    """The first truthy answer; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (found := claim()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


async def chat(running: Stack) -> tuple[int, str]:
    """One anonymous message to the demo space: the status and all that was streamed."""
    url = f"{running.api_url}/space/{running.space_id}/chat/stream"
    body = {"email": "someone@example.com", "message": "Hello!"}
    with contextlib.suppress(aiohttp.ClientError):
        async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
            return answer.status, await answer.text()
    return 0, ""


@pytest.mark.parametrize("part", PARTS)
async def test_a_killed_part_is_started_again_alone_and_the_stack_works(own: Stack, part: str) -> None:
    before = own.pids()
    os.kill(before[part], signal.SIGKILL)
    statuses = await statuses_until_well(own, lambda: own.pids().get(part, before[part]) != before[part])
    # While a part is down the gateway answers with an error of its own.
    assert statuses <= {0, 200, 503}
    assert part != "postgrest" or statuses == {200, 503}
    after = own.pids()
    assert {name for name in PARTS if before[name] != after[name]} == {part}
    log = (own.state_dir / "logs" / "supervisor.log").read_text()
    assert f"{part} ended (SIGKILL), starting it again" in log
    assert f"{part} runs again" in log
    if part == "postgres":
        await job_runs(own)


async def statuses_until_well(own: Stack, replaced: Callable[[], bool]) -> set[int]:
    """Call the API, the sign-in and the chat until a part is replaced and all succeed; every status, 0 for none."""
    statuses: set[int] = set()
    body = {"email": "owner@demo.test", "password": own.demo_password}
    async with aiohttp.ClientSession(headers={"apikey": own.secret_key}) as http, asyncio.timeout(60):
        while True:
            well = replaced()
            for method, path, sent in (
                ("GET", "/rest/v1/workspaces?select=id", None),
                ("POST", "/auth/v1/token?grant_type=password", body),
            ):
                status = 0
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.request(method, own.api_url + path, json=sent) as answer:
                        status = answer.status
                        if status == 503 and answer.content_type == "application/problem+json":
                            assert answer.headers["Retry-After"] == "1"
                            assert (await answer.json())["code"] == "backend_unavailable"
                statuses.add(status)
                well = well and status == 200
            if well and "event: done" in (await chat(own))[1]:
                return statuses


async def job_runs(own: Stack) -> None:
    """A scheduled job succeeds."""
    connection = await asyncpg.connect(own.db_url)
    done = "select count(*) from cron.job_run_details where jobid = $1 and status = 'succeeded'"
    try:
        job = await connection.fetchval("select cron.schedule('after-crash', '1 seconds', 'select 1')")
        async with asyncio.timeout(60):
            while not await connection.fetchval(done, job):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await connection.execute("select cron.unschedule('after-crash')")
    finally:
        await connection.close()


async def test_a_state_folder_survives_a_kill_and_taken_ports_and_a_damaged_one_is_refused(
    folder: Path,
) -> None:
    """One life of a state folder, because each start of a stack takes seconds."""
    first = start_stack(folder)
    assert (await chat(first))[0] == 200
    pids = first.pids()
    os.kill(pids["supervisor"], signal.SIGKILL)
    until(lambda: not any(processes.is_alive(pid) for pid in pids.values()))

    ports = first.layout.ports
    with socket.create_server(("127.0.0.1", ports.api)):
        with pytest.raises(stack.StackError, match=f"Port {ports.api}, which was chosen for API, is taken"):
            start_stack(folder, api_port=ports.api)
        with start_stack(folder) as second:
            assert not set(second.pids().values()) & set(pids.values())
            moved = replace(ports, api=second.layout.ports.api)
            assert (second.layout.ports, moved.api != ports.api) == (moved, True)
            log = (folder / "logs" / "supervisor.log").read_text()
            assert f"Port {ports.api} is taken: API listens on {moved.api}" in log
            assert "Making the database" not in log
            for key in ("JWT_SECRET", "SECRET_KEY", "PUBLISHABLE_KEY"):
                assert second.env[key] == first.env[key]
            connection = await asyncpg.connect(second.admin_url)
            assert await connection.fetchval("select count(*) from public.messages") == 2
            rows = await connection.fetch("select name, decrypted_secret from vault.decrypted_secrets")
            await connection.close()
            assert dict(map(tuple, rows)) == {
                "archive_url": f"{second.api_url}/archive",
                "worker_url": f"{second.api_url}/worker",
                "session_cleanup_url": f"{second.api_url}/chat-sessions/cleanup",
                "cron_secret": second.cron_secret,
            }

    (folder / "postgres" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(stack.StackError, match=r"(?s)postgres did not start.*pg_control"):
        start_stack(folder)
    assert stack.running(folder) is None


def test_two_stacks_do_not_serve_one_folder(own: Stack) -> None:
    with pytest.raises(stack.StackError, match="already runs"):
        start_stack(own.state_dir)
    assert all(processes.is_alive(pid) for pid in own.pids().values())


def test_every_server_listens_on_the_loopback_address_only(own: Stack) -> None:
    ports = own.layout.ports
    wanted = {ports.api, ports.db, ports.rest, ports.rest_admin}
    lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
    listening = {}
    for fields in (line.split() for line in lines):
        if len(fields) > 3 and fields[3] == "0A":
            address, _, port = fields[1].rpartition(":")
            if int(port, 16) in wanted:
                listening[int(port, 16)] = address
    assert listening == dict.fromkeys(wanted, "0100007F")


def test_secrets_and_data_are_closed_to_others(own: Stack) -> None:
    modes = {
        name: (own.state_dir / name).stat().st_mode & 0o777 for name in ("keys.json", "logs", "run", "postgres/data")
    }
    assert modes == {"keys.json": 0o600, "logs": 0o700, "run": 0o700, "postgres/data": 0o700}
    for pid in own.pids().values():
        command = Path(f"/proc/{pid}/cmdline").read_text()
        assert own.secret_key not in command
        assert own.keys.admin_password not in command


class StrangerHandler(http.server.BaseHTTPRequestHandler):
    """Another program that says it is well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


class Commands:
    """`python -m local …` on a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "SWITCHBOARD_STATE_DIR": str(folder),
            "SWITCHBOARD_ENV_FILE": str(folder / "env"),
            "PYTHONPATH": str(paths.REPOSITORY),
        }

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "local", command],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )


@pytest.fixture
def commands(folder: Path) -> Iterator[Commands]:
    """The commands; whatever they left running is stopped."""
    made = Commands(folder)
    yield made
    made.run("down")


def test_up_status_down_and_reset_report_and_change_the_stack(commands: Commands) -> None:
    assert commands.run("status").returncode == 3
    for chosen in ("0", "65536", "x"):
        commands.env["SWITCHBOARD_API_PORT"] = chosen
        assert "SWITCHBOARD_API_PORT is no port" in commands.run("up").stderr
    chosen = commands.env["SWITCHBOARD_API_PORT"] = str(free_port())
    up = commands.run("up")
    assert up.returncode == 0, up.stderr
    running = stack.running(commands.folder)
    assert running is not None
    assert running.layout.ports.api == int(chosen)
    assert up.stdout.index("Starting Postgres") < up.stdout.index("Starting PostgREST") < up.stdout.index("API URL")

    again, foreground, status = commands.run("up"), commands.run("run"), commands.run("status")

    assert again.returncode == 0
    assert "It already runs." in again.stdout
    assert foreground.returncode == 1
    assert "It already runs" in foreground.stderr
    assert status.returncode == 0
    for output in (up.stdout, again.stdout, foreground.stdout, status.stdout):
        assert running.api_url in output
        assert running.publishable_key in output
    written = (commands.folder / "env").read_text()
    assert (commands.folder / "env").stat().st_mode & 0o777 == 0o600
    assert dict(line.split("=", 1) for line in written.splitlines()) == {
        name: f'"{value}"' for name, value in running.env.items()
    }

    # The same file, but with the address of a program that says it is well.
    layout_file = commands.folder / "run" / "stack.json"
    with socketserver.TCPServer(("127.0.0.1", 0), StrangerHandler) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        true = layout_file.read_text()
        layout_file.write_text(true.replace(str(running.layout.ports.api), str(stranger.server_address[1])))
        for command in ("up", "status", "run"):
            told = commands.run(command)
            assert (told.returncode, "Switchboard runs" in told.stdout) == (1, False), command
            assert "is answered by another process" in told.stderr
        layout_file.write_text(true)
        stranger.shutdown()

    pids = running.pids()
    assert commands.run("down").stdout.strip() == "Stopped."
    assert not any(processes.is_alive(pid) for pid in pids.values())
    assert commands.run("down").stdout.strip() == "Nothing runs."
    assert commands.run("reset").returncode == 0
    assert not (commands.folder / "postgres").exists()
    assert (commands.folder / "keys.json").exists()


def test_run_prints_a_curl_that_works_and_ctrl_c_leaves_no_process(commands: Commands) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "local", "run"],
        env=commands.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        printed = ""
        while "Ctrl-C" not in printed:
            line = process.stdout.readline()
            assert line, printed
            printed += line
        running = stack.running(commands.folder)
        assert running is not None
        pids = running.pids()
        found = re.search(r"^\s*(curl .*)$", printed, re.MULTILINE)
        assert found is not None
        answer = subprocess.run(shlex.split(found[1]), capture_output=True, text=True, timeout=60, check=True)

        # As a terminal does: to the whole foreground group, of which only the command itself is a member.
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()

    assert "event: done" in answer.stdout
    assert process.returncode == 0
    assert rest.endswith("Stopped, nothing runs any more\n")
    assert not any(processes.is_alive(pid) for pid in pids.values())
