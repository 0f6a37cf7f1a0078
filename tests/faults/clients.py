"""The chats: people who talk to personas over HTTP, lose their connections, try again and resume.

A process of its own. It behaves as a careful client does: the same message is sent again under the same id until its
`turn` event has come, a stream that broke is resumed from the last id, and Retry-After is respected. All that is
sent and seen is written down for the checker.

    python -m tests.faults.clients < settings.json        SIGTERM: no new messages; ends when every turn has ended
"""

import asyncio
import contextlib
import itertools
import json
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from tests import events
from tests.faults.records import Log

SILENCE_SECONDS = 40.0
"""A stream sends a comment every 15 s; one that is silent for longer than this is dead."""

SEND_SECONDS = 240.0
"""How long a message is sent again and again; below the ten minutes in which a first one may be repeated."""

RESUME_SECONDS = 400.0
PATIENCE_SECONDS = 8
"""Whoever is told to come back later than this leaves the message."""

NOT_THE_END = {"stream_limit", "backend_unavailable"}
"""Codes with which a stream ends and its turn does not."""

PERHAPS_THE_END = {"turn_interrupted", "internal_error"}
"""Codes of a stream's end or of its turn's: whoever asks again knows."""

WORDS = (
    "where", "when", "Geneva", "Oslo", "twelve", "näytä", "überhaupt", "naïve", "précis", "東京", "明日", "飛行機",
    "¿cuándo?", "Привет", "завтра", "שלום", "👩🏽‍🚀", "🛩️", "🇨🇭", "\U0001d4bblight", "𐍈", "e\u0301te\u0301",
    "a\u0308pfel", "“quoted”", "<b>bold</b>", "&", "\\n", "{json}", "null", "1,250.00€", "zero\u200bwidth",
    "two\nlines", "tab\t.",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What the harness tells the clients."""

    api_url: str
    anon_key: str
    log: str
    seed: int
    chats: int
    spaces: dict[str, str]
    """A space's id by its name."""
    weights: dict[str, float]
    max_away_seconds: float
    """How long somebody whose stream broke may stay away before they resume."""


@dataclass
class Reader:
    """One reader of one turn: how far they are."""

    number: int
    turn: str | None = None
    position: int = 0
    ended: bool = False
    last_error: tuple[str, str] | None = None


@dataclass
class Person:
    """Somebody in one conversation."""

    caller: str
    space: str
    token: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """The token, where there is one."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


class Chats:
    """All chats of one process."""

    def __init__(self, settings: Settings, http: aiohttp.ClientSession, log: Log) -> None:
        self._settings = settings
        self._http = http
        self._log = log
        self._readers = itertools.count(1)
        self._behind: set[asyncio.Task[None]] = set()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Chat until told to stop, then wait for every turn that is still awaited."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._settings.chats):
                group.create_task(self._chat(number))
        while self._behind:
            await asyncio.gather(*self._behind)

    async def _chat(self, number: int) -> None:
        rng = random.Random(f"{self._settings.seed}:{number}")  # noqa: S311 - to be repeatable
        is_user = number % 4 == 0
        user_token = await self._sign_up() if is_user else None
        while not self.stopping.is_set() and (user_token or not is_user):
            (space,) = rng.choices(list(self._settings.weights), list(self._settings.weights.values()))
            person = await self._person(number, space, user_token)
            if person is None:
                continue
            for _ in range(rng.randint(1, 6)):
                if self.stopping.is_set() or not await self._say(person, rng):
                    break
                await asyncio.sleep(rng.uniform(0, 0.5))
            await asyncio.sleep(rng.uniform(0, 0.5))

    async def _person(self, number: int, space: str, user_token: str | None) -> Person | None:
        """Somebody with a new conversation: a user, a contact with a token, or somebody without one."""
        if user_token is not None:
            return Person("user", space, user_token, {"thread_key": uuid4().hex})
        if number % 4 != 1:
            fields = {"email": f"{uuid4().hex}@example.com"} if number % 4 == 2 else {}
            return Person("anonymous", space, None, fields)
        path, body = f"/space/{self._settings.spaces[space]}/register", {"email": f"{uuid4().hex}@example.com"}
        registered = await self._until(lambda: self._once(path, body, 201))
        return Person("contact", space, registered["token"]) if registered else None

    async def _sign_up(self) -> str | None:
        async def attempt() -> dict[str, Any] | None:
            # Each time somebody new: what a lost answer does not tell may have happened.
            body = {"email": f"{uuid4().hex}@example.com", "password": uuid4().hex}
            return await self._once("/auth/v1/signup", body, 200)

        signed_up = await self._until(attempt)
        return signed_up["access_token"] if signed_up else None

    async def _once(self, path: str, body: dict[str, Any], wanted: int) -> dict[str, Any] | None:
        headers = {"apikey": self._settings.anon_key}
        async with self._http.post(path, json=body, headers=headers) as response:
            if response.status == wanted:
                document: dict[str, Any] = await response.json()
                return document
            if response.status not in (429, 503):
                self._log.write("wrong", what=f"POST {path}: {response.status} {await response.text()}")
        return None

    async def _until(self, attempt: Callable[[], Awaitable[dict[str, Any] | None]]) -> dict[str, Any] | None:
        """What the attempt gives at last; None when it is time to stop."""
        for tried in itertools.count():
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                if (found := await attempt()) is not None:
                    return found
            if self.stopping.is_set() and tried > 20:
                break
            await asyncio.sleep(min(0.2 * 2**tried, 2.0))
        return None

    async def _say(self, person: Person, rng: random.Random) -> bool:
        """Send a message until it is acknowledged and hear its answer; False when the conversation ends here."""
        key = str(uuid4())
        message = " ".join([key, *rng.choices(WORDS, k=rng.randint(3, 24))])
        reader = Reader(next(self._readers))
        if not await self._send(person, key, message, reader):
            return False
        if not reader.ended:
            self._leave(self._come_back(person, reader, rng, impatient=rng.random() < 0.25))
            return False
        if rng.random() < 0.1:
            again = Reader(next(self._readers), reader.turn)
            self._log.write("replay", reader=again.number, turn=again.turn)
            self._leave(self._resume(person, again, rng, replay=True))
        return True

    def _leave(self, work: Any) -> None:
        """Let something go on while the chat begins another conversation."""
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _send(self, person: Person, key: str, message: str, reader: Reader) -> bool:
        """Whether the message was acknowledged. What came of its answer is in the reader."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SEND_SECONDS
        path = f"/space/{self._settings.spaces[person.space]}/chat/stream"
        body = {"message": message, "client_message_id": key, **person.fields}
        lost = False
        for attempt in itertools.count(1):
            self._log.write("sent", key=key, caller=person.caller, space=person.space, message=message, attempt=attempt)
            pause = min(0.2 * 2**attempt, 3.0) * random.uniform(0.5, 1)  # noqa: S311 - a jitter
            try:
                async with self._http.post(path, json=body, headers=person.headers) as response:
                    if response.status == 200:
                        self._log.write("status", key=key, attempt=attempt, status=200)
                        await self._hear(response, person, reader, key)
                        if not reader.turn:
                            lost = True
                    else:
                        pause = await self._refused(response, key=key, attempt=attempt)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                lost = lost or not isinstance(error, aiohttp.ClientConnectorError)
                self._log.write("broken", key=key, turn=reader.turn, reader=reader.number, why=_why(error))
            if reader.turn:
                return True
            if pause > PATIENCE_SECONDS or loop.time() + pause > deadline:
                break
            await asyncio.sleep(pause)
        self._log.write("abandoned", key=key, refused_only=not lost)
        return False

    async def _refused(self, response: aiohttp.ClientResponse, **about: Any) -> float:
        """What to wait after an answer other than 200; whatever is neither a refusal nor an outage is written down."""
        text = await response.text()
        try:
            document = json.loads(text)
        except ValueError:
            document = {}
        code = document.get("code")
        self._log.write("status", status=response.status, code=code, **about)
        if response.status not in (409, 429, 503) or code is None or "retry-after" not in response.headers:
            self._log.write("wrong", what=f"{about}: {response.status} {text[:500]}")
        return float(response.headers.get("retry-after", 1))

    async def _hear(
        self, response: aiohttp.ClientResponse, person: Person, reader: Reader, key: str | None = None
    ) -> None:
        """Take the events down until the stream ends; the connection's errors are the caller's."""
        async for event in events.read(response):
            if event.name == "turn" and reader.turn is None:
                reader.turn = event.data["turn_id"]
                person.token = event.data.get("token", person.token)
                self._log.write(
                    "acknowledged",
                    key=key,
                    turn=reader.turn,
                    session=event.data["session_id"],
                    conversation=event.data["conversation_id"],
                    contact=event.data["contact_id"],
                    reader=reader.number,
                )
            self._log.write(
                "event",
                reader=reader.number,
                turn=reader.turn,
                name=event.name,
                id=event.id or None,
                **{name: event.data[name] for name in ("text", "status", "code", "text_length") if name in event.data},
            )
            if event.id:
                reader.position = int(event.id)
            if event.name in ("done", "error"):
                reader.ended = self._is_the_end(event, reader)

    def _is_the_end(self, event: events.Received, reader: Reader) -> bool:
        """Whether the turn has ended, and not merely this stream of it."""
        if event.name == "done":
            return True
        code, before = event.data["code"], reader.last_error
        reader.last_error = (code, event.id)
        if code in NOT_THE_END:
            return False
        return code not in PERHAPS_THE_END or before == reader.last_error

    async def _come_back(self, person: Person, reader: Reader, rng: random.Random, *, impatient: bool) -> None:
        """Go on with a stream that broke: at once, a while later, or after trying to say something else."""
        # The backend may be on its way back: whoever asks at once meets that, whoever comes later a finished turn.
        if rng.random() < 0.7:
            await asyncio.sleep(rng.uniform(0, self._settings.max_away_seconds))
        if impatient and not self.stopping.is_set():
            key, other = str(uuid4()), Reader(next(self._readers))
            if await self._send(person, key, f"{key} are you still there?", other) and not other.ended:
                await self._resume(person, other, rng)
        await self._resume(person, reader, rng)

    async def _resume(self, person: Person, reader: Reader, rng: random.Random, *, replay: bool = False) -> None:
        """Read a turn from where the reader is until it has ended."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RESUME_SECONDS
        for attempt in itertools.count(1):
            how = "none" if replay and not reader.position else rng.choice(("header", "query"))
            headers, query = person.headers, {}
            if how == "header":
                headers = headers | {"Last-Event-ID": str(reader.position)}
            elif how == "query":
                query = {"after": str(reader.position)}
            self._log.write("resume", reader=reader.number, turn=reader.turn, after=reader.position, how=how)
            pause = min(0.2 * 2**attempt, 2.0)
            status, ended = None, "broken"
            try:
                url = f"/turns/{reader.turn}/stream"
                async with self._http.get(url, headers=headers, params=query) as response:
                    status = response.status
                    if status == 200:
                        await self._hear(response, person, reader)
                        ended = "final" if reader.ended else "early"
                    else:
                        ended, pause = "refused", await self._refused(response, turn=reader.turn, attempt=attempt)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self._log.write("broken", turn=reader.turn, reader=reader.number, why=_why(error))
            self._log.write("resumed", reader=reader.number, turn=reader.turn, status=status, ended=ended)
            if reader.ended:
                return
            if loop.time() + pause > deadline:
                break
            await asyncio.sleep(pause)
        self._log.write("wrong", what=f"turn {reader.turn} did not end for its reader in {RESUME_SECONDS:.0f} s")


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


async def chat(settings: Settings) -> None:
    """Chat until SIGTERM, and until every turn has ended after it."""
    log = Log(Path(settings.log))
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(settings.api_url, timeout=timeout, connector=connector) as http:
        chats = Chats(settings, http, log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, chats.stopping.set)
        await chats.run()
    log.close()


if __name__ == "__main__":
    asyncio.run(chat(Settings(**json.load(sys.stdin))))
