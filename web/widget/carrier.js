// Reads the active answer to its end, through lost connections, reloads and refusals. It reads and writes the stored state of
// its conversation, and reports through it.

import { readEvents } from "./events.js";
import { labelOf } from "./failures.js";
import { alone } from "./locks.js";
import { Refusal, Unreachable } from "./wire.js";

export const BACKOFF_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000];
const MOST_FAILURES = 8; // in a row, without new data, while the browser reports to be online
const MOST_REFUSALS = 6; // of a busy server
const LONGEST_WAIT_SECONDS = 120;
export const SILENCE_MS = 45_000; // three heartbeats
const SAVE_MS = 300;
const STOP_PATIENCE_MS = 8_000;
const REPEATABLE_MS = 9 * 60_000; // a first message can be repeated for ten minutes
// Ends of a stream after which the turn may still be active: resuming tells.
const DOUBTFUL = new Set(["turn_interrupted", "backend_unavailable", "internal_error"]);

export class Carrier {
  #conversation;
  #live = null; // the answer as this tab reads it: {id, text, after}
  #driving = false;
  #abort = null; // aborts the active request
  #wake = null; // ends the current pause
  #stopping = null; // {id, told}: the turn to cancel, and whether the server was told
  #savedAt = 0;
  #saving = null; // the timer of the next save

  constructor(conversation) {
    this.#conversation = conversation;
  }

