// The sessions' list as it changes.

import { useEffect, useRef } from "preact/hooks";

import { get } from "../api.js";
import { listen } from "../live.js";

const PAUSE_MS = 1_500;
const KEPT = ["status", "workflow_step", "taken_over", "assigned_user_id", "message_count", "last_activity_at"];

// Changes of listed sessions are shown in their rows. For others the first page is read again after a moment: whether they fit
// the filters is for the server to say.
export function useChanges(pages, query) {
  const latest = useRef();
  latest.current = { pages, query };
  useEffect(() => {
    let timer;
    async function readFirst() {
      timer = undefined;
      const { query: asked } = latest.current;
      try {
        const { items } = await get("/chat-sessions", asked);
        if (latest.current.query !== asked) return;
        latest.current.pages.setItems((before) => {
          const known = new Set(before.map(({ id }) => id));
          return [...items.filter(({ id }) => !known.has(id)), ...before];
        });
      } catch {
        // The next change tries again, and so does the button beside the list's own failure.
      }
    }
    const put = (id, now) =>
      latest.current.pages.setItems((before) => before.map((each) => (each.id === id ? { ...each, ...now } : each)));
    // The next change tries again.
    const readRow = (id) => get(`/chat-sessions/${id}`, { limit: 1 }).then((now) => put(id, now), () => {});
    const stop = listen(({ event, data }) => {
      const { items = [], setItems, reload } = latest.current.pages;
      if (event === "reset") return void reload();
      const id = data?.session_id;
      if (event === "removed") return void setItems((before) => before.filter((each) => each.id !== id));
      if (event !== "session") return;
      const listed = items.find((each) => each.id === id);
      if (!listed) timer ??= setTimeout(readFirst, PAUSE_MS);
      // Of what the event does not have, the row shows tags and the contact's name.
      else if (KEPT.every((name) => listed[name] === data[name])) readRow(id);
      else put(id, Object.fromEntries(KEPT.map((name) => [name, data[name]])));
    });
    return () => (stop(), clearTimeout(timer));
  }, []);
}
