// Moving through a list with keys: j and k, Enter opens, x selects, / goes to the search.

import { useEffect, useRef, useState } from "preact/hooks";

import { useKeys } from "../keys.js";

// The place of the row that the keys have reached; -1 at first. `open` and `toggle` are called with its item.
export function useCursor(items, open, toggle) {
  const [at, setAt] = useState(-1);
  const latest = useRef();
  latest.current = { items: items ?? [], at, open, toggle };
  const move = (by) => setAt((before) => Math.max(0, Math.min(before + by, latest.current.items.length - 1)));
  const on = (name) => () => {
    const item = latest.current.items[latest.current.at];
    if (item) latest.current[name](item);
  };
  useKeys([
    ["j", "list.next", () => move(1)],
    ["k", "list.previous", () => move(-1)],
    ["Enter", "list.open", on("open")],
    ...(toggle ? [["x", "list.select", on("toggle")]] : []),
    ["/", "list.search", () => document.querySelector("input[type=search]")?.focus()],
  ], [Boolean(toggle)]);
  useEffect(() => setAt((before) => Math.min(before, latest.current.items.length - 1)), [items?.length]);
  return at;
}
