// A modal dialog; Escape and a click beside it close it.

import { useEffect, useId, useLayoutEffect, useRef } from "preact/hooks";

import { t } from "../language.js";
import { Icon } from "./icon.jsx";

export function Dialog({ title, onClose, children, class: kind = "" }) {
  const element = useRef();
  const id = useId();
  // Before it is painted: a key pressed right after the one that opened it is the dialog's.
  useLayoutEffect(() => {
    const dialog = element.current;
    dialog.showModal();
    // However it goes, the focus returns to what opened it.
    return () => {
      dialog.onclose = null;
      dialog.close();
    };
  }, []);
  useEffect(() => {
    element.current.onclose = onClose;
  });
  const onClick = ({ target }) => target === element.current && onClose();
  return (
    <dialog ref={element} class={kind} aria-labelledby={id} onClick={onClick}>
      <div class="content">
        <header>
          <h2 id={id}>{title}</h2>
          <button type="button" class="plain" aria-label={t("action.close")} onClick={onClose}><Icon name="close" /></button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

// Ask before what cannot be undone. `run` is called on yes; the dialog stays open with the failure if it throws.
export function Confirm({ title, children, action, run, onClose, isDangerous = true }) {
  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      <footer>
        <button type="button" onClick={onClose}>{t("action.cancel")}</button>
        <button type="button" class={isDangerous ? "danger" : "primary"} onClick={run}>{action}</button>
      </footer>
    </Dialog>
  );
}
