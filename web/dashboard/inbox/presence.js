// Tells the other members that this one has the conversation open, and whether they type.

import { useEffect, useRef } from "preact/hooks";

import { call } from "../api.js";

const REPEAT_MS = 20_000;
const PAUSE_MS = 4_000;

// Returns what is called when something is typed, and with false when it was sent or taken away.
export function usePresence(conversation) {
  const tell = useRef(() => {});
  useEffect(() => {
    if (!conversation) return undefined;
    let typing = false;
    let pausing;
    const say = (more) => call("PUT", `/conversations/${conversation}/presence`, { body: { typing, ...more } }).catch(() => {});
    const repeat = () => !document.hidden && say();
    const change = (is) => {
      clearTimeout(pausing);
      if (is) pausing = setTimeout(change, PAUSE_MS, false);
      if (is === typing) return;
      typing = is;
      say();
    };
    const onVisibility = () => (document.hidden ? (change(false), say({ present: false })) : say());
    tell.current = change;
    repeat();
    const timer = setInterval(repeat, REPEAT_MS);
    document.addEventListener("visibilitychange", onVisibility);
    return () => {
      clearInterval(timer);
      clearTimeout(pausing);
      document.removeEventListener("visibilitychange", onVisibility);
      typing = false;
      tell.current = () => {};
      say({ present: false });
    };
  }, [conversation]);
  return tell;
}
