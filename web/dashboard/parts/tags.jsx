// The tags of a contact or a session, which are added and removed at once.

import { useEffect, useState } from "preact/hooks";

import { call } from "../api.js";
import { t } from "../language.js";
import { Icon } from "./icon.jsx";
import { complain } from "./toasts.jsx";

// `path`: the route of the tags' owner.
export function Tags({ path, tags, onChange }) {
  const [shown, setShown] = useState(tags);
  useEffect(() => setShown(tags), [JSON.stringify(tags)]);

  async function change(method, tag, expected) {
    setShown(expected);
    try {
      const route = `${path}/tags`;
      // A slash does not fit into the address.
      const answer = tag.includes("/")
        ? await call("PUT", route, { body: { tags: expected } })
        : await call(method, `${route}/${encodeURIComponent(tag)}`);
      setShown(answer.tags);
      onChange?.(answer.tags);
    } catch (failure) {
      setShown(shown);
      complain(failure);
    }
  }

  function add(event) {
    event.preventDefault();
    const tag = new FormData(event.target).get("tag").trim().toLowerCase();
    event.target.reset();
    if (tag && !shown.includes(tag)) change("PUT", tag, [...shown, tag]);
  }

  return (
    <div class="tags">
      {shown.map((tag) => (
        <span key={tag} class="tag" dir="auto">
          {tag}
          <button type="button" class="plain" aria-label={t("tags.remove", { tag })}
                  onClick={() => change("DELETE", tag, shown.filter((each) => each !== tag))}><Icon name="close" /></button>
        </span>
      ))}
      <form onSubmit={add}>
        <input name="tag" maxLength={64} aria-label={t("tags.add")} placeholder={t("tags.add")} dir="auto" />
      </form>
    </div>
  );
}
