"""Deliveries of every sender over HTTP: who is let in, what is stored, and what the sender gets for an answer."""

import gzip
import json
import time
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from lib.providers import whatsapp
from tests.functions.conftest import Workspace, problem
from tests.functions.people import Staff, audit
from tests.senders import SENDERS, Sender, payload, provider_of

CHANNELS = sorted(name for name in SENDERS if name != "n8n")
FIRST = {
    "telegram": "text", "whatsapp": "text", "discord": "guild_command", "omi": "segments_object",
    "avinode": "client_lead", "standard": "event", "svix": "event",
}  # fmt: skip
ANSWERS: dict[str, Any] = {"omi": {}, "discord": {"type": 5}}
RECEIVED = {"received": True, "duplicate": False}
REFUSED = (401, "secret_invalid")


async def add_channel(workspace: Workspace, sender: Sender, secret: str | None = "", **columns: Any) -> str:
    """A channel with the sender's secret, another one, or none."""
    given = sender.secret if secret == "" else secret
    return str(await workspace.add_channel(provider_of(sender.name), given, columns=columns))


async def post(
    client: aiohttp.ClientSession, sender: Sender, channel: str, body: bytes, *, path: str | None = None, **signing: Any
) -> tuple[int, Any]:
    """The status of an answer, and its document or the code of a refusal."""
    headers, query = sender.signed(channel, body, **signing)
    path = path or f"/webhooks/{provider_of(sender.name)}/{channel}"
    async with client.post(
        path, data=body, headers={"content-type": "application/json", **headers}, params=query
    ) as got:
        if got.status >= 400:
            return got.status, (await problem(got))["code"]
        text = await got.text()
        return got.status, json.loads(text) if text else None


async def stored(workspace: Workspace) -> list[dict[str, Any]]:
    query = "select source, headers, raw_body from public.inbound_events where workspace_id = $1 order by received_at"
    return [dict(row) for row in await workspace.database.fetch(query, workspace.id)]


@pytest.mark.parametrize("name", CHANNELS)
async def test_a_signed_delivery_is_stored_as_it_came_and_answered_as_its_sender_expects(
    client: aiohttp.ClientSession, workspace: Workspace, name: str
) -> None:
    sender, body = SENDERS[name], payload(provider_of(name), FIRST[name])
    channel = await add_channel(workspace, sender)
    assert await post(client, sender, channel, body) == (200, ANSWERS.get(name, RECEIVED))
    status, again = await post(client, sender, channel, body)
    assert (status, again) == (200, ANSWERS.get(name, {"received": True, "duplicate": True}))
    (event,) = await stored(workspace)
    assert (event["source"], event["raw_body"]) == (provider_of(name), body.decode())
    assert sender.secret not in str(event), "no secret is stored"


@pytest.mark.parametrize("name", CHANNELS)
async def test_any_other_delivery_is_one_and_the_same_refusal_and_leaves_nothing(
    client: aiohttp.ClientSession, workspace: Workspace, elsewhere: Workspace, name: str
) -> None:
    sender, body = SENDERS[name], payload(provider_of(name), FIRST[name])
    channel, disabled = await add_channel(workspace, sender), await add_channel(workspace, sender, enabled=False)
    others = await add_channel(elsewhere, sender, sender.other_secret)
    without = await add_channel(workspace, sender, None)
    other_kind = await add_channel(workspace, SENDERS["omi" if name != "omi" else "telegram"])
    assert await post(client, sender, channel, body, secret=sender.other_secret) == REFUSED
    for wrong in (disabled, others, without, other_kind, str(uuid4())):
        assert await post(client, sender, wrong, body) == REFUSED
    async with client.post(f"/webhooks/{provider_of(name)}/{channel}", data=body) as unsigned:
        assert (unsigned.status, (await problem(unsigned))["code"]) == REFUSED
    if sender.is_timed:
        for seconds in (-400, 400):
            stale = await post(client, sender, channel, body, at=time.time() + seconds)
            assert stale == (401, "timestamp_invalid")
    assert await stored(workspace) == await stored(elsewhere) == []


