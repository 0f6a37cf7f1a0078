// Short messages above the page: what was done, and what failed.

import { signal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";

import { t } from "../language.js";
import { Icon } from "./icon.jsx";
import { explain } from "./states.jsx";

const SECONDS = 6;
const toasts = signal([]);

const remove = (toast) => (toasts.value = toasts.value.filter((each) => each !== toast));

// Say what was done. `undo`: a button for that.
export function say(text, { undo, isFailure } = {}) {
  const toast = { text, undo, isFailure };
  toasts.value = [...toasts.value, toast];
  setTimeout(() => remove(toast), SECONDS * 1_000);
}

// Say what failed, until it is closed; the same again is said once.
export function complain(failure) {
  const text = explain(failure);
  toasts.value = [...toasts.value.filter((each) => each.text !== text), { text, isFailure: true }];
}

export function Toasts() {
  const element = useRef();
  // Above an open dialog is only what came to the top layer after it.
  useLayoutEffect(() => {
    if (document.querySelector("dialog[open]")) element.current.hidePopover();
    if (!element.current.matches(":popover-open")) element.current.showPopover();
  }, [toasts.value]);
  return (
    <div class="toasts" popover="manual" ref={element} role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <p key={toast} class={toast.isFailure ? "failure" : ""}>
          {toast.text}
          {toast.undo && <button type="button" onClick={() => (remove(toast), toast.undo())}>{t("action.undo")}</button>}
          <button type="button" class="plain" aria-label={t("action.close")} onClick={() => remove(toast)}><Icon name="close" /></button>
        </p>
      ))}
    </div>
  );
}
