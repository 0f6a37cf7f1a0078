"""The project that the commands work on, with its service key; and the functions' address, with a token."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import HttpUrl, TypeAdapter, ValidationError

from lib.errors import ConfigError
from lib.memory.embedders import model_of

_REPOSITORY = Path(__file__).resolve().parent.parent
_URL = TypeAdapter(HttpUrl)


@dataclass(frozen=True)
class Target:
    """The project's URL and PostgREST's, without a trailing slash, and the service key."""

    url: str
    rest_url: str
    service_key: str = field(repr=False)
    demo_password: str | None = field(default=None, repr=False)
    """The password of the demo users of a local backend."""
    archive_store: str | None = field(default=None, repr=False)
    """The URL of the archive's store."""
    embedding_model: str | None = None
    """The model of the functions' embedder; empty: they have none. None: it is not set here."""


@dataclass(frozen=True)
class ApiTarget:
    """The functions' address, without a trailing slash, and an API key or a user's token."""

    url: str
    token: str | None = field(default=None, repr=False)
    demo: Mapping[str, str] | None = field(default=None, repr=False)
    """Without a token: the settings of the local backend, whose demo owner signs in."""


def find_api(environment: Mapping[str, str], url: str | None, token: str | None) -> ApiTarget:
    """The functions at this address, or at SWITCHBOARD_URL, with this token, or that of SWITCHBOARD_API_KEY.

    If nothing names other functions, those of the local backend of this repository. Raises ConfigError, which names the
    missing or invalid setting.
    """
    url = _checked("SWITCHBOARD_URL", url or environment.get("SWITCHBOARD_URL", "").strip())
    token = token or environment.get("SWITCHBOARD_API_KEY", "").strip()
    if url and token:
        return ApiTarget(url, token)
    if url:
        raise ConfigError("SWITCHBOARD_API_KEY is not set (the functions' address is)")
    if environment.get("SUPABASE_URL", "").strip():
        raise ConfigError("SWITCHBOARD_URL is not set (SUPABASE_URL is)")
    settings = _local_settings(environment, "SWITCHBOARD_URL and SWITCHBOARD_API_KEY")
    return ApiTarget(settings["API_URL"], token or None, settings)


def find(environment: Mapping[str, str]) -> Target:
    """The project of SUPABASE_URL (or SUPABASE_REST_URL) and SUPABASE_SERVICE_ROLE_KEY.

    If none of them is set, the local backend of this repository, from its settings file. Settings of a hosted project
    and of the local backend are never mixed. Raises ConfigError, which names the missing or invalid setting.
    """
    url, rest_url, key = (
        environment.get(name, "").strip() for name in ("SUPABASE_URL", "SUPABASE_REST_URL", "SUPABASE_SERVICE_ROLE_KEY")
    )
    if not (url or rest_url or key):
        return _local(environment)
    if not (url or rest_url):
        raise ConfigError("SUPABASE_URL is not set (SUPABASE_SERVICE_ROLE_KEY is)")
    if not key:
        raise ConfigError("SUPABASE_SERVICE_ROLE_KEY is not set (the project's URL is)")
    url, rest_url = _checked("SUPABASE_URL", url), _checked("SUPABASE_REST_URL", rest_url)
    rest_url = rest_url or f"{url}/rest/v1"
    archive_store = environment.get("SWITCHBOARD_ARCHIVE_STORE", "").strip() or None
    return Target(
        url or rest_url.removesuffix("/rest/v1"),
        rest_url,
        key,
        archive_store=archive_store,
        embedding_model=model_of(environment),
    )


def _checked(name: str, address: str) -> str:
    """The URL of a setting, without a trailing slash. Raises ConfigError."""
    try:
        return str(_URL.validate_python(address)).rstrip("/") if address else ""
    except ValidationError as invalid:
        raise ConfigError(f"{name} is not a URL: {invalid.errors()[0]['msg']}") from None


def _local(environment: Mapping[str, str]) -> Target:
    found = _local_settings(environment, "SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY")
    return Target(
        found["API_URL"],
        found["REST_URL"],
        found["SERVICE_ROLE_KEY"],
        found.get("DEMO_PASSWORD"),
        found.get("ARCHIVE_STORE"),
        found.get("EMBEDDING_MODEL"),
    )


def _local_settings(environment: Mapping[str, str], instead: str) -> Mapping[str, str]:
    """The settings of the local backend. Raises ConfigError, which names what would be set ``instead``."""
    file = Path(environment.get("SWITCHBOARD_ENV_FILE") or _REPOSITORY / ".env.local")
    try:
        # Editors on Windows begin a file with a byte order mark.
        lines = file.read_text("utf-8-sig").splitlines()
    except OSError:
        raise ConfigError(
            f"{instead} are not set, and no local backend has written {os.path.relpath(file)} (`make up`)"
        ) from None
    found = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    for name in ("API_URL", "REST_URL", "SERVICE_ROLE_KEY"):
        if name not in found:
            raise ConfigError(f"{os.path.relpath(file)} has no {name}")
    return found
