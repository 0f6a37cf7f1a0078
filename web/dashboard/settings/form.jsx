// A form of fields that are described: what is asked, and what the server says of each.

import { useEffect, useId, useRef, useState } from "preact/hooks";

import { Failure } from "../api.js";
import { readDraft, Restored, writeDraft } from "../drafts.jsx";
import { has, t } from "../language.js";
import { explain, faultOf } from "../parts/states.jsx";
import { workspace } from "../workspace.js";
import { bodyOf, shown } from "./values.js";

// `fields`: [{name, type, label?, hint?, options?, required?, initial?, empty?, when?, rows?}]; types: text (the default), password,
// number, date, checkbox, select ([[value, words]]), lines, many (checkboxes), picture, text area ("area") and json. `when(values)`:
// whether it is asked. A bare form has no button. `submit(body)` may throw Failure. `onInput(values)` is told of what is typed. A form
// that makes one object after the other `isRepeated`: it is empty again when it was sent. What is typed is kept as a draft, but no
// password.
export function Form({ fields, object, submit, action = t("action.save"), isReadOnly = false, isBare = false, isRepeated, onInput, label }) {
  const original = Object.fromEntries(fields.map((field) => [field.name, shown(field, object)]));
  const draft = useDraft(fields, original, isReadOnly || isBare);
  const [values, setValues] = useState(() => ({ ...original, ...draft.restored }));
  const [isRestored, setRestored] = useState(() => Object.keys(draft.restored).length > 0);
  useEffect(() => {
    if (isRestored) onInput?.(values);
  }, []);
  const [failure, setFailure] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const asked = fields.filter(({ when }) => !when || when(values));
  const messages = messagesOf(failure, asked);

  function set(name, value) {
    const next = { ...values, [name]: value };
    setValues(next);
    draft.keep(next);
    onInput?.(next);
  }

  function clear() {
    draft.keep(original);
    setRestored(false);
  }

  function discard() {
    clear();
    setValues(original);
    onInput?.(original);
  }

  async function send(event) {
    event.preventDefault();
    setBusy(true);
    setFailure(null);
    try {
      await submit(bodyOf(asked, values, object));
      clear();
      if (isRepeated) setValues(original);
    } catch (problem) {
      setFailure(problem);
    }
    setBusy(false);
  }

  return (
    <form class="form" onSubmit={send} aria-label={label} noValidate>
      {isRestored && <Restored discard={discard} />}
      <fieldset disabled={isReadOnly || isBusy}>
        {asked.map((field) => (
          <Field
            key={field.name}
            field={field}
            value={values[field.name]}
            set={(value) => set(field.name, value)}
            message={messages.get(field.name)}
          />
        ))}
        {failure && messages.rest && (
          <p class="failure" role="alert">
            {messages.rest}
          </p>
        )}
        {!isReadOnly && !isBare && (
          <p class="buttons">
            <button class="primary">{action}</button>
          </p>
        )}
      </fieldset>
    </form>
  );
}

// The draft of the form at this address that begins with this field: {restored, keep(values)}; of its values, those that differ
// from the original ones.
function useDraft(fields, original, isOff) {
  const name = useRef(`${workspace.value.id}:${location.hash}:${fields[0]?.name}`).current;
  const differing = (values) => {
    const kept = fields.filter(({ type, name: each }) => type !== "password" && each in values && !isSame(values[each], original[each]));
    return Object.fromEntries(kept.map(({ name: each }) => [each, values[each]]));
  };
  const [restored] = useState(() => (isOff ? {} : differing(readDraft(name))));
  return { restored, keep: (values) => isOff || writeDraft(name, differing(values)) };
}

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

// What the server says of each field, and `rest`, what it says of none that is shown.
function messagesOf(failure, fields) {
  const messages = new Map();
  if (!failure) return messages;
  if (failure.field) return messages.set(failure.field, t("settings.not_json"));
  const told = failure instanceof Failure ? failure.errors : [];
  let isPlaced = told.length > 0;
  for (const fault of told) {
    const found = fields.find(({ name }) => fault.field === name || fault.field.startsWith(`${name}.`));
    if (found) messages.set(found.name, faultOf(fault));
    else isPlaced = false;
  }
  if (!isPlaced) messages.rest = explain(failure);
  return messages;
}

function Field({ field, value, set, message }) {
  const id = useId();
  const { name, type = "text", required } = field;
  const label = field.label ?? t(`settings.field.${name}`);
  const hint = field.hint ?? (has(`settings.hint.${name}`) && t(`settings.hint.${name}`));
  const common = {
    id,
    name,
    "aria-invalid": message ? "true" : undefined,
    "aria-describedby": [hint && `${id}h`, message && `${id}e`].filter(Boolean).join(" ") || undefined,
    onInput: ({ target }) => set(target.value),
  };
  if (type === "many") return <Many {...{ field, value, set, label, message }} />;
  const control =
    type === "picture" ? (
      <Picture common={common} value={value} set={set} />
    ) : type === "checkbox" ? (
      <input {...common} type="checkbox" checked={value} onInput={({ target }) => set(target.checked)} />
    ) : type === "select" ? (
      <select {...common} value={value}>
        {field.options.map(([one, words]) => (
          <option key={one} value={one} selected={one === value}>
            {words}
          </option>
        ))}
      </select>
    ) : type === "lines" || type === "area" || type === "json" ? (
      <textarea
        {...common}
        rows={field.rows ?? 3}
        value={value}
        dir="auto"
        spellcheck={type === "area"}
        class={type === "json" ? "code" : ""}
      />
    ) : (
      <input
        {...common}
        type={type}
        value={value}
        aria-required={required}
        autocomplete={type === "password" ? "new-password" : "off"}
        step="any"
      />
    );
  return (
    <div class={`field ${type}`}>
      <label for={id}>{label}</label>
      {control}
      {hint && (
        <p class="note" id={`${id}h`}>
          {hint}
        </p>
      )}
      {message && (
        <p class="failure" id={`${id}e`}>
          {message}
        </p>
      )}
    </div>
  );
}

// A picture as a data URL; none is chosen at first, which leaves the present one.
function Picture({ common, value, set }) {
  const read = ({ target }) => {
    const reader = new FileReader();
    reader.onload = () => set(reader.result);
    if (target.files[0]) reader.readAsDataURL(target.files[0]);
  };
  return (
    <span class="picture">
      <input {...common} type="file" accept="image/png,image/jpeg,image/webp" onInput={read} />
      {value && <img src={value} alt="" width="40" height="40" />}
    </span>
  );
}

function Many({ field, value, set, label, message }) {
  const change =
    (one) =>
    ({ target }) =>
      set(target.checked ? [...value, one] : value.filter((each) => each !== one));
  return (
    <fieldset class="many">
      <legend>{label}</legend>
      {field.options.map(([one, words]) => (
        <label key={one}>
          <input type="checkbox" checked={value.includes(one)} onInput={change(one)} />
          {words}
        </label>
      ))}
      {message && <p class="failure">{message}</p>}
    </fieldset>
  );
}
