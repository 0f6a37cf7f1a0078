// The workspace's answer templates, to insert one: by its shortcut, its name or its text.

import { useState } from "preact/hooks";

import { getAll } from "../api.js";
import { useData } from "../data.js";
import { t } from "../language.js";
import { Dialog } from "../parts/dialog.jsx";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { workspace } from "../workspace.js";

export function Templates({ onChoose, onClose }) {
  const path = `/workspaces/${workspace.value.id}/answer-templates`;
  const { data: items, failure, reload } = useData((signal) => getAll(path, {}, signal), [path]);
  const [wanted, setWanted] = useState("");
  const words = wanted.toLowerCase();
  const rank = ({ shortcut, name, text }) => [shortcut, name, text].findIndex((each) => each?.toLowerCase().includes(words));
  const found = (items ?? []).filter((each) => rank(each) >= 0).sort((one, other) => rank(one) - rank(other));

  function submit(event) {
    event.preventDefault();
    if (found.length) onChoose(found[0].text);
  }

  return (
    <Dialog title={t("inbox.templates")} onClose={onClose} class="templates">
      <form onSubmit={submit}>
        <input type="search" autofocus aria-label={t("inbox.search_templates")} placeholder={t("inbox.search_templates")} value={wanted}
               onInput={({ target }) => setWanted(target.value)} />
      </form>
      {failure && <Failed failure={failure} retry={reload} />}
      {!items && !failure && <Loading />}
      {items && found.length === 0 && <Empty>{t("inbox.no_template")}</Empty>}
      <ul>
        {found.map(({ id, name, shortcut, text }) => (
          <li key={id}>
            <button type="button" onClick={() => onChoose(text)}>
              <strong>{name}</strong> {shortcut && <kbd>/{shortcut}</kbd>}
              <span dir="auto">{text}</span>
            </button>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}
