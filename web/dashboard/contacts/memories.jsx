// What is remembered of a contact, and what makes the personas forget it.

import { useState } from "preact/hooks";

import { call } from "../api.js";
import { usePages } from "../data.js";
import { day, t } from "../language.js";
import { Confirm } from "../parts/dialog.jsx";
import { Failed } from "../parts/states.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { workspace } from "../workspace.js";

export function Memories({ id }) {
  const { items, hasMore, more, failure, reload, setItems } = usePages("/memories", {
    workspace_id: workspace.value.id, contact_id: id, limit: 50,
  });
  const [asked, setAsked] = useState(null);

  async function forget() {
    try {
      await call("DELETE", `/memories/${asked.id}`);
      setItems((before) => before.filter((each) => each.id !== asked.id));
      say(t("memories.forgotten"));
    } catch (problem) {
      complain(problem);
    }
    setAsked(null);
  }

  return (
    <section>
      <h2>{t("memories.title")}</h2>
      {failure && <Failed failure={failure} retry={reload} />}
      {items?.length === 0 && <p class="note">{t("memories.none")}</p>}
      <ul class="memories">
        {items?.map((memory) => (
          <li key={memory.id}>
            <div>
              <p dir="auto">{memory.content}</p>
              <p class="note">{[day(memory.created_at), memory.internal && t("memories.internal")].filter(Boolean).join(" · ")}</p>
            </div>
            <button type="button" class="plain" onClick={() => setAsked(memory)}>{t("memories.forget")}</button>
          </li>
        ))}
      </ul>
      {hasMore && <button type="button" onClick={more}>{t("list.more")}</button>}
      {asked && (
        <Confirm title={t("memories.forget")} action={t("memories.forget")} run={forget} onClose={() => setAsked(null)}>
          <p dir="auto">{asked.content}</p>
        </Confirm>
      )}
    </section>
  );
}
