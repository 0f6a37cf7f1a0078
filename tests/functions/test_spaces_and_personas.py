"""Spaces and personas over HTTP: making and changing them, and secrets that change while they are in use."""

import asyncio
import hmac
import json
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio

from local.stack import Stack
from tests import events
from tests.functions.conftest import Visitor, Workspace, add_workspace, ask_n8n
from tests.functions.people import Person, Staff, audit, setup_of, staff_of
from tests.standins.n8n import STARTED, N8n

SECRET_COLUMNS = {"hmac_secret_id", "secret_id", "callback_secret_id"}


@pytest_asyncio.fixture
async def staff(client: aiohttp.ClientSession, workspace: Workspace, stack: Stack) -> Staff:
    """Everybody."""
    return await staff_of(client, workspace, stack)


async def secrets_of(workspace: Workspace) -> list[str]:
    """Every secret that Vault holds for the workspace's spaces and personas, those that were replaced too."""
    rows = await workspace.database.fetch(
        "select v.decrypted_secret from vault.decrypted_secrets v where v.id in ("
        "select hmac_secret_id from public.spaces where workspace_id = $1 union "
        "select unnest(array[secret_id, callback_secret_id]) from public.personas where workspace_id = $1 union "
        "select secret_id from private.retired_secrets where workspace_id = $1) order by v.created_at",
        workspace.id,
    )
    return [row["decrypted_secret"] for row in rows]


async def held(workspace: Workspace, secret: str) -> bool:
    """Whether Vault holds this secret at all."""
    found: bool = await workspace.database.fetchval(
        "select exists (select from vault.decrypted_secrets where decrypted_secret = $1)", secret
    )
    return found


async def let_overlaps_end(workspace: Workspace) -> None:
    """As if the overlaps were over."""
    await workspace.database.execute(
        "update private.retired_secrets set accepted_until = now() - interval '1 second' where workspace_id = $1",
        workspace.id,
    )


# Spaces ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["owner", "admin"])
async def test_a_space_is_made_and_people_arrive_in_it(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, who: str
) -> None:
    person: Person = getattr(staff, who)
    new = {"name": "Website", "personaId": str(workspace.persona_id), "allowed_origins": ["HTTPS://Shop.Example:443"]}
    made = await person.done("POST", f"/workspaces/{workspace.id}/spaces", new)
    assert (made["kind"], made["enabled"], made["has_hmac_secret"]) == ("embed", True, False)
    assert made["allowed_origins"] == ["https://shop.example"], "as browsers write it"
    assert not SECRET_COLUMNS & made.keys()
    assert await staff.agent.done("GET", f"/spaces/{made['id']}") == made
    assert await audit(workspace) == [("space.created", UUID(made["id"]), person.id, None)]

    arrival = {"email": "ana@example.com"}
    origin = {"Origin": "https://shop.example"}
    async with client.post(f"/space/{made['id']}/register", json=arrival, headers=origin) as response:
        assert response.status == 201
        assert response.headers["access-control-allow-origin"] == "https://shop.example"
    await person.done("PATCH", f"/spaces/{made['id']}", {"enabled": False})
    async with client.post(f"/space/{made['id']}/register", json=arrival) as response:
        assert response.status == 404


