// All sessions of the workspace, by the filters of the address.

import { useEffect, useMemo, useState } from "preact/hooks";
import { Link } from "wouter-preact";

import { download } from "../api.js";
import { usePages } from "../data.js";
import { number, t } from "../language.js";
import { useCursor } from "../parts/cursor.js";
import { nameOfContact, nameOfPlatform } from "../parts/names.js";
import { Rows } from "../parts/rows.jsx";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { complain } from "../parts/toasts.jsx";
import { go, to, useFilters } from "../place.js";
import { manages, nameOf } from "../workspace.js";
import { Bulk } from "./bulk.jsx";
import { useChanges } from "./changes.js";
import { queryOf } from "./choices.js";
import { Filters } from "./filters.jsx";

const PAGE = 200;
const COLUMNS = ["contact", "status", "persona", "channel", "member", "messages", "activity"];

export function List() {
  const [filters, change] = useFilters();
  const query = useMemo(() => ({ ...queryOf(filters), limit: PAGE }), [filters]);
  const pages = usePages("/chat-sessions", query);
  const [selected, setSelected] = useState(() => new Set());
  useChanges(pages, query);
  useEffect(() => setSelected(new Set()), [query]);
  const toggle = ({ id }) => setSelected((before) => {
    const after = new Set(before);
    return after.delete(id) ? after : after.add(id);
  });
  const at = useCursor(pages.items, ({ id }) => go(`/sessions/${id}`, filters), toggle);
  const items = pages.items ?? [];
  const areAll = items.length > 0 && items.every(({ id }) => selected.has(id));
  const selectAll = () => setSelected(areAll ? new Set() : new Set(items.map(({ id }) => id)));

  const exportAll = () => download("/chat-sessions", { ...query, limit: "", format: "csv" }, "sessions.csv").catch(complain);

  function onDone(changed) {
    setSelected((before) => new Set([...before].filter((id) => !(id in changed))));
    pages.setItems((before) => before.map((each) => (each.id in changed ? { ...each, status: changed[each.id] } : each)));
  }

  return (
    <section class="view list sessions">
      <header class="tools">
        <h1>{t("sessions.title")}</h1>
        <button type="button" onClick={exportAll}>{t("action.export_csv")}</button>
        <Filters filters={filters} change={change} />
      </header>
      {selected.size > 0 && <Bulk selected={[...selected]} onDone={onDone} onClear={() => setSelected(new Set())} />}
      {pages.failure && <Failed failure={pages.failure} retry={pages.items && pages.hasMore ? pages.more : pages.reload} />}
      {!pages.items && !pages.failure && <Loading />}
      {pages.items?.length === 0 && (
        <Empty>{t(Object.keys(filters).length ? "sessions.empty" : manages.value ? "sessions.none" : "sessions.none_agent")}</Empty>
      )}
      {items.length > 0 && (
        <Rows items={items} height={48} more={pages.hasMore && !pages.failure ? pages.more : null} label={t("sessions.title")} selected={at}
              head={[
                <span key="all" role="columnheader">
                  <input type="checkbox" checked={areAll} aria-label={t("bulk.all")} onChange={selectAll} />
                </span>,
                ...COLUMNS.map((name) => <span key={name} role="columnheader" class={`of-${name}`}>{t(`sessions.${name}`)}</span>),
              ]}
              row={(session) => (
                <Session session={session} filters={filters} isSelected={selected.has(session.id)} toggle={() => toggle(session)} />
              )} />
      )}
    </section>
  );
}

function Session({ session, filters, isSelected, toggle }) {
  const { contact, persona, subject, tags = [] } = session;
  const name = nameOfContact(contact);
  return (
    <>
      <span role="gridcell">
        <input type="checkbox" checked={isSelected} aria-label={t("bulk.select", { name })} onChange={toggle} />
      </span>
      <span role="gridcell" class="of-contact">
        <Link href={to(`/sessions/${session.id}`, filters)} dir="auto">{name}</Link>
        {subject && <>{" "}<span class="note" dir="auto">{subject}</span></>}
        {tags.slice(0, 2).map((tag) => <span key={tag} class="tag">{tag}</span>)}
      </span>
      <span role="gridcell" class="of-status"><span class={`status ${session.status}`}>{t(`status.${session.status}`)}</span></span>
      <span role="gridcell" class="of-persona" dir="auto">{persona?.name}</span>
      <span role="gridcell" class="of-channel">{nameOfPlatform(session.channel)}</span>
      <span role="gridcell" class="of-member">{nameOf(session.assigned_user_id)}</span>
      <span role="gridcell" class="of-messages">{number(session.message_count)}</span>
      <span role="gridcell" class="of-activity"><Time value={session.last_activity_at} /></span>
    </>
  );
}
