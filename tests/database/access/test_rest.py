"""The same cells over PostgREST, with signed tokens: what tables.py expects, and the status of a refusal."""

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio

from local.stack import Stack
from tests.database.access.callers import CALLERS, REFUSED_KEYS, WITH_OWN_TOKEN, Caller
from tests.database.access.matrix import Findings, Probe
from tests.database.access.tables import TABLES
from tests.database.access.world import uid

_FORGED = {"turn_id": uid("turns", "a"), "status": "completed", "answer": "forged"}


class Rest:
    """PostgREST, called with tokens signed here."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: str) -> None:
        self._session = session
        self._url = url
        self._secret = secret

    def token(self, caller: Caller, *, seconds: int = 60, secret: str = "", algorithm: str = "HS256") -> str:
        """A token of a caller that expires in so many seconds."""
        now = int(time.time())
        claims = {**caller.claims, "iat": now - 120, "exp": now + seconds}
        return jwt.encode(claims, "" if algorithm == "none" else secret or self._secret, algorithm)

    async def send(
        self, caller: Caller, path: str, body: object = None, *, token: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and body of a GET, or of a POST with a body, with the caller's own token unless one is given."""
        if caller.role != "anon":
            headers["Authorization"] = f"Bearer {token or self.token(caller)}"
        method = "GET" if body is None else "POST"
        async with self._session.request(method, f"{self._url}{path}", headers=headers, json=body) as answer:
            return answer.status, await answer.json()


@pytest_asyncio.fixture
async def rest(stack: Stack, rest_url: str) -> AsyncIterator[Rest]:
    """The stack's PostgREST, over the labelled rows."""
    async with aiohttp.ClientSession() as session:
        yield Rest(session, rest_url, stack.jwt_secret)


async def test_a_token_selects_exactly_the_expected_rows_of_every_table(rest: Rest, probe: Probe) -> None:
    findings = Findings()
    for table in TABLES:
        schema, name = table.name.split(".")
        for caller in CALLERS.values() if schema == "public" else ():
            if caller.name not in WITH_OWN_TOKEN and caller.name != "for_A":
                continue
            status, body = await rest.send(caller, f"/{name}?select={','.join(probe.keys[table.rows])}")
            actual = probe.labels(table.rows, body) if status == 200 else (status, body["code"])
            expected: object = table.expected(table.select, caller.name, "")
            if caller.name in REFUSED_KEYS:
                expected = REFUSED_KEYS[caller.name]
            elif expected == "":
                expected = (401 if caller.role == "anon" else 403, "42501")
            elif caller.role == "switchboard":
                # No workspace is entered on the way to a table: the functions' token shows nothing there.
                expected = frozenset()
            findings.compare(caller, name, expected, actual)
    assert not findings.report(), findings.report()


@pytest.mark.parametrize("name", ["anonymous", "A", "stranger", "owner", "for_A"])
async def test_no_caller_learns_what_the_planner_expects(rest: Rest, name: str) -> None:
    caller = CALLERS[name]
    for count in ("count=planned", "count=estimated", "return=minimal, Count = planned"):
        for path in ("/contacts?limit=1", "/rpc/session_events"):
            body = {"session_id": uid("sessions", "a")} if path.startswith("/rpc") else None
            status, answer = await rest.send(caller, path, body, Prefer=count)
            assert (status, answer["message"]) == (400, "count_not_allowed"), (count, path)
    status, answer = await rest.send(caller, "/contacts", Accept="application/vnd.pgrst.plan+json")
    assert (status in {406, 415}, answer["code"]) == (True, "PGRST107")


async def test_an_invalid_token_is_refused(rest: Rest) -> None:
    for caller in (CALLERS[name] for name in ("owner", "A", "system")):
        for token in (
            rest.token(caller, secret="another secret, as long as it has to be"),
            rest.token(caller, seconds=-60),
            rest.token(caller, algorithm="none"),
            "no.token.atall",
        ):
            status, body = await rest.send(caller, "/contacts", token=token)
            assert (status, body["code"][:6]) == (401, "PGRST3")


@pytest.mark.parametrize("role", ["postgres", "supabase_admin", "authenticator", "supabase_auth_admin"])
async def test_a_token_for_a_role_that_is_no_caller_is_refused(rest: Rest, role: str) -> None:
    status, body = await rest.send(Caller(role, role, {"role": role}), "/contacts")
    # PostgREST itself is `authenticator`, which holds no grant.
    assert (status in {401, 403}, body["code"]) == (True, "42501")


@pytest.mark.parametrize("name", ["anonymous", "A", "owner", "for_A", "system"])
async def test_only_the_public_schema_is_served(rest: Rest, name: str) -> None:
    for schema in ("private", "auth", "vault", "cron", "net", "supabase_migrations"):
        status, body = await rest.send(CALLERS[name], "/wakes", **{"Accept-Profile": schema})
        assert (status, body["code"]) == (406, "PGRST106")
    for function in ("enter", "expire_turns", "persona_secret", "claim_due_jobs"):
        status, body = await rest.send(CALLERS[name], f"/rpc/{function}", {})
        assert (status, body["code"]) == (404, "PGRST202")


async def test_a_refusal_has_its_status_and_leaves_no_trace(rest: Rest) -> None:
    for name in (*sorted(WITH_OWN_TOKEN), "for_A", "working_for_A"):
        caller = CALLERS[name]
        body = _FORGED | ({"turn_id": uid("turns", "c")} if name == "working_for_A" else {})
        status, answer = await rest.send(caller, "/rpc/finish_turn", body)
        expected = {
            "anonymous": (401, "42501"), "for_A": (403, "PT403"), "working_for_A": (404, "PT404"), **REFUSED_KEYS,
        }.get(name, (403, "42501"))  # fmt: skip
        assert (status, answer["code"]) == expected, name
    for label in ("a", "c"):
        _, turns = await rest.send(CALLERS["service"], f"/turns?select=status&id=eq.{uid('turns', label)}")
        assert turns == [{"status": "active"}]
