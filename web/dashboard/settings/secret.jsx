// Secrets: those that are shown once, and those that are written and never read.

import { useState } from "preact/hooks";

import { call } from "../api.js";
import { t } from "../language.js";
import { complain, say } from "../parts/toasts.jsx";
import { Form } from "./form.jsx";

// A text to copy.
export function Copy({ text, label }) {
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      say(t("settings.copied"));
    } catch {
      // Without the permission the text can still be selected.
      getSelection().selectAllChildren(document.getElementById(label));
    }
  }
  return (
    <div class="copy">
      <pre tabIndex={0} aria-label={label} role="group">
        <code id={label} dir="ltr">
          {text}
        </code>
      </pre>
      <button type="button" onClick={copy}>
        {t("settings.copy")}
      </button>
    </div>
  );
}

// A secret that no one reads again.
export function Once({ secret, label }) {
  return (
    <div class="once" role="status">
      <p>{t("settings.once")}</p>
      <Copy text={secret} label={label} />
    </div>
  );
}

// A secret that is generated: shown once, with what stays valid beside it.
export function Generated({ path, label, isSet, changed, mayRemove = true }) {
  const [secret, setSecret] = useState(null);

  async function run(method) {
    try {
      const made = await call(method, path, method === "POST" ? { body: {} } : {});
      setSecret(made?.secret ?? null);
      changed?.();
    } catch (failure) {
      complain(failure);
    }
  }

  return (
    <section class="part" aria-label={label}>
      <h3>{label}</h3>
      <p class="note">{t(isSet ? "settings.secret.set" : "settings.secret.unset")}</p>
      {secret && <Once secret={secret} label={label} />}
      <p class="buttons">
        <button type="button" onClick={() => run("POST")}>
          {t(isSet ? "settings.secret.rotate" : "settings.secret.generate")}
        </button>
        {isSet && mayRemove && (
          <button type="button" onClick={() => run("DELETE")}>
            {t("settings.secret.remove")}
          </button>
        )}
      </p>
    </section>
  );
}

// A secret that a member has from elsewhere. `told(answer)`: what the server says to it.
export function Given({ path, label, isSet, changed, mayRemove = false, told }) {
  async function submit({ secret }) {
    const answer = await call("PUT", path, { body: { secret: secret ?? "" } });
    say(t("settings.saved"));
    told?.(answer);
    changed?.();
  }

  async function remove() {
    try {
      await call("DELETE", path);
      changed?.();
    } catch (failure) {
      complain(failure);
    }
  }

  return (
    <section class="part" aria-label={label}>
      <h3>{label}</h3>
      <p class="note">{t(isSet ? "settings.secret.set" : "settings.secret.unset")}</p>
      <Form
        isRepeated
        fields={[{ name: "secret", type: "password", label, required: true }]}
        submit={submit}
        action={t("settings.secret.store")}
        label={label}
      />
      {isSet && mayRemove && (
        <p>
          <button type="button" onClick={remove}>
            {t("settings.secret.remove")}
          </button>
        </p>
      )}
    </section>
  );
}
