// A search that is run a moment after the last key, so that a script is typed to its end.

import { useEffect, useRef, useState } from "preact/hooks";

const PAUSE_MS = 350;

export function SearchField({ label, value = "", onSearch }) {
  const [text, setText] = useState(value);
  const timer = useRef();
  // The address has changed otherwise, such as by the back button.
  useEffect(() => setText(value), [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  function search(wanted) {
    clearTimeout(timer.current);
    if (wanted.trim() !== value) onSearch(wanted.trim());
  }
  function onInput({ target, isComposing }) {
    setText(target.value);
    clearTimeout(timer.current);
    if (!isComposing) timer.current = setTimeout(search, PAUSE_MS, target.value);
  }
  // Enter searches at once and leaves the field, so that the keys of the list work.
  function onKeyDown({ key, target, isComposing }) {
    if (key !== "Enter" || isComposing) return;
    search(target.value);
    target.blur();
  }
  return (
    <input type="search" aria-label={label} placeholder={label} value={text} dir="auto" onInput={onInput}
           onCompositionEnd={onInput} onKeyDown={onKeyDown} onChange={({ target }) => search(target.value)} />
  );
}
