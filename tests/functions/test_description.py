"""Requests that schemathesis makes from the description of the API, as each kind of caller.

No answer is a 5xx, each has a status that the description names, and a body that fits its schema. Stateful: ids in
answers are used in the requests that follow. `make fuzz ARGS="--max-examples 500"` asks more.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from local.openapi import FILE
from local.stack import Stack
from tests.functions.conftest import Workspace
from tests.functions.people import Person, Staff

CALLERS = ("anonymous", "contact", "stranger", "agent", "owner", "key")
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
FEW = "--max-examples 1 --max-time 8"

ENDLESS = ("stream_conversation",)
"""These answers do not end within a test."""


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("who", CALLERS)
async def test_every_answer_is_as_described(
    who: str, workspace: Workspace, staff: Staff, client: aiohttp.ClientSession, stack: Stack, tmp_path: Path
) -> None:
    await workspace.database.execute(
        "update public.workspaces set messages_per_minute_by_space = 1000000 where id = $1", workspace.id
    )
    caller = await key_of(staff.owner, workspace) if who == "key" else getattr(staff, who)
    options = ["--header", f"Authorization: Bearer {caller.token}"] if caller.token else []
    options += ["--seed", "1", "--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "20"]
    options += ["--phases", "coverage,fuzzing,stateful", "--checks", ",".join(CHECKS), "--continue-on-failure"]
    options += [part for name in ENDLESS for part in ("--exclude-operation-id", name)]
    options += os.environ.get("FUZZ", FEW).split()
    schemathesis = Path(sys.executable).with_name("schemathesis")
    done = await asyncio.create_subprocess_exec(
        schemathesis, "run", FILE, "--url", stack.api_url, *options, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    told = (await done.communicate())[0].decode()
    assert done.returncode == 0, told


async def key_of(owner: Person, workspace: Workspace) -> Person:
    """An API key with the role admin."""
    new = {"name": "x", "role": "admin"}
    made: dict[str, Any] = await owner.done("POST", f"/workspaces/{workspace.id}/api-keys", new)
    return Person(owner.client, uuid4(), "", made["secret"])
