// All sessions of the workspace, by the filters of the address.

import { Link } from "wouter-preact";

import { usePages } from "../data.js";
import { t } from "../language.js";
import { Rows } from "../parts/rows.jsx";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { to, useFilters } from "../place.js";
import { workspace } from "../workspace.js";

const STATUSES = ["active", "paused", "completed", "failed", "timeout", "cancelled", "archived"];

export default function View() {
  const [filters, change] = useFilters();
  const pages = usePages("/chat-sessions", { ...filters, workspace_id: workspace.value.id, limit: 100 });
  return (
    <section class="view">
      <header class="tools">
        <h1>{t("sessions.title")}</h1>
        <search>
          <input type="search" aria-label={t("sessions.search")} placeholder={t("sessions.search")} defaultValue={filters.text}
                 onChange={({ target }) => change({ text: target.value })} />
          <label>
            {t("sessions.status")}
            <select value={filters.status ?? ""} onChange={({ target }) => change({ status: target.value })}>
              <option value="">{t("sessions.any")}</option>
              {STATUSES.map((each) => <option key={each} value={each}>{t(`status.${each}`)}</option>)}
            </select>
          </label>
        </search>
      </header>
      {pages.failure && <Failed failure={pages.failure} retry={pages.reload} />}
      {!pages.items && !pages.failure && <Loading />}
      {pages.items?.length === 0 && <Empty>{t("sessions.empty")}</Empty>}
      {pages.items?.length > 0 && (
        <Rows items={pages.items} height={44} more={pages.hasMore ? pages.more : null} label={t("sessions.title")}
              head={["contact", "status", "persona", "channel", "messages", "activity"].map((name) => (
                <span key={name} role="columnheader">{t(`sessions.${name}`)}</span>
              ))}
              row={(session) => <Session session={session} />} />
      )}
    </section>
  );
}

function Session({ session }) {
  const { contact, persona } = session;
  return (
    <>
      <span role="gridcell">
        <Link href={to(`/sessions/${session.id}`)}>{contact?.name ?? contact?.email ?? t("contact.unnamed")}</Link>
      </span>
      <span role="gridcell"><span class={`status ${session.status}`}>{t(`status.${session.status}`)}</span></span>
      <span role="gridcell">{persona?.name}</span>
      <span role="gridcell">{session.channel}</span>
      <span role="gridcell">{session.message_count}</span>
      <span role="gridcell"><Time value={session.last_activity_at} /></span>
    </>
  );
}
