// The signed-in user. supabase-js keeps the tokens in its storage and renews them; the page reads them from it for each request.

import { signal } from "@preact/signals";
import { createClient } from "@supabase/supabase-js";

import { config } from "./config.js";

const { auth } = createClient(config.supabase_url, config.supabase_key);

// Undefined until it is known, null if signed out, or {id, email}.
export const user = signal();

auth.onAuthStateChange((_, session) => {
  const { id, email } = session?.user ?? {};
  // A renewed token is no other user: what is shown stays.
  if (user.value === undefined || user.value?.id !== id) user.value = id ? { id, email } : null;
});

// The user's token, renewed if it is about to expire; null if signed out. Throws if it cannot be renewed now: without it the
// functions would take the user for signed out.
export async function token() {
  const { data, error } = await auth.getSession();
  if (isOutage(error)) throw error;
  return data.session?.access_token ?? null;
}

const isOutage = (error) => error?.name === "AuthRetryableFetchError";

// Sign in; the reason if it fails: "refused", "offline" or what Auth says.
export async function signIn(email, password) {
  const { error } = await auth.signInWithPassword({ email, password });
  if (!error) return null;
  if (isOutage(error)) return "offline";
  return error.code === "invalid_credentials" ? "refused" : error.message;
}

// Sign out here; other devices stay signed in. Whether the user is signed out, which an outage prevents.
export const signOut = async () => !(await auth.signOut({ scope: "local" })).error;
