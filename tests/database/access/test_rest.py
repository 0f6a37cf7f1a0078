"""The same cells over PostgREST, with signed tokens: what tables.py declares, and which status says no."""

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import pytest
import pytest_asyncio

from local.stack import Stack
from tests.database.access.callers import (
    ADMIN,
    AGENT,
    ANONYMOUS,
    AT_A_SPACE,
    BY_TOKEN_IN_ONE,
    CONTACT_A,
    CONTACT_B,
    CONTACT_C,
    FOR_A,
    FOR_C,
    NO_SCOPE,
    OWNER,
    STRANGER,
    SWITCHBOARD,
    SYSTEM,
    WITH_OWN_TOKEN,
    Caller,
)
from tests.database.access.functions_api import REQUESTS
from tests.database.access.functions_management import CHANGES
from tests.database.access.functions_queue import BACKGROUND
from tests.database.access.matrix import Findings, Probe, Table, cell
from tests.database.access.rows import uid
from tests.database.access.tables import TABLES

PUBLIC = tuple(table for table in TABLES if table.name.startswith("public."))


class Rest:
    """PostgREST, spoken to with tokens signed here."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: str) -> None:
        self._session = session
        self._url = url
        self._secret = secret

    def token(self, caller: Caller, *, seconds: int = 60, secret: str | None = None, algorithm: str = "HS256") -> str:
        """A caller's token that is good for so long."""
        now = int(time.time())
        claims = {**caller.claims, "iat": now - 120, "exp": now + seconds}
        return jwt.encode(claims, "" if algorithm == "none" else secret or self._secret, algorithm)

    async def send(
        self, method: str, path: str, *, token: str | None, headers: dict[str, str] | None = None, json: Any = None
    ) -> tuple[int, Any, str]:
        """Status, body and Content-Range of one request."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with self._session.request(method, f"{self._url}{path}", headers=sent, json=json) as answer:
            text = await answer.text()
            body = await answer.json() if text else None
            return answer.status, body, answer.headers.get("Content-Range", "")

    async def as_caller(self, caller: Caller, method: str, path: str, **more: Any) -> tuple[int, Any, str]:
        """The same with the caller's own good token; anonymous has none."""
        return await self.send(method, path, token=None if caller is ANONYMOUS else self.token(caller), **more)


@pytest_asyncio.fixture
async def rest(stack: Stack, rest_url: str) -> AsyncIterator[Rest]:
    """The stack's PostgREST, with the labelled rows behind it."""
    async with aiohttp.ClientSession() as session:
        yield Rest(session, rest_url, stack.jwt_secret)


@pytest.mark.parametrize("table", PUBLIC, ids=[table.name for table in PUBLIC])
async def test_a_table_shows_every_token_exactly_the_declared_rows(rest: Rest, probe: Probe, table: Table) -> None:
    columns = probe.keys[table.name]
    path = f"/{table.name.split('.')[1]}?select={','.join(columns)}"
    findings = Findings()
    for caller in (*WITH_OWN_TOKEN, *SWITCHBOARD):
        status, body, content_range = await rest.as_caller(caller, "GET", path, headers={"Prefer": "count=exact"})
        declared = cell(table.select, caller)
        if declared is None:
            actual: object = (status, body["code"])
            expected: object = (401 if caller is ANONYMOUS else 403, "42501")
        else:
            # Nobody enters a workspace on the way to a table: the functions' token shows nothing there.
            expected = frozenset() if caller.role == "switchboard" else table.labels(declared)
            actual = frozenset(probe.label(table.name, tuple(str(row[column]) for column in columns)) for row in body)
            findings.compare(caller, "count", str(len(actual)), content_range.split("/")[-1])
        findings.compare(caller, "select", expected, actual)
    assert not findings.report(), findings.report()


@pytest.mark.parametrize("caller", [CONTACT_A, STRANGER, AGENT, OWNER, FOR_A], ids=lambda caller: caller.name)
async def test_nobody_writes_to_a_table(rest: Rest, caller: Caller) -> None:
    row = {"workspace_id": uid("workspaces", "one"), "first_name": "Mallory"}
    status, body, _ = await rest.as_caller(caller, "POST", "/contacts", json=row)
    assert (status, body["code"]) == (403, "42501")

    status, body, _ = await rest.as_caller(
        caller, "PATCH", f"/contacts?id=eq.{uid('contacts', 'a')}", json={"first_name": "Mallory"}
    )
    # The functions' role may change contacts, of the workspace it entered: none here.
    assert status == (204 if caller is FOR_A else 403)

    _, body, _ = await rest.as_caller(CONTACT_A, "GET", "/contacts?select=first_name")
    assert body == [{"first_name": "A"}]


