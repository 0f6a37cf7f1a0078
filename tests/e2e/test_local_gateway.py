"""The one origin: who answers which path, and that PostgREST comes through unchanged."""

import asyncio
import json
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from local.stack import Stack


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_functions_answer_their_paths_with_and_without_api(stack: Stack, prefix: str) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{stack.api_url}{prefix}/space/{stack.space_id}/chat/stream") as answer:
            assert (answer.status, (await answer.json())["code"]) == (405, "method_not_allowed")
            assert answer.headers["Allow"] == "POST"
        async with http.post(f"{stack.api_url}{prefix}/worker") as answer:
            assert answer.status == 401


@pytest.mark.parametrize("key", ["anon_key", "publishable_key"])
async def test_the_stock_client_invokes_functions(stack: Stack, key: str) -> None:
    script = Path(__file__).with_name("invoke.mjs")
    arguments = ("node", str(script), stack.api_url, getattr(stack, key), stack.space_id)
    node = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    assert json.loads((await node.communicate())[0]) == {
        "registered": True, "found": [True], "cancelled": "cancelled", "anonymous": [401, "token_missing"],
        "invalid": [422, "invalid_body"], "foreign": [404, "not_found"], "unknown": [404, "not_found"],
    }  # fmt: skip


async def test_a_browser_may_send_the_headers_of_its_clients(stack: Stack) -> None:
    sent = {"authorization", "apikey", "x-client-info", "content-type", "traceparent", "tracestate", "baggage",
            "idempotency-key"}  # fmt: skip
    asking = {
        "Origin": "https://shop.example", "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": ",".join(sorted(sent)),
    }  # fmt: skip
    async with aiohttp.ClientSession() as http:
        for path in ("/chat-sessions", "/functions/v1/sessions/chat-sessions"):
            async with http.options(f"{stack.api_url}{path}", headers=asking) as answer:
                assert answer.status == 204
                assert sent <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))


@pytest.mark.parametrize("service", ["realtime", "storage", "graphql"])
async def test_a_service_that_is_missing_names_the_alternative(stack: Stack, service: str) -> None:
    async with aiohttp.ClientSession() as http:
        for path in (f"/{service}/v1", f"/{service}/v1/anything"):
            async with http.post(f"{stack.api_url}{path}", json={}) as answer:
                problem = await answer.json()
                assert (answer.status, problem["code"]) == (501, "not_implemented")
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
                assert problem["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/api/nowhere",
        "/space/x",
        "/local/keys.json",
        "/../keys.json",
        "/auth",
        "/functions/v1",
        "/functions/v1/",
    ],
)
async def test_an_unknown_path_is_a_problem(stack: Stack, path: str) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{stack.api_url}{path}") as answer:
        assert answer.status == 404
        assert answer.content_type == "application/problem+json"
        assert (await answer.json())["code"] == "not_found"


async def test_the_page_comes_with_a_strict_policy_and_takes_no_post(stack: Stack) -> None:
    async with aiohttp.ClientSession() as http:
        for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/style.css", "text/css")):
            async with http.get(f"{stack.api_url}{path}") as answer:
                assert (answer.status, answer.content_type) == (200, kind)
                policy = answer.headers["Content-Security-Policy"].split("; ")
                assert {"default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'"} <= set(policy)
                assert "unsafe" not in " ".join(policy)
        async with http.post(f"{stack.api_url}/") as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_postgrest_comes_through_with_its_headers_and_bodies(stack: Stack, database: asyncpg.Connection) -> None:
    await database.execute("create table public.gateway_test (id int primary key, note text)")
    try:
        await database.execute("grant all on public.gateway_test to service_role")
        await database.execute("notify pgrst, 'reload schema'")
        headers = {"apikey": stack.secret_key, "Prefer": "return=representation,count=exact"}
        rows = [{"id": number, "note": "ü" * 2000} for number in range(500)]
        url = f"{stack.api_url}/rest/v1/gateway_test"
        async with aiohttp.ClientSession(headers=headers) as http:
            created, document = 0, None
            for _ in range(100):
                async with http.post(url, json=rows) as answer:
                    created, document = answer.status, await answer.json()
                if created != 404:
                    break
                await asyncio.sleep(0.05)  # PostgREST is still reading the new table
            assert (created, document) == (201, rows)
            async with http.get(url, params={"note": "not.eq.a&b", "id": "lt.3", "select": "id"}) as answer:
                assert answer.headers["Content-Range"] == "0-2/3"
                assert await answer.json() == [{"id": 0}, {"id": 1}, {"id": 2}]
            repeated = [("Prefer", "count=planned"), ("Prefer", "count=exact")]
            anyone = [("apikey", stack.publishable_key), *repeated]
            async with aiohttp.request("GET", url, headers=anyone) as answer:
                assert (answer.status, (await answer.json())["message"]) == (400, "count_not_allowed")
            async with http.head(url) as answer:
                assert (answer.status, answer.headers["Content-Range"]) == (200, "0-499/500")
            async with http.patch(url, params={"id": "eq.7"}, json={"note": "new"}) as answer:
                assert await answer.json() == [{"id": 7, "note": "new"}]
            async with http.delete(url, params={"id": "gte.0"}, headers={"Prefer": ""}) as answer:
                assert (answer.status, await answer.read()) == (204, b"")
            async with http.get(f"{stack.api_url}/rest/v1/") as answer:
                assert "gateway_test" in json.dumps(await answer.json(content_type=None))
    finally:
        await database.execute("drop table public.gateway_test")
        await database.execute("notify pgrst, 'reload schema'")
