// Tags with what adds and removes one.

import { useState } from "preact/hooks";

import { t } from "../language.js";
import { Icon } from "../parts/icon.jsx";

export function Tags({ label, tags, add, remove }) {
  const [text, setText] = useState("");

  function submit(event) {
    event.preventDefault();
    const tag = text.trim().toLowerCase();
    // A slash cannot be in the route's address.
    if (!tag || tag.includes("/")) return;
    setText("");
    add(tag);
  }

  return (
    <div class="tags" role="group" aria-label={label}>
      {tags.map((tag) => (
        <span key={tag} class="tag">
          {tag}
          <button type="button" class="plain" aria-label={t("inbox.remove_tag", { tag })} onClick={() => remove(tag)}><Icon name="close" /></button>
        </span>
      ))}
      <form onSubmit={submit}>
        <input aria-label={t("inbox.add_tag")} placeholder={t("inbox.add_tag")} maxLength={64} value={text}
               onInput={({ target }) => setText(target.value)} />
      </form>
    </div>
  );
}
