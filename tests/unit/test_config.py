import pytest

from lib import config, errors
from tests.unit.auth.test_signing import private_key

COMPLETE = {
    "SUPABASE_URL": "https://project.supabase.co/",
    "SUPABASE_ANON_KEY": "sb_publishable_x",
    "SUPABASE_JWT_SECRET": "the-secret-value",
    "CRON_SECRET": "0123456789abcdef",
    "SWITCHBOARD_DATABASE_URL": "postgresql://switchboard_login:x@127.0.0.1:5432/postgres",
}


def test_addresses_follow_from_the_project() -> None:
    settings = config.read(COMPLETE)
    assert settings.rest_url == "https://project.supabase.co/rest/v1"
    assert settings.auth_issuer == "https://project.supabase.co/auth/v1"
    assert settings.jwks_url == "https://project.supabase.co/auth/v1/.well-known/jwks.json"


def test_the_settings_of_sessions_have_the_documented_defaults() -> None:
    settings = config.read(COMPLETE)
    assert settings.enable_chat_sessions is True
    assert (settings.chat_session_timeout_hours, settings.chat_session_cleanup_interval) == (24, 6)


def test_every_missing_variable_is_named_at_once() -> None:
    with pytest.raises(errors.ConfigError) as refused:
        config.read({"SUPABASE_URL": " "})
    for name in ("SUPABASE_URL", "SUPABASE_ANON_KEY", "CRON_SECRET", "SWITCHBOARD_DATABASE_URL"):
        assert name in str(refused.value)


def test_there_must_be_something_to_sign_with() -> None:
    without = {name: value for name, value in COMPLETE.items() if name != "SUPABASE_JWT_SECRET"}
    with pytest.raises(errors.ConfigError, match="SWITCHBOARD_SIGNING_KEY"):
        config.read(without)
    assert config.read(without | {"SWITCHBOARD_SIGNING_KEY": private_key()[1]}).supabase_jwt_secret is None


JWK = '{"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "d"}'
PUBLIC = JWK.replace(', "d": "d"', "")


@pytest.mark.parametrize(
    "value",
    [
        "not json", "[]", "1", '{"keys": []}', '{"kty": "EC", "crv": "P-256"}', '{"kty": "RSA", "d": "x"}', PUBLIC,
        f'{{"keys": [{PUBLIC}]}}', f'{{"keys": [{JWK}, {PUBLIC}]}}', f'{{"keys": [{JWK}, {{"kid": "old"}}]}}',
    ],
)  # fmt: skip
def test_a_signing_key_that_cannot_sign_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(errors.ConfigError, match="SWITCHBOARD_SIGNING_KEY"):
        config.read(COMPLETE | {"SWITCHBOARD_SIGNING_KEY": value})


@pytest.mark.parametrize(
    "rest", ["localhost", "[::1]:5432/postgres", "a:1,b:2/db", "db.x.co:5432/postgres?sslmode=require"]
)
def test_a_databases_address_is_taken_as_it_is(rest: str) -> None:
    url = f"postgresql://switchboard_login.project:p%40ss%2Fword:!*@{rest}"
    settings = config.read(COMPLETE | {"SWITCHBOARD_DATABASE_URL": url})
    assert settings.switchboard_database_url.get_secret_value() == url


def test_statements_are_not_prepared_where_a_pooler_would_lose_them() -> None:
    pooled = COMPLETE | {"SWITCHBOARD_DATABASE_URL": "postgresql://switchboard_login.x:6543@pooler.x.co:6543/postgres"}
    with pytest.raises(errors.ConfigError, match="PREPARED_STATEMENTS"):
        config.read(pooled)
    assert not config.read(
        pooled | {"SWITCHBOARD_DATABASE_PREPARED_STATEMENTS": "false"}
    ).switchboard_database_prepared_statements


@pytest.mark.parametrize("password", ["pa/ss", "pa?ss", "pa#ss", "pa@ss", "pa@s/s", "p[a]ss", "pa ss"])
def test_a_password_that_would_be_taken_for_something_else_is_refused_and_not_shown(password: str) -> None:
    url = f"postgresql://switchboard_login:{password}@db.project.supabase.co:5432/postgres"
    with pytest.raises(errors.ConfigError, match=r"SWITCHBOARD_DATABASE_URL.*%XX") as refused:
        config.read(COMPLETE | {"SWITCHBOARD_DATABASE_URL": url})
    assert password not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SWITCHBOARD_DATABASE_URL", "https://db.x.co"),
        ("SWITCHBOARD_DATABASE_PREPARED_STATEMENTS", "perhaps"),
        ("SWITCHBOARD_DATABASE_CONNECTIONS", "0"),
        ("CRON_SECRET", "guessable"),
        ("SWITCHBOARD_TRUSTED_PROXIES", "-1"),
        ("SUPABASE_URL", "postgres://x"),
        ("ENABLE_CHAT_SESSIONS", "perhaps"),
        *(("CHAT_SESSION_TIMEOUT_HOURS", value) for value in ("-1", "8761", "soon")),
        *(("CHAT_SESSION_CLEANUP_INTERVAL", value) for value in ("0", "169")),
        *(("CONVERSATION_STREAM_SECONDS", value) for value in ("4", "841")),
        ("READS_PER_MINUTE", "0"),
    ],
)
def test_an_impossible_value_is_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(errors.ConfigError, match=name) as refused:
        config.read(COMPLETE | {name: value})
    assert value not in str(refused.value)


def test_secrets_do_not_show_in_a_printed_settings_object() -> None:
    assert "the-secret-value" not in repr(config.read(COMPLETE))
    assert "0123456789abcdef" not in repr(config.read(COMPLETE))
