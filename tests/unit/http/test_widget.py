import base64
import gzip
import json
import random
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import Response

from lib import routes
from lib.http import app as http
from lib.http import sse, widget
from tests.unit.conftest import app_of, serving

ACCEPT_ALL = {"Accept-Encoding": "gzip, br"}
PLAIN = {"Accept-Encoding": "identity"}


async def script(request: Request) -> Response:
    """The chat function's handler."""
    return widget.answer(request)


async def other(_: Request) -> Response:
    """Stands for the function's other handlers."""
    return Response()


@pytest_asyncio.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a chat function that serves the script."""
    handlers = {route.name: other for route in routes.of("chat")} | {"widget": script}
    app = app_of(http.function("chat", handlers))
    async with serving(app) as origin, aiohttp.ClientSession(origin, auto_decompress=False) as session:
        yield session


async def test_the_script_holds_every_file_of_the_folder_for_any_page(client: aiohttp.ClientSession) -> None:
    async with client.get("/widget.js", headers={"Origin": "https://shop.example"} | PLAIN) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert {part.strip() for part in answer.headers["vary"].split(",")} == {"Accept-Encoding", "Origin"}
        body = (await answer.read()).decode()
    files = {file.stem: file.read_text() for file in widget.FOLDER.glob("*.js")}
    assert set(files) == set(widget.PARTS)
    assert all(text in body for text in files.values())


async def test_the_script_is_compressed_for_clients_that_accept_it(client: aiohttp.ClientSession) -> None:
    async with client.get("/widget.js", headers=ACCEPT_ALL) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        body = await answer.read()
    assert gzip.decompress(body) == widget.script()
    assert len(body) < 25_000
    async with client.get("/widget.js", headers={"Accept-Encoding": "br, gzip;q=0"}) as answer:
        assert "content-encoding" not in answer.headers


async def test_a_known_version_is_not_sent_again(client: aiohttp.ClientSession) -> None:
    tags = []
    for encoding in (ACCEPT_ALL, PLAIN):
        async with client.get("/widget.js", headers=encoding) as answer:
            tags.append(answer.headers["etag"])
            assert answer.headers["cache-control"] == "public, max-age=300, must-revalidate"
        for known in (tags[-1], f"W/{tags[-1]}", f'"another", {tags[-1]}', "*"):
            async with client.get("/widget.js", headers={"If-None-Match": known} | encoding) as answer:
                assert (answer.status, await answer.read()) == (304, b"")
                assert answer.headers["etag"] == tags[-1]
        async with client.get("/widget.js", headers={"If-None-Match": '"another"'} | encoding) as answer:
            assert answer.status == 200
    assert tags[0] != tags[1]


def run(source: str, given: Any, before: str = "") -> Any:
    """What Node makes of a script with the widget's parts before it; it reads `given` and prints its answer as JSON."""
    node = shutil.which("node")
    assert node is not None, "Node is not installed"
    parts = "".join((widget.FOLDER / f"{part}.js").read_text() for part in ("options", "events", "store", "wire"))
    whole = f"{before}{parts}\nconst given = JSON.parse(require('fs').readFileSync(0));\n{source}"
    done = subprocess.run([node, "-e", whole], input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


READ = """
(async () => {
  const answers = [];
  for (const chunks of given) {
    const body = new ReadableStream({ start(to) {
      for (const chunk of chunks) to.enqueue(Uint8Array.from(Buffer.from(chunk, "base64")));
      to.close();
    } });
    const events = [];
    for await (const event of readEvents({ body }, () => {})) events.push([event.id, event.name, event.data]);
    answers.push(events);
  }
  console.log(JSON.stringify(answers));
})();
"""


def read(bodies: list[list[bytes]]) -> list[list[list[str]]]:
    """The events that the script reads in each body, given in the chunks it comes in."""
    answers: list[list[list[str]]] = run(READ, [[base64.b64encode(c).decode() for c in body] for body in bodies])
    return answers


def test_events_are_read_the_same_wherever_the_bytes_are_cut() -> None:
    ours = sse.HEARTBEAT + b"".join(
        sse.encode(sse.Event("delta", {"text": text}, position))
        for position, text in enumerate(("Grüß dich, 🦜!", "one\ntwo", "", "data: x"))
    )
    for ending in (b"\n", b"\r\n", b"\r"):
        last = ending.join((b"data: first", b"data:second", b"id", b"", b""))
        body = b"\xef\xbb\xbf" + ours.replace(b"\n", ending) + last
        whole = read([[body]])[0]
        assert [event[:2] for event in whole] == [*([str(place), "delta"] for place in range(4)), ["", "message"]]
        assert json.loads(whole[0][2]) == {"text": "Grüß dich, 🦜!"}
        assert whole[-1][2] == "first\nsecond"
        numbers = random.Random(7)  # noqa: S311
        cuts = [[body[:at], body[at:]] for at in range(1, len(body))]
        cuts += [[bytes([byte]) for byte in body]]
        for _ in range(50):
            places = sorted(numbers.sample(range(1, len(body)), 12))
            cuts.append([body[a:b] for a, b in zip([0, *places], [*places, None], strict=True)])
        assert all(events == whole for events in read(cuts))


def test_an_incomplete_event_is_not_read() -> None:
    bodies = [b"data: 1\n\ndata: 2\n"], [b"event: x\n\n"], [b": only a comment\n\n"]
    assert read([*bodies]) == [[["", "message", "1"]], [], []]


def test_waits_are_read_as_seconds_or_as_a_date() -> None:
    tell = "console.log(JSON.stringify(given.map(seconds)))"
    assert run(tell, ["3", 2, "0", "", None, "soon", "Thu, 01 Jan 1970 00:00:00 GMT"]) == [3, 2, 0, None, None, None, 0]


def test_ids_are_uuids_without_tls_too() -> None:
    poor = "const crypto = { getRandomValues: (bytes) => bytes.fill(255) };"
    assert run("console.log(JSON.stringify(randomId()))", None, poor) == "ffffffff-ffff-4fff-bfff-ffffffffffff"


def test_the_transcript_that_is_kept_is_bounded() -> None:
    tell = """const state = { messages: given.map((length) => ({ text: "x".repeat(length) })) };
    bound(state); console.log(JSON.stringify(state.messages.map((message) => message.text.length)))"""
    assert run(tell, list(range(70))) == list(range(20, 70))
    assert sum(run(tell, [16_000] * 40)) <= 200_000


DOCS = (Path(__file__).parents[3] / "docs" / "widget.md").read_text()


def rows(heading: str) -> set[str]:
    """The first column of the table under a heading."""
    part = DOCS.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {line.split("|")[1].strip().strip("`") for line in part.splitlines() if line.startswith("| `")}


def test_the_page_lists_every_attribute_label_event_and_call_and_no_other() -> None:
    options = (widget.FOLDER / "options.js").read_text()
    names = set(re.findall(r"\bdata\.(\w+)", options)) | set(re.findall(r'"(\w+)" in data', options))
    attributes = {"data-" + re.sub(r"[A-Z]", lambda found: "-" + found[0].lower(), name) for name in names}
    assert rows("Attributes") == attributes
    assert rows("Words") == set(run("console.log(JSON.stringify(Object.keys(LABELS)))", None))
    element = (widget.FOLDER / "element.js").read_text()
    told = set(re.findall(r'#tell\("(\w+)"', element)) | {"ready"}
    told |= set(re.findall(r'"(\w+)"', re.findall(r"for \(const name of (\[.*\])\) \{", element)[-1]))
    assert rows("Events") == {f"switchboard:{name}" for name in told}
    api = element.split("window.Switchboard = {", 1)[1].split("};", 1)[0]
    assert {call.split("(")[0] for call in rows("From JavaScript")} == set(
        re.findall(r"^    (\w+)[:,]", api, re.MULTILINE)
    )


@pytest.mark.parametrize("part", widget.PARTS)
def test_no_part_turns_text_into_markup_or_code(part: str) -> None:
    text = (widget.FOLDER / f"{part}.js").read_text()
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "cssText"):
        assert sink not in text
    assert text.startswith("// ")
