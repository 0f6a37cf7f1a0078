// The element, the JavaScript API, and the start: one chat for the script tag that brought it.

class SwitchboardChat extends HTMLElement {
  #options = null;
  #view = null;
  #conversation = null;
  #identifying = null; // the last call of identify

  // Create the chat; called once, after the element is in the page.
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
    this.#enter(options.identity);
    document.addEventListener("visibilitychange", () => this.#follow());
    if (options.open) this.open();
  }

  open() {
    if (this.#view.isOpen) return;
    this.#view.open();
    this.#follow();
    this.#tell("open");
  }

  close() {
    if (!this.#view.isOpen) return;
    this.#view.close();
    this.#follow();
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
    const render = () => this.#view.render(conversation);
    conversation.addEventListener("change", render);
    conversation.addEventListener("progress", () => this.#view.grow(conversation.live));
    for (const name of ["registered", "turn", "message", "error"]) {
      conversation.addEventListener(name, ({ detail }) => this.#tell(name, detail));
    }
    conversation.addEventListener("unsent", ({ detail }) => this.#view.giveBack(detail.text));
    conversation.addEventListener("message", ({ detail }) => {
      if (detail.role !== "contact" && !this.#view.isOpen) this.#view.unread = true;
    });
    render();
    this.#follow();
  }

  // Other senders' messages are followed while the page is visible: a page in the background sends no requests.
  #follow() {
    this.#conversation.follow(this.#view.isOpen && document.visibilityState === "visible");
  }

  async #register(profile) {
    try {
      await this.#conversation.register(profile);
    } catch (error) {
      const { labels } = this.#options;
      this.#view.refuse(error instanceof Unreachable ? labels[error.reason] : error.message || labels.failed);
      this.#tell("error", { code: error.code || error.reason || "internal_error", title: error.message });
    }
  }

  #tell(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(`switchboard:${name}`, { detail, bubbles: true, composed: true }));
  }
}

const script = document.currentScript;

function begin() {
  if (customElements.get("switchboard-chat")) {
    console.warn("Switchboard: the page has a chat already; this script tag is left alone.");
    return;
  }
  let options;
  try {
    options = readOptions(script);
  } catch (error) {
    console.error(`Switchboard: ${error.message}.`);
    return;
  }
  customElements.define("switchboard-chat", SwitchboardChat);
  const element = document.createElement("switchboard-chat");
  document.body.append(element);
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
