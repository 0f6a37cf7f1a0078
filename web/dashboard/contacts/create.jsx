// A form for a contact: a new one, or changes of one.

import { useState } from "preact/hooks";

import { call } from "../api.js";
import { readDraft, useFormDraft } from "../drafts.jsx";
import { t } from "../language.js";
import { Dialog } from "../parts/dialog.jsx";
import { Failed } from "../parts/states.jsx";
import { say } from "../parts/toasts.jsx";
import { workspace } from "../workspace.js";

const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

// The attributes of lines such as "plan: pro".
function attributesOf(text) {
  return Object.fromEntries(lines(text).map((line) => {
    const [name, ...value] = line.split(":");
    return [name.trim(), value.join(":").trim()];
  }));
}

// An identity as it was typed; an address without its platform is an email.
const identityOf = (line) => (/^[a-z]+:/.test(line) ? line : line.includes("@") ? `email:${line}` : `phone:${line}`);

export function Create({ onClose, onDone }) {
  async function run(form) {
    const { kind, identities, ...named } = form;
    const body = { workspace_id: workspace.value.id, kind, ...named, identities: lines(identities).map(identityOf) };
    const contact = await call("POST", "/contacts", { body });
    say(t("contacts.created_one"));
    onDone(contact);
  }
  return <Form title={t("contacts.create")} contact={{}} run={run} onClose={onClose} />;
}

export function Edit({ contact, onClose, onDone }) {
  async function run({ identities, kind, ...changes }) {
    const removed = Object.keys(contact.attributes).filter((name) => !(name in changes.attributes));
    // Values that a line cannot say, such as lists, stay as they are.
    const kept = Object.keys(contact.attributes).filter((name) => typeof contact.attributes[name] === "object");
    for (const name of removed) changes.attributes[name] = null;
    for (const name of kept) delete changes.attributes[name];
    // A number that was not touched stays one.
    for (const [name, value] of Object.entries(contact.attributes)) {
      if (changes.attributes[name] === String(value)) delete changes.attributes[name];
    }
    const nulls = Object.entries(changes).map(([name, value]) => [name, value ?? null]);
    await call("PATCH", `/contacts/${contact.id}`, { body: Object.fromEntries(nulls) });
    say(t("contacts.saved"));
    onDone();
  }
  return <Form title={t("contacts.edit")} contact={contact} run={run} onClose={onClose} />;
}

function Form({ title, contact, run, onClose }) {
  const isNew = !contact.id;
  const name = `${workspace.value.id}:contact:${contact.id ?? "new"}`;
  const [kind, setKind] = useState(() => contact.kind ?? readDraft(name).kind ?? "person");
  const { clear, notice, ...draft } = useFormDraft(name);
  const [failure, setFailure] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const names = kind === "group" ? ["title"] : ["first_name", "last_name"];
  const attributes = Object.entries(contact.attributes ?? {}).filter(([, value]) => typeof value !== "object");

  async function submit(event) {
    event.preventDefault();
    const form = Object.fromEntries(new FormData(event.target));
    const given = Object.fromEntries([...names, "source"].map((each) => [each, form[each].trim() || undefined]));
    setBusy(true);
    try {
      await run({ kind, ...given, attributes: attributesOf(form.attributes), identities: form.identities ?? "" });
      clear();
      onClose();
    } catch (problem) {
      setFailure(problem);
      setBusy(false);
    }
  }

  return (
    <Dialog title={title} onClose={onClose}>
      {notice}
      <form onSubmit={submit} {...draft}>
        {isNew && (
          <label>
            {t("contacts.kind")}
            <select value={kind} onChange={({ target }) => setKind(target.value)}>
              {["person", "group"].map((each) => <option key={each} value={each}>{t(`contacts.${each}`)}</option>)}
            </select>
          </label>
        )}
        {[...names, "source"].map((each) => (
          <label key={each}>{t(`contacts.${each}`)}<input name={each} defaultValue={contact[each]} maxLength={200} dir="auto" /></label>
        ))}
        {isNew && (
          <label>
            {t("contacts.identities_lines")}
            <textarea name="identities" rows={2} placeholder={"ann@example.com\nwhatsapp:+49 151 1234567"} />
          </label>
        )}
        <label>
          {t("contacts.attributes_lines")}
          <textarea name="attributes" rows={3} dir="auto" defaultValue={attributes.map(([name, value]) => `${name}: ${value}`).join("\n")} />
        </label>
        {failure && <Failed failure={failure} />}
        <footer>
          <button type="button" onClick={() => (clear(), onClose())}>{t("action.cancel")}</button>
          <button class="primary" disabled={isBusy}>{t("action.save")}</button>
        </footer>
      </form>
    </Dialog>
  );
}
