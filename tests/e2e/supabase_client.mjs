// The stock JavaScript client against a running stack: signs in, reads under row-level security, refreshes, signs out.
// Arguments: URL, publishable key, secret key, email, password, workspace id. Prints what it saw as JSON.

import { createClient } from "@supabase/supabase-js";

const [url, publishableKey, secretKey, email, password, workspaceId] = process.argv.slice(2);
// Node has no WebSocket of its own before 22; nothing here listens, so any class will do.
const options = {
  auth: { persistSession: false, autoRefreshToken: false },
  realtime: { transport: class {} },
};
const client = createClient(url, publishableKey, options);
const seen = {};

const names = async (from) => {
  const { data, error } = await from.from("workspaces").select("id").eq("id", workspaceId);
  return error ? error.code : data.map((row) => row.id);
};

seen.before = await names(client);

const wrong = await client.auth.signInWithPassword({ email, password: "not the password" });
seen.wrong = [wrong.error?.status, wrong.error?.code];

const signedIn = await client.auth.signInWithPassword({ email, password });
if (signedIn.error) throw signedIn.error;
seen.email = signedIn.data.user.email;
seen.signedIn = await names(client);

const refreshed = await client.auth.refreshSession();
if (refreshed.error) throw refreshed.error;
seen.rotated = refreshed.data.session.refresh_token !== signedIn.data.session.refresh_token;
seen.user = (await client.auth.getUser()).data.user?.email;

const token = refreshed.data.session.access_token;
const left = await client.auth.signOut();
seen.signOut = left.error ? left.error.message : "ok";
const gone = await client.auth.getUser(token);
seen.gone = gone.error?.name;

const visitor = createClient(url, publishableKey, options);
const anonymous = await visitor.auth.signInAnonymously({ options: { data: { via: "test" } } });
if (anonymous.error) throw anonymous.error;
seen.anonymous = [anonymous.data.user.is_anonymous, anonymous.data.user.user_metadata.via];
seen.asAnonymous = await names(visitor);

seen.service = await names(createClient(url, secretKey, options));

console.log(JSON.stringify(seen));
