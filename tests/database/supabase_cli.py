"""Running the real Supabase CLI against a plain Postgres: offline, without Docker and without a login."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from local.paths import REPOSITORY
from tests.servers import missing

PROGRAM = REPOSITORY / "node_modules" / ".bin" / "supabase"


@dataclass(frozen=True)
class Ran:
    """How a command ended and everything it said."""

    code: int
    said: str


async def supabase(home: Path, *arguments: str, env: dict[str, str] | None = None, workdir: Path = REPOSITORY) -> Ran:
    """Run the CLI with a home folder of its own. It gets nothing of the caller's environment but the PATH."""
    if not PROGRAM.exists():
        missing("The Supabase CLI is not installed; it comes with `make install-dev`.")
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *arguments,
        cwd=workdir,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "SUPABASE_TELEMETRY_DISABLED": "1",
            "DO_NOT_TRACK": "1",
            # Whoever still tries to reach the network fails at once.
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "HTTP_PROXY": "http://127.0.0.1:9",
            **(env or {}),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return Ran(process.returncode or 0, said.decode())
