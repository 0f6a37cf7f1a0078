// Requests to the functions, and their errors.

import { encode } from "./json.js";

// A response without success: problem+json if it is ours, a status in any case.
export class Refusal extends Error {
  constructor(status, problem, retryAfter) {
    const fields = (problem.errors ?? []).map((error) => `${error.field}: ${error.message}`);
    super([problem.title, problem.detail, ...fields].filter(Boolean).join(" "));
    this.status = status;
    this.code = problem.code ?? "";
    this.turn = problem.turn_id ?? null;
    this.retryAfter = retryAfter;
  }

  static async of(response) {
    let problem = {};
    try {
      problem = (await response.json()) ?? {};
    } catch {
      // Not JSON, perhaps a proxy's page.
    }
    return new Refusal(response.status, problem, seconds(problem.retry_after ?? response.headers.get("retry-after")));
  }
}

// No response. `reason` is offline, unreachable, or blocked: the server responds, but the browser may not read it.
export class Unreachable extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

// Seconds to wait, from a Retry-After in seconds or as a date; null without one.
export function seconds(text) {
  if (text === null || text === undefined || text === "") return null;
  const number = Number(text);
  const wait = Number.isNaN(number) ? (Date.parse(text) - Date.now()) / 1000 : number;
  return Number.isNaN(wait) ? null : Math.max(0, Math.ceil(wait));
}

const PROBE_MS = 5_000;

export class Wire {
  #options;
  #answered = false;
  #policy = false;

  constructor(options) {
    this.#options = options;
    this.onViolation = (event) => {
      if (event.effectiveDirective === "connect-src" && event.blockedURI.startsWith(new URL(options.api).origin)) {
        this.#policy = true;
      }
    };
    document.addEventListener("securitypolicyviolation", this.onViolation);
  }

  close() {
    document.removeEventListener("securitypolicyviolation", this.onViolation);
  }

  // With the token of a visitor without an email, they stay the same visitor.
  register(token, profile) {
    const body = { source: "widget" };
    for (const name of ["email", "first_name", "email_hmac", "identity_token"]) if (profile[name]) body[name] = profile[name];
    return this.#send(`${this.#options.registration}/space/${encodeURIComponent(this.#options.space)}/register`, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...bearer(token) },
      body: encode(body),
    });
  }

  post(token, message, id, signal) {
    return this.#send(`${this.#options.api}/space/${encodeURIComponent(this.#options.space)}/chat/stream`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream", ...bearer(token) },
      body: encode({ message, client_message_id: id }),
      signal,
    });
  }

  follow(token, turn, after, signal) {
    const headers = { Accept: "text/event-stream", ...bearer(token) };
    return this.#send(`${this.#options.api}/turns/${encodeURIComponent(turn)}/stream?after=${after}`, { headers, signal });
  }

  // The stream of a conversation after a message; `after` may be latest, or null for the beginning.
  listen(token, conversation, after, signal) {
    const headers = { Accept: "text/event-stream", ...bearer(token) };
    const place = after ? `?after=${encodeURIComponent(after)}` : "";
    const url = `${this.#options.conversations}/conversations/${encodeURIComponent(conversation)}/stream${place}`;
    return this.#send(url, { headers, signal });
  }

  cancel(token, turn) {
    const url = `${this.#options.api}/turns/${encodeURIComponent(turn)}/cancel`;
    return this.#send(url, { method: "POST", headers: bearer(token) });
  }

  // The response, if it is a success. Throws Refusal, Unreachable, and AbortError if the signal aborts it.
  async #send(url, init) {
    for (let again = false; ; again = true) {
      let response;
      try {
        response = await fetch(url, { __proto__: null, credentials: "omit", cache: "no-store", ...init });
      } catch (error) {
        if (error.name === "AbortError") throw error;
        const reason = await this.#reason();
        if (reason !== "blocked" || again) throw this.#explain(reason, url);
        continue; // once more: the failure may have been brief
      }
      this.#answered = true;
      if (!response.ok) throw await Refusal.of(response);
      return response;
    }
  }

  // The reason of a missing response. A browser does not tell, but an opaque request succeeds if the server responds.
  async #reason() {
    if (navigator.onLine === false) return "offline";
    if (this.#policy) return "blocked";
    if (this.#answered) return "unreachable";
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      await fetch(`${this.#options.api}/healthz`, { mode: "no-cors", credentials: "omit", cache: "no-store", signal });
      return "blocked";
    } catch {
      return this.#policy ? "blocked" : "unreachable";
    }
  }

  #explain(reason, url) {
    if (reason === "blocked") {
      const why = this.#policy
        ? `the page's Content-Security-Policy does not list ${new URL(url).origin} in connect-src`
        : `the space's allowed_origins probably do not list ${location.origin}`;
      console.warn(`Switchboard: ${url} may not be used from this page; ${why}.`);
    }
    return new Unreachable(reason);
  }
}

function bearer(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}
