// Signing in with email and password, and signing out.

import { useState } from "preact/hooks";

import { signIn, signOut, user } from "./account.js";
import { t } from "./language.js";
import { say } from "./parts/toasts.jsx";

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

export function SignOut() {
  const leave = async () => (await signOut()) || say(t("nav.still_signed_in"), { isFailure: true });
  return <button type="button" class="plain" onClick={leave} title={user.value.email}>{t("nav.sign_out")}</button>;
}
