"""Build the deployed zips: functions, lib, files for browsers and the locked dependencies, for Python on x86-64 Linux.

    .venv/bin/python deploy/build.py [--only functions] [--python 3.13]

functions.zip is for all functions but `archive`, which alone has the libraries for Parquet and object stores, in
archive.zip. embeddings.zip has the model of SWITCHBOARD_EMBEDDINGS=local, for the functions that embed texts
(EMBEDDING_ARTIFACT in serverless.yml); it is built only by name.

The build is reproducible: files are sorted, their times and modes fixed, and the installer's files about the machine
left out, so equal sources give an equal artifact.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
VARIANTS = {
    "functions": "requirements/functions.txt",
    "archive": "requirements/archive.txt",
    "embeddings": "requirements/embeddings.txt",
}
"""The locked dependencies of each zip."""
ALWAYS = ("functions", "archive")
OUTPUT = BUILD / "functions.zip"
PYTHON = "3.13"
PARTS = ("functions", "lib")
BUNDLES = ("build", "build:reference")
FILES = ("web/dist/widget.js", "web/dist/reference.js", "web/dist/reference.css", "docs/openapi.json")
"""For browsers (lib/http/static_files.py)."""

# AWS Lambda's Python 3.13 runs on Amazon Linux 2023, with glibc 2.34.
_PLATFORM = "x86_64-manylinux_2_28"
# Console scripts name the building Python; RECORD lists their hashes; the others describe the installation.
_LEFT_OUT_FOLDERS = {"bin", "__pycache__"}
_LEFT_OUT_FILES = {".lock", "RECORD", "REQUESTED", "INSTALLER", "direct_url.json"}
LEFT_OUT = re.compile(
    r"pyarrow/(tests|include|src)/|pyarrow/(lib)?_?(arrow_)?(flight|s3|s3fs)\b"
    r"|botocore/data/(?!s3/)[^/]+/|boto3/(data/(?!s3/)|examples)"
    r"|numpy/(.+/)?tests/|hf_xet/|phonenumbers/(geodata|carrierdata|tzdata)/"
)
"""Parts of dependencies that nothing here imports: what Lambda unpacks is limited to 250 MB."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)


def build(output: Path = OUTPUT, python: str = PYTHON, variant: str = "functions") -> Path:
    """Write an artifact and return its path.

    Raises CalledProcessError if a dependency cannot be installed, or a bundle not be made: that needs the Node packages
    (`make install`).
    """
    for bundle in BUNDLES:
        subprocess.run(["npm", "run", "--silent", bundle], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory(prefix="switchboard-build-") as folder:
        entries = contents(Path(folder) / "vendor", python, variant)
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = output.with_suffix(".partial")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name in sorted(entries):
                _add(archive, name, entries[name].read_bytes())
        partial.replace(output)
    return output


def contents(vendor: Path, python: str = PYTHON, variant: str = "functions") -> dict[str, Path]:
    """Install the dependencies into a new folder; the artifact's files, by their names in it.

    Raises CalledProcessError if a dependency cannot be installed.
    """
    _install(vendor, python, VARIANTS[variant])
    return {
        "run.sh": ROOT / "deploy" / "run.sh",
        **{name: ROOT / name for name in FILES},
        **{f"vendor/{name}": path for name, path in _files(vendor) if not LEFT_OUT.search(name)},
        **{f"{part}/{name}": path for part in PARTS for name, path in _files(ROOT / part)},
    }


def _install(vendor: Path, python: str, requirements: str) -> None:
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--require-hashes", "--requirement", str(ROOT / requirements)]
    command += ["--python-version", python, "--python-platform", _PLATFORM]
    subprocess.run([*command, "--target", str(vendor)], check=True)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files of a folder that belong into the artifact, with their relative names."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not _LEFT_OUT_FOLDERS & set(name.parts) and path.name not in _LEFT_OUT_FILES:
            yield name.as_posix(), path


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.create_system = 3  # Unix, on every system
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (0o100755 if name.endswith((".sh", ".so")) else 0o100644) << 16
    archive.writestr(entry, content)


def main() -> None:
    """Build the artifacts and print their paths and sizes."""
    parser = argparse.ArgumentParser(description="Build the artifacts that serverless.yml deploys.")
    parser.add_argument("--only", choices=VARIANTS, help="build one of them")
    parser.add_argument("--python", default=PYTHON, help="the version that runs them")
    arguments = parser.parse_args()
    for variant in [arguments.only] if arguments.only else ALWAYS:
        artifact = build(BUILD / f"{variant}.zip", arguments.python, variant)
        with zipfile.ZipFile(artifact) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        print(f"{artifact} ({artifact.stat().st_size / 1e6:.1f} MB, {unpacked / 1e6:.1f} MB unpacked)")


if __name__ == "__main__":
    main()
