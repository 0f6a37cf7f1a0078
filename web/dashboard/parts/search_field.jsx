// A search that is run a moment after the last key, so that a script is typed to its end.

import { useEffect, useRef, useState } from "preact/hooks";

import { readDraft, writeDraft } from "../drafts.jsx";

const PAUSE_MS = 350;

// `isLazy`: it is run when the field is left, or by Enter.
export function SearchField({ label, name = "text", value = "", onSearch, type = "search", isLazy }) {
  const [text, setText] = useState(value);
  const timer = useRef();
  const draft = `${location.hash}:${name}`;
  // The address has changed otherwise, such as by the back button.
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    // A reload came before the address had it.
    const { text: typed } = readDraft(draft);
    if (typed !== undefined) search(typed);
    return () => clearTimeout(timer.current);
  }, []);
  function search(wanted) {
    clearTimeout(timer.current);
    writeDraft(draft, {});
    if (wanted.trim() !== value) onSearch(wanted.trim());
  }
  function onInput({ target, isComposing }) {
    setText(target.value);
    writeDraft(draft, { text: target.value });
    clearTimeout(timer.current);
    if (!isComposing && !isLazy) timer.current = setTimeout(search, PAUSE_MS, target.value);
  }
  // Enter searches at once and leaves the field, so that the keys of the list work.
  function onKeyDown({ key, target, isComposing }) {
    if (key !== "Enter" || isComposing) return;
    search(target.value);
    target.blur();
  }
  return (
    <input type={type} aria-label={label} placeholder={isLazy ? undefined : label} value={text} dir="auto" onInput={onInput}
           onCompositionEnd={onInput} onKeyDown={onKeyDown} onChange={({ target }) => search(target.value)} />
  );
}
