"""The members' page in a browser, as a member of a workspace of its own."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid4

import aiohttp
from playwright.async_api import BrowserContext, Page, expect

from local.paths import REPOSITORY
from local.stack import Stack
from tests.functions.conftest import Workspace
from tests.servers import missing

PASSWORD = "correct horse"
AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"


@dataclass
class Member:
    """A signed-in member with the page open."""

    page: Page
    user_id: UUID
    email: str

    async def open(self, view: str) -> None:
        """Go to a view, such as ``?status=active#/sessions``."""
        await self.page.goto(self.page.url.partition("/dashboard/")[0] + f"/dashboard/{view}")

    async def check_axe(self, state: str) -> None:
        """Assert that axe finds nothing in what is shown, in light and dark colours."""
        if not AXE.exists():
            missing("There is no axe-core here; it comes from npm (`make install-dev`).")
        # An addition of the test, which the page's policy would refuse as a script element.
        await self.page.evaluate(AXE.read_text(encoding="utf-8"))
        schemes: tuple[Literal["dark", "light"], ...] = ("dark", "light")
        for scheme in schemes:
            await self.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = await self.page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
            told = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
            assert told == [], f"{state}, {scheme}"
            assert found["passes"], "axe did not look at the page"


@dataclass
class Dashboard:
    """The page of a stack and a workspace whose members sign in."""

    stack: Stack
    workspace: Workspace
    context: BrowserContext

    @property
    def url(self) -> str:
        """The page's address."""
        return f"{self.stack.api_url}/dashboard/"

    async def add_user(self, role: str | None = "owner") -> tuple[UUID, str]:
        """A user with the password of all, and their role in the workspace."""
        email = f"{uuid4().hex}@members.test"
        body = {"email": email, "password": PASSWORD, "email_confirm": True}
        key = self.stack.keys.service_role_key
        headers = {"Authorization": f"Bearer {key}", "apikey": key}
        async with (
            aiohttp.ClientSession(headers=headers) as client,
            client.post(f"{self.stack.api_url}/auth/v1/admin/users", json=body) as response,
        ):
            assert response.status == 200, await response.text()
            user_id = UUID((await response.json())["id"])
        if role:
            insert = "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, $3)"
            await self.workspace.database.execute(insert, self.workspace.id, user_id, role)
        return user_id, email

    async def sign_in(
        self, role: str | None = "owner", view: str = "", context: BrowserContext | None = None
    ) -> Member:
        """A new member in a page of their own, or of another browser."""
        user_id, email = await self.add_user(role)
        page = await (context or self.context).new_page()
        await page.goto(self.url + view)
        await page.get_by_label("Email").fill(email)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("button", name="Sign out", exact=True)).to_be_visible()
        return Member(page, user_id, email)
