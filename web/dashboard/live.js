// The changes of the workspace's sessions, from one stream for all views.

import { effect, signal } from "@preact/signals";

import { follow } from "./api.js";
import { workspace } from "./workspace.js";

// Whether changes arrive: "connecting", "live", "offline" or "refused".
export const connection = signal("connecting");
const listeners = new Set();

// Call `onChange` with each event, {event: "session" | "removed" | "reset", data}; "reset": read the list again. Returns what
// stops it.
export function listen(onChange) {
  listeners.add(onChange);
  return () => listeners.delete(onChange);
}

const tell = (change) => listeners.forEach((each) => each(change));

effect(() => {
  const { id } = workspace.value ?? {};
  if (!id) return undefined;
  const ending = new AbortController();
  read(id, ending.signal);
  return () => ending.abort();
});

async function read(id, signal) {
  connection.value = "connecting";
  const onState = (is) => {
    if (!signal.aborted) connection.value = is ? "live" : "offline";
  };
  try {
    for await (const { event, data } of follow(`/workspaces/${id}/stream`, { signal, onState })) {
      if (event === "begin") {
        if (data.reset) tell({ event: "reset" });
      } else tell({ event, data });
    }
  } catch {
    if (!signal.aborted) connection.value = "refused";
  }
}
