"""The functions without a direct connection, as where nothing lives long: every call goes through PostgREST.

What differs is only how a call reaches Postgres, so these are other files' tests of what calls carry and bring back,
against another stack: turns with all that comes of them, refusals, limits, outages, work in the background, management.
"""

# ruff: noqa: F403 (the tests of those files are what is wanted)

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.stack import Stack, start_stack
from tests.conftest import keep_every_minute
from tests.functions.test_archive import *
from tests.functions.test_cancel import *
from tests.functions.test_chat import *
from tests.functions.test_limits import *
from tests.functions.test_outage import *
from tests.functions.test_registration import *
from tests.functions.test_webhooks import *
from tests.functions.test_worker import *
from tests.functions.test_workspaces import *


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack whose functions know no database but PostgREST; as in conftest, without the seldom schedules."""
    folder = Path(tempfile.mkdtemp(prefix="switchboard-"))
    with start_stack(folder, functions_env={"SWITCHBOARD_DATABASE_URL": ""}) as running:
        asyncio.run(keep_every_minute(running.admin_url))
        yield running
    shutil.rmtree(folder, ignore_errors=True)
