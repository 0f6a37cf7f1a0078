import base64
import functools
import gzip
import importlib
import json
import random
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from lib import errors
from lib.http import sse, static_files
from local.paths import REPOSITORY
from tests.unit.conftest import app_of, serving

FOLDER = REPOSITORY / "web" / "widget"
ACCEPT_ALL = {"Accept-Encoding": "gzip, br"}
PLAIN = {"Accept-Encoding": "identity"}


@pytest_asyncio.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the chat function."""
    app = app_of(importlib.import_module("functions.chat.main")._serve)
    async with serving(app) as origin, aiohttp.ClientSession(origin, auto_decompress=False) as session:
        yield session


def built() -> bytes:
    """The bundle of the folder as it is now."""
    command = json.loads((REPOSITORY / "package.json").read_text())["scripts"]["build"].split()
    esbuild = REPOSITORY / "node_modules" / ".bin" / command[0]
    options = [option for option in command[1:] if not option.startswith("--outfile")]
    return subprocess.run([esbuild, *options], cwd=REPOSITORY, capture_output=True, check=True).stdout


async def test_the_script_is_the_bundle_of_the_folder_for_any_page(client: aiohttp.ClientSession) -> None:
    async with client.get("/widget.js", headers={"Origin": "https://shop.example"} | PLAIN) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert {part.strip() for part in answer.headers["vary"].split(",")} == {"Accept-Encoding", "Origin"}
        body = await answer.read()
    assert body == built(), "web/dist is older than web/widget: `make install` bundles it again"


async def test_the_reference_loads_only_files_of_its_own_origin(client: aiohttp.ClientSession) -> None:
    async with client.get("/docs", headers=PLAIN) as answer:
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in answer.headers["content-security-policy"]
        files = re.findall(r'(?:src|href)="(docs.+?)"', await answer.text())
    assert len(files) == 2
    for path, status in (
        *((file, 200) for file in files),
        ("openapi.json", 200),
        ("docs/../secret.js", 404),
        ("docs/x", 404),
    ):
        async with client.get(f"/{path}", headers=PLAIN) as answer:
            assert answer.status == status, path


async def test_the_script_is_compressed_for_clients_that_accept_it(client: aiohttp.ClientSession) -> None:
    async with client.get("/widget.js", headers=ACCEPT_ALL) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        body = await answer.read()
    assert gzip.decompress(body) == static_files.WIDGET.content
    assert len(body) < 45_000
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


def run(source: str, given: Any, *imported: str, before: str = "") -> Any:
    """What Node makes of a script that imports names of modules, as `name of module`; it reads `given` and prints JSON.

    The module is imported after `before` has run.
    """
    node = shutil.which("node")
    assert node is not None, "Node is not installed"
    names = [part.split(" of ") for part in imported]
    imports = "".join(f"const {{ {name} }} = await import('{FOLDER / module}.js');\n" for name, module in names)
    whole = f"import fs from 'fs';\n{before}\n{imports}const given = JSON.parse(fs.readFileSync(0));\n{source}"
    command = [node, "--input-type=module", "-e", whole]
    done = subprocess.run(command, cwd=REPOSITORY, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


READ = """
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
"""


def read(bodies: list[list[bytes]]) -> list[list[list[str]]]:
    """The events that the script reads in each body, given in the chunks it comes in."""
    answers: list[list[list[str]]] = run(
        READ, [[base64.b64encode(c).decode() for c in body] for body in bodies], "readEvents of events"
    )
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
    waits = ["3", 2, "0", "", None, "soon", "Thu, 01 Jan 1970 00:00:00 GMT"]
    assert run(tell, waits, "seconds of wire") == [3, 2, 0, None, None, None, 0]


def test_ids_are_uuids_without_tls_too() -> None:
    poor = "Object.defineProperty(globalThis, 'crypto', { value: { getRandomValues: (bytes) => bytes.fill(255) } });"
    made = run("console.log(JSON.stringify(randomId()))", None, "randomId of store", before=poor)
    assert made == "ffffffff-ffff-4fff-bfff-ffffffffffff"


def test_the_transcript_that_is_kept_is_bounded() -> None:
    tell = """const state = { messages: given.map((length) => ({ text: "x".repeat(length) })) };
    bound(state); console.log(JSON.stringify(state.messages.map((message) => message.text.length)))"""
    assert run(tell, list(range(70)), "bound of store") == list(range(20, 70))
    assert sum(run(tell, [16_000] * 40, "bound of store")) <= 200_000


GROWING = """# Prices for 2026

Hello **bold text** and *soft* words, ***both*** `code * here`, ~~gone~~ snake_case_name 2 * 3 * 4, \\*literal\\*.

