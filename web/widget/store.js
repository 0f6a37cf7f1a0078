// What is kept on the device, one entry of localStorage for each space and identity. Every change reads what is there first,
// because other tabs write it too; where storage is refused, it lasts as long as the page.

const MOST_MESSAGES = 50;
const MOST_CHARACTERS = 200_000;

function nothing() {
  return { version: 1, token: null, expires: 0, profile: null, skipped: false, messages: [], pending: null, place: null, takenOver: false };
}

class Store {
  #key;
  #memory = null;

  // `onForeignChange` is called when another tab has changed it.
  constructor(key, onForeignChange) {
    this.#key = key;
    this.onStorage = (event) => {
      if (event.storageArea === localStorage && (event.key === key || event.key === null)) onForeignChange();
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
      // Refused, or not ours: as if there was nothing.
    }
    return nothing();
  }

  change(edit) {
    const state = this.read();
    edit(state);
    bound(state);
    try {
      localStorage.setItem(this.#key, JSON.stringify(state));
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
      // It was never kept.
    }
  }
}

function expired(state) {
  if (state.token && state.expires && state.expires < Date.now()) state.token = null;
  return state;
}

function bound(state) {
  state.messages.splice(0, Math.max(0, state.messages.length - MOST_MESSAGES));
  let characters = state.messages.reduce((sum, message) => sum + message.text.length, 0);
  while (characters > MOST_CHARACTERS && state.messages.length > 2) characters -= state.messages.shift().text.length;
}

// What a token says of itself; nothing where it cannot be read.
function claimsOf(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))) ?? {};
  } catch {
    return {};
  }
}

// When a token ends, in milliseconds; 0 where it does not say.
function expiryOf(token) {
  return Number(claimsOf(token).exp) * 1000 || 0;
}

// The conversation that a token is for; undefined where it does not say.
function conversationOf(token) {
  return claimsOf(token).conversation_id;
}

// A random UUID, also on pages without TLS, where crypto.randomUUID is missing.
function randomId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
