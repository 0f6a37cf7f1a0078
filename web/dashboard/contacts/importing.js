// Sends the items of a file in batches, as `switchboard import` does. A repeat stores nothing twice.

import { call, Failure } from "../api.js";
import { workspace } from "../workspace.js";

const BATCH_ITEMS = 500;
const BATCH_MESSAGES = 1_000;
const BATCH_BYTES = 1_500_000;
const TRIES = 6;
const LISTS = { contact: "contacts", conversation: "conversations", memory: "memories" };
const HEADS = { contact: ["external_id", "kind"], conversation: ["external_id", "contact", "author", "persona"] };
const LONG_AGO = "2000-01-01T00:00:00Z";
const UNFIT = ["invalid_json", "body_too_large", "invalid_body"];

// The items of a file in JSON Lines: an object a line with one member, contact, conversation or memory.
export function itemsOfLines(text) {
  return text.split("\n").flatMap((line, place) => (line.trim() ? [itemOfLine(line, place + 1)] : []));
}

function itemOfLine(text, line) {
  try {
    const [[kind, document]] = Object.entries(JSON.parse(text));
    if (kind in LISTS && document) return { kind, line, document };
  } catch {
    // It is refused alone, as below.
  }
  return { kind: "contact", line, document: {}, fault: "json" };
}

// Send all items. `onOutcome` is told each one's, {item, status, code?, reason?}. Throws Failure if the server refuses all, or
// is not available for long.
export async function send(items, { source, isDry, signal, onOutcome }) {
  const named = new Map();
  const note = (item, outcome) => {
    if (isDry && outcome.status !== "refused" && item.kind !== "memory") named.set(keyOf(item.kind, item.document.external_id), standIn(item));
    onOutcome({ item, ...outcome });
  };

  async function sendBatch(batch) {
    const body = { source, dry_run: isDry };
    const standing = isDry ? namedBy(batch, named) : {};
    for (const [kind, list] of Object.entries(LISTS)) {
      body[list] = [...(standing[kind] ?? []), ...batch.filter((item) => item.kind === kind).map(({ document }) => document)];
    }
    let result;
    try {
      result = await patiently(body, signal);
    } catch (failure) {
      if (!(failure instanceof Failure) || !UNFIT.includes(failure.code)) throw failure;
      if (batch.length === 1) return note(batch[0], { status: "refused", code: failure.code, reason: failure.detail ?? failure.message });
      const half = Math.ceil(batch.length / 2);
      await sendBatch(batch.slice(0, half));
      return sendBatch(batch.slice(half));
    }
    for (const [kind, list] of Object.entries(LISTS)) {
      const outcomes = result[list].slice(standing[kind]?.length ?? 0);
      batch.filter((item) => item.kind === kind).forEach((item, place) => note(item, outcomes[place]));
    }
  }

  for (const item of items) if (item.fault) onOutcome({ item, status: "refused", code: "unreadable", reason: item.fault });
  for (const batch of batchesOf(items.filter(({ fault }) => !fault))) {
    await sendBatch(batch);
    signal.throwIfAborted();
  }
}

// A batch that could not be sent is sent again: a repeat changes nothing.
async function patiently(body, signal) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call("POST", `/workspaces/${workspace.value.id}/imports`, { body, signal });
    } catch (failure) {
      if (!(failure instanceof Failure) || !failure.isTemporary || tries === TRIES) throw failure;
      await new Promise((resolve) => setTimeout(resolve, 1_000 * 2 ** tries));
    }
  }
}

// Batches within the limits, each of one phase: what a later one names is stored by then.
function* batchesOf(items) {
  let batch = [];
  let size = 0;
  let messages = 0;
  for (const item of items) {
    const bytes = JSON.stringify(item.document).length;
    const said = messagesOf(item.document);
    const isFull = batch.length >= BATCH_ITEMS || size + bytes > BATCH_BYTES || messages + said > BATCH_MESSAGES;
    if (batch.length && (isFull || phaseOf(item) !== phaseOf(batch[0]))) {
      yield batch;
      [batch, size, messages] = [[], 0, 0];
    }
    batch.push(item);
    size += bytes;
    messages += said;
  }
  if (batch.length) yield batch;
}

const phaseOf = ({ kind, document }) => (kind === "contact" && document.participants?.length ? "group" : kind);
const messagesOf = ({ messages = [], sessions = [] }) =>
  messages.length + sessions.reduce((sum, each) => sum + (each?.messages?.length ?? 0), 0);
const keyOf = (kind, id) => `${kind} ${id}`;

// As little of an item as can be sent: a dry run has not stored what later items name.
function standIn({ kind, document }) {
  const head = Object.fromEntries(HEADS[kind].filter((name) => name in document).map((name) => [name, document[name]]));
  return kind === "conversation" ? { ...head, sessions: [{ created_at: LONG_AGO }] } : head;
}

function namedBy(batch, named) {
  const found = { contact: new Map(), conversation: new Map() };
  const add = (kind, id) => {
    const known = named.get(keyOf(kind, id));
    if (!known || found[kind].has(id)) return;
    found[kind].set(id, known);
    add("contact", known.contact);
  };
  for (const { kind, document } of batch) {
    for (const { contact } of document.participants ?? []) add("contact", contact);
    if (kind === "contact") continue;
    add("contact", document.contact);
    add("conversation", document.conversation);
  }
  return Object.fromEntries(Object.entries(found).map(([kind, documents]) => [kind, [...documents.values()]]));
}
