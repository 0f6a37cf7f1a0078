// The tags of a contact or a session, which are added and removed at once.

import { useEffect, useRef, useState } from "preact/hooks";

import { call } from "../api.js";
import { t } from "../language.js";
import { Icon } from "./icon.jsx";
import { complain } from "./toasts.jsx";

// `path`: the route of the tags' owner.
export function Tags({ path, tags, label = t("tags.title") }) {
  // What the server has, and the changes that it has not confirmed: both are shown.
  const stored = useRef(tags);
  const [pending, setPending] = useState([]);
  const last = useRef();
  useEffect(() => {
    stored.current = tags;
    setPending((all) => [...all]);
  }, [JSON.stringify(tags)]);
  const shown = pending.reduce((all, each) => each(all), stored.current);

  // Changed at once, and undone with an explanation if the server refuses; whether it did not. One after the other: the order is
  // the member's.
  function change(method, tag) {
    const changed = (all) => (method === "PUT" ? [...new Set([...all, tag])] : all.filter((each) => each !== tag));
    setPending((all) => [...all, changed]);
    return (last.current = send(last.current, method, tag, changed));
  }

  async function send(before, method, tag, changed) {
    await before;
    try {
      const route = `${path}/tags`;
      // A slash does not fit into the address.
      const answer = tag.includes("/")
        ? await call("PUT", route, { body: { tags: changed(stored.current) } })
        : await call(method, `${route}/${encodeURIComponent(tag)}`);
      stored.current = answer.tags;
      return true;
    } catch (failure) {
      complain(failure);
      return false;
    } finally {
      setPending((all) => all.filter((each) => each !== changed));
    }
  }

  async function add(event) {
    event.preventDefault();
    const form = event.target;
    const { value } = form.tag;
    const tag = value.trim().toLowerCase();
    form.reset();
    if (!tag || shown.includes(tag)) return;
    if (!(await change("PUT", tag))) form.tag.value ||= value;
  }

  return (
    <div class="tags" role="group" aria-label={label}>
      {shown.map((tag) => (
        <span key={tag} class="tag" dir="auto">
          {tag}
          <button type="button" class="plain" aria-label={t("tags.remove", { tag })}
                  onClick={() => change("DELETE", tag)}><Icon name="close" /></button>
        </span>
      ))}
      <form onSubmit={add}>
        <input name="tag" maxLength={64} aria-label={t("tags.add")} placeholder={t("tags.add")} dir="auto" />
      </form>
    </div>
  );
}
