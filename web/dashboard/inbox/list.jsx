// The tabs of the inbox and the conversations of one.

import { Link } from "wouter-preact";

import { t } from "../language.js";
import { Words } from "../parts/markdown.jsx";
import { Rows } from "../parts/rows.jsx";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { to } from "../place.js";
import { nameOf } from "../workspace.js";
import { TABS } from "./list_data.js";
import { channelName, personName } from "./names.js";

export function List({ inbox, tab, withEnded, open, place, change, filters }) {
  const { items, failure, reload, hasMore, more } = inbox;
  return (
    <section class="list" aria-label={t("inbox.conversations")}>
      <nav aria-label={t("inbox.lists")}>
        {TABS.map((each) => (
          <Link key={each} href={to("/inbox", { ...filters, tab: each })} aria-current={each === tab ? "page" : undefined}>
            {t(`inbox.tab.${each}`)}
          </Link>
        ))}
      </nav>
      {tab !== "unread" && (
        <label class="ended">
          <input type="checkbox" checked={withEnded} onChange={({ target }) => change({ ended: target.checked ? "1" : "" })} />
          {t("inbox.with_ended")}
        </label>
      )}
      {failure && <Failed failure={failure} retry={reload} />}
      {!items && !failure && <Loading />}
      {items?.length === 0 && <Empty>{t(`inbox.empty.${tab}`)}</Empty>}
      {items?.length > 0 && (
        <Rows items={items} height={78} more={hasMore ? more : null} label={t("inbox.conversations")} selected={place}
              row={(session) => <Item session={session} isOpen={session.id === open} filters={filters} />} />
      )}
    </section>
  );
}

function Item({ session, isOpen, filters }) {
  const { id, status, last_activity_at, last_message, taken_over, assigned_user_id, unread } = session;
  return (
    <span role="gridcell">
      <Link href={to(`/inbox/${id}`, filters)} class={`item ${unread ? "unread" : ""}`} aria-current={isOpen ? "true" : undefined}>
        <span class="line">
          <strong dir="auto">{personName(session)}</strong>
          <Time value={last_activity_at} />
        </span>
        <span class="excerpt">
          {last_message ? <><span>{t(`inbox.says.${last_message.role}`)}</span> <Words text={last_message.text} /></> : t("inbox.no_message")}
        </span>
        <span class="line badges">
          <span>
            {channelName(session.channel)}
            {assigned_user_id && ` · ${nameOf(assigned_user_id) ?? t("inbox.assigned")}`}
          </span>
          <span>
            {unread && <span class="dot"><span class="hidden">{t("inbox.tab.unread")}</span></span>}
            {taken_over && <span class="status paused">{t("inbox.taken_over")}</span>}
            {status !== "active" && <span class={`status ${status}`}>{t(`status.${status}`)}</span>}
          </span>
        </span>
      </Link>
    </span>
  );
}