  get #store() {
    return this.#conversation.store;
  }

  get #wire() {
    return this.#conversation.wire;
  }

  get #closed() {
    return this.#conversation.closed;
  }

  // The answer as this tab reads it: {id, text, after}, or null.
  get live() {
    return this.#live;
  }

  get stopping() {
    return this.#stopping !== null;
  }

  // Retry at once: the connection may hang, or the wait may be over.
  hurry() {
    this.#abort?.abort();
    this.#wake?.();
  }

  // Stop reading; the answer continues on the server.
  leave() {
    this.#live = null;
    this.#stopping = null;
    this.hurry();
  }

  // Another tab has changed the stored state.
  onForeignChange() {
    const { pending } = this.#store.read();
    if (this.#live && pending?.id !== this.#live.id) {
      // Forgotten or answered in another tab.
      this.#live = null;
      this.hurry();
    }
    if (pending?.id !== this.#stopping?.id) this.#stopping = null;
    else if (this.#stopping) this.stop();
  }

  // Stop the active answer and keep its text.
  async stop() {
    const { pending, token } = this.#store.read();
    if (!pending || (this.#stopping?.id === pending.id && (this.#stopping.told || !pending.turn))) return;
    this.#stopping = { id: pending.id, told: Boolean(pending.turn) };
    this.#conversation.tell("change");
    this.#wake?.();
    if (!pending.turn) return; // cancelled once the server has sent the turn's id
    try {
      await this.#wire.cancel(token, pending.turn);
    } catch {
      this.#stopping = null;
      if (this.#conversation.pending?.id === pending.id) this.#conversation.notice = { kind: "problem", label: "notStopped" };
      this.#conversation.tell("change");
      return;
    }
    setTimeout(() => {
      // The turn has ended without an event in the stream: read it again.
      if (this.#conversation.pending?.id === pending.id) this.#abort?.abort();
    }, STOP_PATIENCE_MS);
  }

  // Read the pending answer to its end. One tab at a time does; the next takes over when it closes.
  async drive() {
    if (this.#driving || this.#closed || !this.#store.read().pending) return;
    this.#driving = true;
    const work = async () => {
      for (let pending; !this.#closed && (pending = this.#store.read().pending); ) {
        if (!(await this.#carry(pending.id))) break;
      }
    };
    try {
      await alone(this.#conversation.key, work);
    } finally {
      this.#driving = false;
      this.#conversation.tell("change");
    }
  }

  // False if it did not end and waits for the visitor or the network.
  async #carry(id) {
    const tries = { failures: 0, refusals: 0, doubts: 0, renewals: 0, reread: false };
    for (;;) {
      const state = this.#store.read();
      const { pending } = state;
      if (this.#closed || pending?.id !== id) return true;
      if (this.#live?.id !== id) this.#live = { id, text: pending.text, after: pending.after };
      const before = this.#live.after;
      this.#abort = new AbortController();
      try {
        if (!pending.turn && this.#stopping?.id === id) return this.#fail(id, { label: "notSent" });
        const end = await this.#read(await this.#ask(state), id);
        if (end && (await this.#isOver(end, id, tries))) return true;
      } catch (error) {
        const over = await this.#mend(error, id, tries);
        if (over !== undefined) return over;
        continue;
      } finally {
        this.#abort = null;
      }
      if (this.#live?.id !== id) return true;
      tries.failures = this.#live.after > before ? 0 : tries.failures + 1;
      if (!(await this.#backOff(tries))) return false;
    }
  }

  // The request that continues the pending answer: the message itself, until its turn is known.
  async #ask({ pending, token, expires, profile }) {
    const { signal } = this.#abort;
    if (pending.turn) {
      if (!token) throw new Refusal(401, { code: "token_missing" }, null);
      return this.#wire.follow(token, pending.turn, this.#live.after, signal);
    }
    if (Date.now() - pending.since > REPEATABLE_MS) throw new Refusal(408, {}, null);
    const who = this.#conversation.identity ?? profile;
    if (!token && expires) this.#conversation.note({ kind: "info", label: "startedAnew" });
    if (!token && who) await this.#conversation.register(who);
    this.#conversation.onCarried(pending.id);
    return this.#wire.post(this.#store.read().token, pending.message, pending.id, signal);
  }

  // Read a stream to its last event and return that; null if the stream broke before.
  async #read(response, id) {
    if (this.#conversation.notice?.kind === "info" && this.#conversation.notice.label !== "startedAnew") this.#conversation.note(null);
    const abort = this.#abort;
    let watchdog = setTimeout(() => abort.abort(), SILENCE_MS);
    const onBytes = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    try {
      for await (const event of readEvents(response, onBytes)) {
        if (this.#live?.id !== id) return null;
        const data = JSON.parse(event.data);
        if (event.name === "turn") this.#onTurn(data, id);
        else if (event.name === "delta") this.#onDelta(data, Number(event.id));
        else if (event.name === "done" || event.name === "error") return { name: event.name, data };
      }
      return null;
    } finally {
      clearTimeout(watchdog);
    }
  }

  #onTurn(data, id) {
    this.#live = { id, text: "", after: 0 };
    this.#store.change((state) => {
      if (state.pending?.id !== id) return;
      state.pending = { ...state.pending, turn: data.turn_id, after: 0, text: "" };
    });
    if (data.token && this.#conversation.pending?.id === id) this.#conversation.keepToken(data.token);
    this.#conversation.tell("turn", { turn_id: data.turn_id, session_id: data.session_id, contact_id: data.contact_id });
    if (this.#stopping?.id === id) this.stop();
  }

  #onDelta(data, after) {
    if (after <= this.#live.after) return;
    this.#live.text += data.text;
    this.#live.after = after;
    this.save(false);
    this.#conversation.tell("progress");
  }

  // Store the text with its position now and then; the rest is read again.
  save(now) {
    const live = this.#live;
    if (!live) return;
    const wait = now ? 0 : this.#savedAt + SAVE_MS - Date.now();
    if (wait > 0) {
      // An answer may pause: its last piece is stored too, for the readers in other tabs.
      this.#saving ??= setTimeout(() => this.save(true), wait);
      return;
    }
    clearTimeout(this.#saving);
    this.#saving = null;
    this.#savedAt = Date.now();
    if (this.#store.read().pending?.id !== live.id) return;
    this.#store.change((state) => {
      if (live.after > state.pending.after) Object.assign(state.pending, { after: live.after, text: live.text });
    });
  }

  // Whether the stream's last event is the answer's end, which is then stored.
  async #isOver({ name, data }, id, tries) {
    if (name === "done") {
      // Positions count characters, as Python does; a text that does not fit is read again from the start, once.
      if (data.text_length !== [...this.#live.text].length && !tries.reread) {
        tries.reread = true;
        this.#live = { id, text: "", after: 0 };
        this.#store.change((state) => state.pending?.id === id && Object.assign(state.pending, { after: 0, text: "" }));
        return false;
      }
      if (data.taken_over) this.#leaveToMember(id);
      else this.#finish(id, { stopped: data.status === "cancelled" });
      return true;
    }
    if (data.code === "stream_limit") return false;
    if (data.code === "token_revoked") throw new Refusal(401, data, null);
    if (DOUBTFUL.has(data.code) && tries.doubts < 3 && this.#store.read().pending?.turn) {
      tries.doubts += 1;
      return false;
    }
    return this.#fail(id, { label: labelOf(data.code), code: data.code, retry: data.retryable }, data.title);
  }

  // How to handle an error: true and false end the reading, undefined retries.
  async #mend(error, id, tries) {
    if (this.#closed || this.#live?.id !== id || error.name === "AbortError") return undefined;
    if (!(error instanceof Refusal)) {
      if (error instanceof Unreachable && error.reason === "blocked") return this.#fail(id, { label: "blocked" });
      tries.failures += 1;
      return (await this.#backOff(tries)) ? undefined : false;
    }
    const pending = this.#store.read().pending;
    if (error.status === 401 && tries.renewals < 1 && this.#store.read().token) {
      tries.renewals += 1;
      this.#store.change((state) => (state.token = null));
      if (!pending?.turn) return undefined; // the message is sent again, and #ask says so
      return this.#fail(id, { label: "interrupted", code: error.code, retry: true });
    }
    if (error.code === "turn_in_progress" && error.turn && tries.refusals++ < MOST_REFUSALS * 3) {
      await this.#outlast(error);
      return undefined;
    }
    const busy = [429, 500, 502, 503, 504].includes(error.status);
    const wait = error.retryAfter ?? (error.status === 429 ? 5 : Math.min(15, 2 ** tries.refusals));
    if (busy && wait <= LONGEST_WAIT_SECONDS && tries.refusals++ < MOST_REFUSALS) {
      this.#conversation.note({ kind: "info", label: "busy", until: Date.now() + wait * 1000 });
      await this.#pause(wait * 1000);
      this.#conversation.note(null);
      return undefined;
    }
    if (busy && error.retryAfter) {
      return this.#fail(id, { label: "busyLater", seconds: error.retryAfter, code: error.code, retry: true });
    }
    if (pending?.turn) {
      return this.#fail(id, { label: "interrupted", code: error.code, retry: true });
    }
    return this.#fail(id, { label: "notSent", why: labelOf(error.code), code: error.code, retry: error.status !== 404 }, error.message);
  }

  // Wait until the earlier turn has ended, by following it or for as long as the server says.
  async #outlast({ turn, retryAfter }) {
    this.#conversation.note({ kind: "info", label: "waitingForEarlier" });
    await this.#pause((retryAfter ?? 1) * 1000);
    if (this.#stopping) return;
    try {
      this.#abort = new AbortController();
      const response = await this.#wire.follow(this.#store.read().token, turn, 0, this.#abort.signal);
      for await (const event of readEvents(response, () => {})) {
        if (event.name === "done" || event.name === "error") break;
      }
    } catch {
      // Then sending the message tells.
    }
    this.#conversation.note(null);
  }

  // False if further retries are pointless.
  async #backOff(tries) {
    if (this.#closed) return false;
    if (navigator.onLine === false) {
      this.#conversation.note({ kind: "info", label: "offline" });
      await this.#pause(60_000); // `online` wakes it
      return true;
    }
    if (tries.failures > MOST_FAILURES) {
      this.#conversation.note({ kind: "problem", label: "unreachable", retry: true });
      return false;
    }
    if (tries.failures > 1) this.#conversation.note({ kind: "info", label: "reconnecting" });
    const wait = BACKOFF_MS[Math.min(tries.failures, BACKOFF_MS.length) - 1] ?? 0;
    if (wait) await this.#pause(wait * (0.75 + Math.random() / 2));
    return true;
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #finish(id, outcome) {
    const text = this.#live?.id === id ? this.#live.text : "";
    const turn = this.#store.read().pending?.turn ?? null;
    this.#store.change((state) => {
      if (state.pending?.id !== id) return;
      state.pending = null;
      state.messages.push({ id: `${id}:answer`, role: "persona", text, at: Date.now(), ...outcome });
    });
    this.#live = null;
    this.#stopping = null;
    if (this.#conversation.notice?.label !== "startedAnew") this.#conversation.notice = null;
    this.#conversation.tell("change");
    this.#conversation.tell("message", { role: "persona", text, turn_id: turn, stopped: Boolean(outcome.stopped) });
  }

  // The message is stored, and a member will answer it: there is nothing to show yet.
  #leaveToMember(id) {
    this.#store.change((state) => {
      if (state.pending?.id === id) state.pending = null;
      state.takenOver = true;
    });
    this.#live = null;
    this.#stopping = null;
    if (this.#conversation.notice?.label !== "startedAnew") this.#conversation.notice = null;
    this.#conversation.tell("change");
  }

  // End the answer with its error; its text stays. `title` is the server's, for the page's scripts.
  #fail(id, failed, title = null) {
    this.#finish(id, { failed: { retry: false, ...failed } });
    this.#conversation.tell("error", { code: failed.code || failed.label, title });
    return true;
  }
}
