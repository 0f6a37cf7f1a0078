// The user interface: a launcher and a dialog, built of elements and text nodes only, so that no message is parsed as markup.

import { draw, icon, linked, make } from "./dom.js";
import { showMarkdown } from "./markdown.js";
import { SMALL } from "./styles.js";

const ICONS = {
  chat: ["M4 5h16v11H10l-4 4v-4H4z", "M8 9h8M8 12h5"],
  close: ["M6 6l12 12M18 6L6 18"],
  again: ["M5 12a7 7 0 1 0 2.2-5.1L5 9", "M5 4.5V9h4.5"],
  send: ["M4 12h15M13 6l6 6-6 6"],
  stop: ["M7 7h10v10H7z"],
};

export class View {
  #options;
  #actions;
  #shown = new Map(); // elements of messages by id
  #ticking = 0;
  #wasPending = false;
  #growing = 0; // the frame in which the growing answer is shown
  #clocks; // how times of today and of other days are written

  // `actions`: open, close, send, stop, retry, forget, register, skip.
  constructor(root, options, actions) {
    this.#options = options;
    this.#actions = actions;
    const clock = (style) => new Intl.DateTimeFormat(options.language, style);
    this.#clocks = [clock({ timeStyle: "short" }), clock({ dateStyle: "medium", timeStyle: "short" })];
    root.append(this.#build());
    this.small = matchMedia(SMALL);
    this.small.addEventListener("change", () => this.isOpen && this.#show());
    visualViewport?.addEventListener("resize", () => this.#fit());
    visualViewport?.addEventListener("scroll", () => this.#fit());
  }

  get isOpen() {
    return this.dialog.open;
  }

  // Without `takesFocus` the focus stays where it is, unless the dialog covers the page.
  open(takesFocus = true) {
    this.launcher.hidden = true;
    this.#show(takesFocus);
    if (takesFocus) this.focus();
    this.scroll.scrollTop = this.scroll.scrollHeight;
    // A screen reader does not announce existing messages.
    setTimeout(() => this.log.setAttribute("aria-live", "polite"), 500);
  }

  close() {
    this.log.setAttribute("aria-live", "off");
    this.dialog.close();
    this.launcher.hidden = false;
    this.launcher.focus();
  }

  // The page has moved the element: an open dialog that was modal no longer is, and is scrolled to its beginning.
  reconnected() {
    if (this.isOpen) this.open(false);
  }

  focus() {
    (this.form.hidden ? this.text : this.form.elements.email).focus();
  }

  // Render the conversation.
  render(conversation) {
    const asks = conversation.needsRegistration || (this.#options.register === "optional" && !conversation.started);
    const { pending, messages, notice, unread } = conversation;
    this.badge.hidden = !unread;
    this.badge.textContent = unread > 99 ? "99+" : unread;
    this.launcher.setAttribute("aria-label", unread ? this.#label("openUnread", { count: unread }) : this.#label("open"));
    const hadFocus = this.isOpen && this.dialog.matches(":focus-within");
    const formWasShown = !this.form.hidden;
    this.form.hidden = !asks;
    this.scroll.hidden = this.compose.hidden = asks;
    this.skip.hidden = conversation.needsRegistration;
    this.restart.hidden = !conversation.started;
    this.greeting.hidden = !this.greeting.textContent;
    this.replies.hidden = Boolean(messages.length || pending);

    const atEnd = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 80;
    this.#renderMessages(messages, pending);
    this.#renderDraft(pending, conversation.live);
    this.#renderNotice(notice);
    this.send.hidden = Boolean(pending);
    this.stop.hidden = !pending;
    this.stop.ariaDisabled = String(conversation.stopping); // not disabled, which would lose the focus
    this.said.textContent = pending && !conversation.takenOver ? this.#label("writing") : "";
    const person = conversation.takenOver ? this.#label("takenOver") : "";
    if (this.person.textContent !== person) this.person.textContent = person;
    if (atEnd || Boolean(pending) !== this.#wasPending) this.scroll.scrollTop = this.scroll.scrollHeight;
    this.#wasPending = Boolean(pending);
    if (this.isOpen && (formWasShown !== asks || (hadFocus && !this.dialog.matches(":focus-within")))) this.focus();
  }

  // The answer grew.
  grow(text) {
    cancelAnimationFrame(this.#growing);
    this.#growing = requestAnimationFrame(() => {
      const atEnd = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 80;
      this.#renderDraft({ text }, text);
      if (atEnd) this.scroll.scrollTop = this.scroll.scrollHeight;
    });
  }

  type(text) {
    this.text.value = text;
    this.#size();
  }

  // Put an accepted text that was not sent before the text that was typed since.
  giveBack(text) {
    this.type([text, this.text.value].filter(Boolean).join("\n"));
  }

  refuse(text) {
    this.error.textContent = text;
    this.error.hidden = !text;
  }

  #label(name, values = {}) {
    return String(this.#options.labels[name] ?? "").replace(/\{(\w+)\}/g, (_, key) => values[key] ?? "");
  }

  #build() {
    const label = (name) => this.#label(name);
    const act = this.#actions;
    this.badge = make("span", { class: "badge", "aria-hidden": "true", hidden: true });
    this.launcher = make("button", { class: "launcher", type: "button", "aria-haspopup": "dialog", "aria-label": label("open"), onclick: act.open },
      icon(...ICONS.chat), this.badge);
    this.restart = make("button", { type: "button", "aria-label": label("forget"), title: label("forget"), onclick: () => this.#askToForget() },
      icon(...ICONS.again));
    const close = make("button", { type: "button", "aria-label": label("close"), title: label("close"), onclick: act.close }, icon(...ICONS.close));
    this.greeting = make("p", { class: "greeting", dir: "auto" }, label("greeting"));
    this.log = make("div", { class: "log", role: "log", "aria-live": "off", "aria-label": label("conversation") });
    // The growing answer is outside of the log, so that it is announced once, when it is added.
    this.draftText = make("div", { class: "markdown", dir: "auto" });
    this.dots = make("span", { class: "dots" }, make("i"), make("i"), make("i"));
    this.draft = make("div", { class: "message persona draft", hidden: true }, this.draftText, this.dots);
    this.replies = this.#buildReplies();
    this.scroll = make("div", { class: "scroll", role: "group", tabindex: "0", "aria-label": label("conversation") },
      this.greeting, this.replies, this.log, this.draft);
    this.noticeText = make("p", { role: "status" });
    this.noticeYes = make("button", { type: "button", class: "quiet" });
    this.noticeNo = make("button", { type: "button", class: "quiet", onclick: () => (this.#renderNotice(this.lastNotice, true), this.restart.focus()) }, label("forgetNo"));
    this.notice = make("div", { class: "notice", hidden: true }, this.noticeText, this.noticeYes, this.noticeNo);
    this.person = make("p", { class: "person", role: "status", dir: "auto" });
    this.said = make("p", { class: "unseen", role: "status" });
    this.dialog = make("dialog", { "aria-labelledby": "title", oncancel: (event) => (event.preventDefault(), act.close()) },
      make("header", {}, ...this.#buildPersona(), this.restart, close),
      this.scroll, this.#buildForm(), this.person, this.notice, this.#buildCompose(), this.said);
    this.dialog.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
      event.preventDefault();
      event.stopPropagation();
      act.close();
    });
    const { language, direction } = this.#options;
    // The only landmark: the chat is one part of the page.
    const root = { class: "root", "aria-label": label("title"), lang: language, dir: direction || null };
    return make("section", root, this.launcher, this.dialog);
  }

  // The heading, with the persona's picture, and its name if the heading is another.
  #buildPersona() {
    const { persona } = this.#options;
    const picture = make("canvas", { class: "picture", "aria-hidden": "true", width: "80", height: "80", hidden: true });
    if (persona?.picture) draw(picture, persona.picture);
    const title = make("div", { class: "title" }, make("h2", { id: "title", dir: "auto" }, this.#label("title")));
    if (persona && persona.name !== this.#label("title")) title.append(make("p", { dir: "auto" }, persona.name));
    return [picture, title];
  }

  #buildReplies() {
    const reply = (text) => make("button", { type: "button", class: "quiet", dir: "auto", onclick: () => this.#actions.send(text) && this.focus() }, text);
    return make("div", { class: "replies", role: "group", "aria-label": this.#label("quickReplies") }, ...this.#options.quickReplies.map(reply));
  }

  #buildForm() {
    const label = (name) => this.#label(name);
    this.error = make("p", { class: "error", role: "alert", id: "error", hidden: true });
    this.skip = make("button", { type: "button", class: "quiet", onclick: this.#actions.skip }, label("skip"));
    // Forms are not submitted, because a sandboxed frame may not: their buttons and the Enter key do the work.
    const start = make("button", { type: "button", class: "strong" }, label("start"));
    this.form = make("form", { class: "register", autocomplete: "on", noValidate: true, hidden: true },
      ...(label("greeting") ? [make("p", { dir: "auto" }, label("greeting"))] : []),
      make("p", { class: "lead" }, label("registerLead")),
      make("label", { for: "email" }, label("email")),
      make("input", { id: "email", name: "email", type: "email", autocomplete: "email", maxlength: "254", required: true, "aria-describedby": "error" }),
      make("label", { for: "name" }, `${label("name")} `, make("span", {}, `(${label("optional")})`)),
      make("input", { id: "name", name: "name", type: "text", autocomplete: "given-name", maxlength: "200" }),
      this.error, start, this.skip);
    const submit = async () => {
      if (start.ariaDisabled === "true") return;
      const { email, name } = this.form.elements;
      this.refuse("");
      if (!email.checkValidity()) {
        this.refuse(label("emailInvalid"));
        email.setAttribute("aria-invalid", "true");
        email.focus();
        return;
      }
      email.removeAttribute("aria-invalid");
      start.ariaDisabled = "true";
      await this.#actions.register({ email: email.value.trim(), first_name: name.value.trim() || null });
      start.ariaDisabled = "false";
    };
    start.addEventListener("click", submit);
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing || event.target.localName !== "input") return;
      event.preventDefault();
      submit();
    });
    return this.form;
  }

  #buildCompose() {
    const label = (name) => this.#label(name);
    this.text = make("textarea", { rows: "1", maxlength: "16000", dir: "auto", enterkeyhint: "send", "aria-label": label("message"), placeholder: label("message") });
    const send = () => {
      if (this.#actions.send(this.text.value)) this.type("");
      this.text.focus();
    };
    this.send = make("button", { type: "button", class: "strong round send", onclick: send, "aria-label": label("send"), title: label("send") }, icon(...ICONS.send));
    this.stop = make("button", { type: "button", class: "strong round stop", "aria-label": label("stop"), title: label("stop"), hidden: true, onclick: this.#actions.stop },
      icon(...ICONS.stop));
    this.compose = make("div", { class: "compose" }, this.text, this.send, this.stop);
    this.text.addEventListener("input", () => this.#size());
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      send();
    });
    return this.compose;
  }

  // On a phone the dialog takes the whole screen and keeps the focus; else the page beside it stays usable.
  #show(takesFocus = true) {
    if (this.dialog.open) this.dialog.close();
    this.dialog.inert = !takesFocus && !this.small.matches; // an inert dialog takes no focus as it opens
    if (this.small.matches) this.dialog.showModal();
    else this.dialog.show();
    this.dialog.inert = false;
    this.#fit();
  }

  // A phone's keyboard shrinks the visible area and not the page (iOS): stay within the visible area.
  #fit() {
    if (!visualViewport || !this.small.matches || visualViewport.scale > 1.01) return;
    this.dialog.style.setProperty("--height", `${visualViewport.height}px`);
    this.dialog.style.setProperty("--top", `${visualViewport.offsetTop}px`);
  }

  #size() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight + 2, 160)}px`;
  }

  #renderMessages(messages, pending) {
    const wanted = new Set(messages.map((message) => message.id));
    for (const [id, element] of this.#shown) {
      if (wanted.has(id)) continue;
      element.remove();
      this.#shown.delete(id);
    }
    // An element in its place is kept, because every insertion into the log is announced.
    messages.forEach((message, place) => {
      if (!this.#shown.has(message.id)) this.#shown.set(message.id, this.#message(message));
      const element = this.#shown.get(message.id);
      if (this.log.children[place] !== element) this.log.insertBefore(element, this.log.children[place] ?? null);
    });
    for (const again of this.log.querySelectorAll(".again")) {
      again.hidden = Boolean(pending) || !this.log.lastChild.contains(again);
    }
  }

  #message({ role, text, at, failed, stopped }) {
    // The sender is shown by a text, not by the colour alone.
    const who =
      role === "member"
        ? make("span", { class: "from" }, this.#label("member"), make("span", { class: "unseen" }, ": "))
        : make("span", { class: "unseen" }, `${this.#label(role === "contact" ? "you" : "them")}: `);
    const item = make("div", { class: "entry" });
    if (text) {
      // The text has its own direction, the bubble the page's.
      const content = role === "contact" ? make("div", { dir: "auto" }, ...linked(text)) : make("div", { class: "markdown", dir: "auto" });
      if (role !== "contact") showMarkdown(content, text);
      item.append(make("div", { class: `message ${role}` }, who, content));
      if (at) item.append(this.#time(new Date(at), role));
    }
    if (stopped) item.append(make("p", { class: "after" }, this.#label("stopped")));
    if (failed) {
      // Older transcripts have errors without a label.
      const said = [failed.label ?? "failed", failed.why].filter(Boolean).map((name) => this.#label(name, { seconds: 60, ...failed })).join(" ");
      item.append(make("p", { class: "after failed", dir: "auto" }, said));
      if (failed.retry) item.append(make("button", { type: "button", class: "quiet again", onclick: this.#actions.retry }, this.#label("tryAgain")));
    }
    return item;
  }

  #time(date, role) {
    const isToday = date.toDateString() === new Date().toDateString();
    const attributes = { class: `at by-${role}`, datetime: date.toISOString() };
    return make("time", attributes, this.#clocks[isToday ? 0 : 1].format(date));
  }

  #renderDraft(pending, live) {
    cancelAnimationFrame(this.#growing);
    this.draft.hidden = !pending;
    showMarkdown(this.draftText, pending ? live || pending.text : "", true);
    this.dots.hidden = this.draftText.hasChildNodes();
  }

  #renderNotice(notice, answered = false) {
    if (!answered) this.lastNotice = notice;
    if (this.asking && !answered) return; // the question about forgetting stays until it is answered
    this.asking = false;
    clearInterval(this.#ticking);
    this.notice.hidden = !notice;
    this.noticeNo.hidden = true;
    if (notice) {
      this.notice.classList.toggle("problem", notice.kind === "problem");
      const say = () => {
        const text = this.#label(notice.label, { seconds: Math.max(1, Math.ceil((notice.until - Date.now()) / 1000)) });
        if (this.noticeText.textContent !== text) this.noticeText.textContent = text;
      };
      say();
      if (notice.until) this.#ticking = setInterval(say, 1000);
      this.noticeYes.hidden = !notice.retry;
      this.noticeYes.textContent = this.#label("tryAgain");
      this.noticeYes.onclick = this.#actions.retry;
    }
  }

  #askToForget() {
    this.#renderNotice({ kind: "info", label: "forgetLead" }, true);
    this.asking = true;
    this.noticeYes.hidden = this.noticeNo.hidden = false;
    this.noticeYes.textContent = this.#label("forgetYes");
    this.noticeYes.onclick = () => {
      this.asking = false;
      this.#actions.forget();
      this.focus();
    };
    this.noticeYes.focus();
  }
}
