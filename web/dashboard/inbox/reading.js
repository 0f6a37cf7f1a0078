// Marks what a member sees as read.

import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";

import { call } from "../api.js";

const MOMENT_MS = 400;

// The conversation that was marked last, {conversation}, in any tab of the browser: no stream tells the list.
export const lastRead = signal(null);
const tabs = new BroadcastChannel("switchboard:read");
tabs.onmessage = ({ data }) => (lastRead.value = data);

export function useReading(conversation, message_id) {
  const [isVisible, setVisible] = useState(!document.hidden);
  useEffect(() => {
    const look = () => setVisible(!document.hidden);
    document.addEventListener("visibilitychange", look);
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
  useEffect(() => {
    if (!conversation || !message_id || !isVisible) return undefined;
    async function mark() {
      try {
        await call("PUT", `/conversations/${conversation}/read`, { body: { message_id } });
        lastRead.value = { conversation };
        tabs.postMessage(lastRead.value);
      } catch {
        // It stays unread, and the next message marks it.
      }
    }
    const timer = setTimeout(mark, MOMENT_MS);
    return () => clearTimeout(timer);
  }, [conversation, message_id, isVisible]);
}
