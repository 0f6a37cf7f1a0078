"""Time until each view of the members' page shows its first rows or figures, in Chromium, in a workspace of years.

The demo workspace is filled in SQL, and its owner signs in. A view is opened as a new page: "cold" with an empty HTTP
cache, "warm" with the page's files in it. Milliseconds are from the navigation until the rows are there, the medians
(least to most) of some loads. CPU is that of the page's main thread, which does not depend on the load of the machine.
Requests are those of the API, without streams; the slowest one of the warm loads as the page sees it.
"""

import asyncio
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import click
from tqdm import tqdm

from bench import rounds, stacks
from bench.desk_filling import COMMON_WORD, RARE_TAG, fill_desk
from bench.filling import Size, fill
from local.stack import Stack

try:
    from playwright import sync_api as playwright
except ImportError:
    # It comes with the tests (`make install-dev`).
    playwright = None  # type: ignore[assignment]
if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

OWNER = "owner@demo.test"
PATIENCE_MS = 60_000
LONG_FRAME_MS = 50
"""From here on Chromium calls a frame long: the page does not answer meanwhile."""

# All data fits into memory, as in bench/growth.py.
_POSTGRES = {"autovacuum": "off", "shared_buffers": "1GB", "max_wal_size": "4GB"}
_CHROMIUM = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")

_GRID = ".rows [role=rowgroup] [role=row]"
_TABLE = ".table tbody tr"


class View(NamedTuple):
    """A view's address below the page's, and the element that is there once it shows what was asked for."""

    address: str
    shown: str


VIEWS = {
    "inbox, unread": View("?tab=unread#/inbox", f".inbox {_GRID}"),
    "inbox, mine": View("?tab=mine#/inbox", f".inbox {_GRID}"),
    "inbox, unassigned": View("?tab=unassigned#/inbox", f".inbox {_GRID}"),
    "inbox, all": View("?tab=all#/inbox", f".inbox {_GRID}"),
    "inbox, all, with ended ones": View("?tab=all&ended=1#/inbox", f".inbox {_GRID}"),
    "inbox, mine, with ended ones": View("?tab=mine&ended=1#/inbox", f".inbox {_GRID}"),
    "inbox, a conversation": View("#/inbox/$session", ".messages article"),
    "sessions": View("#/sessions", f".sessions {_GRID}"),
    "sessions, live": View("?status=active,paused#/sessions", f".sessions {_GRID}"),
    "sessions, failed": View("?status=failed#/sessions", f".sessions {_GRID}"),
    "sessions of a space": View("?space_id=$space#/sessions", f".sessions {_GRID}"),
    "sessions of a member": View("?assigned=$owner#/sessions", f".sessions {_GRID}"),
    "sessions with a rare tag": View(f"?tag={RARE_TAG}#/sessions", f".sessions {_GRID}"),
    "sessions with a quote": View("?has_quote=true#/sessions", f".sessions {_GRID}"),
    "sessions active before a month": View("?active_before=$month_ago#/sessions", f".sessions {_GRID}"),
    "sessions, search for a common word": View(f"?text={COMMON_WORD}#/sessions", f".sessions {_GRID}"),
    "sessions, search for a rare word": View("?text=$word#/sessions", f".sessions {_GRID}"),
    "sessions, search without a result": View("?text=nowhere#/sessions", ".sessions p.state:not([role])"),
    "a session": View("#/sessions/$session", ".transcript .messages li"),
    "contacts": View("#/contacts", f".contacts {_GRID}"),
    "contacts, search for a name": View("?text=First77#/contacts", f".contacts {_GRID}"),
    "contacts with an email": View("?email=c77@growth.test#/contacts", f".contacts {_GRID}"),
    "contacts with a common tag": View("?tag=known#/contacts", f".contacts {_GRID}"),
    "a contact": View("#/contacts/$contact", ".contact h1"),
    "analytics, 30 days": View("?days=30#/analytics", "[data-figure=sessions] .change"),
    "analytics, 365 days": View("?from=$year_ago&to=$today#/analytics", "[data-figure=sessions] .change"),
    "analytics of a persona": View("?days=90&persona_id=$persona#/analytics", "[data-figure=sessions] .change"),
    "operations, dead jobs": View("#/operations/jobs", _TABLE),
    "operations, all jobs": View("?state=all#/operations/jobs", _TABLE),
    "operations, incoming": View("#/operations/incoming", _TABLE),
    "operations, outgoing": View("#/operations/outgoing", _TABLE),
    "operations, health": View("#/operations/health", _TABLE),
    "settings, spaces": View("#/settings/spaces", _TABLE),
    "settings, personas": View("#/settings/personas", _TABLE),
    "settings, members": View("#/settings/members", _TABLE),
    "settings, workspace": View("#/settings/workspace", "form"),
}