async def test_making_a_space_twice_under_one_id_makes_one(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/spaces"
    new = {"id": str(uuid4()), "name": "Once", "persona_id": str(workspace.persona_id), "kind": "landing"}
    answers = await asyncio.gather(*(staff.owner.done("POST", path, new) for _ in range(4)))
    assert answers == [answers[0]] * 4
    assert len(await audit(workspace)) == 1
    elsewhere = await add_workspace(workspace.database)
    taken = {**new, "id": str(elsewhere.space_id)}
    assert await staff.owner.refused("POST", path, taken) == (409, "id_taken")


async def test_a_space_takes_only_a_persona_of_its_workspace(workspace: Workspace, staff: Staff) -> None:
    elsewhere = await add_workspace(workspace.database)
    before = await setup_of(workspace)
    for persona_id in (elsewhere.persona_id, uuid4()):
        new = {"name": "x", "persona_id": str(persona_id)}
        answer = await staff.owner.refused("POST", f"/workspaces/{workspace.id}/spaces", new)
        assert answer == (404, "persona_not_found")
        answer = await staff.owner.refused("PATCH", f"/spaces/{workspace.space_id}", {"persona_id": str(persona_id)})
        assert answer == (404, "persona_not_found")
    assert await setup_of(workspace) == before


async def test_a_space_is_changed_member_by_member(workspace: Workspace, staff: Staff) -> None:
    path = f"/spaces/{workspace.space_id}"
    other = await workspace.add_persona("demo", {})
    before = await staff.admin.done("GET", path)
    changes = {
        "name": "Renamed",
        "persona_id": str(other),
        "allowed_origins": ["https://shop.example", "http://localhost:3000"],
        "arrivals_per_minute": 3,
    }
    assert await staff.admin.done("PATCH", path, changes) == {**before, **changes}
    emptied = await staff.admin.done("PATCH", path, {"allowed_origins": []})
    assert emptied == {**before, **changes, "allowed_origins": []}
    assert [verb for verb, *_ in await audit(workspace)] == ["space.changed"] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"allowed_origins": [origin]}
        for origin in (
            "shop.example",
            "ftp://shop.example",
            "https://shop.example/",
            "https://shop.example/path",
            "https://shop.example?x",
            "https://shop.example#",
            "https://user@shop.example",
            "https://*.shop.example",
            "https://shop.example:99999",
            "https://",
            "https://münchen.example",
            "null",
            "",
        )
    ]
    + [
        {"allowed_origins": ["*", "https://shop.example"]},
        {"allowed_origins": ["https://shop.example", "*"]},
        {"allowed_origins": ["*", "*"]},
        {"name": " "},
        {"name": "\t\n\u2003"},
        {"arrivals_per_minute": 0},
        {"arrivals_per_minute": True},
        {"enabled": "no"},
        {"persona_id": "x"},
        {"enabled": None},
        {"kind": "landing"},
        {"hmac_secret": "x"},
    ],
    ids=str,
)
async def test_a_space_setting_that_does_not_fit_is_refused(workspace: Workspace, staff: Staff, changes: Any) -> None:
    before = await setup_of(workspace)
    assert await staff.owner.refused("PATCH", f"/spaces/{workspace.space_id}", changes) == (422, "invalid_body")
    assert await setup_of(workspace) == before


@pytest.mark.parametrize("noun", ["spaces", "personas"])
async def test_lists_come_in_pages(workspace: Workspace, staff: Staff, noun: str) -> None:
    for _ in range(3):
        await (workspace.add_space() if noun == "spaces" else workspace.add_persona("demo", {}))
    await add_workspace(workspace.database)
    rows = await workspace.database.fetch(f"select id from public.{noun} where workspace_id = $1", workspace.id)
    path = f"/workspaces/{workspace.id}/{noun}?limit=2"
    first = await staff.agent.done("GET", path)
    second = await staff.agent.done("GET", f"{path}&cursor={first['next_cursor']}")
    third = await staff.agent.done("GET", f"{path}&cursor={second.get('next_cursor', uuid4())}")
    listed = [item["id"] for page in (first, second, third) for item in page["items"]][: len(rows)]
    assert sorted(listed) == sorted(str(row["id"]) for row in rows)


# Secrets of spaces ----------------------------------------------------------------------------------------------------


async def proof(client: aiohttp.ClientSession, space_id: UUID, secret: str) -> int:
    """The status of registering with an email that was signed with a secret."""
    signature = hmac.digest(secret.encode(), b"ana@example.com", "sha256").hex()
    body = {"email": "ana@example.com", "email_hmac": signature}
    async with client.post(f"/space/{space_id}/register", json=body) as response:
        return response.status