@pytest.mark.parametrize("name", CHANNELS)
async def test_what_is_no_json_too_large_or_compressed_is_refused(
    client: aiohttp.ClientSession, workspace: Workspace, name: str
) -> None:
    sender = SENDERS[name]
    channel = await add_channel(workspace, sender)
    for content in (b"", b"{", b"\xff", b"[" * 100_000):
        status, code = await post(client, sender, channel, content)
        # A signature is over text.
        assert (status, code) in ((400, "invalid_json"), REFUSED)
    assert await post(client, sender, channel, b" " * (1024 * 1024 + 1)) == (413, "body_too_large")
    packed = gzip.compress(b" " * 10_000_000)
    headers = sender.signed(channel, packed)[0] | {"content-encoding": "gzip"}
    async with client.post(f"/webhooks/{provider_of(name)}/{channel}", data=packed, headers=headers) as refused:
        assert (refused.status, (await problem(refused))["code"]) == (415, "unsupported_media_type")
    assert await stored(workspace) == []


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize(
    "body", [b"null", b"[]", b"{}", b'{"update_id": "\\u0000", "entry": [{"changes": [1]}]}', b'"x"']
)
async def test_what_a_sender_means_by_an_unknown_body_is_parked(
    client: aiohttp.ClientSession, workspace: Workspace, name: str, body: bytes
) -> None:
    sender = SENDERS[name]
    channel = await add_channel(workspace, sender)
    status, answer = await post(client, sender, channel, body)
    assert status in (200, 204), answer
    assert len(await stored(workspace)) == (0 if (name, body) == ("omi", b"[]") else 1)
    jobs = "select kind, status from public.jobs where workspace_id = $1"
    assert {tuple(job) for job in await workspace.database.fetch(jobs, workspace.id)} <= {("unknown_event", "dead")}


