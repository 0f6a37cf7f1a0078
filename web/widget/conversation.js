// The conversation of one visitor in one space: its messages, and its state stored on this device. Independent of the view.
// Sends events: change (render again), progress (the answer grew), registered, turn, message, error.

import { Carrier } from "./carrier.js";
import { encode } from "./json.js";
import { Live } from "./live.js";
import { Store, claimsOf, conversationOf, expiryOf, randomId } from "./store.js";
import { Wire } from "./wire.js";

const GLANCE_MS = 5_000;
const ATTENTION_MS = 30 * 60_000;
const DAY_MS = 24 * 3_600_000;

export class Conversation extends EventTarget {
  notice = null; // {kind: info | problem, label or text, until?, retry?}
  closed = false;
  #required;
  #unknown = null; // the state of a visitor who chatted here before the page knew them
  #unsent = null; // the message that this tab accepted and has not sent yet: {id, text}
  #carrier;
  #live;

  constructor(options, identity) {
    super();
    this.identity = identity;
    this.#required = options.register === "required";
    this.wire = new Wire(options);
    const whose = identity ? `:${nameOf(identity)}` : "";
    const place = `switchboard:${options.api}:${options.space}`;
    this.key = `${place}${whose}`;
    if (identity) this.#unknown = new Store(place, () => {});
    this.store = new Store(this.key, () => this.#onForeignChange());
    this.#carrier = new Carrier(this);
    this.#live = new Live(this);
    this.onNetwork = () => this.#onNetwork();
    this.onLeave = () => this.#carrier.save(true);
    addEventListener("online", this.onNetwork);
    addEventListener("offline", this.onNetwork);
    addEventListener("pagehide", this.onLeave);
    this.#carrier.drive();
  }

  // This tab stops; the answer continues on the server.
  close() {
    this.#carrier.save(true);
    this.closed = true;
    this.#live.follow(false);
    this.store.close();
    this.#unknown?.close();
    this.wire.close();
    removeEventListener("online", this.onNetwork);
    removeEventListener("offline", this.onNetwork);
    removeEventListener("pagehide", this.onLeave);
    this.#carrier.hurry();
  }

  get messages() {
    return this.store.read().messages;
  }

  // The active answer: {id, text}, or null.
  get pending() {
    const { pending } = this.store.read();
    if (!pending) return null;
    const live = this.#carrier.live;
    return live?.id === pending.id ? { id: pending.id, text: live.text } : { id: pending.id, text: pending.text };
  }

  // The text of the answer so far in this tab; cheap, because it is read for every piece.
  get live() {
    return this.#carrier.live?.text ?? "";
  }

  get stopping() {
    return this.#carrier.stopping;
  }

  // Whether a member answers instead of the persona.
  get takenOver() {
    return this.store.read().takenOver;
  }

  // How many messages have arrived since the chat was last open.
  get unread() {
    return this.store.read().unread;
  }

  // How long a closed chat follows the conversation from now on: a day while a member answers, half an hour after the last
  // message, and otherwise only as long as it takes to read what was missed.
  get attention() {
    const { takenOver, messages } = this.store.read();
    return takenOver ? DAY_MS : Math.max(GLANCE_MS, (messages.at(-1)?.at ?? 0) + ATTENTION_MS - Date.now());
  }

  get started() {
    const state = this.store.read();
    return Boolean(state.token || state.skipped || state.profile || state.messages.length || this.identity);
  }

  // Whether the visitor has to register before the first message.
  get needsRegistration() {
    const state = this.store.read();
    return this.#required && !state.token && !state.profile && !this.identity;
  }

  countUnread() {
    this.store.change((state) => (state.unread += 1));
    this.tell("change");
  }

  markRead() {
    if (this.unread) this.store.change((state) => (state.unread = 0));
  }

  // Follow other senders' messages.
  follow(is) {
    this.#live.follow(is && !this.closed);
  }

  skipRegistration() {
    this.store.change((state) => (state.skipped = true));
    this.tell("change");
  }

  // Register, and store the token. A visitor who has chatted here without an email keeps that conversation, unless the email
  // is proven to be another contact's. Throws Refusal and Unreachable.
  async register(profile) {
    const before = this.#unknown?.read();
    const visitor = before?.pending ? null : (before?.token ?? null);
    if (profile.renew) profile = { ...profile, identity_token: await profile.renew() };
    const response = await this.wire.register(visitor, profile).catch((error) => {
      if (!visitor || error.status !== 401) throw error;
      return this.wire.register(null, profile);
    });
    const answer = await response.json();
    const same = visitor && conversationOf(visitor) === conversationOf(answer.token);
    if (same) this.#unknown.clear();
    this.keepToken(answer.token, Date.parse(answer.expires_at), (state) => {
      if (same) {
        state.messages.unshift(...before.messages);
        state.place = before.place;
        state.takenOver = before.takenOver;
      }
      // The proof is not stored: the page passes it each time.
      if (!this.identity) state.profile = profile;
    });
    this.tell("registered", { contact_id: answer.contact.id, session_id: answer.session.id });
    this.tell("change");
  }

  // Store a token, which may be for another conversation than the previous one.
  keepToken(token, expires, edit = () => {}) {
    this.store.change((state) => {
      state.token = token;
      state.expires = expires || expiryOf(token);
      edit(state);
    });
    this.#live.wake();
  }

  // Accept a message; false during an answer, or if it is empty.
  send(text) {
    const message = text.trim();
    if (!message || this.closed || this.pending || this.needsRegistration) return false;
    const id = randomId();
    this.notice = null;
    this.#unsent = { id, text: message };
    this.store.change((state) => {
      state.messages.push({ id, role: "contact", text: message, at: Date.now() });
      state.pending = { id, message, turn: null, after: 0, text: "", since: Date.now() };
    });
    this.tell("message", { role: "contact", text: message });
    this.tell("change");
    this.#carrier.drive();
    return true;
  }

  // A message outside of this tab's turns: of a member, or of the visitor elsewhere. Stored once, whichever tab receives it.
  hear({ id, role, text, created_at }, place) {
    let isNew = false;
    this.store.change((state) => {
      state.place = place;
      isNew = !state.messages.some((message) => message.id === id);
      if (isNew) state.messages.push({ id, role, text, at: Date.parse(created_at) });
    });
    if (!isNew) return;
    this.tell("change");
    this.tell("message", { role, text, turn_id: null });
  }

  // Whether a member or the persona answers now.
  setTakenOver(is) {
    if (this.takenOver === is) return;
    this.store.change((state) => (state.takenOver = is));
    this.tell("change");
  }

  // Send the last message again, as a new one; a failed answer with text stays.
  retry() {
    const { messages, pending } = this.store.read();
    if (pending) {
      this.notice = null;
      this.tell("change");
      this.#carrier.hurry();
      this.#carrier.drive();
      return;
    }
    const failed = messages.at(-1);
    const said = messages.findLast((message) => message.role === "contact");
    if (!said || !failed?.failed) return;
    if (!failed.text) {
      this.store.change((state) => {
        state.messages = state.messages.filter((message) => message.id !== failed.id && message.id !== said.id);
      });
    }
    this.send(said.text);
  }

  // Stop the active answer and keep its text.
  stop() {
    return this.#carrier.stop();
  }

  // Remove everything from this device; the active answer continues on the server.
  forget() {
    this.store.clear();
    this.notice = null;
    this.#carrier.leave();
    this.#live.wake();
    this.tell("change");
  }

  tell(name, detail) {
    if (!this.closed) this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  note(notice) {
    if (encode(notice) === encode(this.notice)) return;
    this.notice = notice;
    this.tell("change");
  }

  // From here on a request sends the message.
  onCarried(id) {
    if (this.#unsent?.id === id) this.#unsent = null;
  }

  #onForeignChange() {
    const { pending, messages } = this.store.read();
    if (this.#unsent && pending?.id !== this.#unsent.id) {
      // Two tabs accepted a message at the same time, and the other one's was stored last.
      if (messages.length && !messages.some((message) => message.id === this.#unsent.id)) this.tell("unsent", this.#unsent);
      this.#unsent = null;
    }
    this.#carrier.onForeignChange();
    this.tell("change");
    this.#carrier.drive();
    this.#live.wake();
  }

  #onNetwork() {
    if (navigator.onLine) {
      // Earlier connections may hang for long.
      if (this.notice?.label === "offline") this.notice = null;
      this.#carrier.hurry();
      this.#carrier.drive();
      this.#live.retry();
    } else if (this.pending) {
      this.notice = { kind: "info", label: "offline" };
    }
    this.tell("change");
  }
}

// What a visitor is called on this device: the person whom the proof names, not the proof, which changes.
function nameOf({ email, email_hmac, identity_token }) {
  if (!identity_token) return (email_hmac ?? email).toLowerCase();
  const { sub, email: proven } = claimsOf(identity_token);
  return `token:${sub ?? proven}`;
}
