"""The project that the commands work on, and its service key."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import HttpUrl, TypeAdapter, ValidationError

from lib.errors import ConfigError

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
    return Target(url or rest_url.removesuffix("/rest/v1"), rest_url, key)


def _checked(name: str, address: str) -> str:
    """The URL of a setting, without a trailing slash. Raises ConfigError."""
    try:
        return str(_URL.validate_python(address)).rstrip("/") if address else ""
    except ValidationError as invalid:
        raise ConfigError(f"{name} is not a URL: {invalid.errors()[0]['msg']}") from None


def _local(environment: Mapping[str, str]) -> Target:
    file = Path(environment.get("SWITCHBOARD_ENV_FILE") or _REPOSITORY / ".env.local")
    try:
        # Editors on Windows begin a file with a byte order mark.
        lines = file.read_text("utf-8-sig").splitlines()
    except OSError:
        raise ConfigError(
            "SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY are not set, and no local backend has written "
            f"{os.path.relpath(file)} (`make up`)"
        ) from None
    found = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    try:
        return Target(found["API_URL"], found["REST_URL"], found["SERVICE_ROLE_KEY"], found.get("DEMO_PASSWORD"))
    except KeyError as missing:
        raise ConfigError(f"{os.path.relpath(file)} has no {missing.args[0]}") from None
