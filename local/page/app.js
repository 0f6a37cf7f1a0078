// The demo page: register once, then chat; the answer arrives as server-sent events and is shown as it comes.

const at = (id) => document.getElementById(id);
const STORED = "switchboard.contact";
const RESUMES = 3;

class Refusal extends Error {}

let space = null;
let contact = null; // {space, token, session}

function showProblem(text) {
  at("problem").textContent = text;
  at("problem").hidden = !text;
}

function showSession(id, status) {
  if (id) at("session-id").textContent = id;
  at("session-status").textContent = status;
}

function keep(changes) {
  contact = { ...contact, ...changes };
  sessionStorage.setItem(STORED, JSON.stringify(contact));
}

function showChat() {
  at("lead").hidden = true;
  at("register").hidden = true;
  at("chat").hidden = false;
  showSession(contact.session.id, contact.session.status);
  at("message").focus();
}

// What an answer that is no success says about itself: problem+json, or at least its status.
async function refusal(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // Not JSON: a proxy's page, perhaps.
  }
  const fields = (problem.errors ?? []).map((error) => `${error.field}: ${error.message}`);
  const said = [problem.title ?? `The server answered ${response.status}`, problem.detail, ...fields];
  const parts = said.filter(Boolean).map((part) => (/[.!?]$/.test(part) ? part : `${part}.`));
  const wait = Number(problem.retry_after ?? response.headers.get("retry-after"));
  if (wait) parts.push(`Try again in ${wait} s.`);
  return new Refusal(parts.join(" "));
}

// Server-sent events of a response, as {id, event, data}; comments (heartbeats) are passed over.
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split(/\r?\n\r?\n/);
    text = blocks.pop();
    for (const block of blocks) {
      const found = { id: null, event: "message", data: "" };
      for (const line of block.split(/\r?\n/)) {
        const [, field, content] = /^([^:]*):? ?(.*)$/.exec(line);
        if (field === "data") found.data += content;
        else if (field) found[field] = content;
      }
      if (found.data) yield { ...found, data: JSON.parse(found.data) };
    }
  }
}

function addMessage(text, kind) {
  const item = document.createElement("li");
  item.className = kind;
  item.textContent = text;
  at("messages").append(item);
  item.scrollIntoView({ block: "end" });
  return item;
}

// Show one stream in the bubble; tells what to resume when it broke off before its last event.
async function follow(response, bubble, progress) {
  for await (const { id, event, data } of events(response)) {
    if (id) progress.after = Number(id);
    if (event === "turn") {
      progress.turn = data.turn_id;
      keep({ session: { id: data.session_id, status: "active" }, ...(data.token ? { token: data.token } : {}) });
      showSession(data.session_id, "answering");
    } else if (event === "delta") {
      bubble.textContent += data.text;
      bubble.scrollIntoView({ block: "end" });
    } else if (event === "done") {
      progress.over = true;
      showSession(null, data.status);
    } else if (event === "error") {
      progress.over = true;
      showSession(null, "failed");
      throw new Refusal(`${data.title ?? data.code}${data.retryable ? " You can send it again." : ""}`);
    }
  }
}

async function ask(message, bubble) {
  const authorization = { Authorization: `Bearer ${contact.token}` };
  const progress = { turn: null, after: 0, over: false };
  let response = await fetch(`/space/${encodeURIComponent(contact.space)}/chat/stream`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream", ...authorization },
    body: JSON.stringify({ message, client_message_id: crypto.randomUUID() }),
  });
  for (let resumed = 0; ; resumed += 1) {
    if (!response.ok) throw await refusal(response);
    try {
      await follow(response, bubble, progress);
    } catch (error) {
      if (error instanceof Refusal || !progress.turn || resumed === RESUMES) throw error;
    }
    if (progress.over) return;
    if (!progress.turn || resumed === RESUMES) throw new Refusal("The answer broke off.");
    response = await fetch(`/turns/${progress.turn}/stream?after=${progress.after}`, { headers: authorization });
  }
}

// Run what a form does with its button off, and show what goes wrong.
function onSubmit(form, work) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button[type=submit]");
    if (button.disabled) return;
    showProblem("");
    button.disabled = true;
    try {
      await work(new FormData(form));
    } catch (error) {
      showProblem(error instanceof Refusal ? error.message : "The server cannot be reached. Try again in a moment.");
    } finally {
      button.disabled = false;
    }
  });
}

onSubmit(at("register"), async (fields) => {
  const body = { email: fields.get("email"), source: "demo page" };
  if (fields.get("first_name").trim()) body.first_name = fields.get("first_name").trim();
  const response = await fetch(`/space/${encodeURIComponent(space)}/register`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw await refusal(response);
  const { token, session } = await response.json();
  keep({ space, token, session });
  showChat();
});

onSubmit(at("compose"), async (fields) => {
  const message = fields.get("message").trim();
  if (!message) return;
  const mine = addMessage(message, "mine");
  const bubble = addMessage("", "theirs");
  // A screen reader hears the whole answer once, not every word as it comes.
  bubble.setAttribute("aria-busy", "true");
  at("message").value = "";
  try {
    await ask(message, bubble);
  } catch (error) {
    if (!bubble.textContent) {
      bubble.remove();
      mine.remove();
      at("message").value = message;
    }
    throw error;
  } finally {
    bubble.setAttribute("aria-busy", "false");
    at("message").focus();
  }
});

at("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("compose").requestSubmit();
  }
});

at("leave").addEventListener("click", () => {
  sessionStorage.removeItem(STORED);
  location.reload();
});

async function start() {
  space = new URLSearchParams(location.search).get("space") ?? (await (await fetch("/demo.json")).json()).space_id;
  const stored = JSON.parse(sessionStorage.getItem(STORED) ?? "null");
  if (stored?.space === space) {
    contact = stored;
    showChat();
  } else {
    at("email").focus();
  }
}

start().catch(() => showProblem("The server cannot be reached. Load the page again in a moment."));
