// What is known of a session.

import { Link } from "wouter-preact";

import { has, number, t } from "../language.js";
import { nameOfContact, nameOfPlatform } from "../parts/names.js";
import { Time } from "../parts/time.jsx";
import { to } from "../place.js";
import { nameOf } from "../workspace.js";

// A failure in words: ours for its code, else the server's.
export function failureInWords(code, message) {
  const name = `failure.${code}`;
  return has(name) ? t(name) : message || t("failure.unknown", { code });
}

export function Facts({ session }) {
  const { contact, metadata = {} } = session;
  const rows = [
    ["contact", contact && <Link href={to(`/contacts/${contact.id}`)} dir="auto">{nameOfContact(contact)}</Link>],
    ["proof", session.proof && t(`proof.${session.proof}`)],
    ["persona", session.persona?.name],
    ["channel", nameOfPlatform(session.channel)],
    ["member", nameOf(session.assigned_user_id)],
    ["taken_over_by", nameOf(session.taken_over_by)],
    ["workflow", session.workflow && [session.workflow, session.workflow_step].filter(Boolean).join(" · ")],
    ["messages", number(session.message_count)],
    ["created", <Time key="created" value={session.created_at} />],
    ["activity", <Time key="activity" value={session.last_activity_at} />],
    ["ended", session.ended_at && <Time value={session.ended_at} />],
    ["archived", session.archived_at && <Time value={session.archived_at} />],
    ["device", metadata.device],
    ["refs", session.refs?.map(({ system, kind, external_id }) => `${system} ${kind} ${external_id}`).join(", ")],
  ];
  const failure = session.error_code && failureInWords(session.error_code, session.error_message);
  return (
    <section>
      <h2>{t("session.facts")}</h2>
      {failure && <p class="failure">{failure}{session.error_code === "failed_by_member" && ` ${session.error_message ?? ""}`}</p>}
      <dl class="facts">
        {rows.filter(([, value]) => value).map(([name, value]) => (
          <div key={name}>
            <dt>{t(`sessions.${name}`)}</dt>
            <dd dir={typeof value === "string" ? "auto" : undefined}>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
