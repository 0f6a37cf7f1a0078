// The settings of a page: attributes of the script tag, and the words shown. docs/widget.md has the tables.

const LABELS = {
  title: "Chat",
  greeting: "Hello! What can we do for you?",
  open: "Open the chat",
  openUnread: "Open the chat: there is a new answer",
  close: "Close the chat",
  conversation: "Conversation",
  you: "You",
  them: "Answer",
  member: "Team member",
  takenOver: "A member of the team answers you now.",
  message: "Your message",
  send: "Send",
  stop: "Stop the answer",
  writing: "The answer is being written.",
  stopped: "Stopped",
  registerLead: "Who are we talking with?",
  email: "Email",
  name: "Name",
  optional: "if you like",
  start: "Start the chat",
  skip: "Continue without",
  forget: "Start over",
  forgetLead: "Forget this conversation on this device?",
  forgetYes: "Forget it",
  forgetNo: "Keep it",
  tryAgain: "Try again",
  notSent: "Your message was not sent.",
  interrupted: "The answer was interrupted.",
  offline: "You are offline. This goes on as soon as you are back.",
  reconnecting: "The connection was lost. Reconnecting…",
  unreachable: "The chat cannot be reached at the moment.",
  blocked: "This chat is not allowed on this page. The owner of the page has to allow it.",
  busy: "A lot is going on. Trying again in {seconds} s.",
  busyLater: "A lot is going on. Please try again in {seconds} s.",
  waitingForEarlier: "The message before is still being answered. Yours is next.",
  startedAnew: "Your earlier visit had expired, so a new conversation has begun.",
  notStopped: "The answer could not be stopped.",
  failed: "Something went wrong.",
};

const RIGHT_TO_LEFT = ["ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"];

// Reads the attributes of the script tag. Throws with a sentence for the page's developer.
function readOptions(script) {
  const data = script.dataset;
  if (!data.space) throw new Error("data-space is missing on the script tag");
  const language = data.language || "";
  let labels = {};
  try {
    labels = JSON.parse(data.labels || "{}");
  } catch {
    throw new Error("data-labels is no JSON object");
  }
  const register = data.register || "off";
  if (!["off", "optional", "required"].includes(register)) throw new Error(`data-register cannot be ${register}`);
  const api = withoutSlash(new URL(data.api || ".", data.api ? document.baseURI : script.src).href);
  return {
    space: data.space,
    api,
    registration: data.registration ? withoutSlash(new URL(data.registration, document.baseURI).href) : api,
    conversations: data.conversations ? withoutSlash(new URL(data.conversations, document.baseURI).href) : api,
    register,
    identity: readIdentity({
      email: data.email,
      email_hmac: data.emailHmac,
      identity_token: data.identityToken,
      first_name: data.name,
    }),
    color: data.color && CSS.supports("color", data.color) ? data.color : "",
    scheme: data.scheme || "auto",
    position: data.position || "end",
    open: "open" in data && data.open !== "false",
    language,
    direction: RIGHT_TO_LEFT.includes(language.split("-")[0].toLowerCase()) ? "rtl" : "",
    labels: {
      ...LABELS,
      ...(data.title ? { title: data.title } : {}),
      ...(data.greeting === undefined ? {} : { greeting: data.greeting }),
      ...labels,
    },
  };
}

// The visitor whom the page names; null for an unknown one. `renew`, if there is one, returns a new identity token.
function readIdentity(given, renew = null) {
  if (!given?.email && !given?.identity_token) return null;
  return {
    email: given.email || null,
    email_hmac: given.email_hmac || null,
    identity_token: given.identity_token || null,
    first_name: given.first_name?.trim() || null,
    renew,
  };
}

function withoutSlash(url) {
  return url.split(/[?#]/)[0].replace(/\/+$/, "");
}
