"""The keys and passwords of a stack: generated once, stored in its state folder."""

import base64
import json
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jwt

from lib import config
from local import files, paths
from local.supabase_shim import Passwords

_TEN_YEARS = 10 * 365 * 24 * 3600


@dataclass(frozen=True)
class Keys:
    """All secrets of a stack. The four API keys are named as in `supabase status`."""

    jwt_secret: str
    anon_key: str
    service_role_key: str
    publishable_key: str
    secret_key: str
    cron_secret: str
    demo_password: str
    admin_password: str
    postgres_password: str
    authenticator_password: str
    auth_admin_password: str
    login_password: str = field(default_factory=lambda: secrets.token_hex(16))
    """Password of switchboard_login; added when an older file without it is read."""

    @property
    def passwords(self) -> Passwords:
        """The database passwords of the roles that are not superusers."""
        return Passwords(self.postgres_password, self.authenticator_password, self.auth_admin_password)


def load(state_dir: Path) -> Keys:
    """The state folder's keys, generated at the first call.

    Raises SetupError if there is a database without keys, or the file is damaged.
    """
    file = state_dir / "keys.json"
    if file.exists():
        try:
            found = json.loads(file.read_text())
            keys = Keys(**found)
        except (ValueError, TypeError) as error:
            raise paths.SetupError(f"{file} is damaged ({error}); `make reset` starts anew") from error
        if asdict(keys) != found:
            files.write_private(file, json.dumps(asdict(keys), indent=2) + "\n")
        return keys
    if (state_dir / "postgres" / "data").exists():
        raise paths.SetupError(f"{state_dir} has a database but no keys.json; `make reset` starts anew")
    keys = generate()
    files.write_private(file, json.dumps(asdict(keys), indent=2) + "\n")
    return keys


def generate() -> Keys:
    """New random keys; the two JWT keys are signed with the new secret and valid for ten years, as Supabase's are."""
    jwt_secret = secrets.token_urlsafe(40)
    return Keys(
        jwt_secret=jwt_secret,
        anon_key=_api_key("anon", jwt_secret),
        service_role_key=_api_key("service_role", jwt_secret),
        publishable_key=f"sb_publishable_{secrets.token_urlsafe(24)}",
        secret_key=f"sb_secret_{secrets.token_urlsafe(24)}",
        cron_secret=secrets.token_urlsafe(32),
        demo_password=secrets.token_urlsafe(9),
        admin_password=secrets.token_hex(16),
        postgres_password=secrets.token_hex(16),
        authenticator_password=secrets.token_hex(16),
        auth_admin_password=secrets.token_hex(16),
    )


def jwk_set(jwt_secret: str, signing_key: str | None = None) -> str:
    """The keys with which PostgREST verifies tokens: the secret, and the public halves of `SWITCHBOARD_SIGNING_KEY`."""
    secret = base64.urlsafe_b64encode(jwt_secret.encode()).decode().rstrip("=")
    ring = config.read_signing_keys(signing_key).values() if signing_key else ()
    public = [{name: value for name, value in json.loads(key).items() if name != "d"} for key in ring]
    return json.dumps({"keys": [{"kty": "oct", "alg": "HS256", "k": secret}, *public]})


def _api_key(role: str, secret: str) -> str:
    now = int(time.time())
    return jwt.encode({"iss": "supabase", "role": role, "iat": now, "exp": now + _TEN_YEARS}, secret, "HS256")