# What the addresses name: a session with messages of a month ago, and what it belongs to.
_NAMED = """
select s.id::text as session, s.contact_id::text as contact, s.space_id::text as space, s.persona_id::text as persona,
       (select u.id::text from auth.users u where u.email = $1) as owner,
       (current_date - 30)::text as month_ago, (current_date - 364)::text as year_ago, current_date::text as today,
       (select substring(m.text from 'word[0-9]+') from public.messages m where m.session_id = s.id limit 1) as word
  from public.sessions s
 where s.created_at < now() - interval '30 days' and s.message_count > 0 and s.status <> 'archived'
 order by s.created_at desc
 limit 1
"""


class Load(NamedTuple):
    """A view that was opened: milliseconds until it was shown and of CPU, and its requests with their milliseconds."""

    took: float
    cpu: float
    requests: tuple[tuple[str, float], ...]

    @property
    def slowest(self) -> tuple[str, float]:
        """The request that took longest."""
        return max(self.requests, key=lambda request: request[1])


class Site:
    """The members' page of a filled stack in a browser, with a signed-in owner."""

    def __init__(self, browser: "Browser", stack: Stack, named: Mapping[str, str]) -> None:
        self._browser = browser
        self._url = f"{stack.api_url}/dashboard/"
        self._named = named
        self._under_way: set[Request] = set()
        page = browser.new_context().new_page()
        page.goto(self._url)
        page.get_by_label("Email").fill(OWNER)
        page.get_by_label("Password").fill(stack.demo_password)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Sign out", exact=True).wait_for(timeout=PATIENCE_MS)
        self._signed_in = page.context.storage_state()
        page.context.close()

    @contextmanager
    def page(self) -> Iterator["Page"]:
        """A page of a browser with an empty cache, in which the owner is signed in."""
        context = self._browser.new_context(storage_state=self._signed_in, viewport={"width": 1280, "height": 800})
        context.set_default_timeout(PATIENCE_MS)
        self._under_way.clear()
        context.on("request", self._begin)
        context.on("requestfinished", self._end)
        context.on("requestfailed", self._end)
        page = context.new_page()
        self._thread = context.new_cdp_session(page)
        self._thread.send("Performance.enable", {"timeDomain": "threadTicks"})
        yield page
        context.close()

    def _begin(self, request: "Request") -> None:
        if not urlsplit(request.url).path.endswith("/stream"):
            self._under_way.add(request)

    def _end(self, request: "Request") -> None:
        self._under_way.discard(request)

    def load(self, page: "Page", view: View) -> Load:
        """Open a view and wait until all that it asked for has come. Raises ClickException when it shows a failure."""
        address = view.address
        for name, value in self._named.items():
            address = address.replace(f"${name}", value)
        page.goto("about:blank")
        page.goto(self._url + address, wait_until="commit")
        try:
            took = page.wait_for_function(_SHOWN, arg=view.shown, polling="raf").json_value()
        except playwright.TimeoutError as late:
            raise click.ClickException(f"{address}: nothing is shown") from late
        if isinstance(took, str):
            raise click.ClickException(f"{address}: {took}")
        while self._under_way:
            page.wait_for_timeout(50)
        told = page.evaluate(_REQUESTS)
        spent = {metric["name"]: metric["value"] for metric in self._thread.send("Performance.getMetrics")["metrics"]}
        return Load(
            took, spent["TaskDuration"] * 1000, tuple((_named(url), milliseconds) for url, milliseconds in told)
        )

    def scroll(self, page: "Page", rows: int) -> tuple[float, list[float]]:
        """Scroll the list that is shown until it has so many rows: seconds, and the milliseconds of long frames."""
        page.evaluate(_WATCH_FRAMES)
        page.locator(".rows").hover()
        started = time.perf_counter()
        while int(page.locator(".rows").get_attribute("aria-rowcount") or 0) < rows:
            if time.perf_counter() - started > 600:
                raise click.ClickException("the list does not go on")
            page.mouse.wheel(0, 4_000)
            page.wait_for_timeout(20)
        seconds = time.perf_counter() - started
        return seconds, list(page.evaluate("() => window.longFrames"))


