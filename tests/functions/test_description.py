"""Requests that schemathesis makes from the description of the API, as each kind of caller.

No answer is a 5xx, each has a status that the description names, and a body that fits its schema. Paths name rows of
the workspace where the caller may see them; stateful: ids in answers are used in the requests that follow. `make fuzz
ARGS="--max-examples 500"` makes more requests.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local.openapi import FILE
from local.stack import Stack
from tests.functions.conftest import Workspace
from tests.functions.people import Person, Staff
from tests.functions.test_isolation import TEXTS, Belongings

MEMBERS = ("agent", "owner", "key")
CALLERS = ("anonymous", "contact", "stranger", *MEMBERS)
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
FEW = "--phases fuzzing,stateful --max-examples 1 --max-time 7"

DESCRIBED = json.loads(FILE.read_text())
ENDLESS = [
    operation["operationId"]
    for path in DESCRIBED["paths"].values()
    for operation in path.values()
    if list(operation["responses"].get("200", {}).get("content", {})) == ["text/event-stream"]
]
"""These answers do not end within a test."""


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("who", CALLERS)
async def test_every_answer_is_as_described(
    who: str, workspace: Workspace, staff: Staff, ours: Belongings, stack: Stack, tmp_path: Path
) -> None:
    known = {name: value for name, value in ours.ids.items() if name not in TEXTS} if who in MEMBERS else {}
    known |= {"space_id": str(workspace.space_id), "app_id": str(workspace.landing_id)}
    settings = "".join(f'"path.{name}" = "{value}"\n' for name, value in known.items())
    (tmp_path / "schemathesis.toml").write_text(f"[parameters]\n{settings}")
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
