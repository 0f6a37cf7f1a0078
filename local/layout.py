"""The addresses, ids and processes of a running stack, stored in its state folder for other processes."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

from local import files, paths
from local.keys import Keys

PASSED_ON = (
    "ENABLE_CHAT_SESSIONS",
    "CHAT_SESSION_TIMEOUT_HOURS",
    "CHAT_SESSION_CLEANUP_INTERVAL",
    "CONVERSATION_STREAM_SECONDS",
    "READS_PER_MINUTE",
    "SWITCHBOARD_ARCHIVE_STORE",
    "SWITCHBOARD_DATABASE_CONNECTIONS",
    "SWITCHBOARD_DATABASE_PREPARED_STATEMENTS",
    "SWITCHBOARD_EMBEDDINGS",
    "SWITCHBOARD_EMBEDDINGS_KEY",
    "SWITCHBOARD_EMBEDDINGS_MODEL",
    "SWITCHBOARD_LISTEN",
    "SWITCHBOARD_SIGNING_KEY",
)
"""Settings of the functions that `make run` passes on from its environment."""


INSTANCE_HEADER = "Switchboard-Instance"
"""With this header the gateway's health check says to which run of which stack it belongs."""


@dataclass(frozen=True)
class Demo:
    """Ids of the demo workspace from supabase/seed.sql; empty without the seed."""

    workspace_id: str = ""
    space_id: str = ""
    landing_id: str = ""
    persona_id: str = ""


@dataclass(frozen=True)
class Ports:
    """The ports on 127.0.0.1."""

    api: int
    db: int
    rest: int
    rest_admin: int


@dataclass(frozen=True)
class Layout:
    """A stack's addresses, ids and processes."""

    state_dir: str
    ports: Ports
    demo: Demo
    supervisor: int
    instance: str = ""
    """A random name of this run of the stack."""
    pids: dict[str, int] = field(default_factory=dict)
    ready: bool = False
    embedding_model: str = ""
    """The model of the functions' embedder."""

    @property
    def api_url(self) -> str:
        """The origin of page, functions, /rest/v1 and /auth/v1."""
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def rest_url(self) -> str:
        """PostgREST's own URL."""
        return f"http://127.0.0.1:{self.ports.rest}"

    @property
    def jwk_set_file(self) -> Path:
        """The keys with which PostgREST verifies tokens, read when it starts."""
        return Path(self.state_dir) / "run" / "jwks.json"

    def db_url(self, user: str, password: str) -> str:
        """The connection URL of a role."""
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.ports.db}/postgres"

    def env(self, keys: Keys) -> dict[str, str]:
        """The content of .env.local: the names of `supabase status -o env`, and our own."""
        return {
            "API_URL": self.api_url,
            "REST_URL": f"{self.api_url}/rest/v1",
            "DB_URL": self.db_url("postgres", keys.postgres_password),
            "ANON_KEY": keys.anon_key,
            "SERVICE_ROLE_KEY": keys.service_role_key,
            "PUBLISHABLE_KEY": keys.publishable_key,
            "SECRET_KEY": keys.secret_key,
            "JWT_SECRET": keys.jwt_secret,
            "SWITCHBOARD_URL": self.api_url,
            "CRON_SECRET": keys.cron_secret,
            "ARCHIVE_STORE": self.functions_env(keys)["SWITCHBOARD_ARCHIVE_STORE"],
            "EMBEDDING_MODEL": self.embedding_model,
            "DEMO_PASSWORD": keys.demo_password,
            "DEMO_WORKSPACE_ID": self.demo.workspace_id,
            "DEMO_SPACE_ID": self.demo.space_id,
            "DEMO_LANDING_ID": self.demo.landing_id,
            "DEMO_PERSONA_ID": self.demo.persona_id,
        }

    def functions_env(self, keys: Keys, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of the functions; `extra` overrides it."""
        return {
            "SUPABASE_URL": self.api_url,
            "SUPABASE_REST_URL": self.rest_url,
            "SWITCHBOARD_DATABASE_URL": self.db_url("switchboard_login", keys.login_password),
            "SUPABASE_ANON_KEY": keys.anon_key,
            "SUPABASE_JWT_SECRET": keys.jwt_secret,
            "CRON_SECRET": keys.cron_secret,
            "SWITCHBOARD_TRUSTED_PROXIES": "0",
            "SWITCHBOARD_ARCHIVE_STORE": (Path(self.state_dir).resolve() / "archive").as_uri(),
            "SWITCHBOARD_LOG_LEVEL": os.environ.get("SWITCHBOARD_LOG_LEVEL", "INFO"),
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            **(extra or {}),
        }

    def gateway_env(
        self, keys: Keys, extra: Mapping[str, str] | None = None, port: int | None = None
    ) -> dict[str, str]:
        """The environment of a gateway process, optionally on another port."""
        return {
            **self.functions_env(keys, extra),
            "PYTHONPATH": str(paths.REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            # As deploy/run.sh: whichever module imports numpy first.
            "OPENBLAS_NUM_THREADS": "1",
            "GATEWAY_INSTANCE": self.instance,
            "GATEWAY_PORT": str(port or self.ports.api),
            "GATEWAY_API_URL": self.api_url,
            "GATEWAY_REST_URL": self.rest_url,
            "GATEWAY_JWT_SECRET": keys.jwt_secret,
            "GATEWAY_ANON_KEY": keys.anon_key,
            "GATEWAY_AUTH_DB_URL": self.db_url("supabase_auth_admin", keys.auth_admin_password),
            "GATEWAY_SERVICE_ROLE_KEY": keys.service_role_key,
            "GATEWAY_PUBLISHABLE_KEY": keys.publishable_key,
            "GATEWAY_SECRET_KEY": keys.secret_key,
            "GATEWAY_DEMO": json.dumps(asdict(self.demo)),
        }

    def save(self) -> None:
        """Write the layout to the state folder, and the ports apart, for the next run."""
        state_dir = Path(self.state_dir)
        files.write_private(file_of(state_dir), json.dumps(asdict(self), indent=2) + "\n")
        files.write_private(state_dir / "ports.json", json.dumps(asdict(self.ports)) + "\n")


def file_of(state_dir: Path) -> Path:
    """The file of a running stack's layout; removed when the stack stops."""
    return state_dir / "run" / "stack.json"


def ports_of_last_run(state_dir: Path) -> Ports | None:
    """The ports on which the stack of this state folder listened before; None if it is new."""
    try:
        return Ports(**json.loads((state_dir / "ports.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def read(state_dir: Path) -> Layout | None:
    """The layout in the state folder, or None."""
    try:
        found = json.loads(file_of(state_dir).read_text())
    except (OSError, ValueError):
        return None
    return Layout(**{**found, "ports": Ports(**found["ports"]), "demo": Demo(**found["demo"])})