# The milliseconds since the navigation once the element is there; the words of a failure that is shown.
_SHOWN = """(shown) => {
  const failure = document.querySelector("[role=alert]");
  if (failure?.textContent) return failure.textContent;
  return document.querySelector(shown) ? performance.now() : false;
}"""
_REQUESTS = """() => performance.getEntriesByType("resource")
  .filter(({ initiatorType, name }) => initiatorType === "fetch" && !name.endsWith("/stream"))
  .map(({ name, duration }) => [name, duration])"""
_WATCH_FRAMES = """() => {
  window.longFrames = [];
  const note = (list) => window.longFrames.push(...list.getEntries().map(({ duration }) => duration));
  const watch = new PerformanceObserver(note);
  watch.observe({ type: "long-animation-frame" });
}"""


def _named(url: str) -> str:
    """A request as the table names it: ids are left out."""
    parts = urlsplit(url).path.split("/")
    return "/".join("…" if len(part) == 36 and part.count("-") == 4 else part for part in parts)


def chromium() -> str:
    """The path of a browser. Raises ClickException where one cannot be driven."""
    if playwright is None:
        raise click.ClickException("Playwright is missing; `make install-dev` installs it.")
    if (path := shutil.which("chromium-headless-shell") or os.environ.get("CHROMIUM")) is None:
        raise click.ClickException(
            "There is no Chromium on the PATH; `local/debian.sh` installs it, or CHROMIUM names one."
        )
    return path


async def prepare(stack: Stack, size: Size) -> dict[str, str]:
    """Fill a stack; what the addresses of the views name."""
    connection = await asyncpg.connect(stack.admin_url, command_timeout=3600)
    owner_id = await connection.fetchval("select id from auth.users where email = $1", OWNER)
    await fill(connection, size, owner_id, counted=False)
    await fill_desk(connection, owner_id)
    named = dict(await connection.fetchrow(_NAMED, OWNER) or {})
    await connection.close()
    return named


def measure(site: Site, samples: int, only: str, scrolled: int) -> Iterator[list[str]]:
    """A row of the table for each view whose name contains `only`, and for each list that is scrolled."""
    for name, view in tqdm([(name, view) for name, view in VIEWS.items() if only in name], file=sys.stderr):
        cold, warm = list[Load](), list[Load]()
        # The first load of all fills the caches of the servers.
        with site.page() as page:
            site.load(page, view)
        for _ in range(samples):
            with site.page() as page:
                cold.append(site.load(page, view))
                warm.append(site.load(page, view))
        times = [rounds.spread([load.took for load in loads], 0) for loads in (cold, warm)]
        slowest, milliseconds = max((load.slowest for load in warm), key=lambda request: request[1])
        cpu = f"{statistics.median(load.cpu for load in warm):.0f}"
        yield [name, *times, cpu, str(len(warm[-1].requests)), f"{slowest}, {milliseconds:.0f}"]
    for name in ("sessions", "contacts") if scrolled else ():
        if only in name:
            with site.page() as page:
                site.load(page, VIEWS[name])
                seconds, frames = site.scroll(page, scrolled)
            told = f"{len(frames)} long frames, the longest {max(frames, default=0):.0f}"
            yield [f"{name}, scrolled to row {scrolled:,}", "", f"{seconds * 1000:.0f}", "", "", told]


@click.command(help=__doc__)
@click.option("--sessions", default=100_000, show_default=True, type=click.IntRange(2_000), help="Spread over a year.")
@click.option("--turns", default=5, show_default=True, type=click.IntRange(1, 100), help="Of a session.")
@click.option("--samples", default=5, show_default=True, type=click.IntRange(1, 100), help="Loads of each kind.")
@click.option(
    "--scrolled", default=10_000, show_default=True, type=click.IntRange(0), help="Rows to scroll to; 0: none."
)
@click.option("--only", default="", help="Views whose name contains this.")
def command(sessions: int, turns: int, samples: int, scrolled: int, only: str) -> None:
    path = chromium()
    with stacks.own_stack(_POSTGRES) as stack:
        named = asyncio.run(prepare(stack, Size(sessions, 365, turns)))
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=path, args=_CHROMIUM)
            rows = list(measure(Site(browser, stack, named), samples, only, scrolled))
            browser.close()
    rounds.show_table(["view", "cold, ms", "warm, ms", "CPU ms", "requests", "the slowest, ms"], rows)
