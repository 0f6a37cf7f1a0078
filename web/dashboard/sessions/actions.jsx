// What a member may do with a session.

import { useState } from "preact/hooks";
import { Link } from "wouter-preact";

import { call } from "../api.js";
import { useFormDraft } from "../drafts.jsx";
import { t } from "../language.js";
import { Dialog } from "../parts/dialog.jsx";
import { Failed } from "../parts/states.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { ZipButton } from "../parts/zip.jsx";
import { to } from "../place.js";
import { manages, members } from "../workspace.js";

const ENDS = ["complete", "fail", "cancel"];
const BY_STATUS = {
  active: ["pause", ...ENDS],
  paused: ["resume", ...ENDS],
  failed: ["recover"],
  timeout: ["recover"],
  archived: ["restore"],
};
const ROUTES = {
  recover: (id) => ["POST", `/chat-sessions/${id}/recover`],
  restore: (id) => ["POST", `/archive/${id}/restore`],
};
const routeOf = (name, id) => ROUTES[name]?.(id) ?? ["PATCH", `/chat-sessions/${id}/${name}`];

export function Actions({ session, reload }) {
  const { id, status } = session;
  const [asked, setAsked] = useState(null);
  const [isBusy, setBusy] = useState(false);
  // Nothing can be restored before it is stored.
  const names = (BY_STATUS[status] ?? []).filter((name) => name !== "restore" || session.archive);

  async function run(name, reason) {
    setBusy(true);
    try {
      await call(...routeOf(name, id), reason ? { body: { reason } } : {});
      say(t("session.done"));
      await reload();
    } finally {
      setBusy(false);
    }
  }

  return (
    <div class="actions">
      {names.map((name) => (
        <button key={name} type="button" class={name === "recover" ? "primary" : ""} disabled={isBusy}
                onClick={() => (ENDS.includes(name) ? setAsked(name) : run(name).catch(complain))}>
          {t(`session.${name}`)}
        </button>
      ))}
      {manages.value && <Assign session={session} reload={reload} />}
      <ZipButton path={`/chat-sessions/${id}/export`} name={`session-${id}.zip`} />
      <Link class="button" href={to(`/inbox/${session.id}`)}>{t("session.inbox")}</Link>
      {asked && <Ask name={asked} id={id} run={(reason) => run(asked, reason)} onClose={() => setAsked(null)} />}
    </div>
  );
}

function Ask({ name, id, run, onClose }) {
  const { clear, notice, ...draft } = useFormDraft(`${id}:${name}`);
  const [failure, setFailure] = useState(null);
  const [isBusy, setBusy] = useState(false);

  async function submit(event) {
    event.preventDefault();
    setBusy(true);
    try {
      await run(new FormData(event.target).get("reason").trim());
      clear();
      onClose();
    } catch (problem) {
      setFailure(problem);
      setBusy(false);
    }
  }

  return (
    <Dialog title={t(`session.${name}`)} onClose={onClose}>
      <form onSubmit={submit} {...draft}>
        {notice}
        <p>{t(`session.${name}_means`)}</p>
        <label>{t("session.reason")}<input name="reason" maxLength={500} dir="auto" /></label>
        {failure && <Failed failure={failure} />}
        <footer>
          <button type="button" onClick={() => (clear(), onClose())}>{t("action.cancel")}</button>
          <button class={name === "complete" ? "primary" : "danger"} disabled={isBusy}>{t(`session.${name}`)}</button>
        </footer>
      </form>
    </Dialog>
  );
}

function Assign({ session, reload }) {
  async function assign({ target }) {
    try {
      await call("PATCH", `/chat-sessions/${session.id}/assign`, { body: { user_id: target.value || null } });
      await reload();
    } catch (failure) {
      target.value = session.assigned_user_id ?? "";
      complain(failure);
    }
  }
  return (
    <label>
      {t("sessions.member")}
      <select value={session.assigned_user_id ?? ""} onChange={assign}>
        <option value="">{t("sessions.assigned_none")}</option>
        {members.value.map(({ user_id, email }) => <option key={user_id} value={user_id}>{email}</option>)}
      </select>
    </label>
  );
}
