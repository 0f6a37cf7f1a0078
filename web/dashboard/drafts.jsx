// What a member has typed and not saved yet, on this device: no reload and no outage loses it. Never a secret.

import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { user } from "./account.js";
import { t } from "./language.js";

// A picture fits; what is longer would leave no room for the rest.
const LONGEST = 100_000;

const keyOf = (name) => `switchboard:draft:${user.value?.id}:${name}`;

// The draft of a name, an object; empty if there is none.
export function readDraft(name) {
  try {
    return JSON.parse(localStorage.getItem(keyOf(name))) ?? {};
  } catch {
    return {};
  }
}

// Keep an object as the draft of a name; without values it is removed.
export function writeDraft(name, draft) {
  try {
    const kept = Object.entries(draft).filter(([, value]) => value !== undefined && String(value).length < LONGEST);
    if (kept.length) localStorage.setItem(keyOf(name), JSON.stringify(Object.fromEntries(kept)));
    else localStorage.removeItem(keyOf(name));
  } catch {
    // No storage, or it is full: the text is in the field.
  }
}

// The draft of a form whose fields keep their own values: {ref, onInput} for the form, `clear` for when it is saved or given
// up, and `notice`, which says what was restored.
export function useFormDraft(name) {
  const form = useRef();
  const [isRestored, setRestored] = useState(false);

  useLayoutEffect(() => {
    const draft = readDraft(name);
    const changed = fieldsOf(form.current).filter((field) => field.name in draft && draft[field.name] !== field.value);
    for (const field of changed) field.value = draft[field.name];
    setRestored(changed.length > 0);
  }, [name]);

  const clear = () => (writeDraft(name, {}), setRestored(false));

  function onInput() {
    const changed = fieldsOf(form.current).filter((field) => field.value !== initialOf(field));
    writeDraft(name, Object.fromEntries(changed.map((field) => [field.name, field.value])));
  }

  function discard() {
    for (const field of fieldsOf(form.current)) {
      field.value = initialOf(field);
      field.dispatchEvent(new Event("change", { bubbles: true }));
    }
    clear();
  }

  return { ref: form, onInput, clear, notice: isRestored && <Restored discard={discard} /> };
}

const fieldsOf = (form) => [...form.elements].filter(({ name, type }) => name && type !== "password");
const initialOf = ({ options, defaultValue }) => (options ? options[0].value : defaultValue);

// Says that a form shows what was typed earlier.
export function Restored({ discard }) {
  return (
    <p class="notice restored" role="status">
      {t("draft.restored")} <button type="button" class="plain" onClick={discard}>{t("draft.discard")}</button>
    </p>
  );
}
