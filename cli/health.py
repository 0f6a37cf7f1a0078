"""What `switchboard doctor` checks: each check has a name, a state, a sentence and a remedy."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel, ConfigDict

from cli.backend import Backend, BackendError
from cli.target import Target
from lib import errors
from lib.archive import store
from lib.database import queries
from lib.database.paging import MAX_PAGE_SIZE, PageRequest
from lib.outbound import client
from local import migrations
from local.statements import split

State = Literal["ok", "warning", "failure", "skipped"]

PROBES = 8
"""Personas that are asked at the same time."""
_PATIENCE = client.Limits(connect_seconds=5, first_byte_seconds=10, idle_seconds=10, total_seconds=10)


class Check(BaseModel):
    """One check. `examples` are ids or names of what was found, five at most."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: State
    text: str
    remedy: str | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """A check of the database: how bad it is when it finds something, and what to say."""

    state: State
    good: str
    bad: str
    remedy: str


RULES = {
    "schedules_missing": Rule(
        "failure", "Every schedule of the migrations is active.", "{found} schedules are missing or switched off.",
        "Switch it on with cron.alter_job, or schedule it again as the migrations do.",
    ),
    "schedules_late": Rule(
        "failure", "Every schedule has succeeded in time.", "{found} schedules have not succeeded for two intervals.",
        "Look at cron.job_run_details, and whether pg_cron runs.",
    ),
    "schedules_failing": Rule(
        "warning", "The last run of every schedule succeeded.", "The last run of {found} schedules failed.",
        "cron.job_run_details has the error, in return_message.",
    ),
    "addresses_missing": Rule(
        "failure", "Vault has what the schedules need.", "Vault lacks {found} secrets that the schedules need.",
        "Create them with vault.create_secret (docs/operations.md, Schedules).",
    ),
    "turns_stuck": Rule(
        "failure", "No turn is active beyond its lease.", "{found} turns are active minutes after their lease.",
        "Schedule switchboard-expire-turns ends them: see why it does not run.",
    ),
    "sessions_stuck": Rule(
        "warning", "Idle sessions time out.", "{found} sessions are half a day past their idle timeout.",
        "Call POST /chat-sessions/cleanup, and see why switchboard-session-cleanup does not.",
    ),
    "jobs_dead": Rule(
        "warning", "No job is dead.", "{found} jobs are dead.",
        "`switchboard job show` has the error; then `switchboard job replay` or `discard`.",
    ),
    "jobs_waiting": Rule(
        "failure", "No job waits for long.", "{found} jobs have been due for more than 15 minutes.",
        "See whether the worker function answers, and whether switchboard-worker runs.",
    ),
    "workspaces_unarchived": Rule(
        "warning", "Old sessions are archived.", "{found} workspaces have sessions that were due two days ago.",
        "Call POST /archive, and see why switchboard-archive does not.",
    ),
    "transcripts_waiting": Rule(
        "warning", "Archived sessions are written to the store.", "{found} archived sessions have waited for a day.",
        "Set SWITCHBOARD_ARCHIVE_STORE, or see in its log why the archive function fails.",
    ),
    "workspaces_without_owner": Rule(
        "warning", "Every workspace has an owner.", "{found} workspaces have no owner.",
        "`switchboard member add WORKSPACE --role owner`, or delete the workspace.",
    ),
    "tables_open": Rule(
        "failure", "Row-level security is on for every table.", "{found} tables have no row-level security.",
        "alter table … enable row level security; then add policies.",
    ),
    "tables_without_policy": Rule(
        "failure", "Every table that a role may use has a policy.", "{found} tables have grants, but no policy.",
        "Push the migrations again, or revoke the grants.",
    ),
    "policies_missing": Rule(
        "failure", "Every policy of the migrations is there.", "{found} policies of the migrations are missing.",
        "Create them as the migrations do (supabase/policies/).",
    ),
    "keys_without_index": Rule(
        "warning", "Every foreign key has an index.", "{found} foreign keys have no index.",
        "Create the index that the migrations have (create index concurrently).",
    ),
    "indexes_missing": Rule(
        "warning", "Every index of the migrations is there.", "{found} indexes of the migrations are missing.",
        "Create them as the migrations do (create index concurrently).",
    ),
    "indexes_invalid": Rule(
        "failure", "Every index is valid.", "{found} indexes are not valid, so no query uses them.",
        "reindex index concurrently, or drop and create it.",
    ),
    "functions_changed": Rule(
        "warning", "Every function is as the migrations made it.", "{found} functions were changed by hand.",
        "Create them again as the migrations do, or push a migration with the change.",
    ),
}  # fmt: skip


class _Finding(BaseModel):
    name: str
    found: int
    examples: tuple[str, ...]


class _Health(BaseModel):
    checks: tuple[_Finding, ...]
    migrations: dict[str, str]


class _Workspace(BaseModel):
    allowed_networks: tuple[IPv4Network | IPv6Network, ...]


