"""What is deployed: the artifact runs by itself, and serverless.yml is the route table in AWS's words."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from deploy.build import LEFT_OUT, OUTPUT, build, contents
from lib.config import Settings
from lib.http import static_files
from lib.routes import FUNCTIONS, ROUTES
from local.ports import free_port

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "SUPABASE_URL": "https://project.example",
    "SWITCHBOARD_DATABASE_URL": "postgresql://switchboard_login:x@db.example/postgres",
    "SUPABASE_ANON_KEY": "sb_publishable_x",
    "SUPABASE_JWT_SECRET": "a-secret-of-the-project-that-is-long-enough",
    "CRON_SECRET": "what-the-schedules-send",
}


def package(folder: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """`osls package` without credentials and, by way of a proxy that is not there, without a network."""
    nowhere = "http://127.0.0.1:9"
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HTTPS_PROXY": nowhere, "HTTP_PROXY": nowhere}
    # Its own artifact takes long to build, and has the same code.
    environment["ARCHIVE_ARTIFACT"] = str(OUTPUT.relative_to(ROOT))
    return subprocess.run(
        [ROOT / "node_modules" / ".bin" / "osls", "package", "--package", folder],
        cwd=ROOT,
        env=environment | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def artifact() -> Path:
    """Where serverless.yml looks for it."""
    return build()


@pytest.fixture(scope="module")
def packaged(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what would be deployed."""
    folder = tmp_path_factory.mktemp("package")
    done = package(folder, SETTINGS)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def template(packaged: Path) -> dict[str, dict[str, Any]]:
    """The stack's resources by name."""
    text = (packaged / "cloudformation-template-update-stack.json").read_text()
    resources: dict[str, dict[str, Any]] = json.loads(text)["Resources"]
    return resources


def resource(template: dict[str, dict[str, Any]], function: str, kind: str) -> dict[str, Any]:
    properties: dict[str, Any] = template[f"{function.capitalize()}Lambda{kind}"]["Properties"]
    return properties


def test_serverless_yml_has_the_functions_and_paths_of_the_route_table() -> None:
    service = yaml.safe_load((ROOT / "serverless.yml").read_text())
    expected: dict[str, list[str]] = {function: [] for function in FUNCTIONS}
    for route in ROUTES:
        expected[route.function].append(f"{route.method} {route.path}")
    assert tuple(service["functions"]) == FUNCTIONS
    assert service["custom"]["routes"] == expected


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_starts_behind_the_adapter_with_every_setting_and_an_open_url(
    template: dict[str, dict[str, Any]], function: str
) -> None:
    made, url = resource(template, function, "Function"), resource(template, function, "FunctionUrl")
    variables = made["Environment"]["Variables"]
    assert (made["Handler"], made["Runtime"]) == ("run.sh", "python3.13")
    assert (variables["FUNCTION_TARGET"], variables["AWS_LAMBDA_EXEC_WRAPPER"]) == (function, "/opt/bootstrap")
    assert [layer.split(":")[6] for layer in made["Layers"]] == ["LambdaAdapterLayerX86"]
    assert {name.upper() for name in Settings.model_fields} <= set(variables)
    # CORS is answered by the function; only a function that streams is invoked as a stream.
    assert (url["AuthType"], "Cors" in url) == ("NONE", False)
    streams = any(route.streaming for route in ROUTES if route.function == function)
    assert (variables.get("AWS_LWA_INVOKE_MODE") == "response_stream") is streams
    assert (url.get("InvokeMode") == "RESPONSE_STREAM") is streams


def test_the_longest_turn_ends_before_its_function(template: dict[str, dict[str, Any]]) -> None:
    longest_turn = 840  # personas_time_limit_seconds
    for function in ("chat", "mcp"):
        assert resource(template, function, "Function")["Timeout"] >= longest_turn + 30


def test_nothing_is_packaged_without_the_settings_it_needs(tmp_path: Path) -> None:
    done = package(tmp_path, {name: value for name, value in SETTINGS.items() if name != "CRON_SECRET"})
    assert done.returncode != 0
    assert "CRON_SECRET" in done.stdout + done.stderr


