"""A customer: their workspace, and pages of theirs with the chat on them."""

from __future__ import annotations

from contextlib import AsyncExitStack

from playwright.async_api import BrowserContext

from local.stack import Stack
from tests.e2e.chats import Chat
from tests.e2e.sites import Line, Site, relaying, serving, strict
from tests.functions.conftest import Workspace


class Shop:
    """A customer: their workspace, and pages of theirs with the chat on them."""

    def __init__(self, stack: Stack, workspace: Workspace, context: BrowserContext, rest: AsyncExitStack) -> None:
        self.stack, self.workspace, self.context, self._rest = stack, workspace, context, rest

    async def site(self, *, listed: bool = True, policy: str | None = None, api: str = "", **attributes: str) -> Site:
        """A page on an origin of its own; the space lists it unless told otherwise."""
        api = api or self.stack.api_url
        space_id = await self.workspace.add_space(persona_id=self.workspace.persona_id)
        tag = {"src": f"{api}/widget.js", "data-space": str(space_id)}
        named = {f"data-{name.replace('_', '-')}": value for name, value in attributes.items()}
        site = await self._rest.enter_async_context(serving(Site(tag | named, policy or strict(api))))
        if listed:
            await self.workspace.database.execute(
                "update public.spaces set allowed_origins = $2 where id = $1", space_id, [site.origin]
            )
        return site

    async def chat(self, site: Site) -> Chat:
        """The chat on a new tab with the page, open."""
        chat = await self.visit(site)
        await chat.open()
        return chat

    async def visit(self, site: Site) -> Chat:
        """The chat on a new tab with the page, closed."""
        page = await self.context.new_page()
        await page.goto(site.origin)
        return Chat(page, self.workspace)

    async def line(self) -> Line:
        """A line to the functions that can be cut."""
        return await self._rest.enter_async_context(relaying(self.stack.api_url))

    async def turns(self) -> list[str]:
        """How the workspace's turns stand, oldest first."""
        rows = await self.workspace.database.fetch(
            "select status::text from public.turns where workspace_id = $1 order by created_at", self.workspace.id
        )
        return [row["status"] for row in rows]
