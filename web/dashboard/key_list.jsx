// The list of keys, opened with `?`.

import { useState } from "preact/hooks";

import { keys, useKeys } from "./keys.js";
import { t } from "./language.js";
import { Dialog } from "./parts/dialog.jsx";

export function KeyList() {
  const [isOpen, setOpen] = useState(false);
  useKeys([["?", "keys.list", () => setOpen(true)]]);
  if (!isOpen) return null;
  return (
    <Dialog title={t("keys.title")} onClose={() => setOpen(false)}>
      <dl class="keys">
        {keys.value.map(({ key, label }) => (
          <div key={key}>
            <dt>{key.split(" ").map((each) => <kbd key={each}>{each}</kbd>)}</dt>
            <dd>{t(label)}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
