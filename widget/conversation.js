// The conversation of one visitor in one space: what was said, the answer that is under way, and how it is carried through
// lost connections, reloads and other tabs. Knows nothing of what it looks like. Tells of itself by events:
// change (look again), progress (the answer grew), registered, message, error.

const BACKOFF_MS = [500, 1_000, 2_000, 4_000, 8_000, 15_000];
const MOST_FAILURES = 8; // in a row, without anything new, while the browser believes to be online
const MOST_REFUSALS = 6; // of a server that is busy
const LONGEST_WAIT_SECONDS = 120;
const SILENCE_MS = 45_000; // three heartbeats
const SAVE_MS = 300;
const STOP_PATIENCE_MS = 8_000;
const REPEATABLE_MS = 9 * 60_000; // a first message can be repeated for ten minutes
// Ends of a stream that need not be the end of the turn: following it tells.
const DOUBTFUL = new Set(["turn_interrupted", "backend_unavailable", "internal_error"]);

class Conversation extends EventTarget {
  notice = null; // {kind: info | problem, label or text, until?, retry?}
  #wire;
  #store;
  #required;
  #identity;
  #live = null; // the answer as this tab reads it: {id, text, after}
  #driving = false;
  #closed = false;
  #abort = null; // ends the request under way
  #wake = null; // ends the pause under way
  #stopping = null; // {id, told}: whose answer is to be stopped, and whether the server knows
  #savedAt = 0;

  constructor(options, identity) {
    super();
    this.#identity = identity;
    this.#required = options.register === "required";
    this.#wire = new Wire(options);
    const whose = identity ? `:${(identity.email_hmac ?? identity.email).toLowerCase()}` : "";
    this.key = `switchboard:${options.api}:${options.space}${whose}`;
    this.#store = new Store(this.key, () => this.#onForeignChange());
    this.onNetwork = () => this.#onNetwork();
    this.onLeave = () => this.#save(true);
    addEventListener("online", this.onNetwork);
    addEventListener("offline", this.onNetwork);
    addEventListener("pagehide", this.onLeave);
    this.#drive();
  }

  // This tab no longer takes part; the answer goes on at the server.
  close() {
    this.#save(true);
    this.#closed = true;
    this.#store.close();
    this.#wire.close();
    removeEventListener("online", this.onNetwork);
    removeEventListener("offline", this.onNetwork);
    removeEventListener("pagehide", this.onLeave);
    this.#abort?.abort();
    this.#wake?.();
  }

  get messages() {
    return this.#store.read().messages;
  }

  // The answer under way: {id, text}, or null.
  get pending() {
    const { pending } = this.#store.read();
    if (!pending) return null;
    return this.#live?.id === pending.id ? { id: pending.id, text: this.#live.text } : { id: pending.id, text: pending.text };
  }

  // The text of the answer as far as this tab has read it; cheap, for every piece that comes.
  get live() {
    return this.#live?.text ?? "";
  }

  get stopping() {
    return this.#stopping !== null;
  }

  get started() {
    const state = this.#store.read();
    return Boolean(state.token || state.skipped || state.profile || state.messages.length || this.#identity);
  }

  // Whether a person has to say who they are before the first message.
  get needsRegistration() {
    const state = this.#store.read();
    return this.#required && !state.token && !state.profile && !this.#identity;
  }

  skipRegistration() {
    this.#store.change((state) => (state.skipped = true));
    this.#tell("change");
  }

  // Register, and keep the token. Raises Refusal and Unreachable.
  async register(profile) {
    const answer = await (await this.#wire.register(profile)).json();
    this.#store.change((state) => {
      state.token = answer.token;
      state.expires = Date.parse(answer.expires_at) || expiryOf(answer.token);
      // The proof stays with the page, which brings it again each time.
      if (!this.#identity) state.profile = profile;
    });
    this.#tell("registered", { contact_id: answer.contact.id, session_id: answer.session.id });
    this.#tell("change");
  }

  // Take a message; false where an answer is under way or nothing is said.
  send(text) {
    const message = text.trim();
    if (!message || this.#closed || this.pending || this.needsRegistration) return false;
    const id = randomId();
    this.notice = null;
    this.#store.change((state) => {
      state.messages.push({ id, role: "contact", text: message });
      state.pending = { id, message, turn: null, after: 0, text: "", since: Date.now() };
    });
    this.#tell("message", { role: "contact", text: message });
    this.#tell("change");
    this.#drive();
    return true;
  }

