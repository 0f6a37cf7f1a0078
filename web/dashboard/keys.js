// Keys without a modifier, which work while no field has the focus. `?` lists those of what is shown.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

// The keys of what is shown: {key, label, run}; a key such as "g s" is pressed one after the other.
export const keys = signal([]);

let pressed = "";
let pressedAt = 0;

// Keys that work while the calling component is shown: [[key, the name of its words, what it does]].
export function useKeys(own, inputs = []) {
  useEffect(() => {
    const added = own.map(([key, label, run]) => ({ key, label, run }));
    keys.value = [...keys.value, ...added];
    return () => (keys.value = keys.value.filter((each) => !added.includes(each)));
  }, inputs);
}

// Enter presses what has the focus.
const isPressing = ({ key, target }) => key === "Enter" && target.closest("a, button, summary");
const isTyping = (target) =>
  target.isContentEditable || (["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName) && !["checkbox", "radio"].includes(target.type));

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || isPressing(event)) return;
  if (document.querySelector("dialog[open]")) return;
  const sequence = Date.now() - pressedAt < 1_000 ? `${pressed} ${event.key}` : event.key;
  const find = (name) => keys.value.findLast(({ key }) => key === name);
  const found = find(sequence) ?? find(event.key);
  pressed = found ? "" : event.key;
  pressedAt = Date.now();
  if (!found) return;
  event.preventDefault();
  found.run();
});