async def test_an_id_of_any_length_is_stored(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    sender, update = SENDERS["telegram"], json.loads(payload("telegram", "text"))
    update["update_id"] = update["message"]["chat"]["id"] = 10**400
    channel = await add_channel(workspace, sender)
    assert await post(client, sender, channel, json.dumps(update).encode()) == (200, RECEIVED)


async def test_a_delivery_that_names_its_channel_needs_none_in_its_url(
    client: aiohttp.ClientSession, workspace: Workspace
) -> None:
    for name in ("whatsapp", "discord", "avinode"):
        sender = SENDERS[name]
        external_id = sender.external_id and str(uuid4().int)
        channel = await add_channel(workspace, sender, external_id=external_id)
        body = payload(name, FIRST[name]).replace((sender.external_id or "-").encode(), (external_id or "-").encode())
        path = f"/webhooks/{name}"
        assert await post(client, sender, channel, body, path=path) == (200, ANSWERS.get(name, RECEIVED))
        assert await post(client, sender, str(uuid4()), body, path=path, secret=sender.other_secret) == REFUSED
    for odd in (b"\\ud800", b"\\u0000", b"1" * 300):
        assert (
            await post(client, SENDERS["discord"], "", b'{"application_id": "%s"}' % odd, path="/webhooks/discord")
            == REFUSED
        )
    omi = SENDERS["omi"]
    channel = await add_channel(workspace, omi)
    body = payload("omi", "segments_list")
    assert await post(client, omi, channel, body, path=f"/omi-webhook?channel={channel}") == (200, {})
    assert await post(client, omi, channel, body, path=f"/omi-webhook?channel={uuid4()}") == REFUSED
    for path in ("/omi-webhook", "/webhooks/telegram", "/webhooks/standard"):
        sender = SENDERS["omi" if "omi" in path else path.rsplit("/", 1)[1]]
        assert await post(client, sender, channel, body, path=path) == (404, "channel_not_found")
    assert [event["source"] for event in await stored(workspace)] == ["whatsapp", "discord", "avinode", "omi"]
    (omi_event,) = [event for event in await stored(workspace) if event["source"] == "omi"]
    assert json.loads(omi_event["headers"])["query-uid"] == "omi-user-1", "what is needed to read it again"


async def test_whatsapps_challenge_is_answered_to_those_who_know_the_token(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    new = {"kind": "whatsapp", "name": "Number", "externalId": str(uuid4())}
    channel = (await staff.admin.done("POST", f"/workspaces/{workspace.id}/channels", new))["id"]
    secret = {"secret": "the-app-secret"}
    token = (await staff.admin.done("PUT", f"/channels/{channel}/verify-secret", secret))["verify_token"]

    async def challenge(path: str, **changed: str) -> tuple[int, str]:
        query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": token} | changed
        async with client.get(path, params={f"{name}": value for name, value in query.items()}) as response:
            if response.status == 200:
                assert response.content_type == "text/plain"
                assert response.headers["x-content-type-options"] == "nosniff"
                return 200, await response.text()
            return response.status, (await problem(response))["code"]

    for path in ("/webhooks/whatsapp", f"/webhooks/whatsapp/{channel}"):
        assert await challenge(path) == (200, "1158201444")
        for wrong in ({"hub.verify_token": token + "0"}, {"hub.verify_token": ""}, {"hub.mode": "unsubscribe"}):
            assert await challenge(path, **wrong) == REFUSED
    assert await challenge(f"/webhooks/whatsapp/{uuid4()}") == REFUSED
    assert await challenge(f"/webhooks/telegram/{channel}") == (405, "method_not_allowed")
    assert token == whatsapp.provider.verify_token("the-app-secret", channel)


async def test_discords_probes_and_pings_are_answered(client: aiohttp.ClientSession, workspace: Workspace) -> None:
    sender = SENDERS["discord"]
    channel = await add_channel(workspace, sender)
    assert await post(client, sender, channel, payload("discord", "ping")) == (200, {"type": 1})
    assert await post(client, sender, channel, payload("discord", "event_ping")) == (204, None)
    assert await post(client, sender, channel, payload("discord", "ping"), secret=sender.other_secret) == REFUSED
    assert await stored(workspace) == []
    assert await post(client, sender, channel, payload("discord", "event")) == (204, None)
    assert len(await stored(workspace)) == 1


# Management -----------------------------------------------------------------------------------------------------------


async def test_a_channel_is_managed_by_admins_and_never_shows_its_secrets(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/channels"
    new = {"kind": "telegram", "name": "Bot", "personaId": str(workspace.persona_id)}
    made = await staff.admin.done("POST", path, new)
    one = f"/channels/{made['id']}"
    assert (made["enabled"], made["has_verify_secret"], made["has_token"], made["config"]) == (True, False, False, {})
    first = (await staff.admin.done("POST", f"{one}/verify-secret", {"overlapSeconds": 60}))["secret"]
    second = (await staff.admin.done("POST", f"{one}/verify-secret"))["secret"]
    assert first != second
    assert await staff.owner.done("PUT", f"{one}/token", {"secret": "7700000001:AAF"}) == {}
    shown = {**made, "has_verify_secret": True, "has_token": True}
    assert await staff.agent.done("GET", one) == shown
    assert (await staff.agent.done("GET", path))["items"] == [shown]
    changed = await staff.admin.done("PATCH", one, {"name": "Other", "externalId": "7700000001", "personaId": None})
    assert "persona_id" not in changed
    assert changed["external_id"] == "7700000001"
    again = {"kind": "telegram", "name": "Same bot", "externalId": "7700000001"}
    assert await staff.admin.refused("POST", path, again) == (409, "external_id_taken")
    for method, where, body in (
        ("POST", path, new), ("PATCH", one, {"name": "x"}), ("POST", f"{one}/verify-secret", {}),
        ("PUT", f"{one}/token", {"secret": "x"}), ("DELETE", one, None),
    ):  # fmt: skip
        assert await staff.agent.refused(method, where, body) == (403, "forbidden")
        assert (await staff.stranger.refused(method, where, body))[0] == 404
    held = "select count(*) from vault.decrypted_secrets where decrypted_secret = any ($1)"
    assert await workspace.database.fetchval(held, [first, second, "7700000001:AAF"]) == 3
    assert await staff.admin.done("DELETE", one) == {}
    assert await staff.admin.refused("GET", one) == (404, "channel_not_found")
    assert await workspace.database.fetchval(held, [first, second, "7700000001:AAF"]) == 0
    assert [verb for verb, *_ in await audit(workspace)] == [
        "channel.created", "channel.secret_rotated", "channel.secret_rotated", "channel.token_set", "channel.changed",
        "channel.deleted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "secret", "field"),
    [
        ("discord", "not-hex", "secret"), ("discord", "abcd", "secret"), ("standard", "whsec_!", "secret"),
        ("telegram", "mine", "secret"), ("omi", "mine", "secret"), ("avinode", "mine", "secret"),
    ],
)  # fmt: skip
async def test_a_secret_fits_its_kind(workspace: Workspace, staff: Staff, kind: str, secret: str, field: str) -> None:
    made = await staff.admin.done("POST", f"/workspaces/{workspace.id}/channels", {"kind": kind, "name": "x"})
    path = f"/channels/{made['id']}/verify-secret"
    status, refused = await staff.admin.ask("PUT", path, {"secret": secret})
    assert (status, refused["code"], refused["errors"][0]["field"]) == (422, "invalid_body", field)
    if kind == "discord":
        assert await staff.admin.refused("POST", path, {}) == (422, "invalid_body")
    if kind == "standard":
        generated = (await staff.admin.done("POST", path, {}))["secret"]
        assert generated.startswith("whsec_")


@pytest.mark.parametrize(
    ("kind", "config", "field"),
    [
        ("telegram", {"x": 1}, "config.x"), ("avinode", {"allowed_hosts": ["https://x"]}, "config.allowed_hosts.0"),
        ("avinode", {"allowed_hosts": []}, "config.allowed_hosts"), ("avinode", {"token": "x"}, "config.token"),
    ],
)  # fmt: skip
async def test_a_config_fits_its_kind(
    workspace: Workspace, staff: Staff, kind: str, config: dict[str, Any], field: str
) -> None:
    new = {"kind": kind, "name": "x", "config": config}
    status, refused = await staff.admin.ask("POST", f"/workspaces/{workspace.id}/channels", new)
    assert (status, refused["errors"][0]["field"]) == (422, field)
    made = await staff.admin.done("POST", f"/workspaces/{workspace.id}/channels", {**new, "config": {}})
    status, refused = await staff.admin.ask("PATCH", f"/channels/{made['id']}", {"config": config})
    assert (status, refused["errors"][0]["field"]) == (422, field)
