"""What a reader of a conversation gets, with any cuts, is each message once and in order, and each answer's beginning.

Scripts of a conversation (answers in pieces, follow-ups in between) and of its readers (where connections break, and to
which process they return) are drawn and played over HTTP. One process polls, the other one listens.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from local.stack import Stack
from tests.events import Parser, Received
from tests.functions.conftest import Workspace, another_process, until_healthy
from tests.functions.people import Person, Staff
from tests.functions.test_resume_property import Answer, Speaker

END = "The end."


@dataclass(frozen=True)
class Cut:
    """After so many events or bytes, the reader returns to a process after a pause."""

    events: bool
    count: int
    pause: float
    process: int


@dataclass(frozen=True)
class Script:
    """The answers to the messages of a contact, the pauses before follow-ups, and the cuts of two readers."""

    answers: tuple[Answer, ...]
    follow_ups: tuple[float, ...]
    processes: tuple[int, ...]
    cuts: tuple[tuple[Cut, ...], ...]


# Text is flushed after a second, so answers last for several.
ANSWERS = st.builds(
    lambda pieces, pause: Answer("".join(pieces), tuple(pieces), (pause,) * len(pieces)),
    st.lists(st.text("añ😀 ", min_size=1, max_size=8).map("x{}".format), min_size=4, max_size=6),
    st.sampled_from((0.3, 0.7)),
)
CUTS = st.builds(Cut, st.booleans(), st.integers(0, 6), st.sampled_from((0.0, 0.0, 0.3, 1.5)), st.integers(0, 1))
SCRIPTS = st.builds(
    Script,
    answers=st.lists(ANSWERS, min_size=1, max_size=2).map(tuple),
    follow_ups=st.lists(st.sampled_from((0.0, 0.6, 1.5, 2.1, 2.7)), max_size=5).map(tuple),
    processes=st.tuples(*[st.integers(0, 1)] * 3),
    cuts=st.tuples(*[st.lists(CUTS, max_size=5).map(tuple)] * 2),
)


class Reader:
    """Reads until the last message; what it gets twice, in another order, or with a gap, fails at once."""

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        self._last = ""
        self.messages: list[str] = []
        self.pieces: dict[str, str] = {}
        self.ended = False

    async def read(self, http: aiohttp.ClientSession, url: str, cut: Cut | None) -> None:
        """Read until the cut, or the last message."""
        if self.ended:
            return
        parser, left = Parser(), cut.count if cut is not None else 1_000_000
        async with http.get(url, headers=self._headers | {"Last-Event-ID": self._last}) as response:
            assert response.status == 200, await response.text()
            async for chunk in response.content.iter_any():
                taken = chunk if cut is None or cut.events else chunk[: 50 * left]
                for event in parser.feed(taken):
                    self._take(event)
                    left -= 1
                    if self.ended or left <= 0:
                        return
                if cut is not None and not cut.events:
                    return

    def _take(self, event: Received) -> None:
        assert event.name in ("session", "message", "delta"), event
        self._last = event.id
        turn_id = str(event.data.get("turn_id"))
        if event.name == "delta":
            known = self.pieces.get(turn_id, "")
            assert event.data["position"] == len(known) + len(event.data["text"]), "a gap or an overlap"
            self.pieces[turn_id] = known + event.data["text"]
        elif event.name == "message":
            assert event.data["id"] not in self.messages
            self.messages.append(event.data["id"])
            if event.data["role"] == "persona":
                assert event.data["text"].startswith(self.pieces.get(turn_id, ""))
                self.pieces[turn_id] = "ended: no piece fits"
            self.ended = event.data["text"] == END


@pytest.fixture(scope="module")
def listening_process(stack: Stack) -> Iterator[str]:
    """The address of a second process of the functions, which listens."""
    with another_process(stack, SWITCHBOARD_LISTEN="true") as url:
        yield url


@pytest_asyncio.fixture
async def processes(stack: Stack, listening_process: str) -> list[str]:
    """Both processes' addresses, once both answer."""
    await until_healthy(listening_process)
    return [stack.api_url, listening_process]


