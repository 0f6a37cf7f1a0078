// The HTTP routes of Switchboard, as the signed-in user.

import { EventSourceParserStream } from "eventsource-parser/stream";

import { signOut, token } from "./account.js";
import { config } from "./config.js";

const WAITS_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000];

// A request that failed: `status` and `code` are those of the problem document. Status 0: no server could be reached.
export class Failure extends Error {
  constructor(status, { code = "", title, detail, errors, ...more } = {}) {
    super(title ?? code);
    Object.assign(this, { status, code, detail, errors: errors ?? [], more });
  }

  // It may succeed if it is repeated.
  get isTemporary() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

// The JSON document that a route answers with; null if there is none. `query`: values, or lists of values; empty ones are left
// out. Throws Failure, and AbortError if `signal` aborts.
export async function call(method, path, { query, body, signal } = {}) {
  const response = await send(method, path, { query, body, signal });
  return response.status === 204 ? null : await response.json();
}

export const get = (path, query, signal) => call("GET", path, { query, signal });

const MOST = 200;

// All items of a list route, for lists of what a workspace is made of.
export async function getAll(path, query, signal) {
  const items = [];
  for (let cursor; ; ) {
    const page = await get(path, { ...query, limit: MOST, cursor }, signal);
    items.push(...page.items);
    cursor = page.next_cursor;
    if (!cursor) return items;
  }
}

// What a route answers with as a file.
export async function download(path, query, name) {
  const response = await send("GET", path, { query });
  save(await response.blob(), name);
}

// A file that a job makes: asked for until it is there. `onProgress` is told the export, {status, counts}, meanwhile.
export async function downloadWhenMade(path, name, onProgress, signal) {
  for (;;) {
    const response = await send("GET", path, { signal });
    if (response.status !== 202) return save(await response.blob(), name);
    onProgress(await response.json());
    await pause(1_000 * (Number(response.headers.get("Retry-After")) || 1), signal);
    signal.throwIfAborted();
  }
}

// Have the browser store a file.
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// The events of a stream, {event, id, data}, until `signal` aborts: a stream that ends or fails is opened again after the last
// event. `onState` is told true while it is connected. Throws Failure if the server refuses.
export async function* follow(path, { query, signal, onState = () => {} }) {
  let after = query?.after;
  for (let failures = 0; !signal.aborted; ) {
    try {
      const headers = { Accept: "text/event-stream" };
      const response = await send("GET", path, { query: { ...query, after }, headers, signal });
      // The last event was the end.
      if (response.status === 204) return;
      onState(true);
      const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
      for await (const { event, id, data } of readable(events)) {
        failures = 0;
        if (id) after = id;
        yield { event, id, data: JSON.parse(data) };
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Failure && !error.isTemporary) throw error;
      failures += 1;
    }
    onState(false);
    await pause(failures ? WAITS_MS[Math.min(failures, WAITS_MS.length) - 1] : 100, signal);
  }
}

// The events of a stream that a POST answers with, {event, data}, once. Throws Failure.
export async function* ask(path, { body, signal } = {}) {
  const response = await send("POST", path, { body, headers: { Accept: "text/event-stream" }, signal });
  const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  for await (const { event, data } of readable(events)) yield { event, data: JSON.parse(data) };
}

// The chunks of a stream; not every browser iterates over one.
async function* readable(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const end = () => (clearTimeout(timer), resolve());
    const timer = setTimeout(end, milliseconds * (0.75 + Math.random() / 2));
    signal.addEventListener("abort", end, { once: true });
    addEventListener("online", end, { once: true });
  });
}

async function send(method, path, { query, body, headers, signal }) {
  const url = new URL(config.api_url + path);
  for (const [name, value] of Object.entries(query ?? {})) {
    for (const one of [value].flat()) if (one !== undefined && one !== null && one !== "") url.searchParams.append(name, one);
  }
  let response;
  try {
    const bearer = await token();
    response = await fetch(url, {
      method,
      signal,
      cache: "no-store",
      credentials: "omit",
      headers: {
        ...(bearer && { Authorization: `Bearer ${bearer}` }),
        ...(body !== undefined && { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, { code: "unreachable" });
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  // The user was removed, or signed out elsewhere.
  if (response.status === 401) signOut();
  throw new Failure(response.status, problem);
}
