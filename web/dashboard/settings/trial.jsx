// A message to a persona, and its answer as it comes.

import { useEffect, useRef, useState } from "preact/hooks";

import { ask, Failure } from "../api.js";
import { useFormDraft } from "../drafts.jsx";
import { has, span, t } from "../language.js";
import { Markdown } from "../parts/markdown.jsx";
import { explain } from "../parts/states.jsx";

export function Trial({ persona, changed }) {
  const [said, setSaid] = useState(null);
  const round = useRef();
  const { clear, notice, ...draft } = useFormDraft(`trial:${persona.id}`);
  useEffect(() => () => round.current?.abort(), []);

  async function send(event) {
    event.preventDefault();
    const message = new FormData(event.target).get("message");
    if (!message.trim()) return;
    round.current?.abort();
    const { signal } = (round.current = new AbortController());
    const began = performance.now();
    let text = "";
    let first;
    setSaid({ text, isGrowing: true });
    try {
      for await (const { event: kind, data } of ask(`/personas/${persona.id}/messages`, { body: { message }, signal })) {
        if (kind === "delta") {
          first ??= performance.now() - began;
          text += data.text;
          setSaid({ text, first, isGrowing: true });
        } else if (kind === "error") throw new Failure(500, { ...data, code: data.code, title: data.message ?? data.code });
      }
      setSaid({ text, first, took: performance.now() - began });
      clear();
    } catch (failure) {
      if (signal.aborted) return;
      setSaid({ text, first, failure });
    }
    changed();
  }

  return (
    <section class="part" aria-label={t("settings.trial")}>
      <h3>{t("settings.trial")}</h3>
      <p class="note">{t("settings.trial.about")}</p>
      {notice}
      <form class="line" onSubmit={send} {...draft}>
        <input name="message" aria-label={t("settings.trial.message")} placeholder={t("settings.trial.message")} dir="auto" />
        <button disabled={said?.isGrowing}>{t("settings.trial.send")}</button>
      </form>
      {said && (
        <div class="answer" aria-live="polite" aria-busy={Boolean(said.isGrowing)}>
          <Markdown text={said.text} isGrowing={said.isGrowing} />
          {said.failure && <p class="failure">{words(said.failure)}</p>}
          {said.took && (
            <p class="note">{t("settings.trial.took", { first: span(said.first ?? said.took), all: span(said.took) })}</p>
          )}
        </div>
      )}
    </section>
  );
}

function words(failure) {
  const name = `analytics.cause.${failure.code}`;
  return has(name) ? t(name) : explain(failure);
}
