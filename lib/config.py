"""Settings, read from the environment once; a missing or invalid one prevents the function's start."""

import functools
import json
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AnyHttpUrl,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from lib.errors import ConfigError

Secret = Annotated[SecretStr, Field(min_length=16)]

_DATABASE_URL = re.compile(r"postgres(ql)?://[^\s/?#@\[\]]+@[^\s/?#@]*(/[^\s#@]*)?")
"""A URL in which no part of the password can be mistaken for a host, port or query, which are resolved and logged."""

_ARCHIVE_STORE = re.compile(r"s3://[a-z0-9][a-z0-9.-]+(/[\w/.=-]*)?(\?\S+)?|file:///\S+")
"""A bucket, or a folder of this machine. The credentials are in variables of their own."""

_TRANSACTION_PORT = re.compile(r":6543\b")
"""The port of Supabase's poolers in transaction mode (supabase.com/docs/guides/database/connecting-to-postgres)."""


class Settings(BaseModel):
    """The settings of a deployment. A field's name is the environment variable's name in lower case."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore", hide_input_in_errors=True)

    supabase_url: AnyHttpUrl
    supabase_anon_key: SecretStr = Field(min_length=1)
    switchboard_database_url: SecretStr
    """URL of the database or of its pooler, with the login `switchboard_login`."""
    cron_secret: Secret
    supabase_rest_url: AnyHttpUrl | None = None
    supabase_jwt_secret: SecretStr | None = None
    switchboard_signing_key: SecretStr | None = None
    """The ring of signing keys: a private P-256 key as JWK, or a JWK set, whose first key signs and whose further keys,
    of which the public halves suffice, only verify."""
    switchboard_database_connections: int = Field(default=10, ge=1, le=100)
    """Most connections of one process to the database."""
    switchboard_database_prepared_statements: bool = True
    """False behind a pooler in transaction mode, where each transaction may get another connection."""
    switchboard_trusted_proxies: int = Field(default=0, ge=0, le=10)
    switchboard_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    enable_chat_sessions: bool = True
    """False: the sessions routes answer 404 and no session times out. Chats are not affected."""
    chat_session_timeout_hours: int = Field(default=24, ge=0, le=8_760)
    """Idle hours until a session times out, for workspaces without a setting; 0: never."""
    chat_session_cleanup_interval: int = Field(default=6, ge=1, le=168)
    """Hours between two sweeps of idle sessions."""
    conversation_stream_seconds: int = Field(default=300, ge=5, le=840)
    """Longest duration of a conversation's stream; its reader then reconnects. Below the function's time limit."""

    switchboard_archive_store: str | None = None
    """The object store of the archive, s3://bucket/prefix?endpoint=… or file:///folder; without one, sessions are only
    marked as archived."""

    switchboard_listen: bool = False
    """Long-lived processes with a direct connection: changes are announced, and wake the processes that stream."""

    reads_per_minute: int = Field(default=600, ge=1)
    """Most requests to reading routes of one user or contact token in a minute."""

    switchboard_embeddings: Literal["none", "local"] | AnyHttpUrl = "none"
    """What turns memories into vectors: `none` (recall is by words), `local` (MiniLM, in the process), or the URL of an
    OpenAI-compatible server, before `/embeddings`."""
    switchboard_embeddings_model: str = Field(default="text-embedding-3-small", min_length=1, max_length=200)
    """The model of that server."""
    switchboard_embeddings_key: SecretStr | None = None
    """The bearer token of that server."""

    @model_validator(mode="after")
    def _something_to_sign_with(self) -> "Settings":
        if self.switchboard_signing_key is None and self.supabase_jwt_secret is None:
            raise ValueError("SUPABASE_JWT_SECRET or SWITCHBOARD_SIGNING_KEY must be set")
        _ = self.signing_keys
        return self

    @field_validator("switchboard_database_url")
    @classmethod
    def _is_of_postgres(cls, url: SecretStr) -> SecretStr:
        if _DATABASE_URL.fullmatch(url.get_secret_value()) is None:
            raise ValueError(
                "must be postgresql://user:password@host/database, with %XX for special characters in the password"
            )
        return url

    @field_validator("switchboard_archive_store")
    @classmethod
    def _is_of_a_store(cls, url: str | None) -> str | None:
        if url is not None and _ARCHIVE_STORE.fullmatch(url) is None:
            raise ValueError("must be s3://bucket/prefix?endpoint=https://…&region=… or file:///folder")
        return url

    @model_validator(mode="after")
    def _no_statements_that_a_pooler_loses(self) -> "Settings":
        hosts = self.switchboard_database_url.get_secret_value().rpartition("@")[2]
        if self.switchboard_database_prepared_statements and _TRANSACTION_PORT.search(hosts):
            raise ValueError("SWITCHBOARD_DATABASE_PREPARED_STATEMENTS must be false with a pooler in transaction mode")
        if self.switchboard_listen and _TRANSACTION_PORT.search(hosts):
            raise ValueError("SWITCHBOARD_LISTEN needs a direct connection, or a pooler in session mode")
        return self

    @property
    def signing_keys(self) -> Mapping[str, str]:
        """The ring of signing keys, each a JWK, by their ids ("" for a key without one); the first one signs."""
        key = self.switchboard_signing_key
        return {} if key is None else read_signing_keys(key.get_secret_value())

    @property
    def rest_url(self) -> str:
        """The URL of PostgREST, without a trailing slash."""
        return str(self.supabase_rest_url or f"{self._base}/rest/v1").rstrip("/")

    @property
    def auth_issuer(self) -> str:
        """The ``iss`` claim of Supabase Auth's tokens."""
        return f"{self._base}/auth/v1"

    @property
    def jwks_url(self) -> str:
        """The JWKS URL of Supabase Auth."""
        return f"{self.auth_issuer}/.well-known/jwks.json"

    @property
    def _base(self) -> str:
        return str(self.supabase_url).rstrip("/")


@functools.cache
def read_signing_keys(text: str) -> Mapping[str, str]:
    """The keys of `SWITCHBOARD_SIGNING_KEY`, as in ``Settings.signing_keys``. Raises ValueError, which shows no key."""
    try:
        given: Any = json.loads(text)
        keys = given.get("keys", [given])
        ring = {str(key.get("kid", "")): json.dumps(key) for key in keys}
        usable = all(key["kty"] == "EC" and key["crv"] == "P-256" and key["x"] and key["y"] for key in keys)
        if not usable or "d" not in keys[0] or len(ring) < len(keys):
            raise ValueError
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(
            "SWITCHBOARD_SIGNING_KEY must be a private P-256 key as JWK, or a JWK set of P-256 keys with different ids,"
            " of which the first is private"
        ) from None
    return ring


def read(environment: Mapping[str, str]) -> Settings:
    """The settings in an environment; empty variables count as absent.

    Raises ConfigError, which names every missing or invalid variable and shows no value.
    """
    given = {name.lower(): value for name, value in environment.items() if value.strip()}
    try:
        return Settings.model_validate(given)
    except ValidationError as invalid:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']).upper()} {fault['msg']}".strip()
            for fault in invalid.errors(include_input=False, include_url=False)
        ]
    raise ConfigError("settings: " + "; ".join(faults))


@functools.cache
def settings() -> Settings:
    """The settings of this process. Raises ConfigError at the first call if they are incomplete."""
    return read(os.environ)
