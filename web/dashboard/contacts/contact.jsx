// The page of one contact.

import { useState } from "preact/hooks";
import { Link, Redirect } from "wouter-preact";

import { call, get } from "../api.js";
import { useData } from "../data.js";
import { day, number, t } from "../language.js";
import { Confirm } from "../parts/dialog.jsx";
import { Icon } from "../parts/icon.jsx";
import { nameOfContact } from "../parts/names.js";
import { Failed, Loading } from "../parts/states.jsx";
import { Tags } from "../parts/tags.jsx";
import { Time } from "../parts/time.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { ZipButton } from "../parts/zip.jsx";
import { go, to } from "../place.js";
import { manages } from "../workspace.js";
import { Edit } from "./create.jsx";
import { Erase } from "./erase.jsx";
import { Identities } from "./identities.jsx";
import { Journey } from "./journey.jsx";
import { Memories } from "./memories.jsx";
import { MergeReview, unmerge } from "./merge.jsx";

export function Contact({ id }) {
  const { data, failure, reload } = useData(async (signal) => {
    const [contact, activity] = await Promise.all([
      get(`/contacts/${id}`, {}, signal),
      get(`/contacts/${id}/activity`, {}, signal),
    ]);
    return { contact, activity };
  }, [id]);
  const [open, setOpen] = useState(null);
  const close = () => setOpen(null);
  if (!data) {
    return (
      <section class="view page">
        <Back />
        {failure ? <Failed failure={failure} retry={reload} /> : <Loading />}
      </section>
    );
  }
  const { contact, activity } = data;
  // It was merged: the address becomes that of the contact that stands for it.
  if (contact.id !== id) return <Redirect to={to(`/contacts/${contact.id}`)} replace />;

  async function signOut() {
    try {
      await call("POST", `/contacts/${id}/sign-out`);
      say(t("contact.signed_out"));
    } catch (problem) {
      complain(problem);
    }
    close();
  }

  return (
    <section class="view page contact">
      <header class="tools">
        <Back />
        <h1 dir="auto">{nameOfContact(contact)}</h1>
        <div class="actions">
          <button type="button" onClick={() => setOpen("edit")}>{t("contacts.edit")}</button>
          {manages.value && <button type="button" onClick={() => setOpen("merge")}>{t("merge.open")}</button>}
          <button type="button" onClick={() => setOpen("sign-out")}>{t("contact.sign_out")}</button>
          {manages.value && <ZipButton path={`/contacts/${id}/export`} name={`contact-${id}.zip`} />}
          {manages.value && <button type="button" class="danger" onClick={() => setOpen("erase")}>{t("erase.open")}</button>}
        </div>
      </header>
      {failure && <Failed failure={failure} retry={reload} />}
      <div class="columns">
        <div class="main">
          <Sessions id={id} activity={activity} />
          <Memories id={id} />
          <Journey id={id} />
        </div>
        <aside aria-label={t("contact.profile")}>
          <Profile contact={contact} />
          <section>
            <h2>{t("tags.title")}</h2>
            <Tags path={`/contacts/${id}`} tags={contact.tags} />
          </section>
          <Identities contact={contact} reload={reload} />
          <People contact={contact} />
          <Merged contact={contact} reload={reload} />
        </aside>
      </div>
      {open === "edit" && <Edit contact={contact} onClose={close} onDone={reload} />}
      {open === "merge" && <MergeReview contact={contact} onClose={close} onDone={(into) => go(`/contacts/${into}`)} />}
      {open === "erase" && <Erase contact={contact} onClose={close} />}
      {open === "sign-out" && (
        <Confirm title={t("contact.sign_out")} action={t("contact.sign_out")} run={signOut} onClose={close}>
          <p>{t("contact.sign_out_means")}</p>
        </Confirm>
      )}
    </section>
  );
}

// To the list as it was, with its filters.
export function Back() {
  const filters = Object.fromEntries(new URLSearchParams(location.search));
  return <Link href={to("/contacts", filters)} class="back"><Icon name="back" /> {t("contacts.title")}</Link>;
}

function Profile({ contact }) {
  const rows = [
    [t("contacts.kind"), t(`contacts.${contact.kind}`)],
    [t("contacts.source"), contact.source],
    [t("contacts.created"), day(contact.created_at)],
    ...Object.entries(contact.attributes).map(([name, value]) => [name, typeof value === "object" ? JSON.stringify(value) : String(value)]),
  ];
  return (
    <section>
      <h2>{t("contact.profile")}</h2>
      <dl class="facts">
        {rows.filter(([, value]) => value).map(([name, value]) => (
          <div key={name}><dt dir="auto">{name}</dt><dd dir="auto">{value}</dd></div>
        ))}
      </dl>
    </section>
  );
}

function Sessions({ id, activity }) {
  const count = Object.values(activity.sessions).reduce((sum, each) => sum + each, 0);
  return (
    <section>
      <div class="line">
        <h2>{t("sessions.title")}</h2>
        {count > 0 && <Link href={to("/sessions", { contact_id: id })}>{t("contact.all_sessions", { count })}</Link>}
      </div>
      <p class="note">
        {t("contact.messages", { count: activity.message_count })} {Object.entries(activity.sessions).map(([status, each]) => (
          <span key={status} class={`status ${status}`}>{t(`status.${status}`)} {number(each)}</span>
        ))}
      </p>
      <ul class="sessions-of">
        {activity.latest_sessions.map(({ session_id, status, message_count, last_activity_at }) => (
          <li key={session_id}>
            <Link href={to(`/sessions/${session_id}`)}><Time value={last_activity_at} /></Link>
            <span class={`status ${status}`}>{t(`status.${status}`)}</span>
            <span class="note">{t("contact.messages", { count: message_count })}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

// The persons of a group, or the groups of a person.
function People({ contact }) {
  const { participants = [], groups = [] } = contact;
  const all = [...participants, ...groups].filter(({ left_at }) => !left_at);
  if (all.length === 0) return null;
  return (
    <section>
      <h2>{t(contact.kind === "group" ? "contact.participants" : "contact.groups")}</h2>
      <ul class="plain-list">
        {all.map(({ contact_id, title, first_name, last_name, role }) => (
          <li key={contact_id}>
            <Link href={to(`/contacts/${contact_id}`)} dir="auto">
              {title ?? ([first_name, last_name].filter(Boolean).join(" ") || t("contact.unnamed"))}
            </Link>{" "}
            <span class="note">{role}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

// The contacts that were merged into this one.
function Merged({ contact, reload }) {
  if (!contact.merged?.length) return null;
  return (
    <section>
      <h2>{t("merge.merged")}</h2>
      <ul class="plain-list">
        {contact.merged.map(({ contact_id, automatic, merged_at }) => (
          <li key={contact_id} class="line">
            <span>{t(automatic ? "merge.by_proof" : "merge.by_member")} <Time value={merged_at} /></span>
            {manages.value && <button type="button" onClick={() => unmerge(contact_id).then(reload)}>{t("merge.undo")}</button>}
          </li>
        ))}
      </ul>
    </section>
  );
}
