// What happened to a contact, in all their sessions.

import { Link } from "wouter-preact";

import { usePages } from "../data.js";
import { t } from "../language.js";
import { Failed } from "../parts/states.jsx";
import { to } from "../place.js";
import { Entry } from "../sessions/timeline.jsx";
import { money } from "../sessions/work.jsx";

export function Journey({ id }) {
  const { items = [], hasMore, more, failure, reload } = usePages(`/contacts/${id}/journey`, { limit: 100 });
  return (
    <section>
      <h2>{t("contact.journey")}</h2>
      {failure && <Failed failure={failure} retry={reload} />}
      <ol class="timeline">
        {items.map((entry, place) => (
          <Entry key={place} entry={entry} more={[
            entry.identity, entry.title, entry.operator, entry.amount !== undefined && money(entry.amount, entry.currency), entry.to_step,
          ]}>
            {entry.session_id && <Link href={to(`/sessions/${entry.session_id}`)}>{t("contact.session")}</Link>}
          </Entry>
        ))}
      </ol>
      {hasMore && <button type="button" onClick={more}>{t("list.more")}</button>}
    </section>
  );
}
