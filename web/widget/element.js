// The element, the JavaScript API, and the start: one chat for the script tag that brought it.

import { Conversation } from "./conversation.js";
import { labelOf } from "./failures.js";
import { dressed, fetchLook } from "./look.js";
import { readIdentity, readOptions } from "./options.js";
import { tab } from "./store.js";
import { STYLES, paint } from "./styles.js";
import { View } from "./view.js";
import { Unreachable } from "./wire.js";

class SwitchboardChat extends HTMLElement {
  #options = null;
  #view = null;
  #conversation = null;
  #identifying = null; // the last call of identify
  #attention = 0; // the timer that ends the following of a closed chat
  #isRemoved = false;

  // Create the chat and put it on the page; called once.
  start(options) {
    this.#options = options;
    for (const name of ["scheme", "position"]) this.setAttribute(name, options[name]);
    if (options.direction) this.setAttribute("dir", options.direction);
    const root = this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLES);
    root.adoptedStyleSheets = [sheet];
    if (options.color) paint(this, options.color);
    this.#view = new View(root, options, {
      open: () => this.open(),
      close: () => this.close(),
      send: (text) => this.send(text),
      stop: () => this.#conversation.stop(),
      retry: () => this.#conversation.retry(),
      forget: () => this.forget(),
      register: (profile) => this.#register(profile),
      skip: () => this.#conversation.skipRegistration(),
    });
    document.body.append(this);
    this.#enter(options.identity);
    document.addEventListener("visibilitychange", () => {
      this.#read();
      this.#follow();
    });
    const wasOpen = tab.get(this.#openKey);
    if (wasOpen ? wasOpen === "true" : options.open) this.open(!wasOpen);
  }

  connectedCallback() {
    // A page that caches its pages (Turbo) copies the element, and a copy has no visitor.
    if (!this.#options) super.remove();
    else this.#view?.reconnected();
  }

  // A page that replaces its body, or the content of its body, keeps the chat.
  disconnectedCallback() {
    if (!this.#options) return;
    queueMicrotask(() => {
      if (!this.#isRemoved && !this.isConnected) document.body?.append(this);
    });
  }

  // Take the chat off the page.
  remove() {
    this.#isRemoved = true;
    this.#conversation.close();
    super.remove();
  }

  open(takesFocus = true) {
    if (this.#view.isOpen) return;
    this.#view.open(takesFocus);
    this.#read();
    this.#follow();
    tab.set(this.#openKey, true);
    this.#tell("open");
  }

  close() {
    if (!this.#view.isOpen) return;
    this.#view.close();
    this.#follow();
    tab.set(this.#openKey, false);
    this.#tell("close");
  }

  // Send a message of the visitor; false if it could not be sent, and the text then waits in the field.
  send(text) {
    if (this.#conversation.needsRegistration) {
      this.#view.type(text);
      this.open();
      return false;
    }
    return this.#conversation.send(String(text));
  }

  // Set the visitor: {identity_token, first_name?} or {email, email_hmac?, first_name?}; null for an unknown one. The token may
  // be a function that returns one. Each visitor has their own conversation and storage.
  async identify(given) {
    const call = (this.#identifying = Symbol("identify"));
    const renew = typeof given?.identity_token === "function" ? given.identity_token : null;
    if (renew) given = { ...given, identity_token: await renew() };
    // A later call counts, such as that of a sign-out.
    if (call === this.#identifying) this.#enter(readIdentity(given, renew));
  }

  forget() {
    this.#conversation.forget();
    this.#view.type("");
    this.#tell("forget");
  }

  #enter(identity) {
    this.#conversation?.close();
    const conversation = new Conversation(this.#options, identity);
    this.#conversation = conversation;
    const render = () => {
      this.#read();
      this.#view.render(conversation);
    };
    conversation.addEventListener("change", render);
    conversation.addEventListener("change", () => this.#follow());
    conversation.addEventListener("progress", () => this.#view.grow(conversation.live));
    for (const name of ["registered", "turn", "message", "error"]) {
      conversation.addEventListener(name, ({ detail }) => this.#tell(name, detail));
    }
    conversation.addEventListener("unsent", ({ detail }) => this.#view.giveBack(detail.text));
    conversation.addEventListener("message", ({ detail }) => {
      if (detail.role !== "contact" && !this.#view.isOpen) conversation.countUnread();
    });
    render();
    this.#follow();
  }

  get #openKey() {
    return `switchboard:open:${this.#options.api}:${this.#options.space}`;
  }

  // What an open chat shows counts as read.
  #read() {
    if (this.#view.isOpen && document.visibilityState === "visible") this.#conversation.markRead();
  }

  // Other senders' messages are followed while the page is visible: a page in the background sends no requests. A closed chat
  // follows them for a while only.
  #follow() {
    clearTimeout(this.#attention);
    const isVisible = document.visibilityState === "visible";
    this.#conversation.follow(isVisible);
    if (!isVisible || this.#view.isOpen) return;
    const conversation = this.#conversation;
    this.#attention = setTimeout(() => conversation.follow(false), conversation.attention);
  }

  async #register(profile) {
    try {
      await this.#conversation.register(profile);
    } catch (error) {
      const { labels } = this.#options;
      const name = error instanceof Unreachable ? error.reason : error.code === "invalid_body" ? "emailInvalid" : labelOf(error.code);
      this.#view.refuse(labels[name].replace("{seconds}", error.retryAfter ?? 60));
      this.#tell("error", { code: error.code || error.reason || "internal_error", title: error.message });
    }
  }

  #tell(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(`switchboard:${name}`, { detail, bubbles: true, composed: true }));
  }
}

// A module script does not know its tag.
const script = document.currentScript ?? document.querySelector('script[type="module"][data-space]');

async function begin() {
  const known = customElements.get("switchboard-chat");
  if (known) {
    // A page that swaps its body runs the same tag again.
    if (known.space !== script?.dataset.space) console.warn("Switchboard: the page has a chat already; this script tag is left alone.");
    return;
  }
  let options;
  try {
    if (!script) throw new Error("a module script needs a tag with data-space");
    options = readOptions(script);
  } catch (error) {
    console.error(`Switchboard: ${error.message}.`);
    return;
  }
  customElements.define("switchboard-chat", SwitchboardChat);
  SwitchboardChat.space = options.space;
  options = dressed(options, await fetchLook(options));
  const element = document.createElement("switchboard-chat");
  element.start(options);
  window.Switchboard = {
    element,
    open: () => element.open(),
    close: () => element.close(),
    send: (text) => element.send(text),
    identify: (identity) => element.identify(identity),
    forget: () => element.forget(),
  };
  document.dispatchEvent(new CustomEvent("switchboard:ready", { detail: { element } }));
}

if (document.body) begin();
else document.addEventListener("DOMContentLoaded", begin, { once: true });
