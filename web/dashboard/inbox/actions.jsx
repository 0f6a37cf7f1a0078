// What a member does with the open session: take over, hand back, assign, tag, complete, link a device.

import { useState } from "preact/hooks";

import { user } from "../account.js";
import { call } from "../api.js";
import { t } from "../language.js";
import { Confirm } from "../parts/dialog.jsx";
import { Tags } from "../parts/tags.jsx";
import { complain } from "../parts/toasts.jsx";
import { manages, members } from "../workspace.js";
import { Device } from "./device.jsx";

const LIVE = ["active", "paused"];

export function Actions({ session, change, act }) {
  const { id, status, taken_over, taken_over_by, assigned_user_id, tags = [] } = session;
  const [isBusy, setBusy] = useState(false);
  const [dialog, setDialog] = useState(null);
  const isLive = LIVE.includes(status);
  const mayHandBack = taken_over && (taken_over_by === user.value.id || manages.value);

  async function run(...what) {
    setBusy(true);
    try {
      await act(...what);
      setDialog(null);
    } catch (problem) {
      complain(problem);
    }
    setBusy(false);
  }

  const assign = (value) => {
    const user_id = value || null;
    const request = () => call("PATCH", `/chat-sessions/${id}/assign`, { body: { user_id } });
    return change({ assigned_user_id: user_id ?? undefined }, request);
  };

  return (
    <div class="actions">
      {isLive && !taken_over && <button type="button" disabled={isBusy} onClick={() => run("takeover")}>{t("inbox.take_over")}</button>}
      {mayHandBack && <button type="button" disabled={isBusy} onClick={() => run("handback")}>{t("inbox.hand_back")}</button>}
      {manages.value && (
        <label>
          {t("inbox.assigned")}
          <select value={assigned_user_id ?? ""} onChange={({ target }) => assign(target.value)}>
            <option value="">{t("inbox.no_member")}</option>
            {members.value.map(({ user_id, email }) => <option key={user_id} value={user_id}>{email}</option>)}
          </select>
        </label>
      )}
      {isLive && <button type="button" disabled={isBusy} onClick={() => setDialog("complete")}>{t("inbox.complete")}</button>}
      <button type="button" class="plain" onClick={() => setDialog("device")}>{t("inbox.device")}</button>
      <Tags label={t("inbox.session_tags")} path={`/chat-sessions/${id}`} tags={tags} />
      {dialog === "complete" && (
        <Confirm title={t("inbox.complete_title")} action={t("inbox.complete")} isDangerous={false} onClose={() => setDialog(null)}
                 run={() => run("complete", "PATCH", {})}>
          <p>{t("inbox.complete_text")}</p>
        </Confirm>
      )}
      {dialog === "device" && <Device session={session} onClose={() => setDialog(null)} />}
    </div>
  );
}