async def test_a_rotated_hmac_secret_and_the_one_before_are_both_believed_until_the_overlap_ends(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    path = f"/spaces/{workspace.space_id}/hmac-secret"
    first = (await staff.owner.done("POST", path))["secret"]
    assert len(first) == 64
    assert await proof(client, workspace.space_id, first) == 201
    second = (await staff.owner.done("POST", path, {"overlap_seconds": 600}))["secret"]
    third = (await staff.admin.done("POST", path, {"overlapSeconds": 600}))["secret"]
    assert len({first, second, third}) == 3
    # Whoever lost an answer and rotated again has not shut anybody out.
    assert [await proof(client, workspace.space_id, secret) for secret in (first, second, third)] == [201] * 3
    assert await proof(client, workspace.space_id, "guessed") == 401
    assert await secrets_of(workspace) == [first, second, third]

    await let_overlaps_end(workspace)
    assert [await proof(client, workspace.space_id, secret) for secret in (first, second, third)] == [401, 401, 201]
    await workspace.database.execute("select private.forget_secrets()")
    assert await secrets_of(workspace) == [third]
    assert not await held(workspace, first)

    assert await audit(workspace) == [
        ("space.secret_rotated", workspace.space_id, person.id, None)
        for person in (staff.owner, staff.owner, staff.admin)
    ]
    shown = await staff.owner.done("GET", f"/spaces/{workspace.space_id}")
    assert shown["has_hmac_secret"] is True
    assert third not in str(shown)


async def test_a_rotation_without_overlap_refuses_every_older_secret_at_once(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    path = f"/spaces/{workspace.space_id}/hmac-secret"
    older = [(await staff.owner.done("POST", path))["secret"] for _ in range(2)]
    last = (await staff.owner.done("POST", path, {"overlap_seconds": 0}))["secret"]
    assert [await proof(client, workspace.space_id, secret) for secret in (*older, last)] == [401, 401, 201]
    assert await secrets_of(workspace) == [last]
    assert not [secret for secret in older if await held(workspace, secret)]


async def test_a_later_overlap_never_prolongs_an_earlier_one(workspace: Workspace, staff: Staff) -> None:
    path = f"/spaces/{workspace.space_id}/hmac-secret"
    first = (await staff.owner.done("POST", path))["secret"]
    await staff.owner.done("POST", path, {"overlap_seconds": 60})
    await staff.owner.done("POST", path, {"overlap_seconds": 86_400 * 7})
    left = await workspace.database.fetchval(
        "select r.accepted_until - now() from private.retired_secrets r "
        "join vault.decrypted_secrets v on v.id = r.secret_id where v.decrypted_secret = $1",
        first,
    )
    assert 0 < left.total_seconds() <= 60


async def test_secrets_that_are_taken_away_are_gone(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    path = f"/spaces/{workspace.space_id}/hmac-secret"
    made = [(await staff.owner.done("POST", path))["secret"] for _ in range(2)]
    assert (await staff.admin.ask("DELETE", path))[0] == 204
    assert (await staff.admin.ask("DELETE", path))[0] == 204
    assert [await proof(client, workspace.space_id, secret) for secret in made] == [401, 401]
    assert await secrets_of(workspace) == []
    assert not [secret for secret in made if await held(workspace, secret)]
    verbs = [verb for verb, *_ in await audit(workspace)]
    assert verbs == ["space.secret_rotated", "space.secret_rotated", "space.secret_removed"]


async def test_a_secret_that_serves_two_spaces_stays_for_the_other(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    shared = await workspace.add_secret("by hand")
    one, two = [await workspace.add_space(hmac_secret_id=shared) for _ in range(2)]
    await staff.owner.done("POST", f"/spaces/{one}/hmac-secret", {"overlap_seconds": 0})
    assert [await proof(client, space_id, "by hand") for space_id in (one, two)] == [401, 201]


@pytest.mark.parametrize("overlap", [-1, 604_801, "x", None, 1.5, True])
async def test_an_overlap_is_a_week_at_most(workspace: Workspace, staff: Staff, overlap: Any) -> None:
    before = await setup_of(workspace)
    body = {"overlap_seconds": overlap}
    answer = await staff.owner.refused("POST", f"/spaces/{workspace.space_id}/hmac-secret", body)
    assert answer == (422, "invalid_body")
    assert await setup_of(workspace) == before


# Personas -------------------------------------------------------------------------------------------------------------


async def test_a_persona_is_made_changed_and_answers(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff
) -> None:
    new = {
        "kind": "demo",
        "name": "Concierge",
        "config": {"delay_ms": 0},
        "history_limit": 0,
        "turnPolicy": "interrupt",
    }
    made = await staff.admin.done("POST", f"/workspaces/{workspace.id}/personas", new)
    assert (made["session_policy"], made["time_limit_seconds"], made["turn_policy"]) == (
        "per_conversation",
        120,
        "interrupt",
    )
    assert (made["has_secret"], made["has_callback_secret"]) == (False, False)
    assert not SECRET_COLUMNS & made.keys()
    path = f"/personas/{made['id']}"
    assert await staff.agent.done("GET", path) == made
    changes = {"name": "Renamed", "session_policy": "per_message", "breaker_failures": 0, "breaker_seconds": 5}
    assert await staff.admin.done("PATCH", path, changes) == {**made, **changes}
    await staff.admin.done("PATCH", path, {"config": {}})
    assert (await staff.admin.done("GET", path))["config"] == {}, "a config is replaced as a whole"
    await staff.owner.done("PATCH", path, {"config": {"delay_ms": 0}})
    space = {"name": "x", "persona_id": made["id"]}
    space_id = (await staff.owner.done("POST", f"/workspaces/{workspace.id}/spaces", space))["id"]
    assert (await Visitor(client, UUID(space_id)).say("hello"))[-1].name == "done"
    actors = [(verb, actor) for verb, _, actor, _ in await audit(workspace) if verb.startswith("persona.")]
    assert actors == [("persona.created", staff.admin.id)] + [("persona.changed", staff.admin.id)] * 2 + [
        ("persona.changed", staff.owner.id)
    ]


async def test_members_see_how_a_personas_breaker_stands(workspace: Workspace, staff: Staff) -> None:
    persona_id = await workspace.add_persona("demo", {})
    path, personas = f"/personas/{persona_id}", f"/workspaces/{workspace.id}/personas"

    async def shown() -> dict[str, Any]:
        one = await staff.agent.done("GET", path)
        (listed,) = [each for each in (await staff.agent.done("GET", personas))["items"] if each["id"] == one["id"]]
        assert listed == one == await staff.owner.done("GET", path)
        breaker: dict[str, Any] = one["breaker"]
        return breaker

    assert await shown() == {"state": "closed", "failures": 0, "refused": 0}, "it never failed"
    for state, probe in (("open", None), ("half_open", uuid4())):
        await workspace.database.execute(
            "insert into public.persona_breakers (persona_id, workspace_id, state, failures, refused, opened_at, "
            "retry_at, probe_turn_id) values ($1, $2, $3, 5, 2, '2026-01-01T00:00Z', '2026-01-01T00:01Z', $4) "
            "on conflict (persona_id) do update set state = excluded.state, probe_turn_id = excluded.probe_turn_id",
            persona_id,
            workspace.id,
            state,
            probe,
        )
        assert await shown() == {
            "state": state,
            "failures": 5,
            "refused": 2,
            "opened_at": "2026-01-01T00:00:00Z",
            "retry_at": "2026-01-01T00:01:00Z",
        }
    assert await staff.stranger.refused("GET", path) == (404, "persona_not_found")
    # Without a breaker it is always asked, whatever was counted.
    changed = await staff.admin.done("PATCH", path, {"breaker_failures": 0})
    assert (changed["breaker"]["state"], changed["breaker"].get("retry_at")) == ("closed", None)


async def test_making_a_persona_twice_under_one_id_makes_one(workspace: Workspace, staff: Staff) -> None:
    path = f"/workspaces/{workspace.id}/personas"
    new = {"id": str(uuid4()), "name": "Once", "kind": "demo"}
    answers = await asyncio.gather(*(staff.owner.done("POST", path, new) for _ in range(4)))
    assert answers == [answers[0]] * 4
    assert len(await audit(workspace)) == 1
    elsewhere = await add_workspace(workspace.database)
    assert await staff.owner.refused("POST", path, {**new, "id": str(elsewhere.persona_id)}) == (409, "id_taken")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "nobody", "name": "x"}, "kind"),
        ({"kind": "../demo", "name": "x"}, "kind"),
        ({"kind": "demo", "name": "x", "config": {"delay_ms": -1}}, "config.delay_ms"),
        ({"kind": "demo", "name": "x", "config": {"other": 1}}, "config.other"),
        ({"kind": "n8n", "name": "x"}, "config.url"),
        ({"kind": "demo", "name": "x", "config": "x"}, "config"),
        ({"kind": "demo"}, "name"),
        ({"kind": "demo", "name": ""}, "name"),
        ({"kind": "demo", "name": "  "}, "name"),
        ({"kind": "demo", "name": "x", "time_limit_seconds": 841}, "time_limit_seconds"),
        ({"kind": "demo", "name": "x", "breaker_failures": True}, "breaker_failures"),
        ({"kind": "demo", "name": "x", "enabled": 0}, "enabled"),
        ({"kind": "demo", "name": "x", "turn_policy": "queue"}, "turn_policy"),
        ({"kind": "demo", "name": "x", "secret": "s"}, "secret"),
    ],
)
async def test_a_persona_that_does_not_fit_is_refused(
    workspace: Workspace, staff: Staff, body: Any, field: str
) -> None:
    before = await setup_of(workspace)
    status, answer = await staff.owner.ask("POST", f"/workspaces/{workspace.id}/personas", body)
    assert (status, answer["code"]) == (422, "invalid_body")
    assert field in [fault["field"] for fault in answer["errors"]]
    assert await setup_of(workspace) == before


