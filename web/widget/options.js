// The settings of a page: attributes of the script tag. docs/widget.md has the tables.

// Reads the attributes of the script tag. Throws with a sentence for the page's developer.
export function readOptions(script) {
  const data = script.dataset;
  if (!data.space) throw new Error("data-space is missing on the script tag");
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
    language: data.language || document.documentElement.lang || "en",
    labels: {
      ...(data.title ? { title: data.title } : {}),
      ...(data.greeting === undefined ? {} : { greeting: data.greeting }),
      ...labels,
    },
  };
}

// The visitor whom the page names; null for an unknown one. `renew`, if there is one, returns a new identity token.
export function readIdentity(given, renew = null) {
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
