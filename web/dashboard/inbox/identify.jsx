// Links another identity to the contact.

import { useState } from "preact/hooks";

import { call } from "../api.js";
import { t } from "../language.js";
import { Failed } from "../parts/states.jsx";
import { identityKind } from "./names.js";

const KINDS = ["email", "phone", "whatsapp", "telegram", "discord", "omi", "external"];

export function Identify({ id, onChange }) {
  const [isOpen, setOpen] = useState(false);
  const [problem, setProblem] = useState(null);

  async function submit(event) {
    event.preventDefault();
    const { kind, value } = Object.fromEntries(new FormData(event.target));
    try {
      onChange(await call("PATCH", `/contacts/${id}`, { body: { add_identities: [`${kind}:${value.trim()}`] } }));
      setOpen(false);
      setProblem(null);
    } catch (refusal) {
      setProblem(refusal);
    }
  }

  if (!isOpen) return <button type="button" class="plain small" onClick={() => setOpen(true)}>{t("inbox.identify")}</button>;
  return (
    <form class="line" onSubmit={submit}>
      <select name="kind" aria-label={t("inbox.identity_kind")}>
        {KINDS.map((each) => <option key={each} value={each}>{identityKind(each)}</option>)}
      </select>
      <input name="value" required maxLength={400} aria-label={t("inbox.identity_value")} autofocus />
      <button>{t("action.save")}</button>
      <button type="button" class="plain" onClick={() => setOpen(false)}>{t("action.cancel")}</button>
      {problem && <Failed failure={problem} />}
    </form>
  );
}
