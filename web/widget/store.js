// The state on the device, one entry of localStorage for each space and visitor. Every change reads the entry first, because
// other tabs write it too. Without storage the state lasts as long as the page.

import { encode } from "./json.js";

const MOST_MESSAGES = 50;
const MOST_CHARACTERS = 200_000;

function nothing() {
  return {
    version: 1, token: null, expires: 0, profile: null, skipped: false, messages: [], pending: null, place: null, takenOver: false, unread: 0,
  };
}

export class Store {
  #key;
  #memory = null;

  // `onForeignChange` is called after a change by another tab.
  constructor(key, onForeignChange) {
    this.#key = key;
    this.onStorage = (event) => {
      if (event.key === key || event.key === null) onForeignChange();
    };
    addEventListener("storage", this.onStorage);
  }

  close() {
    removeEventListener("storage", this.onStorage);
  }

  read() {
    if (this.#memory !== null) return structuredClone(this.#memory);
    try {
      const state = JSON.parse(localStorage.getItem(this.#key));
      if (state?.version === 1) return expired({ ...nothing(), ...state });
    } catch {
      // Refused, or not ours: treated as empty.
    }
    return nothing();
  }

  change(edit) {
    const state = this.read();
    edit(state);
    bound(state);
    try {
      localStorage.setItem(this.#key, encode(state));
      this.#memory = null;
    } catch {
      this.#memory = state;
    }
    return state;
  }

  clear() {
    this.#memory = null;
    try {
      localStorage.removeItem(this.#key);
    } catch {
      // It was never stored.
    }
  }
}

// What this tab remembers through a reload; nothing without storage.
export const tab = {
  get(key) {
    try {
      return sessionStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      sessionStorage.setItem(key, value);
    } catch {
      // Then a reload begins anew.
    }
  },
};

function expired(state) {
  if (state.token && state.expires && state.expires < Date.now()) state.token = null;
  return state;
}

export function bound(state) {
  state.messages.splice(0, Math.max(0, state.messages.length - MOST_MESSAGES));
  let characters = 0;
  for (const message of state.messages) characters += message.text.length;
  while (characters > MOST_CHARACTERS && state.messages.length > 2) characters -= state.messages.shift().text.length;
}

// The claims of a token; empty if it cannot be read.
export function claimsOf(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))) ?? {};
  } catch {
    return {};
  }
}

// A token's expiry in milliseconds; 0 without one.
export function expiryOf(token) {
  return Number(claimsOf(token).exp) * 1000 || 0;
}

// A token's conversation; undefined without one.
export function conversationOf(token) {
  return claimsOf(token).conversation_id;
}

// A random UUID, also on pages without TLS, where crypto.randomUUID is missing.
export function randomId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