- first **item**
- second [a link](https://example.com/a_b(c)) here
  - nested `x`

1. one
2. two

> quoted *text*

| Boat | Price |
|:-----|------:|
| Petrel | **12** |

```js
const a = "**b**"; // [x](y
```

Mail [us](mailto:a@b.example), see ![a picture](https://img.example/x.png) or https://example.com/x_y. AT&amp;T <b>x</b>

Last line
---

In 2024 it was 42.
- [ ] open
- [x] done"""

DOM = """
import { Window } from "happy-dom";
globalThis.document = new Window().document;
const shown = (text, isGrowing, element = document.createElement("div")) => {
  showMarkdown(element, text, isGrowing);
  return element;
};
"""


def test_a_growing_markdown_text_only_grows_and_keeps_what_it_has_shown() -> None:
    """At every cut, what is shown is a beginning of the whole text, and earlier blocks are the same elements."""
    tell = """const whole = shown(given, false).textContent;
    const element = document.createElement("div");
    const faults = [];
    for (let cut = 1, length = 0; cut <= given.length; cut += 1) {
      const earlier = [...element.children].slice(0, -1);
      const text = shown(given.slice(0, cut), true, element).textContent.trimEnd();
      const isKept = earlier.every((block, place) => element.children[place] === block);
      if (!whole.startsWith(text) || text.length < length || !isKept) faults.push(given.slice(0, cut).slice(-30));
      length = text.length;
    }
    console.log(JSON.stringify(faults));"""
    assert run(tell, GROWING, "showMarkdown of markdown", before=DOM) == []


MARKDOWN = [
    ("**a** _b_ ~~c~~ `d`", "<p><strong>a</strong> <em>b</em> <del>c</del> <code>d</code></p>"),
    ("one\ntwo\n\nthree", "<p>one\ntwo</p><p>three</p>"),
    ("# a\n#### b", "<h3>a</h3><h3>b</h3>"),
    ("- a\n  1. b\n- [x] c", "<ul><li>a<ol><li>b</li></ol></li><li>☑ c</li></ul>"),
    ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    ("> a", "<blockquote><p>a</p></blockquote>"),
    ("```js\n<a> &lt;\n```", "<pre><code>&lt;a&gt; &amp;lt;</code></pre>"),
    (
        "| a |\n|--:|\n| b |",
        "<div><table><thead><tr><th>a</th></tr></thead><tbody><tr><td>b</td></tr></tbody></table></div>",
    ),
    ("&amp;lt; &#x41; &#66; &unknown;", "<p>&amp;lt; A B &amp;unknown;</p>"),
    ("> " * 30 + "&amp;", f"<p>{'&gt; ' * 30}&amp;amp;</p>"),
    # Neither markup nor an address that does more than open a page.
    ("<img src=x onerror=alert(1)>", "<p>&lt;img src=x onerror=alert(1)&gt;</p>"),
    ("[a](javascript:alert(1)) [b](/c) [d](&#106;avascript:x) [e](data:text/html,x)", "<p>a b d e</p>"),
    ("![a](javascript:x) ![b](x.png)", "<p>a b</p>"),
    *(
        (f"[a]({address})", f'<p><a href="{address}">a</a></p>')
        for address in ("https://x.example/?a=b", "http://x.example", "mailto:a@x.example", "tel:+4930123")
    ),
    ("![boat](https://x.example/y.png)", '<p><a href="https://x.example/y.png">boat</a></p>'),
    ("see www.x.example", '<p>see <a href="http://www.x.example">www.x.example</a></p>'),
]
"""Texts, and the elements that they become."""


@functools.cache
def elements() -> dict[str, str]:
    """What all texts become, in one run: Node takes long to start."""
    texts = [text for text, _ in MARKDOWN]
    tell = "console.log(JSON.stringify(given.map((text) => shown(text).innerHTML)))"
    return dict(zip(texts, run(tell, texts, "showMarkdown of markdown", before=DOM), strict=True))


@pytest.mark.parametrize(("text", "html"), MARKDOWN)
def test_markdown_becomes_elements(text: str, html: str) -> None:
    shown = elements()[text]
    assert re.sub(r' (?:dir|class|tabindex|target|rel|start="1"|start="")(?:="[^"]*")?', "", shown) == html


def test_json_is_the_same_on_a_page_that_gives_values_a_tojson() -> None:
    values = {"a": [1, "x", None, {"b": True}], "c": {"d": []}, "e": "„ü"}
    changed = "Array.prototype.toJSON = Object.prototype.toJSON = String.prototype.toJSON = () => 'changed';"
    assert run("console.log(encode(given))", values, "encode of json", before=changed) == values


@functools.cache
def words() -> dict[str, dict[str, str]]:
    """The words of the chat by language."""
    languages: dict[str, dict[str, str]] = run("console.log(JSON.stringify(LANGUAGES))", None, "LANGUAGES of look")
    return languages


@pytest.mark.parametrize("language", ["ar", "de", "en", "es", "fr", "pt", "tr"])
def test_every_language_has_every_word(language: str) -> None:
    for name, text in words()["en"].items():
        assert re.findall(r"\{\w+\}", words()[language][name]) == re.findall(r"\{\w+\}", text), name
        assert language == "en" or name in SAME_WORDS or words()[language][name] != text, name
    assert set(words()[language]) == set(words()["en"])


SAME_WORDS = {"title", "name", "email", "conversation", "quickReplies"}
"""Words that another language may share with English."""


def test_every_error_has_words() -> None:
    other = {
        "persona_unavailable",
        "space_not_found",
        "turn_not_found",
        "invalid_body",
        "rate_limited",
        "body_too_large",
    }
    codes = sorted(set(errors.FAILURES) | other)
    found = dict(
        zip(codes, run("console.log(JSON.stringify(given.map(labelOf)))", codes, "labelOf of failures"), strict=True)
    )
    assert set(found.values()) <= set(words()["en"])
    # A widget has no API key, and follows no workspace.
    without = {code for code, label in found.items() if label == "failed"}
    assert without == {"internal_error", "api_key_invalid", "api_key_expired", "workspace_not_found"}


def test_the_words_are_those_of_the_pages_language_then_the_spaces_then_the_tags() -> None:
    look = {
        "labels": {"send": "space", "stop": "space"}, "quick_replies": ["all"], "persona": {"name": "Ana"},
        "languages": {"pt": {"labels": {"send": "space-pt"}}, "pt-br": {"quick_replies": ["br"]}, "nl": {}},
    }  # fmt: skip
    cases = [
        ("pt-BR", look, {"close": "tag"}), ("en", look, {}), ("nl-BE", look, {}), ("he", None, {"send": "tag"}),
        ("AR", None, {}), ("tr_TR", None, {}), ("is", None, {}), ("no tag", None, {}), ("constructor", None, {}),
    ]  # fmt: skip
    tell = """console.log(JSON.stringify(given.map(([language, look, labels]) => {
      const { labels: all, quickReplies, ...rest } = dressed({ language, labels }, look);
      return [all.send, all.stop, all.close, all.title, quickReplies, rest.language, rest.direction];
    })))"""
    english, arabic = words()["en"], words()["ar"]
    assert run(tell, cases, "dressed of look") == [
        ["space-pt", "space", "tag", "Ana", ["br"], "pt-BR", ""],
        ["space", "space", english["close"], "Ana", ["all"], "en", ""],
        ["space", "space", english["close"], "Ana", ["all"], "nl-BE", ""],
        ["tag", english["stop"], english["close"], "Chat", [], "he", "rtl"],
        [arabic["send"], arabic["stop"], arabic["close"], arabic["title"], [], "AR", "rtl"],
        [*(words()["tr"][name] for name in ("send", "stop", "close", "title")), [], "tr-TR", ""],
        *[[english["send"], english["stop"], english["close"], "Chat", [], "en", ""]] * 3,
    ]


DOCS = (REPOSITORY / "docs" / "widget.md").read_text()


def rows(heading: str) -> set[str]:
    """The first column of the table under a heading."""
    part = DOCS.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return {line.split("|")[1].strip().strip("`") for line in part.splitlines() if line.startswith("| `")}


def test_the_page_lists_every_attribute_label_event_and_call_and_no_other() -> None:
    options = (FOLDER / "options.js").read_text()
    names = set(re.findall(r"\bdata\.(\w+)", options)) | set(re.findall(r'"(\w+)" in data', options))
    attributes = {"data-" + re.sub(r"[A-Z]", lambda found: "-" + found[0].lower(), name) for name in names}
    assert rows("Attributes") == attributes
    assert rows("Words") == set(words()["en"])
    element = (FOLDER / "element.js").read_text()
    told = set(re.findall(r'#tell\("(\w+)"', element)) | {"ready"}
    told |= set(re.findall(r'"(\w+)"', re.findall(r"for \(const name of (\[.*\])\) \{", element)[-1]))
    assert rows("Events") == {f"switchboard:{name}" for name in told}
    api = element.split("window.Switchboard = {", 1)[1].split("};", 1)[0]
    assert {call.split("(")[0] for call in rows("From JavaScript")} == set(
        re.findall(r"^    (\w+)[:,]", api, re.MULTILINE)
    )


PARTS = [path.relative_to(FOLDER).as_posix() for path in sorted(FOLDER.rglob("*.js"))]


@pytest.mark.parametrize("part", PARTS)
def test_no_part_turns_text_into_markup_or_code(part: str) -> None:
    text = (FOLDER / part).read_text()
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "cssText"):
        assert sink not in text
    assert text.startswith("// ")