class _Persona(BaseModel):
    id: UUID
    name: str
    config: dict[str, Any]
    workspaces: _Workspace


async def examine(backend: Backend, target: Target, idle_hours: int) -> AsyncIterator[Check]:
    """Every check, as soon as it is done. A check that cannot be made is `skipped`, or says why it failed."""
    try:
        health = await backend.call("check_health", {"idle_hours": idle_hours}, _Health)
    except (errors.BackendUnavailable, BackendError) as problem:
        for check in _unanswered(problem):
            yield check
    else:
        yield Check(name="postgrest", state="ok", text="PostgREST and the database answer.")
        for finding in health.checks:
            yield judge(finding.name, finding.found, finding.examples)
        yield drift(health.migrations, declared())
        async for check in personas_reached(backend):
            yield check
    yield await confirm_email(target)
    yield await store_reached(target.archive_store)


def judge(name: str, found: int, examples: tuple[str, ...]) -> Check:
    """A check of the database from what it found."""
    rule = RULES[name]
    if not found:
        return Check(name=name, state="ok", text=rule.good)
    return Check(name=name, state=rule.state, text=rule.bad.format(found=found), remedy=rule.remedy, examples=examples)


def _unanswered(problem: Exception) -> Iterator[Check]:
    if "check_health" in str(problem):
        yield Check(name="postgrest", state="ok", text="PostgREST answers.")
        yield Check(
            name="migrations", state="failure", text="The database lacks the function check_health: it is older.",
            remedy="supabase db push",
        )  # fmt: skip
    else:
        said = str(problem) if isinstance(problem, BackendError) else "it cannot be reached"
        yield Check(
            name="postgrest", state="failure", text=f"PostgREST or the database does not answer: {said}.",
            remedy="See whether the project is paused, and whether SUPABASE_URL and the service key are right.",
        )  # fmt: skip
    for name in RULES:
        yield Check(name=name, state="skipped", text="The database did not answer.")


def declared() -> dict[str, str]:
    """The migrations of this code: by version, the digest that the history of a database has."""
    found = {}
    for file in migrations.MIGRATIONS.glob("*.sql"):
        statements = ";".join(statement.text for statement in split(file.read_text()))
        found[file.name.partition("_")[0]] = hashlib.md5(statements.encode(), usedforsecurity=False).hexdigest()
    return found


def drift(applied: Mapping[str, str], code: Mapping[str, str]) -> Check:
    """Whether the database has the migrations of this code, and no other."""
    missing, unknown = sorted(code.keys() - applied.keys()), sorted(applied.keys() - code.keys())
    changed = sorted(version for version in code.keys() & applied.keys() if code[version] != applied[version])
    cases: tuple[tuple[list[str], State, str, str], ...] = (
        (missing, "failure", "The database lacks {} migrations of this code.", "supabase db push; then deploy."),
        (changed, "failure", "{} migrations were applied with another text than this code has.",
         "Deploy the functions from the code that was pushed; a released migration is not edited."),
        (unknown, "warning", "The database has {} migrations that this code does not know.",
         "Deploy the functions from the code that was pushed."),
    )  # fmt: skip
    for versions, state, text, remedy in cases:
        if versions:
            said, examples = text.format(len(versions)), tuple(versions[:5])
            return Check(name="migrations", state=state, text=said, remedy=remedy, examples=examples)
    return Check(name="migrations", state="ok", text=f"The database has the {len(code)} migrations of this code.")


async def confirm_email(target: Target) -> Check:
    """Whether Supabase Auth confirms an email before its user counts as its owner."""
    name = "confirm_email"
    try:
        async with queries.http_client() as http, asyncio.timeout(15):
            headers = {"apikey": target.service_key}
            answer = await http.get(f"{target.url}/auth/v1/settings", headers=headers)
            confirms = not answer.raise_for_status().json()["mailer_autoconfirm"]
    except (httpx.HTTPError, TimeoutError, ValueError, KeyError, TypeError):
        return Check(name=name, state="failure", text="Supabase Auth does not say its settings.",
                     remedy=f"See whether {target.url}/auth/v1/settings answers.")  # fmt: skip
    if confirms:
        return Check(name=name, state="ok", text="Supabase Auth confirms emails.")
    text = "Confirm email is off: a user counts as the owner of any email."
    remedy = "Switch it on (Dashboard, Authentication, Sign In / Providers, Email)."
    if _is_local(target.url):
        return Check(name=name, state="warning", text=f"{text} So it is on every local backend.")
    return Check(name=name, state="failure", text=text, remedy=remedy)