@pytest_asyncio.fixture
async def speaker() -> AsyncIterator[Speaker]:
    """The persona."""
    speaker = Speaker()
    application = web.Application()
    application.router.add_post("/webhook/script", speaker.answer)
    async with TestServer(application, host="127.0.0.1") as server:
        speaker.url = str(server.make_url("/webhook/script"))
        yield speaker


@settings(
    max_examples=2,
    derandomize=True,
    database=None,
    deadline=None,
    # An example lasts seconds: failures are not shrunk.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(scripts=st.lists(SCRIPTS, min_size=16, max_size=16))
async def test_with_any_cuts_nothing_is_missed_and_nothing_is_repeated(
    scripts: list[Script], processes: list[str], speaker: Speaker, workspace: Workspace, staff: Staff
) -> None:
    await workspace.allow_loopback()
    persona_id = await workspace.add_persona("n8n", {"url": speaker.url})
    space_id = await workspace.add_space(
        persona_id=persona_id, arrivals_per_minute=10_000, arrivals_per_minute_by_address=10_000
    )
    await workspace.database.execute(
        "update public.workspaces set messages_per_minute_by_space = 100000 where id = $1", workspace.id
    )
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2)) as http:
        played = await asyncio.gather(
            *(play(http, script, processes, space_id, speaker, staff.owner) for script in scripts)
        )
    stored = "select id::text from public.messages where conversation_id = $1 order by created_at, id"
    for script, (conversation_id, readers) in zip(scripts, played, strict=True):
        ids = [row["id"] for row in await workspace.database.fetch(stored, UUID(conversation_id))]
        assert [reader.messages for reader in readers] == [ids] * 2, script
    assert any(reader.pieces for _, readers in played for reader in readers)


async def play(
    http: aiohttp.ClientSession, script: Script, processes: list[str], space_id: UUID, speaker: Speaker, owner: Person
) -> tuple[str, list[Reader]]:
    """Play a script; the conversation, and its readers: the contact and a member."""
    url = processes[script.processes[0]]
    async with http.post(f"{url}/space/{space_id}/register", json={"email": f"{uuid4()}@example.com"}) as response:
        arrived = await response.json()
    bearer = {"Authorization": f"Bearer {arrived['token']}"}
    session = f"{url}/chat-sessions/{arrived['session']['id']}"
    async with http.get(session, headers=bearer) as response:
        where = (await response.json())["conversation_id"]
    readers = [Reader(arrived["token"]), Reader(str(owner.token))]

    async def follow(reader: Reader, cuts: tuple[Cut, ...], process: int) -> None:
        for cut in cuts:
            await reader.read(http, f"{processes[process]}/conversations/{where}/stream", cut)
            await asyncio.sleep(cut.pause)
            process = cut.process
        if not reader.ended:
            await reader.read(http, f"{processes[process]}/conversations/{where}/stream", None)

    async def follow_up(text: str, pause: float) -> None:
        await asyncio.sleep(pause)
        body = {"text": text, "role": "member", "session_id": arrived["session"]["id"]}
        contact = f"{url}/contacts/{arrived['contact']['id']}/messages"
        async with http.post(contact, json=body, headers={"Authorization": f"Bearer {owner.token}"}) as response:
            assert response.status == 201, await response.text()

    async def converse() -> None:
        for number, answer in enumerate(script.answers):
            message = f"message {uuid4()}"
            speaker.answers[message] = answer
            chat = f"{processes[script.processes[number + 1]]}/space/{space_id}/chat/stream"
            async with http.post(chat, json={"message": message}, headers=bearer) as response:
                assert response.status == 200, await response.text()
                await response.read()

    async def write() -> None:
        await asyncio.gather(converse(), *(follow_up("By the way", pause) for pause in script.follow_ups))
        await follow_up(END, 0)

    async with asyncio.timeout(60):
        await asyncio.gather(
            write(), *(follow(*pair, script.processes[1]) for pair in zip(readers, script.cuts, strict=True))
        )
    return where, readers
