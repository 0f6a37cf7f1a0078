"""The pieces that a client got before its stream broke and the rest that it resumes are exactly the stored text.

Scripts of a persona (its pieces and their pauses) and of a client (where its connection breaks, the process to which it
returns, how it names its position) are drawn and played over HTTP, with two processes on one database.
"""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Literal
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
from tests.standins.n8n import line

AT_ONCE = 24
"""Scripts that are played concurrently in one example: they mostly wait."""


@dataclass(frozen=True)
class Answer:
    """The persona's text: UTF-16 units cut into pieces, as JavaScript does, and the seconds before each."""

    text: str
    pieces: tuple[str, ...] = field(repr=False)
    pauses: tuple[float, ...]


@dataclass(frozen=True)
class Cut:
    """Where a connection breaks, and how the client returns: after a pause, to a process, naming its position."""

    at: Literal["no answer", "bytes", "events"]
    count: int
    pause: float
    process: int
    told_by: Literal["header", "query", "both"]


@dataclass(frozen=True)
class Script:
    """One turn: the answer, the process that runs it, and the cuts before the last, complete reading."""

    answer: Answer
    process: int
    cuts: tuple[Cut, ...]


LETTERS = st.one_of(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")),
    st.sampled_from('\n\r\t\x85\u2028\ufeff\u200d\u0301\u0308 ":{}\\'),
    st.sampled_from("😀𝒻𐍈🇨🇭\U0010ffff"),
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Any text that is not blank, cut anywhere, sent within about three seconds."""
    text = draw(st.text(LETTERS, min_size=1, max_size=60).filter(str.strip)) * draw(st.sampled_from((1, 1, 3, 80)))
    units = text.encode("utf-16-le")
    places = draw(st.lists(st.integers(1, max(1, len(units) // 2 - 1)), max_size=12, unique=True).map(sorted))
    edges = [0, *(2 * place for place in places if 2 * place < len(units)), len(units)]
    pieces = tuple(units[begin:end].decode("utf-16-le", "surrogatepass") for begin, end in itertools.pairwise(edges))
    pauses = draw(
        st.lists(st.sampled_from((0.0, 0.0, 0.02, 0.3, 0.7)), min_size=len(pieces), max_size=len(pieces)).filter(
            lambda pauses: sum(pauses) < 3
        )
    )
    return Answer(text, pieces, tuple(pauses))


CUTS = st.builds(
    Cut,
    at=st.sampled_from(("no answer", "bytes", "bytes", "events")),
    count=st.one_of(st.integers(0, 12), st.integers(0, 600)),
    pause=st.sampled_from((0.0, 0.0, 0.05, 0.4, 1.2, 3.5)),
    process=st.integers(0, 1),
    told_by=st.sampled_from(("header", "query", "both")),
)
SCRIPTS = st.builds(
    Script,
    answer=answers(),
    process=st.integers(0, 1),
    cuts=st.lists(CUTS, min_size=1, max_size=5).filter(lambda cuts: sum(cut.pause for cut in cuts) < 4).map(tuple),
)


class Speaker:
    """A workflow of n8n that sends the script's answer to a message."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Stream the answer."""
        answer = self.answers[(await request.json())["message"]]
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        await response.write(line("begin"))
        for pause, piece in zip(answer.pauses, answer.pieces, strict=True):
            await asyncio.sleep(pause)
            await response.write(line("item", piece))
        await response.write(line("end"))
        return response


class Client:
    """A client of one turn, which drops an incomplete event."""

    def __init__(self, processes: list[str], space_id: UUID, http: aiohttp.ClientSession, message: str) -> None:
        self._processes = processes
        self._space_id = space_id
        self._http = http
        self._body = {"message": message, "client_message_id": str(uuid4())}
        self.turn_id: str | None = None
        self._token = ""
        self._last_id = ""
        self.text = ""
        self.end: Received | None = None

    async def connect(self, process: int, cut: Cut | None) -> None:
        """Read until the cut or the end: send the message, or resume the turn once its id is known."""
        patience = 0.004 * cut.count if cut is not None and cut.at == "no answer" else 60.0
        try:
            async with asyncio.timeout(min(patience, 60.0)), self._request(process, cut) as response:
                if response.status == 204:
                    assert self.end is not None, "there is more to read"
                    return
                assert response.status == 200, await response.text()
                if cut is None or cut.at != "no answer":
                    await self._read(response, cut)
                response.close()
        except TimeoutError:
            assert cut is not None, "the stream has no end"

    def _request(self, process: int, cut: Cut | None) -> "aiohttp.client._RequestContextManager":
        base = self._processes[process]
        if self.turn_id is None:
            return self._http.post(f"{base}/space/{self._space_id}/chat/stream", json=self._body)
        headers, query = {"Authorization": f"Bearer {self._token}"}, {}
        told_by = cut.told_by if cut is not None else "header"
        if told_by != "query":
            headers["Last-Event-ID"] = self._last_id
        if told_by != "header":
            # The header, which a browser updates, precedes the query.
            query["after"] = self._last_id if told_by == "query" else "1"
        return self._http.get(f"{base}/turns/{self.turn_id}/stream", headers=headers, params=query)

    async def _read(self, response: aiohttp.ClientResponse, cut: Cut | None) -> None:
        parser = Parser()
        left = cut.count if cut is not None else sys.maxsize
        async for chunk in response.content.iter_any():
            taken = chunk[:left] if cut is not None and cut.at == "bytes" else chunk
            left -= len(taken) if cut is not None and cut.at == "bytes" else 0
            for event in parser.feed(taken):
                if left <= 0 and cut is not None and cut.at == "events":
                    return
                left -= cut is not None and cut.at == "events"
                self._take(event)
            if left <= 0:
                return

    def _take(self, event: Received) -> None:
        if event.name == "turn":
            assert event.id == "0"
            self.turn_id, self._token = event.data["turn_id"], event.data["token"]
        elif event.name == "delta":
            assert int(event.id) == len(self.text) + len(event.data["text"]), "a gap or an overlap"
            self.text += event.data["text"]
        else:
            assert int(event.id) == len(self.text) + 1
            self.end = event
        self._last_id = event.id


@pytest.fixture(scope="module")
def other_process(stack: Stack) -> Iterator[str]:
    """The address of a second process of the functions on the same database."""
    with another_process(stack) as url:
        yield url


@pytest_asyncio.fixture
async def processes(stack: Stack, other_process: str) -> list[str]:
    """Both processes' addresses, once both answer."""
    await until_healthy(other_process)
    return [stack.api_url, other_process]


@pytest_asyncio.fixture
async def speaker() -> AsyncIterator[Speaker]:
    """The persona."""
    speaker = Speaker()
    application = web.Application()
    application.router.add_post("/webhook/script", speaker.answer)
    async with TestServer(application, host="127.0.0.1") as server:
        speaker.url = str(server.make_url("/webhook/script"))
        yield speaker


@pytest_asyncio.fixture
async def space_id(workspace: Workspace, speaker: Speaker) -> UUID:
    """A space of the speaker without limits."""
    await workspace.allow_loopback()
    persona_id = await workspace.add_persona("n8n", {"url": speaker.url})
    return await workspace.add_space(
        persona_id=persona_id, arrivals_per_minute=10_000, arrivals_per_minute_by_address=10_000
    )


@settings(
    max_examples=3,
    derandomize=True,
    database=None,
    deadline=None,
    # An example lasts seconds: failures are not shrunk.
    phases=[Phase.generate],
    # The fixtures are addresses and a workspace, without state that passes from one example to the next.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(scripts=st.lists(SCRIPTS, min_size=AT_ONCE, max_size=AT_ONCE))
async def test_with_any_cuts_the_pieces_are_the_stored_text(
    scripts: list[Script], processes: list[str], space_id: UUID, speaker: Speaker, workspace: Workspace
) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2)) as http:

        async def play(script: Script) -> Client:
            message = f"message {uuid4()}"
            speaker.answers[message] = script.answer
            client = Client(processes, space_id, http, message)
            process = script.process
            for cut in script.cuts:
                await client.connect(process, cut)
                await asyncio.sleep(cut.pause)
                process = cut.process
            await client.connect(process, None)
            return client

        played = await asyncio.gather(*(play(script) for script in scripts))
    for script, client in zip(scripts, played, strict=True):
        stored = await workspace.database.fetch(
            "select text from public.messages where turn_id = $1::text::uuid and role = 'persona'", client.turn_id
        )
        assert [row["text"] for row in stored] == [script.answer.text]
        assert client.text == script.answer.text, script
        assert client.end is not None
        assert (client.end.name, client.end.data["status"]) == ("done", "completed")
        assert client.end.data["text_length"] == len(script.answer.text)
