// The filters of the sessions' list, as the address has them.

import { useState } from "preact/hooks";

import { user } from "../account.js";
import { t } from "../language.js";
import { useChoices } from "../parts/choices.js";
import { nameOfPlatform } from "../parts/names.js";
import { SearchField } from "../parts/search_field.jsx";
import { members } from "../workspace.js";
import { CHANNELS, COMMON, RARE, STATUSES } from "./choices.js";

export function Filters({ filters, change }) {
  const given = RARE.filter((name) => filters[name]).length;
  const [opened, setOpen] = useState();
  const isOpen = opened ?? given > 0;
  const personas = useChoices("personas");
  const spaces = useChoices("spaces");
  const field = (name) => ({ name, value: filters[name] ?? "", change });
  const others = members.value.filter(({ user_id }) => user_id !== user.value.id).map(({ user_id, email }) => [user_id, email]);
  const isFiltered = [...COMMON, ...RARE].some((name) => filters[name]);
  const clear = () => change(Object.fromEntries([...COMMON, ...RARE].map((name) => [name, ""])));
  return (
    <search class="filters">
      <SearchField label={t("sessions.search")} value={filters.text} onSearch={(text) => change({ text })} />
      <Choice {...field("status")} options={[["active,paused", t("sessions.live")], ...STATUSES.map((each) => [each, t(`status.${each}`)])]} />
      <Choice {...field("persona_id")} options={personas} />
      <Choice {...field("space_id")} options={spaces} />
      <Choice {...field("assigned")} options={[
        [user.value.id, t("sessions.assigned_me")], ["none", t("sessions.assigned_none")], ["any", t("sessions.assigned_any")], ...others,
      ]} />
      <button type="button" class="plain" aria-expanded={isOpen} aria-controls="more-filters" onClick={() => setOpen(!isOpen)}>
        {given ? t("sessions.more_given", { count: given }) : t("sessions.more")}
      </button>
      {isFiltered && <button type="button" class="plain" onClick={clear}>{t("list.clear")}</button>}
      <div id="more-filters" hidden={!isOpen}>
        <Choice {...field("channel")} options={CHANNELS.map((each) => [each, nameOfPlatform(each)])} />
        {["tag", "email", "workflow", "step", "external_id", "contact_id", "user_id"].map((name) => <Field key={name} {...field(name)} />)}
        {["has_quote", "taken_over"].map((name) => (
          <Choice key={name} {...field(name)} options={[["true", t("list.yes")], ["false", t("list.no")]]} />
        ))}
        {["created_after", "created_before", "active_after", "active_before"].map((name) => (
          <Field key={name} {...field(name)} type="date" />
        ))}
      </div>
    </search>
  );
}

// `label` names the field; by default the words of its name. `none`: what no choice means.
export function Choice({ name, value, change, options, label = t(`sessions.${name}`), none = t("sessions.any") }) {
  // An address may name what the list does not, such as two states.
  const isKnown = !value || options.some(([each]) => each === value);
  return (
    <label>
      {label}
      <select value={value} onChange={({ target }) => change({ [name]: target.value })}>
        <option value="">{none}</option>
        {options.map(([each, words]) => <option key={each} value={each}>{words}</option>)}
        {!isKnown && <option value={value}>{value}</option>}
      </select>
    </label>
  );
}

export function Field({ name, value, change, type = "text", label = t(`sessions.${name}`) }) {
  const put = (given) => change({ [name]: given });
  return (
    <label>
      {label}
      {type === "date" ? (
        <input type={type} value={value.slice(0, 10)} onChange={({ target }) => put(target.value)} />
      ) : (
        <SearchField isLazy type={type} name={name} label={label} value={value} onSearch={put} />
      )}
    </label>
  );
}
