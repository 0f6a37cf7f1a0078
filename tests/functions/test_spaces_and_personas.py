"""Spaces and personas over HTTP: created and changed, and their secrets rotated while they are in use."""

import asyncio
import hmac
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from tests import events
from tests.functions.conftest import Visitor, Workspace, ask_n8n
from tests.functions.people import Staff, audit, setup_of
from tests.standins.n8n import STARTED, N8n

INVALID = (422, "invalid_body")
SECRET_COLUMNS = {"hmac_secret_id", "secret_id", "callback_secret_id"}


async def secrets_of(workspace: Workspace) -> list[str]:
    """The secrets in Vault of the workspace's spaces and personas, with the replaced ones."""
    rows = await workspace.database.fetch(
        "select v.decrypted_secret from vault.decrypted_secrets v where v.id in ("
        "select hmac_secret_id from public.spaces where workspace_id = $1 union "
        "select unnest(array[secret_id, callback_secret_id]) from public.personas where workspace_id = $1 union "
        "select secret_id from private.retired_secrets where workspace_id = $1) order by v.created_at",
        workspace.id,
    )
    return [row["decrypted_secret"] for row in rows]


async def held(workspace: Workspace, *secrets: str) -> bool:
    """Whether Vault holds one of these secrets."""
    query = "select exists (select from vault.decrypted_secrets where decrypted_secret = any ($1))"
    found: bool = await workspace.database.fetchval(query, secrets)
    return found


async def let_overlaps_end(workspace: Workspace) -> None:
    await workspace.database.execute(
        "update private.retired_secrets set accepted_until = now() - interval '1 second' where workspace_id = $1",
        workspace.id,
    )


# Settings -------------------------------------------------------------------------------------------------------------