async def personas_reached(backend: Backend) -> AsyncIterator[Check]:
    """Whether the server of each persona that calls one answers. Only its origin is asked, so no workflow runs."""
    found = 0
    unreached: list[str] = []
    paging = PageRequest(limit=MAX_PAGE_SIZE)
    while True:
        query = backend.queries.table("personas").select("id, name, config, workspaces(allowed_networks)")
        page = await backend.queries.page(query.eq("enabled", "true"), _Persona, paging)
        called = [(persona, url) for persona in page.items if (url := address(persona.config)) is not None]
        found += len(called)
        for at in range(0, len(called), PROBES):
            told = await asyncio.gather(*(_unreached(*each) for each in called[at : at + PROBES]))
            unreached += [said for said in told if said is not None]
        if page.next_cursor is None:
            break
        paging = PageRequest(limit=MAX_PAGE_SIZE, cursor=UUID(page.next_cursor))
    if unreached:
        text = f"The servers of {len(unreached)} of {found} personas do not answer from here."
        yield Check(name="personas", state="warning", text=text, examples=tuple(unreached[:5]),
                    remedy="See whether the address is right and allowed (workspace allow-networks).")  # fmt: skip
    else:
        yield Check(name="personas", state="ok", text=f"The servers of {found} personas answer.")


def address(config: Mapping[str, Any]) -> str | None:
    """The origin that a persona calls; None for a kind that calls no server."""
    url = config.get("url") or config.get("base_url")
    found = re.match(r"https?://[^/?#]+", url) if isinstance(url, str) else None
    return found[0] if found else None


async def _unreached(persona: _Persona, url: str) -> str | None:
    """What is wrong with a persona's server; None if it answers, whatever it says."""
    try:
        async with client.get(f"{url}/", limits=_PATIENCE, allowed=persona.workspaces.allowed_networks):
            return None
    except client.OutboundError as error:
        return f"{persona.id} ({persona.name}): {error.detail}"


async def store_reached(url: str | None) -> Check:
    """Whether an object can be written to the archive's store, read and removed again."""
    name = "store"
    if url is None:
        text = "The store is not checked: SWITCHBOARD_ARCHIVE_STORE is not set here."
        return Check(name=name, state="skipped", text=text)
    key, content = f"doctor/{uuid4()}.parquet", b"switchboard doctor"
    try:
        opened = store.open_store(url)
        async with asyncio.timeout(30):
            await opened.put_if_absent(key, content)
            same = await opened.get(key) == content
            await opened.delete(key)
    except ImportError:
        return Check(name=name, state="skipped", text="The store is not checked: boto3 is not installed here.")
    # boto3 raises ValueError for an endpoint that is no URL.
    except (errors.ConfigError, errors.BackendUnavailable, store.ObjectMissing, TimeoutError, ValueError) as problem:
        text, remedy = _store_fault(getattr(problem, "reason", None) or type(problem).__name__)
        return Check(name=name, state="failure", text=text, remedy=remedy)
    if not same:
        return Check(name=name, state="failure", text="The archive's store returns something else than was written.")
    return Check(name=name, state="ok", text="The archive's store is written, read and cleaned.")


_STORE_FAULTS: tuple[tuple[str, str, str], ...] = (
    ("NoSuchBucket|404", "The bucket of the archive's store does not exist.",
     "Create it, or correct its name in SWITCHBOARD_ARCHIVE_STORE."),
    ("NoCredentials|PartialCredentials|CredentialRetrieval", "There are no credentials for the archive's store.",
     "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the process a role."),
    ("InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|401",
     "The archive's store does not accept the credentials.",
     "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and the clock of this machine."),
    ("AccessDenied|AllAccessDisabled|403|PermissionError", "The archive's store refuses access.",
     "Allow these credentials to read, write, list and delete objects and versions below the store's prefix."),
    ("NoRegion", "The archive's store has no region.",
     "Add &region=… to SWITCHBOARD_ARCHIVE_STORE, or set AWS_REGION."),
    ("PermanentRedirect|IllegalLocationConstraint|AuthorizationHeaderMalformed|301",
     "The bucket of the archive's store is in another region.", "Correct region=… in SWITCHBOARD_ARCHIVE_STORE."),
    ("ConfigError|ValueError", "SWITCHBOARD_ARCHIVE_STORE is no address of a store.",
     "It is s3://bucket/prefix?endpoint=https://…&region=… or file:///folder."),
    ("ObjectMissing", "The archive's store lacks an object that was just written.",
     "It has to show an object to readers at once; a cache in front of it may not."),
    ("TimeoutError|EndpointConnection|ConnectTimeout|ReadTimeout|ConnectionClosed|SSL|ProxyConnection|HTTPClientError",
     "The archive's store does not answer.",
     "Check endpoint=… in SWITCHBOARD_ARCHIVE_STORE, and whether it can be reached from here."),
)  # fmt: skip


def _store_fault(reason: str) -> tuple[str, str]:
    """What is wrong with the store, and what to do about it, by the code of its refusal."""
    for reasons, text, remedy in _STORE_FAULTS:
        if re.match(reasons, reason):
            return f"{text[:-1]} ({reason}).", remedy
    return f"The archive's store cannot be used ({reason}).", "Check the URL, the bucket, and its rights."


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
