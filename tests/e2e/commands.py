"""`switchboard …` as an operator runs it, for tests."""

import asyncio
import json
import os
import shlex
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cli.__main__ import main
from local.stack import Stack

Environment = dict[str, str | None]


class Switchboard:
    """`switchboard …` with the variables that an operator sets, and none of those of the functions."""

    def __init__(self, stack: Stack) -> None:
        ours = [name for name in os.environ if name.startswith(("SUPABASE_", "SWITCHBOARD_"))]
        self.environment: Environment = dict.fromkeys(ours)
        self.environment |= {"SUPABASE_URL": stack.api_url, "SUPABASE_SERVICE_ROLE_KEY": stack.service_role_key}

    async def run(self, command: str, *, stdin: str = "", changed: Environment | None = None) -> Result:
        """Run a command with these variables changed, or removed."""
        runner = CliRunner(env={**self.environment, **(changed or {})})
        return await asyncio.to_thread(runner.invoke, main, shlex.split(command), stdin)

    async def told(self, command: str, *, stdin: str = "") -> Any:
        """What a command that succeeds prints as JSON."""
        ran = await self.run(f"{command} --json", stdin=stdin)
        assert ran.exit_code == 0, ran.stderr
        return json.loads(ran.stdout)

    async def fails(self, command: str, status: int, said: str, **options: Any) -> None:
        """The command exits with this status, prints nothing, and says this."""
        ran = await self.run(command, **options)
        assert (ran.exit_code, ran.stdout) == (status, ""), (command, ran.output)
        assert said in ran.stderr, command
        assert "Traceback" not in ran.stderr


def alone(settings_file: Path) -> Environment:
    """Nothing set, and a settings file that a local backend may have written."""
    return {"SUPABASE_URL": None, "SUPABASE_SERVICE_ROLE_KEY": None, "SWITCHBOARD_ENV_FILE": str(settings_file)}


def written(folder: Path, name: str, value: object) -> Path:
    """A file with this JSON."""
    file = folder / name
    file.write_text(json.dumps(value))
    return file
