// Signing in with email and password.

import { useState } from "preact/hooks";

import { signIn } from "./account.js";
import { t } from "./language.js";

const REASONS = { refused: "sign_in.refused", offline: "state.unreachable" };

export function SignIn() {
  const [reason, setReason] = useState(null);
  const [isBusy, setBusy] = useState(false);

  async function submit(event) {
    event.preventDefault();
    const { email, password } = Object.fromEntries(new FormData(event.target));
    setBusy(true);
    setReason(await signIn(email, password));
    setBusy(false);
  }

  return (
    <main class="center">
      <form class="card" onSubmit={submit}>
        <h1>Switchboard</h1>
        <label>
          {t("sign_in.email")}
          <input name="email" type="email" autocomplete="username" required autofocus />
        </label>
        <label>
          {t("sign_in.password")}
          <input name="password" type="password" autocomplete="current-password" required />
        </label>
        {reason && <p class="failure" role="alert">{REASONS[reason] ? t(REASONS[reason]) : reason}</p>}
        <button class="primary" disabled={isBusy}>{t("sign_in.submit")}</button>
      </form>
    </main>
  );
}
