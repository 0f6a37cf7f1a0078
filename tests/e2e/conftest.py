"""A real browser for the tests of what people see."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from local.stack import Stack
from tests.e2e.commands import Switchboard
from tests.e2e.dashboards import Dashboard
from tests.e2e.shops import Shop
from tests.functions.conftest import add_model, add_workspace
from tests.servers import missing
from tests.standins.openai import OpenAI

# Without these Chromium calls home at every start; as root it does not run in its sandbox.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium, in the build that has no window and takes a third less CPU."""
    chromium = shutil.which("chromium-headless-shell") or os.environ.get("CHROMIUM")
    if chromium is None:
        missing("There is no Chromium here; it comes with Debian (`local/debian.sh`, which `make test` runs).")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield launched
        await launched.close()


PATIENCE = 15_000
"""Milliseconds, for what a page does and for what it is expected to show: several browsers share few cores."""
expect.set_options(timeout=PATIENCE)


class Faults(list[str]):
    """What a browser complained of; `forgive` lists words of what a test provokes."""

    def __init__(self) -> None:
        super().__init__()
        self.forgive: tuple[str, ...] = ()

    def watch(self, page: Page) -> None:
        """Collect errors of scripts, of the console, and every breach of the Content-Security-Policy."""
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("console", lambda said: self.append(said.text) if self._is_fault(said.type, said.text) else None)

    @property
    def unforgiven(self) -> list[str]:
        """What no test provoked."""
        return [fault for fault in self if not any(word in fault for word in self.forgive)]

    def _is_fault(self, kind: str, text: str) -> bool:
        return kind == "error" or "Content Security Policy" in text or "Trusted" in text


@pytest.fixture
def faults() -> Faults:
    """Collected over the whole test, and looked at when its pages are closed."""
    return Faults()


@pytest_asyncio.fixture
async def context(browser: Browser, faults: Faults) -> AsyncIterator[BrowserContext]:
    """A browser without history; whatever any of its pages complains of fails the test."""
    opened = await browser.new_context()
    opened.set_default_timeout(PATIENCE)
    opened.on("page", faults.watch)
    yield opened
    await opened.close()
    assert faults.unforgiven == []


@pytest_asyncio.fixture
async def shop(stack: Stack, database: asyncpg.Connection, context: BrowserContext) -> AsyncIterator[Shop]:
    """A customer whose persona answers at once."""
    async with AsyncExitStack() as rest:
        yield Shop(stack, await add_workspace(database), context, rest)


@pytest_asyncio.fixture
async def held(shop: Shop) -> AsyncIterator[OpenAI]:
    """The server of the shop's persona. An answer begins with `You wrote:` and stays under way until `release()`."""
    async with OpenAI() as openai:
        shop.workspace.persona_id = await add_model(shop.workspace, openai.url("held"))
        yield openai


@pytest_asyncio.fixture
async def dashboard(stack: Stack, database: asyncpg.Connection, context: BrowserContext) -> Dashboard:
    """The members' page of a workspace of its own."""
    return Dashboard(stack, await add_workspace(database), context)


@pytest.fixture
def cli(stack: Stack) -> Switchboard:
    """The commands."""
    return Switchboard(stack)


@pytest.fixture
async def workspace(cli: Switchboard) -> str:
    """The id of a workspace that a command made."""
    create = f"workspace create 'By command' --owner-email {uuid4()}@people.test --create-user"
    return str((await cli.told(create))["id"])
