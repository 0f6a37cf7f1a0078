"""Users, sessions and tokens of the local sign-in, stored in the auth schema."""

import asyncio
import datetime
import json
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Any

import asyncpg
import jwt

from local import passwords

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

LIFETIME = 3600
"""Lifetime of an access token in seconds."""
_REUSE_INTERVAL = 10
"""Seconds in which a used refresh token stays valid: two tabs may refresh at once (GoTrue's default)."""


class AuthError(Exception):
    """An error of Supabase Auth: status, stable code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        self.message = message
        super().__init__(message)


@dataclass(frozen=True)
class Accounts:
    """The sign-in's operations on a database. `issuer` is the API's URL with /auth/v1."""

    pool: asyncpg.Pool
    jwt_secret: str
    issuer: str

    async def sign_up(self, email: str | None, password: str | None, metadata: dict[str, Any]) -> dict[str, Any]:
        """Create a user, confirmed at once as on every local Supabase, and sign in.

        Without an email the user is anonymous. Raises AuthError if the email is taken or the password is too short.
        """
        anonymous = email is None
        if not anonymous and len(password or "") < 6:
            raise AuthError(422, "weak_password", "Password should be at least 6 characters.")
        try:
            user = await self._insert(email, password, metadata, confirmed=not anonymous)
        except asyncpg.UniqueViolationError:
            raise AuthError(422, "user_already_exists", "User already registered") from None
        return await self._open_session(user["id"], "anonymous" if anonymous else "password")

    async def create_user(
        self, email: str, password: str | None, metadata: dict[str, Any], *, confirmed: bool
    ) -> dict[str, Any]:
        """Create a user without a session. Raises AuthError if the email is taken."""
        try:
            return _user_document(await self._insert(email, password, metadata, confirmed=confirmed))
        except asyncpg.UniqueViolationError:
            message = "A user with this email address has already been registered"
            raise AuthError(422, "email_exists", message) from None

    async def sign_in(self, email: str, password: str) -> dict[str, Any]:
        """A new session for a correct password. Raises AuthError, the same for an unknown email."""
        user = await self.pool.fetchrow(
            "select * from auth.users where email = $1 and is_sso_user = false and deleted_at is null", email
        )
        encrypted = user["encrypted_password"] if user else None
        if not await asyncio.to_thread(passwords.matches, password, encrypted) or user is None:
            raise AuthError(400, "invalid_credentials", "Invalid login credentials")
        return await self._open_session(user["id"], "password")

    async def refresh(self, token: str) -> dict[str, Any]:
        """The session's next tokens; the refresh token becomes invalid. Raises AuthError."""
        async with self.pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                """
                select token, session_id, user_id::uuid, revoked,
                       updated_at > now() - make_interval(secs => $2) as fresh
                from auth.refresh_tokens where token = $1 for update
                """,
                token,
                _REUSE_INTERVAL,
            )
            if row is None:
                raise AuthError(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
            if row["revoked"] and not row["fresh"]:
                raise AuthError(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
            await connection.execute(
                "update auth.refresh_tokens set revoked = true, updated_at = now() where token = $1 and not revoked",
                token,
            )
            return await self._tokens(connection, row["user_id"], row["session_id"], "token_refresh", token)

    async def user(self, access_token: str) -> dict[str, Any]:
        """The user of a valid access token whose session exists. Raises AuthError."""
        claims = self._claims(access_token)
        user = await self.pool.fetchrow(
            "select u.* from auth.users u join auth.sessions s on s.user_id = u.id where u.id = $1 and s.id = $2",
            uuid.UUID(claims["sub"]),
            uuid.UUID(claims["session_id"]),
        )
        if user is None:
            raise AuthError(403, "session_not_found", "Session from session_id claim in JWT does not exist")
        return _user_document(user)

    async def sign_out(self, access_token: str, scope: str) -> None:
        """End sessions: this one (`local`), the user's others (`others`) or all (`global`). Raises AuthError."""
        claims = self._claims(access_token)
        await self.pool.execute(
            """
            delete from auth.sessions
            where user_id = $1 and case $3 when 'local' then id = $2 when 'others' then id <> $2 else true end
            """,
            uuid.UUID(claims["sub"]),
            uuid.UUID(claims["session_id"]),
            scope,
        )

    def _claims(self, access_token: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                access_token,
                self.jwt_secret,
                ["HS256"],
                audience="authenticated",
                issuer=self.issuer,
                options={"require": ["exp", "sub", "session_id"]},
            )
        except jwt.InvalidTokenError as error:
            message = f"invalid JWT: unable to parse or verify signature, {error}"
            raise AuthError(403, "bad_jwt", message) from error

    async def _insert(
        self, email: str | None, password: str | None, metadata: dict[str, Any], *, confirmed: bool
    ) -> asyncpg.Record:
        """A new user; without an email an anonymous one."""
        provider: dict[str, Any] = {} if email is None else {"provider": "email", "providers": ["email"]}
        (user,) = await self.pool.fetch(
            """
            insert into auth.users (id, aud, role, email, encrypted_password, email_confirmed_at, is_anonymous,
                                    raw_app_meta_data, raw_user_meta_data, created_at, updated_at)
            values (gen_random_uuid(), 'authenticated', 'authenticated', $1, $2, case when $3 then now() end, $4,
                    $5::text::jsonb, $6::text::jsonb, now(), now())
            returning *
            """,
            email,
            await asyncio.to_thread(passwords.encrypt, password) if email and password else None,
            confirmed,
            email is None,
            json.dumps(provider),
            json.dumps(metadata),
        )
        return user

    async def _open_session(self, user_id: uuid.UUID, method: str) -> dict[str, Any]:
        async with self.pool.acquire() as connection, connection.transaction():
            session_id = await connection.fetchval(
                "insert into auth.sessions (id, user_id, created_at, updated_at) "
                "values (gen_random_uuid(), $1, now(), now()) returning id",
                user_id,
            )
            await connection.execute(
                "update auth.users set last_sign_in_at = now(), updated_at = now() where id = $1", user_id
            )
            return await self._tokens(connection, user_id, session_id, method, None)

    async def _tokens(
        self, connection: Connection, user_id: uuid.UUID, session_id: uuid.UUID, method: str, parent: str | None
    ) -> dict[str, Any]:
        user = await connection.fetchrow("select * from auth.users where id = $1", user_id)
        if user is None:
            raise AuthError(403, "user_not_found", "User from sub claim in JWT does not exist")
        refresh_token = secrets.token_urlsafe(12)
        await connection.execute(
            "insert into auth.refresh_tokens (token, user_id, revoked, created_at, updated_at, parent, session_id) "
            "values ($1, $2, false, now(), now(), $3, $4)",
            refresh_token,
            str(user["id"]),
            parent,
            session_id,
        )
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": str(user["id"]),
            "aud": "authenticated",
            "exp": now + LIFETIME,
            "iat": now,
            "email": user["email"] or "",
            "phone": user["phone"] or "",
            "app_metadata": json.loads(user["raw_app_meta_data"] or "{}"),
            "user_metadata": json.loads(user["raw_user_meta_data"] or "{}"),
            "role": user["role"],
            "aal": "aal1",
            "amr": [{"method": method, "timestamp": now}],
            "session_id": str(session_id),
            "is_anonymous": user["is_anonymous"],
        }
        return {
            "access_token": jwt.encode(claims, self.jwt_secret, "HS256"),
            "token_type": "bearer",
            "expires_in": LIFETIME,
            "expires_at": now + LIFETIME,
            "refresh_token": refresh_token,
            "user": _user_document(user),
        }


def _user_document(user: asyncpg.Record) -> dict[str, Any]:
    def when(moment: datetime.datetime | None) -> str | None:
        return moment.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z") if moment else None

    document = {
        "id": str(user["id"]),
        "aud": user["aud"],
        "role": user["role"],
        "email": user["email"] or "",
        "email_confirmed_at": when(user["email_confirmed_at"]),
        "phone": user["phone"] or "",
        "confirmed_at": when(user["confirmed_at"]),
        "last_sign_in_at": when(user["last_sign_in_at"]),
        "app_metadata": json.loads(user["raw_app_meta_data"] or "{}"),
        "user_metadata": json.loads(user["raw_user_meta_data"] or "{}"),
        "identities": [],
        "created_at": when(user["created_at"]),
        "updated_at": when(user["updated_at"]),
        "is_anonymous": user["is_anonymous"],
    }
    return {name: value for name, value in document.items() if value is not None}
