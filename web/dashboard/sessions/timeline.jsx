// What happened to a session, or to a contact.

import { has, t } from "../language.js";
import { Time } from "../parts/time.jsx";
import { authorOf, nameOf } from "../workspace.js";
import { failureInWords } from "./facts.jsx";

export function Timeline({ entries }) {
  return (
    <section>
      <h2>{t("session.timeline")}</h2>
      <ol class="timeline">
        {entries.toReversed().map((entry, place) => (
          <Entry key={`${entry.at} ${entry.event} ${place}`} entry={entry} more={[entry.step, entry.reason]} />
        ))}
      </ol>
    </section>
  );
}

// What contacts and users do not do.
const BY_MEMBERS = ["session.taken_over", "session.assigned", "session.tagged"];

// Who did it, if it was a member or an API key.
export const actorOf = ({ event, actor_id }) => (BY_MEMBERS.includes(event) ? authorOf : nameOf)(actor_id);

// An entry with what it names beside the event.
export function Entry({ entry, more, children }) {
  const { at, event, actor_id, code, error_code = code } = entry;
  const said = [...more, actorOf({ event, actor_id }), error_code === "late" ? t("event.late") : error_code && failureInWords(error_code)];
  return (
    <li>
      <div class="line"><span>{eventInWords(event)}</span><Time value={at} /></div>
      <p class="note" dir="auto">{said.filter(Boolean).join(" · ")} {children}</p>
    </li>
  );
}

// The words for what an event leaves behind; quotes and proposals share theirs.
const STATES = { session: "status", turn: "turn", quote: "verb", proposal: "verb" };

function eventInWords(event) {
  const [subject, verb] = event.split(".");
  const name = `event.${event}`;
  if (has(name)) return t(name);
  const state = `${STATES[subject]}.${verb}`;
  return has(state) ? t(`event.${subject}`, { verb: t(state) }) : event;
}
