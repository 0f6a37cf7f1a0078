"""The demo data of a fresh stack beyond migrations and seed: demo users and Vault secrets."""

import asyncpg

from local import passwords
from local.layout import Demo

USERS = {"owner@demo.test": "owner", "agent@demo.test": "agent", "visitor@demo.test": None}
"""Demo users and their roles in the demo workspace; the visitor is not a member."""


SEEDED = Demo(
    workspace_id="00000000-0000-7000-8000-000000000001",
    persona_id="00000000-0000-7000-8000-000000000002",
    space_id="00000000-0000-7000-8000-000000000003",
    landing_id="00000000-0000-7000-8000-000000000004",
)
"""The ids in supabase/seed.sql."""


async def find(url: str) -> Demo:
    """The demo workspace's ids; an empty Demo without the seed."""
    connection = await asyncpg.connect(url)
    try:
        if await connection.fetchval("select to_regclass('public.workspaces') is null"):
            return Demo()
        found = await connection.fetchval(
            "select true from public.workspaces where id = $1::text::uuid", SEEDED.workspace_id
        )
    finally:
        await connection.close()
    return SEEDED if found else Demo()


async def add_users(auth_url: str, url: str, demo: Demo, password: str) -> None:
    """Create the missing demo users, confirmed and with this password, and their memberships."""
    connection = await asyncpg.connect(auth_url)
    try:
        encrypted = passwords.encrypt(password)
        for email in USERS:
            await connection.execute(
                """
                insert into auth.users (id, aud, role, email, encrypted_password, email_confirmed_at,
                                        raw_app_meta_data, raw_user_meta_data, created_at, updated_at)
                values (gen_random_uuid(), 'authenticated', 'authenticated', $1, $2, now(),
                        '{"provider": "email", "providers": ["email"]}', '{}', now(), now())
                on conflict (email) where is_sso_user = false do nothing
                """,
                email,
                encrypted,
            )
    finally:
        await connection.close()
    if not demo.workspace_id:
        return
    connection = await asyncpg.connect(url)
    try:
        for email, role in USERS.items():
            if role is not None:
                await connection.execute(
                    """
                    insert into public.workspace_members (workspace_id, user_id, role)
                    select $1::text::uuid, id, $3::text::public.member_role from auth.users where email = $2
                    on conflict do nothing
                    """,
                    demo.workspace_id,
                    email,
                    role,
                )
    finally:
        await connection.close()


async def set_secrets(url: str, secrets: dict[str, str]) -> None:
    """Store named secrets in Vault, replacing existing ones."""
    connection = await asyncpg.connect(url)
    try:
        for name, secret in secrets.items():
            known = await connection.fetchval("select id from vault.secrets where name = $1", name)
            if known is None:
                await connection.execute("select vault.create_secret($1, $2)", secret, name)
            else:
                await connection.execute("select vault.update_secret($1, $2)", known, secret)
    finally:
        await connection.close()