async def test_a_token_of_another_secret_a_late_one_and_an_unsigned_one_are_refused(rest: Rest) -> None:
    for token in (
        rest.token(OWNER, secret="another secret, as long as it has to be"),
        rest.token(OWNER, seconds=-60),
        rest.token(OWNER, algorithm="none"),
        rest.token(CONTACT_A, secret="another secret, as long as it has to be"),
        rest.token(SYSTEM, secret="another secret, as long as it has to be"),
        "no.token.atall",
    ):
        status, body, _ = await rest.send("GET", "/contacts", token=token)
        assert (status, body["code"][:6]) == (401, "PGRST3")


async def test_a_good_token_of_the_same_caller_is_accepted(rest: Rest) -> None:
    status, body, _ = await rest.send("GET", "/contacts?select=id", token=rest.token(OWNER))
    assert (status, len(body)) == (200, 5)


@pytest.mark.parametrize("role", ["postgres", "supabase_admin", "authenticator", "supabase_auth_admin"])
async def test_a_token_for_a_role_that_is_no_caller_is_refused(rest: Rest, role: str) -> None:
    status, body, _ = await rest.send("GET", "/contacts", token=rest.token(Caller("", role, {"role": role})))
    if role == "authenticator":
        # That is who PostgREST is before it becomes a caller; it holds nothing.
        assert (status, body["code"]) == (403, "42501")
    else:
        assert status in {401, 403}
        assert body["code"] == "42501"


_FINISH = {"turn_id": uid("turns", "a"), "status": "completed", "answer": "forged"}
_CALLS: dict[str, dict[str, Any]] = {
    "finish_turn": _FINISH,
    "flush_turn": {"turn_id": uid("turns", "a"), "position": 10, "piece": "forged"},
    "start_turn": {"space_id": uid("spaces", "chat"), "message": "forged"},
    "register_contact": {
        "space_id": uid("spaces", "chat"), "space_kind": "embed",
        "email": "a@access.test", "email_key": "a@access.test",
    },
    "space_origins": {"space_id": uid("spaces", "chat")},
    "webhook_secret": {"provider": "n8n", "reference": uid("turns", "a")},
    "record_event": {
        "source": "n8n", "delivery_key": "forged", "headers": {}, "raw_body": "{}", "job_kind": "n8n.answer",
    },
    "claim_jobs": {},
    "complete_job": {"job_id": uid("jobs", "running"), "attempt": 1},
    "fail_job": {"job_id": uid("jobs", "running"), "attempt": 1, "error": "forged", "retryable": False},
    "archive_old_chat_sessions": {},
    "wake_worker": {},
    "create_workspace": {"workspace": {"name": "forged"}, "owner_id": uid("users", "stranger")},
    "change_workspace": {"workspace_id": uid("workspaces", "one"), "changes": {"name": "forged"}},
    "delete_workspace": {"workspace_id": uid("workspaces", "one"), "name": "Workspace one"},
    "set_member": {
        "workspace_id": uid("workspaces", "one"), "user_id": uid("users", "stranger"), "role": "owner",
    },
    "add_member": {"workspace_id": uid("workspaces", "one"), "email": "guest@access.test", "role": "owner"},
    "remove_member": {"workspace_id": uid("workspaces", "one"), "user_id": uid("users", "agent")},
    "create_space": {"workspace_id": uid("workspaces", "one"), "space": {"name": "forged"}},
    "change_space": {"space_id": uid("spaces", "chat"), "changes": {"name": "forged"}},
    "delete_space": {"space_id": uid("spaces", "closed")},
    "rotate_hmac_secret": {"space_id": uid("spaces", "chat"), "overlap_seconds": 0},
    "remove_hmac_secret": {"space_id": uid("spaces", "chat")},
    "create_persona": {"workspace_id": uid("workspaces", "one"), "persona": {"name": "forged"}},
    "change_persona": {"persona_id": uid("personas", "one"), "changes": {"name": "forged"}},
    "delete_persona": {"persona_id": uid("personas", "well_one")},
    "set_persona_secret": {"persona_id": uid("personas", "one"), "secret": "forged"},
    "remove_persona_secret": {"persona_id": uid("personas", "one")},
    "rotate_callback_secret": {"persona_id": uid("personas", "one"), "overlap_seconds": 0},
    "remove_callback_secret": {"persona_id": uid("personas", "one")},
}  # fmt: skip


