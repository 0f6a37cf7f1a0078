// The newest rows of a view, read by the stock JavaScript client.
// Arguments: URL, publishable key, the caller's token, the view, filters as JSON: [["eq", "status", "active"], …].
// Prints the rows as JSON.

import { createClient } from "@supabase/supabase-js";

const [url, publishableKey, token, view, filters] = process.argv.slice(2);
const client = createClient(url, publishableKey, {
  accessToken: async () => token,
  // Node has no WebSocket of its own before 22; nothing here listens, so any class will do.
  realtime: { transport: class {} },
});

let query = client.from(view).select();
for (const [filter, column, value] of JSON.parse(filters)) query = query[filter](column, value);
const { data, error } = await query
  .order("created_at", { ascending: false })
  .order("id", { ascending: false })
  .limit(10);
if (error) throw error;
console.log(JSON.stringify(data));
