"""The virtual environment of the systems that are measured beside ours, installed from requirements/cost.txt."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from local.paths import REPOSITORY

VENV = REPOSITORY / ".venv-cost"
LOCK = REPOSITORY / "requirements" / "cost.txt"


class PeersError(Exception):
    """The peers could not be installed; the message is the installer's."""


def install(report: Callable[[str], None]) -> Path:
    """The Python that has the peers; installs them when the lock has changed. Raises PeersError."""
    python, stamp = VENV / "bin" / "python", VENV / ".installed"
    digest = hashlib.sha256(sys.version.encode() + LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    report(f"Installing the systems to compare with into {VENV.name} (about a minute)")
    stamp.unlink(missing_ok=True)
    _run([sys.executable, "-m", "venv", str(VENV)])
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    _run([*pip, "--require-hashes", "--requirement", str(LOCK)])
    stamp.write_text(digest)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeersError(f"The systems to compare with could not be installed.\n{done.stdout}{done.stderr}")