@pytest.mark.parametrize("function", _CALLS)
async def test_no_caller_reaches_a_domain_function_with_their_own_token(rest: Rest, function: str) -> None:
    findings = Findings()
    for caller in WITH_OWN_TOKEN:
        status, body, _ = await rest.as_caller(caller, "POST", f"/rpc/{function}", json=_CALLS[function])
        findings.compare(caller, function, (401 if caller is ANONYMOUS else 403, "42501"), (status, body["code"]))
    assert not findings.report(), findings.report()


async def test_every_function_but_those_that_callers_use_themselves_is_tried_so() -> None:
    named = {function.name for function in (*REQUESTS, *BACKGROUND, *CHANGES)}
    assert named == {*_CALLS, "read_turn", "read_active_turn"}


async def test_a_turn_of_another_workspace_is_not_found_by_the_functions(rest: Rest) -> None:
    findings = Findings()
    for caller in (*BY_TOKEN_IN_ONE, FOR_C, SYSTEM, NO_SCOPE):
        for function, arguments in (
            ("finish_turn", {"status": "completed", "answer": "forged"}),
            ("flush_turn", {"position": 10, "piece": "forged"}),
            ("read_turn", {}),
        ):
            theirs = {"turn_id": uid("turns", "a" if caller is FOR_C else "c"), **arguments}
            status, body, _ = await rest.as_caller(caller, "POST", f"/rpc/{function}", json=theirs)
            expected = (403, "PT403", "forbidden")
            if caller not in AT_A_SPACE:
                shut = caller in (SYSTEM, NO_SCOPE)
                expected = (404, "PT404", "space_not_found" if shut else "turn_not_found")
            findings.compare(caller, function, expected, (status, body["code"], body["message"]))
    assert not findings.report(), findings.report()


async def test_a_refusal_by_scope_is_a_403(rest: Rest) -> None:
    for function in ("claim_jobs", "archive_old_chat_sessions", "webhook_secret", "wake_worker"):
        status, body, _ = await rest.as_caller(FOR_A, "POST", f"/rpc/{function}", json=_CALLS[function])
        assert (status, body["code"], body["message"]) == (403, "PT403", "forbidden")


async def test_a_turn_is_read_with_a_token_of_ones_own(rest: Rest) -> None:
    path = f"/rpc/read_turn?turn_id={uid('turns', 'a')}"
    for caller, expected in (
        (CONTACT_A, 200),
        (ADMIN, 200),
        (CONTACT_B, 404),
        (CONTACT_C, 404),
        (AGENT, 404),
        (STRANGER, 404),
    ):
        status, body, _ = await rest.as_caller(caller, "GET", path)
        assert status == expected, caller.name
        assert expected == 404 or body["text"] == "piecepiece"
    status, _, _ = await rest.as_caller(ANONYMOUS, "GET", path)
    assert status == 401


@pytest.mark.parametrize("caller", [ANONYMOUS, CONTACT_A, OWNER, FOR_A, SYSTEM], ids=lambda caller: caller.name)
async def test_the_private_schema_is_not_there(rest: Rest, caller: Caller) -> None:
    for schema in ("private", "auth", "vault", "cron", "net", "supabase_migrations"):
        status, body, _ = await rest.as_caller(caller, "GET", "/wakes", headers={"Accept-Profile": schema})
        assert (status, body["code"]) == (406, "PGRST106")
    for function in ("enter", "expire_turns", "persona_secret", "claim_due_jobs"):
        status, body, _ = await rest.as_caller(caller, "POST", f"/rpc/{function}", json={})
        assert (status, body["code"]) == (404, "PGRST202")


async def test_nothing_that_was_refused_left_a_trace(rest: Rest) -> None:
    _, turns, _ = await rest.as_caller(OWNER, "GET", f"/turns?select=status&id=eq.{uid('turns', 'a')}")
    _, chunks, _ = await rest.as_caller(OWNER, "GET", f"/turn_chunks?select=piece&turn_id=eq.{uid('turns', 'a')}")
    assert turns == [{"status": "active"}]
    assert chunks == [{"piece": "piece"}, {"piece": "piece"}]
