// The turns of a session with their times, and failures in plain words.

import { span, t } from "../language.js";
import { Time } from "../parts/time.jsx";
import { failureInWords } from "./facts.jsx";

// `errors`: what the personas' servers said of them, {id, detail}.
export function Turns({ turns, errors }) {
  const details = Object.groupBy?.(errors, ({ id }) => id) ?? {};
  return (
    <section>
      <h2>{t("turns.title")}</h2>
      {turns.length === 0 && <p class="note">{t("turns.none")}</p>}
      <ol class="turns">
        {turns.toReversed().map((turn) => (
          <li key={turn.id}>
            <div class="line">
              <span class={`status ${turn.status}`}>{t(`turn.${turn.status}`)}</span>
              <Time value={turn.created_at} />
            </div>
            <p class="note">
              {turn.first_token_ms !== undefined && <span>{t("turns.first", { time: span(turn.first_token_ms) })} </span>}
              {turn.finished_at && <span>{t("turns.took", { time: span(new Date(turn.finished_at) - new Date(turn.created_at)) })}</span>}
            </p>
            {turn.error_code && <p class="failure">{failureInWords(turn.error_code)}</p>}
            {details[turn.id]?.map(({ detail }, place) => <p key={place} class="said" dir="auto">{detail}</p>)}
          </li>
        ))}
      </ol>
    </section>
  );
}
