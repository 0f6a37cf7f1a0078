"""What `switchboard doctor` makes of what it finds; the database's part is tests/database/test_health.py's."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from moto.server import ThreadedMotoServer

from cli import health
from cli.target import Target
from lib.archive import s3_store
from local.paths import REPOSITORY
from local.ports import free_port


def test_the_page_lists_every_check_with_its_state() -> None:
    page = (REPOSITORY / "docs" / "operations.md").read_text().split("\n## Doctor\n")[1].split("\n## ")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| .* \| (\w*) ?\|$", page, re.MULTILINE))
    others = {
        "postgrest": "failure",
        "migrations": "",
        "personas": "warning",
        "confirm_email": "failure",
        "store": "failure",
    }
    assert listed == {name: rule.state for name, rule in health.RULES.items()} | others


@pytest.mark.parametrize("name", health.RULES)
def test_a_finding_has_a_sentence_a_remedy_and_its_examples(name: str) -> None:
    good, bad = health.judge(name, 0, ()), health.judge(name, 12, ("a", "b"))
    assert (good.state, good.remedy) == ("ok", None)
    assert (bad.state, bad.examples) == (health.RULES[name].state, ("a", "b"))
    assert bad.remedy
    assert bad.text.count("12") == 1
    assert re.fullmatch(r"[^.]+\.", bad.text) and re.fullmatch(r"[^.]+\.", good.text)  # noqa: PT018


@pytest.mark.parametrize(
    ("applied", "state", "examples"),
    [
        ({"1": "a", "2": "b"}, "ok", ()),
        ({"1": "a"}, "failure", ("2",)),
        ({}, "failure", ("1", "2")),
        ({"1": "a", "2": "x"}, "failure", ("2",)),
        ({"1": "a", "2": "b", "3": "c"}, "warning", ("3",)),
        ({"1": "a", "3": "c"}, "failure", ("2",)),
    ],
)
def test_migrations_that_differ_are_reported(applied: Mapping[str, str], state: str, examples: tuple[str, ...]) -> None:
    check = health.drift(applied, {"1": "a", "2": "b"})
    assert (check.state, check.examples, bool(check.remedy)) == (state, examples, state != "ok")


@pytest.mark.parametrize(
    ("config", "origin"),
    [
        ({"url": "https://n8n.example:5678/webhook/x?y"}, "https://n8n.example:5678"),
        ({"base_url": "http://model.example/v1"}, "http://model.example"),
        ({"delay_ms": 0}, None),
        ({"url": 5}, None),
        ({"url": "ftp://x"}, None),
    ],
)
def test_only_the_origin_of_a_persona_is_asked(config: dict[str, Any], origin: str | None) -> None:
    assert health.address(config) == origin


@pytest.mark.parametrize(
    ("answer", "is_local", "state"),
    [
        ({"mailer_autoconfirm": False}, False, "ok"),
        ({"mailer_autoconfirm": True}, False, "failure"),
        ({"mailer_autoconfirm": True}, True, "warning"),
        ({}, False, "failure"),
        (None, False, "failure"),
    ],
)
async def test_emails_that_nobody_confirms_are_reported(
    answer: dict[str, Any] | None, is_local: bool, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def settings(request: web.Request) -> web.Response:
        assert request.headers["apikey"] == "key"
        return web.json_response(answer, status=404 if answer is None else 200)

    application = web.Application()
    application.router.add_get("/auth/v1/settings", settings)
    if not is_local:
        monkeypatch.setattr(health, "_is_local", lambda _: False)
    async with TestServer(application, host="127.0.0.1") as server:
        url = str(server.make_url("")).rstrip("/")
        assert (await health.confirm_email(Target(url, url, "key"))).state == state
    assert (await health.confirm_email(Target(url, url, "key"))).state == "failure"


async def test_the_store_is_written_read_and_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cases = {
        None: "skipped",
        (tmp_path / "store").as_uri(): "ok",
        (tmp_path / "file" / "store").as_uri(): "failure",
        "ftp://store": "failure",
        "s3://store?endpoint=nowhere": "failure",
    }
    assert {url: (await health.store_reached(url)).state for url in cases} == cases
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server with the bucket `archive`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    boto3.client("s3", endpoint_url=address, region_name="us-east-1").create_bucket(Bucket="archive")
    yield address
    httpx.post(f"{address}/moto-api/reset-auth", content=b"Infinity")
    server.stop()
    boto3.setup_default_session()
    s3_store._client.cache_clear()


async def test_a_store_that_cannot_be_used_says_why_and_what_to_do(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    iam = boto3.client("iam", endpoint_url=moto, region_name="us-east-1")
    iam.create_user(UserName="without-rights")
    without_rights = iam.create_access_key(UserName="without-rights")["AccessKey"]

    async def found(bucket: str = "archive", endpoint: str = moto) -> str:
        # A process has the same credentials for its life.
        boto3.setup_default_session()
        s3_store._client.cache_clear()
        check = await health.store_reached(f"s3://{bucket}?endpoint={endpoint}&region=us-east-1")
        assert (check.state, bool(check.remedy)) in (("ok", False), ("failure", True))
        return check.text

    assert "is written" in await found()
    assert "does not exist (NoSuchBucket)" in await found(bucket="missing")
    assert "does not answer (EndpointConnectionError)" in await found(endpoint=f"http://127.0.0.1:{free_port()}")
    # From here on the server verifies credentials.
    await asyncio.to_thread(httpx.post, f"{moto}/moto-api/reset-auth", content=b"0")
    assert "does not accept the credentials (InvalidAccessKeyId)" in await found()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", without_rights["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", without_rights["SecretAccessKey"])
    assert "refuses access (AccessDenied)" in await found()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    assert "no credentials" in await found()
