// A list of sessions, read by the stock JavaScript client from a view.
// Arguments: URL, publishable key, the caller's token, the view, the workspace's id. Prints the rows as JSON.

import { createClient } from "@supabase/supabase-js";

const [url, publishableKey, token, view, workspaceId] = process.argv.slice(2);
const client = createClient(url, publishableKey, {
  accessToken: async () => token,
  // Node has no WebSocket of its own before 22; nothing here listens, so any class will do.
  realtime: { transport: class {} },
});

const { data, error } = await client
  .from(view)
  .select()
  .eq("workspace_id", workspaceId)
  .in("status", ["completed", "failed"])
  .order("created_at", { ascending: false })
  .order("id", { ascending: false })
  .limit(10);
if (error) throw error;
console.log(JSON.stringify(data));
