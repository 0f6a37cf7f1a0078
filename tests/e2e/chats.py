"""A person who chats: what they do in the embedded chat, and what they see of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import asyncpg
from playwright.async_api import Locator, Page, expect

from tests.functions.conftest import Workspace


@dataclass
class Chat:
    """The chat on a page."""

    page: Page
    workspace: Workspace | None = None

    @property
    def launcher(self) -> Locator:
        """The round button."""
        return self.page.locator("switchboard-chat .launcher")

    @property
    def panel(self) -> Locator:
        """What the launcher opens."""
        return self.page.get_by_role("dialog")

    @property
    def field(self) -> Locator:
        """Where a message is typed."""
        return self.page.get_by_role("textbox", name="Your message")

    @property
    def answers(self) -> Locator:
        """Every whole answer."""
        return self.page.get_by_role("log").locator(".persona")

    @property
    def draft(self) -> Locator:
        """The answer that is under way."""
        return self.page.locator("switchboard-chat .draft")

    def button(self, name: str) -> Locator:
        """A button by its name."""
        return self.panel.get_by_role("button", name=name)

    async def open(self) -> None:
        """Open it by its launcher."""
        await self.launcher.click()
        await expect(self.panel).to_be_visible()

    async def reload(self) -> None:
        """Reload the page with the open chat, which opens it again."""
        await self.page.reload()
        await expect(self.panel).to_be_visible()

    async def say(self, message: str) -> None:
        """Type a message and press Enter."""
        await self.field.fill(message)
        await self.field.press("Enter")

    async def answered(self, count: int = 1) -> str:
        """Wait until there are so many whole answers and none under way; the last one's text."""
        await expect(self.answers).to_have_count(count, timeout=30_000)
        await expect(self.draft).to_be_hidden()
        return await shown(self.answers.last)

    async def growing(self, text: str = "You wrote:") -> None:
        """Wait until an answer that is under way is there up to this text."""
        await expect(self.draft).to_have_text(text)

    async def kept(self) -> dict[str, Any]:
        """What is kept on the device for this space; empty when there is nothing."""
        entries: list[str] = await self.page.evaluate("() => Object.values(localStorage)")
        return json.loads(entries[0]) if entries else {}

    async def keep(self, **changes: Any) -> None:
        """Change what is kept, as time or another hand would."""
        await self.page.evaluate(
            "changes => { const key = Object.keys(localStorage)[0];"
            " localStorage.setItem(key, JSON.stringify({...JSON.parse(localStorage.getItem(key)), ...changes})); }",
            changes,
        )


async def shown(message: Locator) -> str:
    """The text of a message, without what only a screen reader is told."""
    text: str = await message.evaluate(
        "message => [...message.childNodes].filter(node => node.className !== 'unseen')"
        ".map(node => node.textContent).join('')"
    )
    return text


async def stored(database: asyncpg.Connection, workspace: Workspace, role: str = "persona") -> list[str]:
    """The texts that the database holds for a workspace, oldest first."""
    rows = await database.fetch(
        "select text from public.messages where workspace_id = $1 and role::text = $2 order by created_at",
        workspace.id,
        role,
    )
    return [row["text"] for row in rows]
