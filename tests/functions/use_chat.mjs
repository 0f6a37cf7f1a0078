// The real `ai` and `@ai-sdk/react` against a running stack, rendered by React into a DOM without a browser.
// Arguments: the name of a scenario and what it is given, as JSON. Prints what it saw as JSON.

import { pathToFileURL } from "node:url";
import { Window } from "happy-dom";

const window = new Window({ url: "https://shop.example/" });
// React looks for a DOM; `fetch` stays Node's own.
for (const [name, value] of Object.entries({ window, document: window.document, navigator: window.navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
Object.defineProperty(globalThis, "sessionStorage", { value: window.sessionStorage, configurable: true });

const { createElement, useEffect } = await import("react");
const { createRoot } = await import("react-dom/client");
const { useChat } = await import("@ai-sdk/react");
const { DefaultChatTransport, readUIMessageStream } = await import("ai");
const first = await import("ai-5");

// What the addresses of chats answered, in their order.
const answers = [];
const { fetch } = globalThis;
globalThis.fetch = async (url, options) => {
  const answer = await fetch(url, options);
  if (String(url).startsWith(address)) answers.push([options.method, answer.status]);
  return answer;
};

const [scenario, argument] = process.argv.slice(2);
const given = JSON.parse(argument);
const address = `${given.url}/space/${given.space}/chat/stream`;
const bearer = (token) => (token ? { Authorization: `Bearer ${token}` } : {});
/** Lets the held answer go on until it has so many words; "inf": to its end. */
const allow = (words) => fetch(`${given.allow}/${words}`);

async function until(condition, what) {
  const limit = Date.now() + 30_000;
  while (!condition()) {
    if (Date.now() > limit) throw new Error(`never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const textOf = (message) => (message?.parts ?? []).map((part) => part.text ?? "").join("");
const last = (chat) => chat.messages.at(-1);

/** A component with useChat; `page.chat` is what it last returned, `page.states` what it showed, render by render. */
async function mount(options = {}) {
  const page = { chat: null, states: [], data: [], token: given.token };
  const transport = new DefaultChatTransport({
    api: `${address}?protocol=ai-sdk`,
    headers: () => bearer(page.token),
    ...given.transport,
  });
  const onData = (part) => {
    page.data.push(part);
    page.token = part.data.token;
  };
  function Page() {
    const chat = useChat({ transport, onData, id: given.id, messages: given.messages, ...options });
    page.chat = chat;
    useEffect(() => {
      const said = last(chat)?.role === "assistant" ? textOf(last(chat)) : "";
      page.states.push({ status: chat.status, text: said });
    });
    return null;
  }
  const root = createRoot(document.createElement("div"));
  root.render(createElement(Page));
  await until(() => page.chat !== null, "the page");
  page.leave = () => root.unmount();
  page.speaking = () => until(() => last(page.chat)?.role === "assistant" && textOf(last(page.chat)), "a word");
  /** The held answer goes on word by word, each shown before the next, to its end. */
  page.listen = async () => {
    await page.speaking();
    for (const words of [3, "inf"]) {
      const before = textOf(last(page.chat));
      await allow(words);
      await until(() => textOf(last(page.chat)) !== before, "more of the answer");
    }
  };
  page.settled = () => until(() => ["ready", "error"].includes(page.chat.status), "the end");
  page.seen = () => ({
    status: page.chat.status,
    error: page.chat.error?.message ?? null,
    messages: page.chat.messages,
    texts: page.chat.messages.map(textOf),
    data: page.data,
    answers,
    statuses: page.states.map((state) => state.status).filter((status, n, all) => status !== all[n - 1]),
    growing: page.states.filter((state) => state.status === "streaming").map(({ text }) => text),
  });
  return page;
}

const scenarios = {
  async talk() {
    const page = await mount();
    for (const text of given.texts) {
      const sending = page.chat.sendMessage({ text });
      if (given.allow) await page.listen();
      await sending;
      await page.settled();
    }
    return page.seen();
  },

  async leave() {
    const page = await mount();
    void page.chat.sendMessage({ text: given.text });
    await page.speaking();
    // The process ends with the connection open, as a page does that is closed.
    return page.seen();
  },

  async resume() {
    const page = await mount({ resume: true });
    if (given.active) {
      await until(() => page.chat.status === "streaming", "the stream");
      await page.listen();
      await page.settled();
    } else {
      await until(() => answers.length > 0, "an answer");
      // Whatever it would change is changed by then.
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return page.seen();
  },

  async stop() {
    const page = await mount();
    void page.chat.sendMessage({ text: given.text });
    await page.speaking();
    await page.chat.stop();
    await page.settled();
    const stopped = page.seen();
    if (given.cancel) {
      const path = `${given.url}/turns/${last(page.chat).id}/cancel`;
      const answer = await fetch(path, { method: "POST", headers: bearer(page.token) });
      stopped.cancel = [answer.status, await answer.json()];
      await allow("inf");
    }
    await page.chat.sendMessage({ text: given.then });
    await page.settled();
    stopped.then = page.seen();
    return stopped;
  },

  async regenerate() {
    const page = await mount();
    await page.chat.sendMessage({ text: given.text });
    await page.settled();
    const before = page.seen();
    await page.chat.regenerate();
    await page.settled();
    return { before, after: page.seen() };
  },

  async edit() {
    const page = await mount();
    await page.chat.sendMessage({ text: given.text });
    await page.settled();
    const before = page.seen();
    await page.chat.sendMessage({ text: given.edited, messageId: page.chat.messages[0].id });
    await page.settled();
    return { before, after: page.seen() };
  },

  async files() {
    const page = await mount();
    const files = [{ type: "file", mediaType: "text/plain", url: "data:text/plain,hello" }];
    await page.chat.sendMessage({ text: "look", files });
    await until(() => page.chat.error, "the refusal");
    return page.seen();
  },

  /** Without React: the transport's chunks through the package's own reader. */
  async read() {
    const transport = new DefaultChatTransport({ api: `${address}?protocol=ai-sdk`, headers: bearer(given.token) });
    const messages = [{ id: "m1", role: "user", parts: [{ type: "text", text: given.text }] }];
    const stream = await transport.sendMessages({ chatId: "c", messages, trigger: "submit-message" });
    const seen = [];
    for await (const message of readUIMessageStream({ stream })) seen.push(textOf(message));
    return { texts: seen };
  },

  /** The first release: sends, leaves, and comes back, with the protocol in Accept because it appends to the address. */
  async first() {
    const headers = { ...bearer(given.token), Accept: "text/event-stream; protocol=ai-sdk" };
    const transport = new first.DefaultChatTransport({ api: address, headers });
    const messages = [{ id: "m1", role: "user", parts: [{ type: "text", text: given.text }] }];
    const options = { chatId: "c", messages, trigger: "submit-message" };
    const leaving = new AbortController();
    const reader = (await transport.sendMessages({ ...options, abortSignal: leaving.signal })).getReader();
    while ((await reader.read()).value?.type !== "text-delta");
    leaving.abort();
    const stream = await transport.reconnectToStream(options);
    await allow("inf");
    let resumed;
    for await (const message of first.readUIMessageStream({ stream })) resumed = message;
    return { resumed, after: await transport.reconnectToStream(options) };
  },

  /**
   * The page of docs/streams.md, used through its DOM: messages, one whose answer is stopped and another at once, and a
   * reload while the last is answered.
   */
  async page() {
    const { Chat } = await import(pathToFileURL(given.module).href);
    const show = () => {
      const root = createRoot(document.body.appendChild(document.createElement("main")));
      root.render(createElement(Chat, { id: "docs" }));
      return root;
    };
    const lines = () => [...document.querySelectorAll("form > p")].map((line) => line.textContent);
    const button = () => document.querySelector("button")?.textContent;
    const send = (text) => {
      document.querySelector("input").value = text;
      document.querySelector("button").click();
    };
    let root = show();
    /** Sends a message, and waits for the beginning of its answer. */
    const begin = async (text) => {
      await until(() => button() === "Send", "a page to write in");
      const count = lines().length;
      await allow(2);
      send(text);
      await until(() => lines().length === count + 2 && lines().at(-1) === given.begin, "an answer's beginning");
    };
    for (const text of given.texts) {
      await begin(text);
      await allow("inf");
      await until(() => button() === "Send", "an answer");
    }
    const before = lines();
    await begin("at length");
    document.querySelector("button").click();
    await until(() => button() === "Send", "the end of the answer");
    const stopped = lines().at(-1);
    await allow("inf");
    send("at once");
    const refused = () => document.querySelector("[role=alert]")?.textContent;
    const answered = () => lines().length === before.length + 4 && button() === "Send";
    await until(() => refused() || answered(), "an answer or a refusal");
    const then = { lines: lines().slice(before.length + 2), refused: refused() ?? null };
    if (then.refused) return { before, stopped, then };
    await begin("a last word");
    root.unmount();
    document.body.replaceChildren();
    root = show();
    await until(() => lines().at(-1) === given.begin, "the beginning of the resumed answer");
    await allow("inf");
    await until(() => button() === "Send", "the resumed answer");
    return { before, stopped, then, after: lines(), token: sessionStorage.token };
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
process.exit(0);
