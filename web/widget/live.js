// What others say in the conversation: a member who answers in the persona's place, and what was said elsewhere. The stream is
// read by one tab at a time, with the token in a header, from the last message that is known; after a break from there on.

class Live {
  #conversation;
  #on = false;
  #round = null; // ends this tab's following
  #request = null; // ends the request under way
  #wake = null; // ends the pause under way
  #token = null; // the one that is used, or was last
  #refused = null; // one that is of no use any more

  constructor(conversation) {
    this.#conversation = conversation;
  }

  // Follow from now on, or no longer.
  follow(is) {
    if (is === this.#on) return;
    this.#on = is;
    this.#round?.abort();
    this.#request?.abort();
    this.#wake?.();
    if (is) this.#run();
  }

  // The token may be another one.
  wake() {
    if (this.#conversation.store.read().token === this.#token) return;
    this.#request?.abort();
    this.#wake?.();
  }

  // The network is back: what was open before may hang for long.
  retry() {
    this.#request?.abort();
    this.#wake?.();
  }

  async #run() {
    const { signal } = (this.#round = new AbortController());
    const work = () => this.#follow(signal);
    try {
      await (navigator.locks ? navigator.locks.request(`${this.#conversation.key}:live`, { signal }, work) : work());
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

  // Where to go on; null where there is no conversation yet, or nothing more to hear in it.
  #from() {
    const { token, place } = this.#conversation.store.read();
    const conversation = token && token !== this.#refused ? claimsOf(token).conversation_id : null;
    if (!conversation) return null;
    // Whoever came with proof goes on in a conversation from before: what was said in it is not news.
    const start = this.#conversation.identity?.email_hmac ? "latest" : null;
    return { token, conversation, after: place?.conversation === conversation ? place.last : start };
  }

  // Read a stream to its end: "ended" as agreed, "broken", or "again" where there is no reason to wait.
  async #read({ token, conversation, after }, signal) {
    const request = (this.#request = new AbortController());
    let watchdog = 0;
    const onBytes = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => request.abort(), SILENCE_MS);
    };
    const began = Date.now();
    // One that breaks as soon as it is open is not asked for again at once.
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
      // What a turn asks and answers is shown where it is sent and read.
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

  // Wait for so long, or until woken.
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