  // Say the last message again, as a new one: what failed stays where something had been answered.
  retry() {
    const { messages, pending } = this.#store.read();
    if (pending) {
      this.notice = null;
      this.#tell("change");
      this.#wake?.();
      this.#drive();
      return;
    }
    const failed = messages.at(-1);
    const said = messages.findLast((message) => message.role === "contact");
    if (!said || !failed?.failed) return;
    if (!failed.text) {
      this.#store.change((state) => {
        state.messages = state.messages.filter((message) => message.id !== failed.id && message.id !== said.id);
      });
    }
    this.send(said.text);
  }

  // Stop the answer under way, keeping what came of it.
  async stop() {
    const { pending, token } = this.#store.read();
    if (!pending || (this.#stopping?.id === pending.id && (this.#stopping.told || !pending.turn))) return;
    this.#stopping = { id: pending.id, told: Boolean(pending.turn) };
    this.#tell("change");
    this.#wake?.();
    if (!pending.turn) return; // told to the server once it says which turn it is
    try {
      await this.#wire.cancel(token, pending.turn);
    } catch {
      this.#stopping = null;
      if (this.pending?.id === pending.id) this.notice = { kind: "problem", label: "notStopped" };
      this.#tell("change");
      return;
    }
    setTimeout(() => {
      // The turn has ended, and the stream should have said so: read it again.
      if (this.pending?.id === pending.id) this.#abort?.abort();
    }, STOP_PATIENCE_MS);
  }

  // Forget everything on this device; the answer under way is left to the server.
  forget() {
    this.#store.clear();
    this.#live = null;
    this.#stopping = null;
    this.notice = null;
    this.#abort?.abort();
    this.#wake?.();
    this.#tell("change");
  }

  #tell(name, detail) {
    if (!this.#closed) this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #note(notice) {
    if (JSON.stringify(notice) === JSON.stringify(this.notice)) return;
    this.notice = notice;
    this.#tell("change");
  }

  #onForeignChange() {
    const { pending } = this.#store.read();
    if (this.#live && pending?.id !== this.#live.id) {
      // Forgotten or answered in another tab.
      this.#live = null;
      this.#abort?.abort();
      this.#wake?.();
    }
    if (pending?.id !== this.#stopping?.id) this.#stopping = null;
    else if (this.#stopping) this.stop();
    this.#tell("change");
    this.#drive();
  }

  #onNetwork() {
    if (navigator.onLine) {
      // What was open before may hang for long.
      if (this.notice?.label === "offline") this.notice = null;
      this.#abort?.abort();
      this.#wake?.();
      this.#drive();
    } else if (this.pending) {
      this.notice = { kind: "info", label: "offline" };
    }
    this.#tell("change");
  }

  // Carry the pending answer to its end. One tab at a time does, the next takes over when it closes.
  async #drive() {
    if (this.#driving || this.#closed || !this.#store.read().pending) return;
    this.#driving = true;
    const work = async () => {
      for (let pending; !this.#closed && (pending = this.#store.read().pending); ) {
        if (!(await this.#carry(pending.id))) break;
      }
    };
    try {
      // Without TLS there are no locks, and every tab follows for itself.
      await (navigator.locks ? navigator.locks.request(this.key, work) : work());
    } finally {
      this.#driving = false;
      this.#tell("change");
    }
  }

  // False where it came to no end and waits for the person, or for the network.
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

  // The request that goes on with the pending answer: the message itself, until its turn is known.
  async #ask({ pending, token, expires, profile }) {
    const { signal } = this.#abort;
    if (pending.turn) {
      if (!token) throw new Refusal(401, { code: "token_missing" }, null);
      return this.#wire.follow(token, pending.turn, this.#live.after, signal);
    }
    if (Date.now() - pending.since > REPEATABLE_MS) throw new Refusal(408, {}, null);
    const who = this.#identity ?? profile;
    if (!token && expires) this.#note({ kind: "info", label: "startedAnew" });
    if (!token && who) await this.register(who);
    return this.#wire.post(this.#store.read().token, pending.message, pending.id, signal);
  }

  // Read a stream to its last event, which is returned; null where it broke off before.
  async #read(response, id) {
    if (this.notice?.kind === "info" && this.notice.label !== "startedAnew") this.#note(null);
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
      if (data.token) {
        state.token = data.token;
        state.expires = expiryOf(data.token);
      }
    });
    this.#tell("turn", { turn_id: data.turn_id, session_id: data.session_id, contact_id: data.contact_id });
    if (this.#stopping?.id === id) this.stop();
  }

  #onDelta(data, after) {
    if (after <= this.#live.after) return;
    this.#live.text += data.text;
    this.#live.after = after;
    this.#save(false);
    this.#tell("progress");
  }

  // Keep the text with its position, now and then: what comes after is read again.
  #save(now) {
    const live = this.#live;
    if (!live || (!now && Date.now() - this.#savedAt < SAVE_MS)) return;
    this.#savedAt = Date.now();
    if (this.#store.read().pending?.id !== live.id) return;
    this.#store.change((state) => {
      if (live.after > state.pending.after) Object.assign(state.pending, { after: live.after, text: live.text });
    });
  }

  // Whether the stream's last event is the answer's end, which is then kept.
  async #isOver({ name, data }, id, tries) {
    if (name === "done") {
      // Positions count characters, as Python does; a text that does not fit is read again from the start, once.
      if (data.text_length !== [...this.#live.text].length && !tries.reread) {
        tries.reread = true;
        this.#live = { id, text: "", after: 0 };
        this.#store.change((state) => state.pending?.id === id && Object.assign(state.pending, { after: 0, text: "" }));
        return false;
      }
      this.#finish(id, { stopped: data.status === "cancelled" });
      return true;
    }
    if (data.code === "stream_limit") return false;
    if (DOUBTFUL.has(data.code) && tries.doubts < 3 && this.#store.read().pending?.turn) {
      tries.doubts += 1;
      return false;
    }
    return this.#fail(id, { text: data.title, code: data.code, retry: data.retryable });
  }

  // What to do about an error: true or false end the carrying, undefined tries again.
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
      if (!pending?.turn) return undefined; // the message goes out anew, and #ask says so
      return this.#fail(id, { label: "interrupted", code: error.code, retry: true });
    }
    if (error.code === "turn_in_progress" && error.turn && tries.refusals++ < MOST_REFUSALS * 3) {
      await this.#outlast(error);
      return undefined;
    }
    const busy = [429, 500, 502, 503, 504].includes(error.status);
    const wait = error.retryAfter ?? (error.status === 429 ? 5 : Math.min(15, 2 ** tries.refusals));
    if (busy && wait <= LONGEST_WAIT_SECONDS && tries.refusals++ < MOST_REFUSALS) {
      this.#note({ kind: "info", label: "busy", until: Date.now() + wait * 1000 });
      await this.#pause(wait * 1000);
      this.#note(null);
      return undefined;
    }
    if (busy && error.retryAfter) {
      return this.#fail(id, { label: "busyLater", seconds: error.retryAfter, code: error.code, retry: true });
    }
    if (pending?.turn) {
      return this.#fail(id, { label: "interrupted", code: error.code, retry: true });
    }
    return this.#fail(id, { label: "notSent", text: error.message, code: error.code, retry: error.status !== 404 });
  }

  // Wait until the turn in the way has ended, by following it or for as long as the server says.
  async #outlast({ turn, retryAfter }) {
    this.#note({ kind: "info", label: "waitingForEarlier" });
    await this.#pause((retryAfter ?? 1) * 1000);
    if (this.#stopping) return;
    try {
      this.#abort = new AbortController();
      const response = await this.#wire.follow(this.#store.read().token, turn, 0, this.#abort.signal);
      for await (const event of readEvents(response, () => {})) {
        if (event.name === "done" || event.name === "error") break;
      }
    } catch {
      // Then the message itself finds out how things are.
    }
    this.#note(null);
  }

  // False when there is no more point in trying by itself.
  async #backOff(tries) {
    if (this.#closed) return false;
    if (navigator.onLine === false) {
      this.#note({ kind: "info", label: "offline" });
      await this.#pause(60_000); // `online` wakes it
      return true;
    }
    if (tries.failures > MOST_FAILURES) {
      this.#note({ kind: "problem", label: "unreachable", retry: true });
      return false;
    }
    if (tries.failures > 1) this.#note({ kind: "info", label: "reconnecting" });
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
      state.messages.push({ id: `${id}:answer`, role: "persona", text, ...outcome });
    });
    this.#live = null;
    this.#stopping = null;
    if (this.notice?.label !== "startedAnew") this.notice = null;
    this.#tell("change");
    this.#tell("message", { role: "persona", text, turn_id: turn, stopped: Boolean(outcome.stopped) });
  }

  // Close the answer with what went wrong; what had come of it stays.
  #fail(id, failed) {
    this.#finish(id, { failed: { retry: false, ...failed } });
    this.#tell("error", { code: failed.code || failed.label, title: failed.text ?? null });
    return true;
  }
}
