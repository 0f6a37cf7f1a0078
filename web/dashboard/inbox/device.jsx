// Links what a device heard to a user: by its claim code to the member, and for managers to any member.

import { useState } from "preact/hooks";

import { call, get } from "../api.js";
import { useData } from "../data.js";
import { t } from "../language.js";
import { Dialog } from "../parts/dialog.jsx";
import { Failed } from "../parts/states.jsx";
import { say } from "../parts/toasts.jsx";
import { manages, members, workspace } from "../workspace.js";

export function Device({ session, onClose }) {
  const [problem, setProblem] = useState(null);
  const [code, setCode] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const isHeard = session.channel === "omi" && manages.value;
  const { data, failure, setData } = useData(async (signal) => {
    if (!isHeard) return null;
    const { items } = await get(`/workspaces/${workspace.value.id}/device-sessions`, { limit: 200 }, signal);
    return items.find(({ conversation_id }) => conversation_id === session.conversation_id) ?? null;
  }, [session.conversation_id]);

  async function attempt(run) {
    setProblem(null);
    setBusy(true);
    try {
      await run();
    } catch (refusal) {
      setProblem(refusal);
    }
    setBusy(false);
  }

  const claim = (event) => {
    event.preventDefault();
    const { claim_code } = Object.fromEntries(new FormData(event.target));
    return attempt(async () => {
      await call("POST", "/sessions/link", { body: { claim_code } });
      say(t("inbox.device_linked"));
      onClose();
    });
  };
  const attach = (user_id) =>
    attempt(async () => {
      const changed = await call("PATCH", `/device-sessions/${data.id}`, { body: { user_id: user_id || null } });
      setData(() => changed);
      // A user ends the device's claim code.
      setCode(null);
    });
  const renew = () => attempt(async () => setCode((await call("POST", `/device-sessions/${data.id}/claim-code`)).claim_code));

  return (
    <Dialog title={t("inbox.device")} onClose={onClose}>
      {data && (
        <>
          <label>
            {t("inbox.device_user")}
            <select value={data.user_id ?? ""} disabled={isBusy} onChange={({ target }) => attach(target.value)}>
              <option value="">{t("inbox.no_member")}</option>
              {members.value.map(({ user_id, email }) => <option key={user_id} value={user_id}>{email}</option>)}
            </select>
          </label>
          <p>
            {code ? <>{t("inbox.device_code")} <code>{code}</code></> : <button type="button" disabled={isBusy} onClick={renew}>{t("inbox.device_new_code")}</button>}
          </p>
        </>
      )}
      <form class="line" onSubmit={claim}>
        <label>{t("inbox.device_claim")}<input name="claim_code" required maxLength={100} autocomplete="off" /></label>
        <button class="primary" disabled={isBusy}>{t("inbox.device_link")}</button>
      </form>
      {(problem ?? failure) && <Failed failure={problem ?? failure} />}
    </Dialog>
  );
}
