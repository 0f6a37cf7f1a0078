// All contacts of the workspace, by the filters of the address.

import { useMemo, useState } from "preact/hooks";
import { Link } from "wouter-preact";

import { download } from "../api.js";
import { usePages } from "../data.js";
import { day, t } from "../language.js";
import { useChoices } from "../parts/choices.js";
import { useCursor } from "../parts/cursor.js";
import { nameOfContact, nameOfPlatform } from "../parts/names.js";
import { Rows } from "../parts/rows.jsx";
import { SearchField } from "../parts/search_field.jsx";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { complain } from "../parts/toasts.jsx";
import { go, to, useFilters } from "../place.js";
import { Choice, Field } from "../sessions/filters.jsx";
import { manages, workspace } from "../workspace.js";
import { Create } from "./create.jsx";
import { Import } from "./import.jsx";

const PAGE = 200;
const COMMON = ["text", "tag", "space_id", "kind"];
const RARE = ["email", "identity", "has_session", "active_after", "active_before"];
const COLUMNS = ["name", "email", "others", "tags", "source", "created"];

export function List() {
  const [filters, change] = useFilters();
  const query = useMemo(() => {
    const given = [...COMMON, ...RARE].filter((name) => filters[name]).map((name) => [name, filters[name]]);
    return { ...Object.fromEntries(given), workspace_id: workspace.value.id, limit: PAGE };
  }, [filters]);
  const pages = usePages("/contacts", query);
  const [open, setOpen] = useState(null);
  const at = useCursor(pages.items, ({ id }) => go(`/contacts/${id}`, filters));
  const items = pages.items ?? [];
  const close = () => setOpen(null);
  const exportAll = () => download("/contacts", { ...query, limit: "", format: "csv" }, "contacts.csv").catch(complain);
  return (
    <section class="view list contacts">
      <header class="tools">
        <h1>{t("contacts.title")}</h1>
        <div class="actions">
          <button type="button" class="primary" onClick={() => setOpen("create")}>{t("contacts.create")}</button>
          {manages.value && <button type="button" onClick={() => setOpen("import")}>{t("contacts.import")}</button>}
          <button type="button" onClick={exportAll}>{t("action.export_csv")}</button>
          <Link class="button" href={to("/contacts/conflicts")}>{t("conflicts.title")}</Link>
          {manages.value && <Link class="button" href={to("/contacts/erasures")}>{t("erasures.title")}</Link>}
        </div>
        <Filters filters={filters} change={change} />
      </header>
      {pages.failure && <Failed failure={pages.failure} retry={pages.items && pages.hasMore ? pages.more : pages.reload} />}
      {!pages.items && !pages.failure && <Loading />}
      {pages.items?.length === 0 && <Empty>{t(Object.keys(filters).length ? "contacts.empty" : "contacts.none")}</Empty>}
      {items.length > 0 && (
        <Rows items={items} height={48} more={pages.hasMore && !pages.failure ? pages.more : null} label={t("contacts.title")} selected={at}
              head={COLUMNS.map((name) => <span key={name} role="columnheader" class={`of-${name}`}>{t(`contacts.${name}`)}</span>)}
              row={(contact) => <Row contact={contact} filters={filters} />} />
      )}
      {open === "create" && <Create onClose={close} onDone={({ id }) => go(`/contacts/${id}`, filters)} />}
      {open === "import" && <Import onClose={close} onDone={pages.reload} />}
    </section>
  );
}

function Filters({ filters, change }) {
  const given = RARE.filter((name) => filters[name]).length;
  const [opened, setOpen] = useState();
  const isOpen = opened ?? given > 0;
  const spaces = useChoices("spaces");
  const field = (name) => ({ name, value: filters[name] ?? "", change, label: t(`contacts.${name}`) });
  const yesOrNo = [["true", t("list.yes")], ["false", t("list.no")]];
  return (
    <search class="filters">
      <SearchField label={t("contacts.search")} value={filters.text} onSearch={(text) => change({ text })} />
      <Field {...field("tag")} />
      <Choice {...field("space_id")} options={spaces} />
      <Choice {...field("kind")} options={["person", "group"].map((kind) => [kind, t(`contacts.${kind}`)])} />
      <button type="button" class="plain" aria-expanded={isOpen} aria-controls="more-filters" onClick={() => setOpen(!isOpen)}>
        {given ? t("sessions.more_given", { count: given }) : t("sessions.more")}
      </button>
      {[...COMMON, ...RARE].some((name) => filters[name]) && (
        <button type="button" class="plain" onClick={() => change(Object.fromEntries([...COMMON, ...RARE].map((name) => [name, ""])))}>
          {t("list.clear")}
        </button>
      )}
      <div id="more-filters" hidden={!isOpen}>
        {["email", "identity"].map((name) => <Field key={name} {...field(name)} />)}
        <Choice {...field("has_session")} options={yesOrNo} />
        {["active_after", "active_before"].map((name) => <Field key={name} {...field(name)} type="date" />)}
      </div>
    </search>
  );
}

function Row({ contact, filters }) {
  const others = contact.identities.filter(({ kind }) => kind !== "email");
  return (
    <>
      <span role="gridcell" class="of-name">
        <Link href={to(`/contacts/${contact.id}`, filters)} dir="auto">{nameOfContact(contact)}</Link>
      </span>
      <span role="gridcell" class="of-email">{contact.email}</span>
      <span role="gridcell" class="of-others">{[...new Set(others.map(({ kind }) => nameOfPlatform(kind)))].join(", ")}</span>
      <span role="gridcell" class="of-tags">{contact.tags.map((tag) => <span key={tag} class="tag" dir="auto">{tag}</span>)}</span>
      <span role="gridcell" class="of-source">{contact.source}</span>
      <span role="gridcell" class="of-created">{day(contact.created_at)}</span>
    </>
  );
}
