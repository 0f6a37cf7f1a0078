// What is done with all selected sessions.

import { useState } from "preact/hooks";

import { call } from "../api.js";
import { t } from "../language.js";
import { Dialog } from "../parts/dialog.jsx";
import { complain, say } from "../parts/toasts.jsx";

const AT_ONCE = 100;
const ACTIONS = { pause: "paused", resume: "active", complete: "completed", fail: "failed", cancel: "cancelled" };
const STOPPING_MS = 2_000;
const TRIES = 5;

// `onDone` is told what became of the sessions, {id: status}; those that were refused stay selected.
export function Bulk({ selected, onDone, onClear }) {
  const [asked, setAsked] = useState(null);
  return (
    <div class="bulk" role="toolbar" aria-label={t("bulk.title")}>
      <strong>{t("bulk.selected", { count: selected.length })}</strong>
      {Object.keys(ACTIONS).map((name) => (
        <button key={name} type="button" onClick={() => setAsked(name)}>{t(`session.${name}`)}</button>
      ))}
      <button type="button" class="plain" onClick={onClear}>{t("bulk.clear")}</button>
      {asked && <Ask name={asked} selected={selected} onDone={onDone} onClose={() => setAsked(null)} />}
    </div>
  );
}

function Ask({ name, selected, onDone, onClose }) {
  const [done, setDone] = useState(null);

  async function run(event) {
    event.preventDefault();
    const reason = new FormData(event.target).get("reason")?.trim() || undefined;
    setDone(0);
    const changed = {};
    const refused = [];
    try {
      for (let from = 0; from < selected.length; from += AT_ONCE) {
        for (const item of await change(selected.slice(from, from + AT_ONCE), ACTIONS[name], reason)) {
          if (item.code) refused.push(item);
          else changed[item.id] = item.status;
        }
        setDone(from + AT_ONCE);
      }
      say(t("bulk.done", { count: Object.keys(changed).length }));
    } catch (failure) {
      complain(failure);
    }
    if (refused.length) say(t("bulk.refused", { count: refused.length, reason: [...new Set(refused.map(({ title }) => title))].join(" ") }));
    onClose();
    onDone(changed);
  }

  return (
    <Dialog title={t(`session.${name}`)} onClose={onClose}>
      <form onSubmit={run}>
        <p>{t("bulk.ask", { count: selected.length })}</p>
        {name !== "resume" && <label>{t("session.reason")}<input name="reason" maxLength={500} dir="auto" /></label>}
        {done !== null && <progress max={selected.length} value={done} aria-label={t("bulk.title")} />}
        <footer>
          <button type="button" onClick={onClose}>{t("action.cancel")}</button>
          <button class={name === "fail" || name === "cancel" ? "danger" : "primary"} disabled={done !== null}>{t(`session.${name}`)}</button>
        </footer>
      </form>
    </Dialog>
  );
}

// The outcome of each; answers that did not stop in time are asked for again.
async function change(ids, status, reason) {
  const outcomes = new Map();
  for (let left = ids, tries = 0; left.length && tries < TRIES; tries += 1) {
    if (tries) await new Promise((resolve) => setTimeout(resolve, STOPPING_MS));
    const { items } = await call("POST", "/chat-sessions/bulk-status", { body: { session_ids: left, status, reason } });
    for (const item of items) outcomes.set(item.id, item);
    left = items.filter(({ stopping }) => stopping).map(({ id }) => id);
  }
  return [...outcomes.values()];
}
