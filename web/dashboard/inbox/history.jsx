// What came before: memories of the contact, their journey, and their other sessions, archived ones too.

import { useState } from "preact/hooks";
import { Link } from "wouter-preact";

import { get } from "../api.js";
import { useData, usePages } from "../data.js";
import { has, t } from "../language.js";
import { Failed } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { to } from "../place.js";
import { actorOf } from "../sessions/timeline.jsx";
import { workspace } from "../workspace.js";
import { Part, waiting } from "./part.jsx";
import { channelName } from "./names.js";
import { money } from "./trip.jsx";

export function Memories({ id }) {
  const pages = usePages("/memories", { workspace_id: workspace.value.id, contact_id: id, limit: 20 });
  const { items, hasMore, more } = pages;
  return (
    <Part title={t("inbox.memories")} isEmpty={items?.length === 0}>
      {waiting({ ...pages, data: items })}
      <ul>{items?.map((each) => <li key={each.id} dir="auto">{each.content} <span class="meta"><Time value={each.valid_from} /></span></li>)}</ul>
      {hasMore && <button type="button" class="plain small" onClick={more}>{t("inbox.more")}</button>}
    </Part>
  );
}

const MOST_PAGES = 20;
const LATEST = 8;

// The route begins with the oldest event; the newest are what is looked for.
async function readJourney(id, signal) {
  const events = [];
  let cursor;
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const { items, next_cursor } = await get(`/contacts/${id}/journey`, { limit: 200, cursor }, signal);
    events.push(...items);
    if (!next_cursor) break;
    cursor = next_cursor;
  }
  return events.reverse();
}

// `state`: the journey is read again when it changes.
export function Journey({ id, state }) {
  const found = useData((signal) => readJourney(id, signal), [id, state]);
  const [isWhole, setWhole] = useState(false);
  const { data } = found;
  const shown = isWhole ? data : data?.slice(0, LATEST);
  return (
    <Part title={t("inbox.journey")} isEmpty={data?.length === 0}>
      {waiting(found)}
      <ol class="journey">
        {shown?.map((each, place) => (
          <li key={place}>
            {has(`inbox.journey.${each.event}`) ? t(`inbox.journey.${each.event}`) : each.event}
            <span class="meta"><Time value={each.at} /></span>
            {detailOf(each) && <span class="meta detail"><bdi>{detailOf(each)}</bdi></span>}
          </li>
        ))}
      </ol>
      {data?.length > LATEST && !isWhole && (
        <button type="button" class="plain small" onClick={() => setWhole(true)}>{t("inbox.more")}</button>
      )}
    </Part>
  );
}

function detailOf(event) {
  const { identity, to_step, operator, title } = event;
  return [identity, to_step, operator, title, money(event), actorOf(event)].filter(Boolean).join(" · ");
}

export function Earlier({ id, session, filters }) {
  const { items, failure, reload, hasMore, more } = usePages("/chat-sessions", { workspace_id: workspace.value.id, contact_id: id, limit: 20 });
  const others = items?.filter((each) => each.id !== session.id);
  return (
    <Part title={t("inbox.earlier")} isEmpty={others?.length === 0 && !hasMore}>
      {failure && <Failed failure={failure} retry={reload} />}
      <ul>
        {others?.map((each) => (
          <li key={each.id}>
            <Link href={to(`/inbox/${each.id}`, filters)}>
              {channelName(each.channel)} · {each.persona?.name} <Time value={each.created_at} />
            </Link>{" "}
            <span class={`status ${each.status}`}>{t(`status.${each.status}`)}</span>
          </li>
        ))}
      </ul>
      {hasMore && <button type="button" class="plain small" onClick={more}>{t("inbox.more")}</button>}
    </Part>
  );
}
