// Pairs of contacts that seem to be one person.

import { useState } from "preact/hooks";
import { Link } from "wouter-preact";

import { call } from "../api.js";
import { usePages } from "../data.js";
import { has, t } from "../language.js";
import { nameOfContact } from "../parts/names.js";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { to, useFilters } from "../place.js";
import { Choice } from "../sessions/filters.jsx";
import { manages, workspace } from "../workspace.js";
import { Back } from "./contact.jsx";
import { MergeReview } from "./merge.jsx";

const foundInWords = (by) => (has(`proof.by_${by}`) ? t(`proof.by_${by}`) : by);

export function Conflicts() {
  const [filters, change] = useFilters();
  const status = filters.status ?? "";
  const { items, hasMore, more, failure, reload, setItems } = usePages("/contacts/conflicts", {
    workspace_id: workspace.value.id, status, limit: 50,
  });
  const [merging, setMerging] = useState(null);

  async function dismiss({ id }) {
    try {
      await call("POST", `/contacts/conflicts/${id}/dismiss`);
      setItems((before) => before.filter((each) => each.id !== id));
      say(t("conflicts.dismissed_one"));
    } catch (problem) {
      complain(problem);
    }
  }

  return (
    <section class="view page conflicts">
      <header class="tools">
        <Back />
        <h1>{t("conflicts.title")}</h1>
        <Choice name="status" value={status} change={change} label={t("sessions.status")} none={t("conflicts.open")}
                options={["merged", "dismissed"].map((each) => [each, t(`conflicts.${each}`)])} />
      </header>
      <p class="note">{t("conflicts.means")}</p>
      {failure && <Failed failure={failure} retry={reload} />}
      {!items && !failure && <Loading />}
      {items?.length === 0 && <Empty>{t("conflicts.none")}</Empty>}
      <ul class="cards">
        {items?.map((conflict) => {
          const { id, contact, other_contact: other, found_by, created_at } = conflict;
          return (
            <li key={id}>
              <div>
                {[contact, other].map((each) => (
                  <p key={each.id}><Link href={to(`/contacts/${each.standing_id}`)} dir="auto">{nameOfContact(each)}</Link></p>
                ))}
                <p class="note">{foundInWords(found_by)} · <Time value={created_at} /></p>
              </div>
              {manages.value && conflict.status === "open" && (
                <div class="actions">
                  <button type="button" onClick={() => setMerging(conflict)}>{t("conflicts.review")}</button>
                  <button type="button" class="plain" onClick={() => dismiss(conflict)}>{t("conflicts.dismiss")}</button>
                </div>
              )}
            </li>
          );
        })}
      </ul>
      {hasMore && <button type="button" onClick={more}>{t("list.more")}</button>}
      {merging && (
        <MergeReview contact={standing(merging.other_contact)} into={standing(merging.contact)} onDone={reload}
                     onClose={() => setMerging(null)} />
      )}
    </section>
  );
}

const standing = ({ standing_id, name }) => ({ id: standing_id, name });