async def test_a_changed_config_must_fit_the_personas_kind(workspace: Workspace, staff: Staff) -> None:
    path = f"/personas/{workspace.persona_id}"
    status, answer = await staff.owner.ask("PATCH", path, {"config": {"url": "https://n8n.example/webhook/x"}})
    assert (status, answer["errors"][0]["field"]) == (422, "config.url")
    assert await staff.owner.refused("PATCH", path, {"kind": "n8n"}) == (422, "invalid_body")


async def test_a_personas_secret_is_sent_with_its_calls_and_shown_to_nobody(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, n8n: N8n
) -> None:
    await workspace.allow_loopback()
    config = {"url": n8n.url("stream"), "auth": {"header": "X-My-Key"}}
    new = {"kind": "n8n", "name": "Flow", "config": config}
    persona_id = (await staff.owner.done("POST", f"/workspaces/{workspace.id}/personas", new))["id"]
    space_id = await workspace.add_space(persona_id=UUID(persona_id))
    for secret in ("first secret", "second secret", "second secret"):
        status, answer = await staff.admin.ask("PUT", f"/personas/{persona_id}/secret", {"secret": secret})
        assert (status, answer) == (204, {})
        assert (await Visitor(client, space_id).say("hello"))[-1].name == "done"
        assert n8n.received[-1].headers["x-my-key"] == secret
    assert await secrets_of(workspace) == ["second secret"]
    assert not await held(workspace, "first secret")
    shown = await staff.owner.done("GET", f"/personas/{persona_id}")
    assert shown["has_secret"] is True
    assert "second secret" not in json.dumps([shown, str(await audit(workspace))])

    assert (await staff.admin.ask("DELETE", f"/personas/{persona_id}/secret"))[0] == 204
    assert (await staff.admin.ask("DELETE", f"/personas/{persona_id}/secret"))[0] == 204
    assert await secrets_of(workspace) == []
    assert (await Visitor(client, space_id).say("hello"))[-1].data["code"] == "persona_misconfigured"


