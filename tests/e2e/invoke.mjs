// `functions.invoke` of the stock JavaScript client against a running stack: registers, lists, changes and is refused.
// Arguments: URL, public key, a space's id. Prints what it saw as JSON.

import { createClient } from "@supabase/supabase-js";

const [url, key, space] = process.argv.slice(2);
// Node has no WebSocket of its own before 22; nothing here listens, so any class will do.
const realtime = { transport: class {} };
const stranger = createClient(url, key, { realtime });
const seen = {};

const invoke = async (client, path, options) => {
  const { data, error } = await client.functions.invoke(path, options);
  return error ? [error.context.status, (await error.context.json()).code] : data;
};

const arrival = { body: { email: "invoke@example.com" } };
const registered = await invoke(stranger, `registration/space/${space}/register`, arrival);
seen.registered = registered.success;

const contact = createClient(url, key, { realtime, accessToken: async () => registered.token });
const { items } = await invoke(contact, "sessions/chat-sessions", { method: "GET" });
seen.found = items.map((item) => item.id === registered.session.id);
const cancelled = await invoke(contact, `sessions/chat-sessions/${items[0].id}/cancel`, { method: "PATCH" });
seen.cancelled = cancelled.status;

seen.anonymous = await invoke(stranger, "sessions/chat-sessions", { method: "GET" });
seen.invalid = await invoke(stranger, `registration/space/${space}/register`, { body: {} });
seen.foreign = await invoke(stranger, "registration/chat-sessions", { method: "GET" });
seen.unknown = await invoke(stranger, "nothing/chat-sessions", { method: "GET" });

console.log(JSON.stringify(seen));
