// The contact of the open session: who they are, and what is known of them.

import { get } from "../api.js";
import { useData } from "../data.js";
import { day, t } from "../language.js";
import { Icon } from "../parts/icon.jsx";
import { Empty } from "../parts/states.jsx";
import { Tags } from "../parts/tags.jsx";
import { Earlier, Journey, Memories } from "./history.jsx";
import { Identify } from "./identify.jsx";
import { identityKind, personName } from "./names.js";
import { Part, waiting } from "./part.jsx";
import { Trip } from "./trip.jsx";

export function Contact({ session, filters, isOpen, onClose }) {
  const id = session.contact?.id;
  return (
    <aside class={`contact ${isOpen ? "is-open" : ""}`} aria-label={t("inbox.contact")}>
      <header>
        <h2>{t("inbox.contact")}</h2>
        <button type="button" class="plain" aria-label={t("action.close")} onClick={onClose}><Icon name="close" /></button>
      </header>
      {id ? <Person key={id} id={id} name={personName(session)} /> : <p class="person"><strong>{personName(session)}</strong></p>}
      <Trip key={session.id} session={session} />
      {id && <Memories id={id} />}
      {id && <Journey id={id} state={`${session.status} ${session.workflow_step}`} />}
      {id && <Earlier id={id} session={session} filters={filters} />}
    </aside>
  );
}

// It is read again when the session's name for the contact changes.
function Person({ id, name: known }) {
  const found = useData((signal) => get(`/contacts/${id}`, {}, signal), [id, known]);
  const { data: contact, setData } = found;

  if (!contact) return waiting(found);
  const { name, email, kind, created_at, identities, tags, participants = [], groups = [], merged = [] } = contact;
  const people = participants.filter(({ left_at }) => !left_at).map((each) => [each.first_name, each.last_name].filter(Boolean).join(" "));
  const within = groups.filter(({ left_at }) => !left_at).map(({ title }) => title);
  return (
    <>
      <div class="person">
        <p><strong>{name ?? email ?? t("contact.unnamed")}</strong> {kind === "group" && t("inbox.group")}</p>
        <p class="meta">{t("inbox.since")} {day(created_at)}</p>
        {[...people, ...within].filter(Boolean).length > 0 && <p class="meta">{[...people, ...within].filter(Boolean).join(", ")}</p>}
        {merged.length > 0 && <p class="meta">{t("inbox.merged", { count: merged.length })}</p>}
        <Tags label={t("inbox.contact_tags")} path={`/contacts/${id}`} tags={tags} />
      </div>
      <Part title={t("inbox.identities")}>
        {identities.length === 0 && <Empty>{t("inbox.none")}</Empty>}
        <ul>
          {identities.map(({ kind: each, key, value, evidence, verified_by }) => (
            <li key={`${each}:${key}`}>
              <span class="meta">{identityKind(each)}</span> <span class="value"><bdi>{value}</bdi></span>{" "}
              <span class={`proof ${evidence}`} title={verified_by}>{t(`proof.${evidence}`)}</span>
            </li>
          ))}
        </ul>
        <Identify id={id} onChange={(changed) => setData((before) => ({ ...before, ...changed }))} />
      </Part>
    </>
  );
}
