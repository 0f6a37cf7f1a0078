// The sessions of a tab of the inbox, live.

import { useEffect, useMemo } from "preact/hooks";

import { user } from "../account.js";
import { get } from "../api.js";
import { usePages } from "../data.js";
import { listen } from "../live.js";
import { workspace } from "../workspace.js";
import { lastRead } from "./reading.js";

export const TABS = ["unread", "mine", "unassigned", "all"];
const LIVE = ["active", "paused"];

// What the tab asks the route for. Sessions that have ended are left out unless they are unread or asked for.
function queryOf(tab, withEnded) {
  return {
    workspace_id: workspace.value.id,
    limit: 50,
    order: "activity",
    unread: tab === "unread" ? true : undefined,
    assigned_user_id: tab === "mine" ? user.value.id : undefined,
    unassigned: tab === "unassigned" ? true : undefined,
    status: tab === "unread" || withEnded ? undefined : LIVE,
  };
}

function fits(session, tab, withEnded) {
  if (tab === "unread") return Boolean(session.unread);
  if (!withEnded && !LIVE.includes(session.status)) return false;
  if (tab === "mine") return session.assigned_user_id === user.value.id;
  return tab !== "unassigned" || !session.assigned_user_id;
}

// As the route sorts them: by the last message of the contact, so that an answer does not move its conversation away.
const latestFirst = (one, other) => (keyOf(one) < keyOf(other) ? 1 : -1);
const keyOf = ({ last_activity_at, id }) => last_activity_at + id;

// The pages of a tab (usePages), the sessions in the order of their last activity. A session that is `open` stays, so that it
// does not vanish under its reader's eyes.
export function useInbox(tab, withEnded, open) {
  const pages = usePages("/chat-sessions", queryOf(tab, withEnded));
  const { setItems, reload } = pages;

  useEffect(() => {
    const put = (session) =>
      setItems((items) => {
        const rest = items.filter(({ id }) => id !== session.id);
        const wasThere = rest.length < items.length;
        return fits(session, tab, withEnded) || (wasThere && session.id === open) ? [session, ...rest] : rest;
      });

    // The event lacks the names and whether it is unread, which the list shows.
    async function read(id) {
      try {
        put(await get(`/chat-sessions/${id}`, { limit: 1 }));
      } catch {
        // It may be gone already; the next change tells.
      }
    }

    const waiting = new Map();
    const stop = listen(({ event, data }) => {
      if (event === "reset") return reload();
      const id = data?.session_id;
      if (event === "removed") return setItems((items) => items.filter((each) => each.id !== id));
      if (event !== "session") return undefined;
      setItems((items) => items.map((each) => (each.id === id ? { ...each, ...changesOf(data) } : each)));
      clearTimeout(waiting.get(id));
      waiting.set(id, setTimeout(read, 150, id));
      return undefined;
    });
    return () => {
      stop();
      waiting.forEach(clearTimeout);
    };
  }, [setItems, reload, tab, withEnded, open]);

  const read = lastRead.value;
  useEffect(() => {
    const seen = (each) => (each.conversation_id === read?.conversation ? { ...each, unread: false } : each);
    setItems((all) => all.map(seen).filter((each) => tab !== "unread" || each.unread || each.id === open));
  }, [setItems, read, tab, open]);

  const items = useMemo(() => pages.items && [...pages.items].sort(latestFirst), [pages.items]);
  return { ...pages, items };
}

function changesOf({ status, taken_over, assigned_user_id, message_count, last_activity_at, last_message }) {
  const changes = { status, taken_over, message_count, last_activity_at, assigned_user_id: assigned_user_id ?? undefined };
  return last_message ? { ...changes, last_message } : changes;
}
