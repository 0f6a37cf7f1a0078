// The inbox: the conversations on one side, the open one in the middle, its contact on the other side. On a phone one at a time.

import { useEffect, useRef, useState } from "preact/hooks";
import { useRoute } from "wouter-preact";

import { useKeys } from "../keys.js";
import { t } from "../language.js";
import { go, useFilters } from "../place.js";
import { Conversation } from "./conversation.jsx";
import { TABS, useInbox } from "./list_data.js";
import { List } from "./list.jsx";

export default function View() {
  const [filters, change] = useFilters();
  const [, parameters] = useRoute("/inbox/:id");
  const open = parameters?.id;
  const tab = TABS.includes(filters.tab) ? filters.tab : "all";
  const withEnded = filters.ended === "1";
  const inbox = useInbox(tab, withEnded, open);
  const [cursor, setCursor] = useState(open);
  useEffect(() => setCursor(open), [open]);

  const place = inbox.items?.findIndex(({ id }) => id === cursor) ?? -1;
  // A key may be pressed before the effect that would replace its action.
  const shown = useRef();
  shown.current = { items: inbox.items ?? [], place, cursor };
  const move = (step) => {
    const { items, place: from } = shown.current;
    if (items.length) setCursor(items[Math.min(Math.max(from + step, 0), items.length - 1)].id);
  };
  const show = (id) => go(`/inbox/${id}`, filters);
  useKeys(
    [
      ["j", "inbox.key_next", () => move(1)],
      ["k", "inbox.key_previous", () => move(-1)],
      ["Enter", "inbox.key_open", () => shown.current.cursor && show(shown.current.cursor)],
      ["u", "inbox.key_back", () => go("/inbox", filters)],
    ],
    [filters],
  );

  return (
    <section class={`inbox ${open ? "is-open" : ""}`}>
      <h1 class="hidden">{t("nav.inbox")}</h1>
      <List inbox={inbox} tab={tab} withEnded={withEnded} open={open} place={place} change={change} filters={filters} />
      {open ? <Conversation key={open} id={open} filters={filters} /> : <p class="state nothing">{t("inbox.choose")}</p>}
    </section>
  );
}
