// How a contact can be reached, and what proves that it is theirs.

import { useState } from "preact/hooks";

import { call } from "../api.js";
import { useFormDraft } from "../drafts.jsx";
import { has, t } from "../language.js";
import { Confirm } from "../parts/dialog.jsx";
import { Icon } from "../parts/icon.jsx";
import { nameOfPlatform } from "../parts/names.js";
import { complain } from "../parts/toasts.jsx";

const PLATFORMS = ["email", "phone", "telegram", "whatsapp", "discord", "omi", "external"];
const proofInWords = (by) => (has(`proof.by_${by}`) ? t(`proof.by_${by}`) : by);

export function Identities({ contact, reload }) {
  const [removed, setRemoved] = useState(null);
  const { clear, notice, ...draft } = useFormDraft(`${contact.id}:identity`);

  async function change(body) {
    try {
      await call("PATCH", `/contacts/${contact.id}`, { body });
      await reload();
      return true;
    } catch (failure) {
      complain(failure);
      return false;
    }
  }

  async function add(event) {
    event.preventDefault();
    const form = event.target;
    const { kind, value } = Object.fromEntries(new FormData(form));
    if (!value.trim() || !(await change({ add_identities: [`${kind}:${value.trim()}`] }))) return;
    form.reset();
    clear();
  }

  const nameOf = ({ kind, value, key }) => `${nameOfPlatform(kind)} ${value ?? key}`;
  return (
    <section>
      <h2>{t("identities.title")}</h2>
      <ul class="identities">
        {contact.identities.map((identity) => (
          <li key={`${identity.kind}:${identity.key}`}>
            <div>
              <span class="note">{nameOfPlatform(identity.kind)}</span> <bdi>{identity.value ?? identity.key}</bdi>
              <p class="note">
                <span class={identity.evidence === "verified" ? "good" : ""}>{t(`proof.${identity.evidence}`)}</span>
                {identity.verified_by && ` · ${proofInWords(identity.verified_by)}`}
              </p>
            </div>
            <button type="button" class="plain" aria-label={t("identities.remove", { name: nameOf(identity) })}
                    onClick={() => setRemoved(identity)}>
              <Icon name="close" />
            </button>
          </li>
        ))}
      </ul>
      {notice}
      <form class="inline" onSubmit={add} {...draft}>
        <select name="kind" aria-label={t("identities.platform")}>
          {PLATFORMS.map((kind) => <option key={kind} value={kind}>{nameOfPlatform(kind)}</option>)}
        </select>
        <input name="value" aria-label={t("identities.value")} required />
        <button>{t("identities.add")}</button>
      </form>
      {removed && (
        <Confirm title={t("identities.remove", { name: nameOf(removed) })} action={t("action.delete")} onClose={() => setRemoved(null)}
                 run={() => change({ remove_identities: [`${removed.kind}:${removed.key}`] }).then(() => setRemoved(null))}>
          <p>{t("identities.remove_means")}</p>
        </Confirm>
      )}
    </section>
  );
}
