"""Installs the locked dependencies, a virtual environment and the Node packages, and bundles what browsers load.

Each step is skipped if nothing that it reads has changed.

Run by `make` with the system's Python; it uses only the standard library.
"""

import argparse
import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - it runs before anything has checked
    sys.exit("Switchboard needs Python 3.11 or newer; {} is {}.{}.".format(sys.executable, *sys.version_info[:2]))

REPOSITORY = Path(__file__).resolve().parent.parent
VENV = REPOSITORY / ".venv"


def main() -> None:
    """Install for `make run`, or with --dev also for `make test` and `make lint`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what the tests and the linters need")
    dev = parser.parse_args().dev
    # Concurrent installations run one after another; the second finds nothing to do.
    with (REPOSITORY / ".install.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install_python(dev)
        _install_node(dev)
        _bundle("build", ["web/widget"], "widget.js")
        _bundle("build:dashboard", ["web/dashboard", "web/widget"], "dashboard/main.js")
        _bundle("build:reference", ["web/reference"], "reference.js")


def _install_python(dev: bool) -> None:
    lock = REPOSITORY / "requirements" / ("dev.txt" if dev else "local.txt")
    stamps = {name: _digest(f"requirements/{name}.txt", "requirements/uv.txt") for name in ("dev", "local")}
    stamp = VENV / ".installed"
    installed = stamp.read_text().split() if stamp.exists() else []
    # The development lock includes the other one.
    if stamps["dev"] in installed or (not dev and stamps["local"] in installed):
        return
    _say(f"Creating the virtual environment {VENV.name}" if not VENV.exists() else "Updating the virtual environment")
    made = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True, text=True, check=False)
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        sys.exit(
            f"{sys.executable} cannot make a virtual environment (on Debian: apt install python3-venv).\n"
            f"{made.stdout}{made.stderr}"
        )
    stamp.unlink(missing_ok=True)
    count = len(re.findall(r"^[\w.\[\]-]+==", lock.read_text(), re.MULTILINE))
    with _timed(f"Installing {count} Python packages"):
        # The lock names every package; the embedding model asks for torch, which it leaves out.
        _install_packages("--require-hashes", "--requirement", str(lock))
        _install_packages("--editable", str(REPOSITORY))
    stamp.write_text("\n".join([stamps["local"], *([stamps["dev"]] if dev else [])]) + "\n")


def _install_packages(*wanted: str) -> None:
    """Install by uv, in a quarter of pip's time; by pip where uv fails, such as behind a mirror that only pip knows."""
    python = str(VENV / "bin" / "python")
    # -qq, because pip warns of package sources that do not exist on every machine; errors are shown.
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input", "--no-deps"]
    # Environments of containers often forbid Python to write what it compiles: it is compiled here, once.
    uv = [python, "-m", "uv", "pip", "install", "-q", "--python", python, "--compile-bytecode", "--no-deps"]
    run = functools.partial(subprocess.run, cwd=REPOSITORY, check=False)
    has_uv = not run([*pip, "--require-hashes", "--requirement", "requirements/uv.txt"]).returncode
    if has_uv and not run([*uv, *wanted]).returncode:
        return
    _say("Trying pip instead of uv …")
    if run([*pip, *wanted]).returncode:
        sys.exit("The Python packages could not be installed.")


def _install_node(dev: bool) -> None:
    _require_node()
    digest = _digest("package.json", "package-lock.json")
    modules = REPOSITORY / "node_modules"
    stamp = modules / ".installed"
    installed = stamp.read_text().split() if stamp.exists() else []
    if f"dev:{digest}" in installed or (not dev and f"run:{digest}" in installed):
        return
    stamp.unlink(missing_ok=True)
    # Not `npm ci`, which refuses a lock without the binaries of platforms that a registry lacks. The lock's packages
    # are installed as locked, checksums included, and the lock is not written.
    command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]
    with _timed("Installing the Node packages"):
        done = subprocess.run(
            [*command, *([] if dev else ["--omit=dev"])], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
    if done.returncode:
        sys.exit(f"The Node packages could not be installed.\n{done.stdout}{done.stderr}")
    stamp.write_text(f"{'dev' if dev else 'run'}:{digest}\n")


def _bundle(script: str, folders: list[str], name: str) -> None:
    sources = [file for folder in folders for file in _files_of(folder)]
    digest = _digest("package.json", "package-lock.json", *sources)
    bundle = REPOSITORY / "web" / "dist" / name
    stamp = bundle.with_name(f".{bundle.name}.built")
    if bundle.exists() and stamp.exists() and stamp.read_text() == digest:
        return
    done = subprocess.run(
        ["npm", "run", "--silent", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{folders[0]} could not be bundled.\n{done.stdout}{done.stderr}")
    stamp.write_text(digest)


def _files_of(folder: str) -> list[str]:
    files = (path for path in (REPOSITORY / folder).rglob("*") if path.is_file())
    return sorted(path.relative_to(REPOSITORY).as_posix() for path in files)


def _require_node() -> None:
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            sys.exit(f"Switchboard needs Node 20 or newer with npm; there is no `{tool}` on the PATH.")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").split(".")[0]) < 20:
        sys.exit(f"Switchboard needs Node 20 or newer; {shutil.which('node')} is {version}.")


def _digest(*names: str) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for name in (*names, "pyproject.toml"):
        digest.update((REPOSITORY / name).read_bytes())
    return digest.hexdigest()


def _say(line: str) -> None:
    print(line, flush=True)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    _say(f"{what} …")
    yield
    _say(f"{what}: done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    # A parent make exports its settings; pip and npm read theirs from files.
    for name in ("MAKEFLAGS", "MFLAGS", "PYTHONPATH", "VIRTUAL_ENV"):
        os.environ.pop(name, None)
    main()