@pytest.mark.parametrize("secret", ["", " x", "x\n", "käse", "x" * 4_097, 1, None])
async def test_a_secret_that_cannot_stand_in_a_header_is_refused_and_not_repeated(
    workspace: Workspace, staff: Staff, secret: Any
) -> None:
    status, answer = await staff.owner.ask("PUT", f"/personas/{workspace.persona_id}/secret", {"secret": secret})
    assert (status, answer["code"]) == (422, "invalid_body")
    assert "käse" not in json.dumps(answer, ensure_ascii=False)
    assert await secrets_of(workspace) == []


async def test_a_rotated_callback_secret_and_the_one_before_both_answer_until_the_overlap_ends(
    client: aiohttp.ClientSession, workspace: Workspace, staff: Staff, n8n: N8n
) -> None:
    url = n8n.say("acknowledge", json.dumps(STARTED).encode())
    visitor = await ask_n8n(client, workspace, url, mode="async")
    persona_id = await workspace.database.fetchval(
        "select persona_id from public.spaces where id = $1", visitor.space_id
    )
    path = f"/personas/{persona_id}/callback-secret"

    async def deliver(body: dict[str, str], secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        async with client.post("/webhooks/n8n", json=body, headers=headers) as answer:
            return answer.status

    async def answered_with(secret: str) -> int:
        """Ask anew and answer with a secret: the status of the delivery."""
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
    assert (await staff.owner.ask("DELETE", path))[0] == 204
    assert "the-header-auth-secret" in await secrets_of(workspace), "the other secret stays"
    assert not await held(workspace, second)
    assert await deliver({"turnId": str(uuid4()), "output": "x"}, second) == 401
