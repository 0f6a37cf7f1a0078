// Erasing a contact, its receipt, and the check of what is left.

import { useEffect, useState } from "preact/hooks";

import { call, get } from "../api.js";
import { number, t } from "../language.js";
import { Dialog } from "../parts/dialog.jsx";
import { nameOfContact } from "../parts/names.js";
import { Failed } from "../parts/states.jsx";
import { go } from "../place.js";

const POLL_MS = 2_000;

export function Erase({ contact, onClose }) {
  const name = nameOfContact(contact);
  const [typed, setTyped] = useState("");
  const [receipt, setReceipt] = useState(null);
  const [failure, setFailure] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const close = () => (receipt ? go("/contacts") : onClose());

  async function erase(event) {
    event.preventDefault();
    setBusy(true);
    try {
      setReceipt(await call("DELETE", `/contacts/${contact.id}`));
    } catch (problem) {
      setFailure(problem);
    }
    setBusy(false);
  }

  return (
    <Dialog title={t("erase.title", { name })} onClose={close}>
      {receipt ? (
        <>
          <Receipt receipt={receipt} />
          <footer><button type="button" class="primary" onClick={close}>{t("action.close")}</button></footer>
        </>
      ) : (
        <form onSubmit={erase}>
          <p>{t("erase.means")}</p>
          <label>
            {t("erase.type", { name })}
            <input value={typed} onInput={({ target }) => setTyped(target.value)} autocomplete="off" dir="auto" />
          </label>
          {failure && <Failed failure={failure} />}
          <footer>
            <button type="button" onClick={onClose}>{t("action.cancel")}</button>
            <button class="danger" disabled={isBusy || typed.trim() !== name.trim()}>{t("erase.run")}</button>
          </footer>
        </form>
      )}
    </Dialog>
  );
}

// What was erased, by place; it is asked for until all is done.
export function Receipt({ receipt: first }) {
  const [receipt, setReceipt] = useState(first);
  const [check, setCheck] = useState(null);
  const [failure, setFailure] = useState(null);
  useEffect(() => {
    if (receipt.status !== "running") return undefined;
    const timer = setTimeout(() => get(`/erasures/${receipt.id}`).then(setReceipt, setFailure), POLL_MS);
    return () => clearTimeout(timer);
  }, [receipt]);

  async function again() {
    setFailure(null);
    try {
      setCheck(await call("POST", `/erasures/${receipt.id}/check`));
    } catch (problem) {
      setFailure(problem);
    }
  }

  return (
    <div class="receipt">
      <p role="status">{t(receipt.status === "running" ? "erase.running" : "erase.finished")}</p>
      <p class="note">{t("erase.receipt", { id: receipt.id })}</p>
      <Counts counts={receipt.counts} />
      <button type="button" onClick={again}>{t("erase.check")}</button>
      {check && (
        <div role="status">
          <p class={check.clean ? "good" : "failure"}>{t(check.clean ? "erase.clean" : "erase.left")}</p>
          {!check.clean && <Counts counts={check.left} />}
          {!check.complete && <p class="note">{t("erase.incomplete")}</p>}
        </div>
      )}
      {failure && <Failed failure={failure} />}
    </div>
  );
}

function Counts({ counts }) {
  const rows = Object.entries(counts ?? {}).filter(([, count]) => count > 0);
  return (
    <table>
      <thead><tr><th scope="col">{t("erase.place")}</th><th scope="col">{t("erase.rows")}</th></tr></thead>
      <tbody>{rows.map(([place, count]) => <tr key={place}><td><code>{place}</code></td><td>{number(count)}</td></tr>)}</tbody>
    </table>
  );
}
