"""Users of Supabase Auth with a role in a workspace, or none, and what they ask of the functions."""

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import jwt

from local.stack import Stack
from tests.functions.conftest import Workspace, add_workspace, problem

OPERATOR = {"switchboard_role": "operator"}


@dataclass
class Person:
    """Somebody signed in; ``id`` is the user's."""

    client: aiohttp.ClientSession
    id: UUID
    email: str
    token: str | None

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, dict[str, Any]]:
        """The status and the document of an answer; of a refusal the checked problem document, of nothing {}."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with self.client.request(method, path, json=body, headers=headers, **more) as response:
            if response.status == 204:
                assert await response.read() == b""
                return 204, {}
            if response.status >= 400:
                return response.status, await problem(response)
            answer: dict[str, Any] = await response.json()
            return response.status, answer

    async def done(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """The document of an answer that is a success."""
        status, answer = await self.ask(method, path, body)
        assert status in (200, 201, 204), answer
        return answer

    async def pages(self, path: str, limit: int) -> list[list[dict[str, Any]]]:
        """The items of a list, page by page to its end."""
        pages: list[list[dict[str, Any]]] = []
        cursor: dict[str, str] = {}
        while True:
            status, page = await self.ask("GET", path, params={"limit": limit, **cursor})
            assert status == 200, page
            pages.append(page["items"])
            if "next_cursor" not in page:
                return pages
            assert len(page["items"]) == limit
            cursor = {"cursor": page["next_cursor"]}

    async def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """The status and the code of an answer that is a refusal."""
        status, answer = await self.ask(method, path, body)
        assert status >= 400, answer
        return status, answer["code"]


async def sign_up(
    client: aiohttp.ClientSession,
    workspace: Workspace,
    stack: Stack,
    role: str | None = None,
    *,
    confirmed: bool = True,
    app_metadata: Any = None,
    user_metadata: Any = None,
) -> Person:
    """A new user, a member of the workspace where a role is given."""
    user_id, email = uuid4(), f"{uuid4()}@people.test"
    await workspace.database.execute(
        "insert into auth.users (id, email, email_confirmed_at) values ($1, $2, case when $3 then now() end)",
        user_id,
        email,
        confirmed,
    )
    if role is not None:
        await workspace.database.execute(
            "insert into public.workspace_members (workspace_id, user_id, role) values ($1, $2, $3)",
            workspace.id,
            user_id,
            role,
        )
    claims = {
        "iss": f"{stack.api_url}/auth/v1",
        "sub": str(user_id),
        "aud": "authenticated",
        "role": "authenticated",
        "email": email,
        "exp": int(time.time()) + 600,
        "app_metadata": app_metadata,
        "user_metadata": user_metadata,
    }
    return Person(client, user_id, email, jwt.encode(claims, stack.jwt_secret, "HS256"))


class Staff:
    """A workspace's people, another workspace's admin, and those who are nobody here."""

    owner: Person
    admin: Person
    agent: Person
    stranger: Person
    other_admin: Person
    operator: Person
    contact: Person
    anonymous: Person

    def __init__(self, **people: Person) -> None:
        self.__dict__ |= people


async def staff_of(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    """A workspace's staff, and everybody else."""
    elsewhere = await add_workspace(workspace.database)
    arrival = {"email": "contact@example.com"}
    async with client.post(f"/space/{workspace.space_id}/register", json=arrival) as response:
        token = (await response.json())["token"]
    return Staff(
        owner=await sign_up(client, workspace, stack, "owner"),
        admin=await sign_up(client, workspace, stack, "admin"),
        agent=await sign_up(client, workspace, stack, "agent"),
        stranger=await sign_up(client, workspace, stack, user_metadata=OPERATOR),
        other_admin=await sign_up(client, elsewhere, stack, "owner"),
        operator=await sign_up(client, workspace, stack, app_metadata=OPERATOR),
        contact=Person(client, uuid4(), "", token),
        anonymous=Person(client, uuid4(), "", None),
    )


async def resolve(person: Person, *identities: str, **more: Any) -> str:
    """The id of the contact with these identities, created if there is none."""
    body = {"identities": list(identities), "create": True, **more}
    contact: dict[str, Any] = (await person.done("POST", "/admin/contacts/resolve", body))["contact"]
    return str(contact["id"])


async def stock_client(stack: Stack, person: Person, view: str, *filters: tuple[str, str, Any]) -> list[dict[str, Any]]:
    """The newest 10 rows of a view, read by supabase-js with the person's token."""
    script = Path(__file__).with_name("stock_client.mjs")
    arguments = (script, stack.api_url, stack.publishable_key, person.token or "", view, json.dumps(filters))
    node = await asyncio.create_subprocess_exec("node", *arguments, stdout=asyncio.subprocess.PIPE)
    rows: list[dict[str, Any]] = json.loads((await node.communicate())[0])
    return rows


async def audit(
    workspace: Workspace, workspace_id: UUID | None = None
) -> list[tuple[str, UUID, UUID | None, str | None]]:
    """What was recorded of managing a workspace, by time and verb: verb, object, actor, code."""
    rows = await workspace.database.fetch(
        "select verb, object_id, actor_id, code from public.audit_events "
        "where workspace_id = $1 and verb not like 'contact.%' order by created_at, verb",
        workspace_id or workspace.id,
    )
    return [(row["verb"], row["object_id"], row["actor_id"], row["code"]) for row in rows]


async def setup_of(workspace: Workspace) -> list[Any]:
    """All that managing could have changed."""
    tables = ("workspaces w where w.id", "workspace_members w where w.workspace_id", "spaces w where w.workspace_id",
              "personas w where w.workspace_id", "audit_events w where w.workspace_id")  # fmt: skip
    return [
        await workspace.database.fetch(f"select w::text from public.{table} = $1 order by 1", workspace.id)
        for table in tables
    ]
