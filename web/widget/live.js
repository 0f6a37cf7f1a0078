// Other senders' messages in the conversation: a member's during a takeover, and follow-ups. One tab at a time reads the stream,
// with the token in a header, and resumes after the last known message.

import { BACKOFF_MS, SILENCE_MS } from "./carrier.js";
import { readEvents } from "./events.js";
import { alone } from "./locks.js";
import { claimsOf } from "./store.js";
import { Refusal } from "./wire.js";

export class Live {
  #conversation;
  #on = false;
  #round = null; // ends this tab's reading
  #request = null; // aborts the active request
  #wake = null; // ends the current pause
  #token = null; // the current or last token
  #refused = null; // a token that was refused

  constructor(conversation) {
    this.#conversation = conversation;
  }

  // Start or stop following.
  follow(is) {
    if (is === this.#on) return;
    this.#on = is;
    this.#round?.abort();
    this.#request?.abort();
    this.#wake?.();
    if (is) this.#run();
  }

  // The token may have changed.
  wake() {
    if (this.#conversation.store.read().token === this.#token) return;
    this.#request?.abort();
    this.#wake?.();
  }

  // The network is back: earlier connections may hang for long.
  retry() {
    this.#request?.abort();
    this.#wake?.();
  }

  async #run() {
    const { signal } = (this.#round = new AbortController());
    const work = () => this.#follow(signal);
    try {
      await alone(`${this.#conversation.key}:live`, work, signal);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  }

  async #follow(signal) {
    let failures = 0;
    while (!signal.aborted) {
      const from = this.#from();
      this.#token = from?.token ?? this.#conversation.store.read().token;
      if (!from) {
        await this.#pause(null);
        continue;
      }
      const outcome = await this.#read(from, signal);
      if (signal.aborted || outcome === "again") continue;
      failures = outcome === "ended" ? 0 : failures + 1;
      const wait = outcome === "ended" ? 500 : BACKOFF_MS[Math.min(failures, BACKOFF_MS.length) - 1];
      await this.#pause((navigator.onLine === false ? 60_000 : wait) * (0.75 + Math.random() / 2));
    }
  }

  // The position to resume from; null if there is no conversation yet, or it cannot be followed any more.
  #from() {
    const { token, place } = this.#conversation.store.read();
    const conversation = token && token !== this.#refused ? claimsOf(token).conversation_id : null;
    if (!conversation) return null;
    // A visitor with proof continues an earlier conversation, whose messages are not new.
    const { identity } = this.#conversation;
    const start = identity?.email_hmac || identity?.identity_token ? "latest" : null;
    return { token, conversation, after: place?.conversation === conversation ? place.last : start };
  }

  // Read a stream to its end: "ended" by its last event, "broken", or "again" to retry without a pause.
  async #read({ token, conversation, after }, signal) {
    const request = (this.#request = new AbortController());
    let watchdog = 0;
    const onBytes = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => request.abort(), SILENCE_MS);
    };
    const began = Date.now();
    // A stream that breaks as soon as it is open is not retried at once.
    const broke = () => (Date.now() - began > BACKOFF_MS.at(-1) ? "ended" : "broken");
    try {
      onBytes();
      const response = await this.#conversation.wire.listen(token, conversation, after, request.signal);
      for await (const event of readEvents(response, onBytes)) {
        if (signal.aborted || this.#conversation.store.read().token !== token) return "again";
        const data = JSON.parse(event.data);
        if (event.name === "error") {
          if (!data.retryable) this.#refused = token;
          return data.code === "stream_limit" ? "ended" : data.retryable ? "broken" : "again";
        }
        this.#hear(event, data, conversation);
      }
      return broke();
    } catch (error) {
      return error instanceof Refusal ? this.#refuse(error, token, conversation) : broke();
    } finally {
      clearTimeout(watchdog);
      this.#request = null;
    }
  }

  #hear(event, data, conversation) {
    const place = { conversation, last: event.id || null };
    if (event.name === "session") {
      this.#conversation.setTakenOver(data.taken_over);
      if (place.last) this.#move(place);
    } else if (event.name === "message") {
      // The messages of turns are shown by the code that sends and reads them.
      if (data.turn_id) this.#move(place);
      else this.#conversation.hear(data, place);
    }
  }

  #move(place) {
    const { store } = this.#conversation;
    if (store.read().place?.last !== place.last) store.change((state) => (state.place = place));
  }

  #refuse(refusal, token, conversation) {
    if (refusal.code === "message_not_found") {
      this.#move({ conversation, last: "latest" });
      return "again";
    }
    if ([401, 403, 404].includes(refusal.status)) {
      this.#refused = token;
      return "again";
    }
    return "broken";
  }

  // Wait for this time, or until woken.
  #pause(milliseconds) {
    if (!this.#on) return undefined;
    return new Promise((resolve) => {
      const timer = milliseconds === null ? 0 : setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