async def test_contacts_arrive_in_a_created_space_until_it_is_disabled(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    new = {"name": "Website", "personaId": str(workspace.persona_id), "allowed_origins": ["HTTPS://Shop.Example:443"]}
    made = await staff.admin.done("POST", f"/workspaces/{workspace.id}/spaces", new)
    assert (made["kind"], made["identity"], made["enabled"], made["has_hmac_secret"]) == ("embed", "any", True, False)
    assert made["allowed_origins"] == ["https://shop.example"], "as browsers write it"
    assert not SECRET_COLUMNS & made.keys()
    path, arrival = f"/spaces/{made['id']}", {"email": "ana@example.com"}
    assert await staff.agent.done("GET", path) == made
    assert await audit(workspace) == [("space.created", UUID(made["id"]), staff.admin.id, None)]
    origin = {"Origin": "https://shop.example"}
    async with client.post(f"/space/{made['id']}/register", json=arrival, headers=origin) as response:
        assert response.status == 201
        assert response.headers["access-control-allow-origin"] == "https://shop.example"
    await staff.owner.done("PATCH", path, {"enabled": False})
    async with client.post(f"/space/{made['id']}/register", json=arrival) as response:
        assert response.status == 404

    other = await workspace.add_persona("demo", {})
    changes = {
        "name": "Renamed", "persona_id": str(other), "arrivals_per_minute": 3, "identity": "token",
        "allowed_origins": ["https://shop.example", "http://localhost:3000"],
    }  # fmt: skip
    changed = {**made, **changes, "enabled": False}
    assert await staff.admin.done("PATCH", path, changes) == changed
    assert await staff.admin.done("PATCH", path, {"allowed_origins": []}) == {**changed, "allowed_origins": []}
    assert [verb for verb, *_ in await audit(workspace)] == ["space.created"] + ["space.changed"] * 3


async def test_pages_of_a_space_read_its_look(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    shop, picture = "https://shop.example", "data:image/png;base64,iVBORw0KGgo="
    look = {"labels": {"greeting": "Ahoy"}, "languages": {"de": {"quick_replies": ["Preise"]}}}
    persona = await staff.admin.done("PATCH", f"/personas/{workspace.persona_id}", {"name": "Ana", "picture": picture})
    changes = {"look": {**look, "quickReplies": ["Prices"]}, "allowed_origins": [shop]}
    look["quick_replies"] = ["Prices"]
    changed = await staff.admin.done("PATCH", f"/spaces/{workspace.space_id}", changes)
    assert (persona["has_picture"], changed["look"]) == (True, look)
    path = f"/space/{workspace.space_id}/look"
    for headers, allowed in (({"Origin": shop}, shop), ({"Origin": "https://other.example"}, None), ({}, None)):
        async with client.get(path, headers=headers) as response:
            assert response.headers["cache-control"] == "public, max-age=300, stale-while-revalidate=86400"
            assert (response.headers.get("access-control-allow-origin"), response.headers["vary"]) == (
                allowed,
                "Origin",
            )
            # Nothing else of the space or the persona is public.
            assert await response.json() == {**look, "persona": {"name": "Ana", "picture": picture}}
    await staff.admin.done("PATCH", f"/personas/{workspace.persona_id}", {"picture": None})
    await staff.admin.done("PATCH", f"/spaces/{workspace.space_id}", {"look": {}})
    async with client.get(path) as response:
        assert await response.json() == {"persona": {"name": "Ana"}}
    await staff.admin.done("PATCH", f"/spaces/{workspace.space_id}", {"enabled": False})
    async with client.get(path) as response:
        assert (response.status, (await response.json())["code"]) == (404, "space_not_found")


async def test_a_changed_persona_answers(client: aiohttp.ClientSession, workspace: Workspace, staff: Staff) -> None:
    new = {"kind": "demo", "name": "x", "config": {"delay_ms": 0}, "history_limit": 0, "turnPolicy": "interrupt"}
    made = await staff.admin.done("POST", f"/workspaces/{workspace.id}/personas", new)
    settings = [made[name] for name in ("session_policy", "time_limit_seconds", "turn_policy", "has_secret")]
    assert (settings, made["has_callback_secret"]) == (["per_conversation", 120, "interrupt", False], False)
    assert not SECRET_COLUMNS & made.keys()
    path = f"/personas/{made['id']}"
    assert await staff.admin.done("GET", path) == made
    # What is written next to secrets is for owners and admins.
    assert await staff.agent.done("GET", path) == {name: made[name] for name in made if name != "config"}
    fallback = {"fallback_persona_id": str(workspace.persona_id)}
    breaker = {"breaker_failures": 0, "breaker_seconds": 5}
    memory = {"memory_model": "shared", "recall_limit": 50, "remember_turns": True}
    changes = {"name": "Renamed", "collect_seconds": 1, **memory, **breaker, **fallback}
    assert await staff.admin.done("PATCH", path, changes) == {**made, **changes}
    changes = {"config": {}, "fallback_persona_id": None, "collect_seconds": 0, "session_policy": "per_message"}
    shown = await staff.admin.done("PATCH", path, changes)
    assert shown == {**made, **memory, **breaker, "name": "Renamed", "config": {}, "session_policy": "per_message"}
    await staff.owner.done("PATCH", path, {"config": {"delay_ms": 0}})
    assert [(verb, actor) for verb, _, actor, _ in await audit(workspace)] == [
        ("persona.created", staff.admin.id), *[("persona.changed", staff.admin.id)] * 2,
        ("persona.changed", staff.owner.id),
    ]  # fmt: skip
    space = {"name": "x", "persona_id": made["id"]}
    space_id = (await staff.owner.done("POST", f"/workspaces/{workspace.id}/spaces", space))["id"]
    assert (await Visitor(client, UUID(space_id)).say("hello"))[-1].name == "done"

    status, answer = await staff.owner.ask("PATCH", path, {"config": {"url": "https://n8n.example/webhook/x"}})
    assert (status, answer["errors"][0]["field"]) == (422, "config.url"), "a config fits the persona's kind"
    assert await staff.owner.refused("PATCH", path, {"kind": "n8n"}) == INVALID


@pytest.mark.parametrize("noun", ["space", "persona"])
async def test_a_repeated_id_creates_nothing_and_lists_come_in_pages(
    workspace: Workspace, elsewhere: Workspace, staff: Staff, noun: str
) -> None:
    path = f"/workspaces/{workspace.id}/{noun}s"
    kind = {"kind": "demo"} if noun == "persona" else {"persona_id": str(workspace.persona_id), "kind": "landing"}
    new = {"id": str(uuid4()), "name": "Once", **kind}
    answers = await asyncio.gather(*(staff.owner.done("POST", path, new) for _ in range(4)))
    assert answers == [answers[0]] * 4
    assert len(await audit(workspace)) == 1
    taken = elsewhere.persona_id if noun == "persona" else elsewhere.space_id
    assert await staff.owner.refused("POST", path, {**new, "id": str(taken)}) == (409, "id_taken")
    for _ in range(2):
        await staff.owner.done("POST", path, {**new, "id": str(uuid4())})

    rows = await workspace.database.fetch(f"select id from public.{noun}s where workspace_id = $1", workspace.id)
    listed = [item["id"] for page in await staff.agent.pages(path, 2) for item in page]
    assert listed == sorted(str(row["id"]) for row in rows)


ORIGINS = (
    "shop.example", "ftp://shop.example", "https://shop.example/", "https://shop.example/path", "https://shop.example?x",
    "https://shop.example#", "https://user@shop.example", "https://*.shop.example", "https://shop.example:99999",
    "https://", "https://münchen.example", "null", "",
)  # fmt: skip
UNFIT_LOOKS: Sequence[object] = (
    None, ["x"], {"title": "x"}, {"labels": {"data-x": "x"}}, {"labels": {"title": 1}},
    {"labels": {"title": "\x00"}},
    {"quick_replies": [""]}, {"quick_replies": ["x"] * 11}, {"languages": {"German": {}}},
    {"languages": {"de": {"languages": {}}}},
    {"languages": {f"d{letter}": {"labels": {"greeting": "ü" * 1_000}} for letter in "abcdefghijklmnopq"}},
)  # fmt: skip
UNFIT_SPACES: Sequence[dict[str, Any]] = (
    *({"allowed_origins": [origin]} for origin in ORIGINS),
    *({"allowed_origins": ["*", *more]} for more in (["https://shop.example"], ["*"])),
    {"name": " "}, {"name": "\t\n\u2003"}, {"arrivals_per_minute": 0}, {"arrivals_per_minute": True}, {"enabled": "no"},
    {"persona_id": "x"}, {"enabled": None}, {"kind": "landing"}, {"hmac_secret": "x"}, {"identity": "hmac"},
    *({"look": look} for look in UNFIT_LOOKS),
)  # fmt: skip
UNFIT_PERSONAS: Sequence[tuple[dict[str, Any], str]] = (
    ({"kind": "nobody"}, "kind"), ({"kind": "../demo"}, "kind"), ({"config": {"delay_ms": -1}}, "config.delay_ms"),
    ({"config": {"other": 1}}, "config.other"), ({"kind": "n8n"}, "config.url"), ({"config": "x"}, "config"),
    ({"name": None}, ""), ({"name": ""}, "name"), ({"name": "  "}, "name"),
    ({"time_limit_seconds": 841}, "time_limit_seconds"), ({"breaker_failures": True}, "breaker_failures"),
    *(({"picture": picture}, "picture") for picture in (
        "https://example.com/x.png", "data:image/svg+xml;base64,PHN2Zz4=", "data:image/png;base64,x", "",
        "data:image/png;base64," + "A" * 50_000,
    )),
    ({"collect_seconds": 31}, "collect_seconds"), ({"recall_limit": 51}, "recall_limit"),
    ({"memory_model": "all"}, "memory_model"), ({"remember_turns": 1}, "remember_turns"),
    ({"enabled": 0}, "enabled"), ({"turn_policy": "queue"}, "turn_policy"), ({"secret": "s"}, "secret"),
)  # fmt: skip


async def test_invalid_settings_are_refused(workspace: Workspace, elsewhere: Workspace, staff: Staff) -> None:
    before = await setup_of(workspace)
    space, spaces = f"/spaces/{workspace.space_id}", f"/workspaces/{workspace.id}/spaces"
    persona, per_message = f"/personas/{workspace.persona_id}", {"session_policy": "per_message"}
    for changes in UNFIT_SPACES:
        assert await staff.owner.refused("PATCH", space, changes) == INVALID, changes
    for persona_id in (str(elsewhere.persona_id), str(uuid4())):
        for method, path, body in (("POST", spaces, {"name": "x"}), ("PATCH", space, {})):
            refusal = await staff.owner.refused(method, path, {**body, "persona_id": persona_id})
            assert refusal == (404, "persona_not_found")
        refusal = await staff.owner.refused("PATCH", persona, {"fallback_persona_id": persona_id})
        assert refusal == (404, "persona_not_found")
    for changes in ({"fallback_persona_id": str(workspace.persona_id)}, {**per_message, "collect_seconds": 1}):
        assert await staff.owner.refused("PATCH", persona, changes) == INVALID
    for settings, field in UNFIT_PERSONAS:
        new = {"kind": "demo", "name": "x", **settings}
        status, answer = await staff.owner.ask("POST", f"/workspaces/{workspace.id}/personas", new)
        assert (status, answer["code"]) == INVALID, settings
        assert field in [fault["field"] for fault in answer["errors"]], settings
    for overlap in (-1, 604_801, "x", None, 1.5, True):
        assert await staff.owner.refused("POST", f"{space}/hmac-secret", {"overlap_seconds": overlap}) == INVALID
    # A secret is the value of a header.
    for secret in ("", " x", "x\n", "käse", "x" * 4_097, 1, None):
        status, answer = await staff.owner.ask("PUT", f"/personas/{workspace.persona_id}/secret", {"secret": secret})
        assert (status, answer["code"]) == INVALID
        assert "käse" not in json.dumps(answer, ensure_ascii=False)
    assert await setup_of(workspace) == before


async def test_members_see_the_state_of_a_personas_breaker(workspace: Workspace, staff: Staff) -> None:
    path, personas = f"/personas/{workspace.persona_id}", f"/workspaces/{workspace.id}/personas"

    async def shown() -> dict[str, Any]:
        one = await staff.agent.done("GET", path)
        assert (await staff.agent.done("GET", personas))["items"] == [one]
        breaker: dict[str, Any] = one["breaker"]
        return breaker

    assert await shown() == {"state": "closed", "failures": 0, "refused": 0}
    opened_at, retry_at = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"
    for state, probe in (("open", None), ("half_open", uuid4())):
        await workspace.database.execute(
            "insert into public.persona_breakers (persona_id, workspace_id, state, failures, refused, opened_at, "
            "retry_at, probe_turn_id) values ($1, $2, $3, 5, 2, '2026-01-01T00:00Z', '2026-01-01T00:01Z', $4) "
            "on conflict (persona_id) do update set state = excluded.state, probe_turn_id = excluded.probe_turn_id",
            workspace.persona_id, workspace.id, state, probe,
        )  # fmt: skip
        expected = {"state": state, "failures": 5, "refused": 2, "opened_at": opened_at, "retry_at": retry_at}
        assert await shown() == expected
    # Without a limit of failures it is always closed.
    changed = await staff.admin.done("PATCH", path, {"breaker_failures": 0})
    assert (changed["breaker"]["state"], changed["breaker"].get("retry_at")) == ("closed", None)


# Secrets --------------------------------------------------------------------------------------------------------------


async def proof(client: aiohttp.ClientSession, space_id: UUID, *secrets: str) -> list[int]:
    """The statuses of registrations with an email that was signed with these secrets."""
    statuses = []
    for secret in secrets:
        signature = hmac.digest(secret.encode(), b"ana@example.com", "sha256").hex()
        body = {"email": "ana@example.com", "email_hmac": signature}
        async with client.post(f"/space/{space_id}/register", json=body) as response:
            statuses.append(response.status)
    return statuses


async def test_replaced_hmac_secrets_are_valid_until_the_overlap_ends(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    space = f"/spaces/{workspace.space_id}"
    path, space_id = f"{space}/hmac-secret", workspace.space_id
    first = (await staff.owner.done("POST", path))["secret"]
    assert (len(first), await proof(client, space_id, first)) == (64, [201])
    second = (await staff.owner.done("POST", path, {"overlap_seconds": 600}))["secret"]
    third = (await staff.admin.done("POST", path, {"overlapSeconds": 86_400 * 7}))["secret"]
    assert await proof(client, space_id, first, second, third, "guessed") == [201, 201, 201, 401]
    assert await secrets_of(workspace) == [first, second, third]
    left = await workspace.database.fetchval(
        "select r.accepted_until - now() from private.retired_secrets r "
        "join vault.decrypted_secrets v on v.id = r.secret_id where v.decrypted_secret = $1",
        first,
    )
    assert 0 < left.total_seconds() <= 600, "a later overlap does not extend an earlier one"

    await let_overlaps_end(workspace)
    assert await proof(client, space_id, first, second, third) == [401, 401, 201]
    await workspace.database.execute("select private.forget_secrets()")
    assert (await secrets_of(workspace), await held(workspace, first, second)) == ([third], False)
    shown = await staff.owner.done("GET", space)
    assert (shown["has_hmac_secret"], third in str(shown)) == (True, False)

    last = (await staff.owner.done("POST", path, {"overlap_seconds": 0}))["secret"]
    assert await proof(client, space_id, third, last) == [401, 201]
    assert (await secrets_of(workspace), await held(workspace, third)) == ([last], False)
    for _ in range(2):
        assert await staff.admin.done("DELETE", path) == {}
    assert await proof(client, space_id, last) == [401]
    assert (await secrets_of(workspace), await held(workspace, last)) == ([], False)
    rotations = [("space.secret_rotated", person.id) for person in (staff.owner, staff.owner, staff.admin, staff.owner)]
    assert [(verb, actor) for verb, _, actor, _ in await audit(workspace)] == [
        *rotations, ("space.secret_removed", staff.admin.id),
    ]  # fmt: skip


async def test_a_secret_that_serves_two_spaces_stays_for_the_other(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    shared = await workspace.add_secret("by hand")
    one, two = [await workspace.add_space(hmac_secret_id=shared) for _ in range(2)]
    await staff.owner.done("POST", f"/spaces/{one}/hmac-secret", {"overlap_seconds": 0})
    assert [await proof(client, space_id, "by hand") for space_id in (one, two)] == [[401], [201]]


async def test_a_personas_secret_is_sent_with_its_calls_and_shown_to_nobody(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, n8n: N8n
) -> None:
    await workspace.allow_loopback()
    config = {"url": n8n.url("stream"), "auth": {"header": "X-My-Key"}}
    new = {"kind": "n8n", "name": "Flow", "config": config}
    persona_id = (await staff.owner.done("POST", f"/workspaces/{workspace.id}/personas", new))["id"]
    visitor = Visitor(client, await workspace.add_space(persona_id=UUID(persona_id)))
    path = f"/personas/{persona_id}"
    for secret in ("first secret", "second secret", "second secret"):
        assert await staff.admin.done("PUT", f"{path}/secret", {"secret": secret}) == {}
        assert (await visitor.say("hello"))[-1].name == "done"
        assert n8n.received[-1].headers["x-my-key"] == secret
    assert (await secrets_of(workspace), await held(workspace, "first secret")) == (["second secret"], False)
    shown = await staff.owner.done("GET", path)
    assert shown["has_secret"] is True
    assert "second secret" not in json.dumps([shown, str(await audit(workspace))])
    for _ in range(2):
        assert await staff.admin.done("DELETE", f"{path}/secret") == {}
    assert await secrets_of(workspace) == []
    assert (await visitor.say("hello"))[-1].data["code"] == "persona_misconfigured"


async def test_replaced_callback_secrets_are_valid_until_the_overlap_ends(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, n8n: N8n
) -> None:
    visitor = await ask_n8n(client, workspace, n8n.say("acknowledge", json.dumps(STARTED).encode()), mode="async")
    query = "select persona_id from public.spaces where id = $1"
    path = f"/personas/{await workspace.database.fetchval(query, visitor.space_id)}/callback-secret"

    async def deliver(body: dict[str, str], secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        async with client.post("/webhooks/n8n", json=body, headers=headers) as answer:
            return answer.status

    async def answered_with(secret: str) -> int:
        """The status of an answer to a new message that is delivered with a secret."""
        async with visitor.post("a word") as response:
            turn_id = (await anext(aiter(events.read(response)))).data["turn_id"]
            body = {"turnId": turn_id, "output": "x"}
            status = await deliver(body, secret)
            if status != 200:
                assert await deliver(body, newest) == 200
            await response.read()
        return status

    first = newest = (await staff.owner.done("POST", path, {"overlap_seconds": 0}))["secret"]
    assert await answered_with(first) == 200
    second = newest = (await staff.owner.done("POST", path))["secret"]
    assert [await answered_with(secret) for secret in (first, second, "guessed")] == [200, 200, 401]
    await let_overlaps_end(workspace)
    assert [await answered_with(secret) for secret in (first, second)] == [401, 200]
    assert await staff.owner.done("DELETE", path) == {}
    assert "the-header-auth-secret" in await secrets_of(workspace), "the other secret stays"
    assert not await held(workspace, second)
    assert await deliver({"turnId": str(uuid4()), "output": "x"}, second) == 401