def test_cfn_lint_finds_nothing_in_the_templates(packaged: Path) -> None:
    templates = sorted(packaged.glob("cloudformation-template-*.json"))
    assert len(templates) == 2
    done = subprocess.run(
        [Path(sys.executable).parent / "cfn-lint", *templates],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_same_sources_give_the_same_bytes(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert artifact == OUTPUT
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    former = os.umask(0o077)
    try:
        again = build(tmp_path / "again.zip")
    finally:
        os.umask(former)
    assert again.read_bytes() == artifact.read_bytes()


def test_the_artifact_holds_the_code_and_nothing_of_the_machine(artifact: Path) -> None:
    with zipfile.ZipFile(artifact) as archive:
        names = archive.namelist()
        texts = b"".join(archive.read(name) for name in names if name.endswith((".py", ".sh", ".txt")))
    assert {name.split("/")[0] for name in names} == {"docs", "functions", "lib", "run.sh", "vendor", "web"}
    assert {f"functions/{function}/main.py" for function in FUNCTIONS} <= set(names)
    assert not [name for name in names if name.endswith((".pyc", "/RECORD")) or "/bin/" in name]
    assert str(ROOT).encode() not in texts


_OPENED = """
import re, sys
opened = []
class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if re.search(sys.argv[1], name.replace(".", "/") + "/"):
            raise ImportError(name)
sys.meta_path.insert(0, Absent)
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
from lib.archive import parquet, store
writer = parquet.Writer()
writer.add(parquet.of_csv(b"x,,turns" + b"," * 28 + b"1\\n")[0])
assert parquet.equal(writer.finish().content, writer.tables)
store.open_store("s3://bucket?endpoint=http://127.0.0.1:9&region=x")
print("\\n".join(opened + [line.split()[-1] for line in open("/proc/self/maps")]))
"""


def test_nothing_that_the_archive_opens_is_left_out_of_its_artifact() -> None:
    command = [sys.executable, "-c", _OPENED, LEFT_OUT.pattern]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    opened = set(done.stdout.split())
    assert [name for name in opened if "libarrow.so" in name]
    assert [name for name in opened if "botocore/data/s3/" in name]
    assert sorted(name for name in opened if LEFT_OUT.search(name)) == []


@contextmanager
def started(folder: Path, function: str) -> Iterator[str]:
    """A function as its handler starts it, with a Python that has only the artifact's libraries; its URL."""
    port = free_port()
    python = Path(sys.base_prefix) / "bin"
    process = subprocess.Popen(
        [folder / "run.sh"],
        env={
            "PATH": f"{python}:/usr/bin:/bin",
            "FUNCTION_TARGET": function,
            "AWS_LWA_PORT": str(port),
            "PYTHONNOUSERSITE": "1",
            **SETTINGS,
        },
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


async def fetched(url: str) -> bytes:
    """What a URL answers, once something listens."""
    async with aiohttp.ClientSession(raise_for_status=True) as session, asyncio.timeout(60):
        while True:
            try:
                async with session.get(url) as response:
                    return await response.read()
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)


async def test_every_function_of_the_artifact_starts_with_nothing_else_installed(
    artifact: Path, tmp_path: Path
) -> None:
    files = contents(tmp_path / "vendor", f"{sys.version_info.major}.{sys.version_info.minor}")
    with zipfile.ZipFile(artifact) as archive:
        ours = {name for name in archive.namelist() if not name.startswith("vendor/")}
    assert {name for name in files if not name.startswith("vendor/")} == ours
    for name, file in files.items():
        (tmp_path / "task" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "task" / name)

    async def check(function: str) -> None:
        with started(tmp_path / "task", function) as url:
            assert json.loads(await fetched(f"{url}/healthz")) == {"status": "ok", "function": function}
            if function == "chat":
                for path, file in (("widget.js", static_files.WIDGET), ("openapi.json", static_files.DESCRIPTION)):
                    assert await fetched(f"{url}/{path}") == file.content
                for name, file in static_files.REFERENCE.items():
                    assert await fetched(f"{url}/docs/{name}") == file.content

    # The first one compiles what the others import, too.
    await check("chat")
    await asyncio.gather(*(check(function) for function in FUNCTIONS if function != "chat"))
