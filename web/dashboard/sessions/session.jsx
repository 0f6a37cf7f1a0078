// The page of one session.

import { useEffect } from "preact/hooks";
import { Link } from "wouter-preact";

import { get } from "../api.js";
import { useData } from "../data.js";
import { t } from "../language.js";
import { listen } from "../live.js";
import { Icon } from "../parts/icon.jsx";
import { nameOfContact } from "../parts/names.js";
import { Failed, Loading } from "../parts/states.jsx";
import { Tags } from "../parts/tags.jsx";
import { to } from "../place.js";
import { manages, workspace } from "../workspace.js";
import { Actions } from "./actions.jsx";
import { Facts } from "./facts.jsx";
import { Timeline } from "./timeline.jsx";
import { Transcript } from "./transcript.jsx";
import { Turns } from "./turns.jsx";
import { Work } from "./work.jsx";

const PAUSE_MS = 800;

export function Session({ id }) {
  const { data: session, failure, reload, setData } = useData((signal) => get(`/chat-sessions/${id}`, {}, signal), [id]);
  useEffect(() => {
    let timer;
    const stop = listen(({ event, data }) => {
      if (event !== "reset" && data?.session_id !== id) return;
      clearTimeout(timer);
      timer = setTimeout(reload, PAUSE_MS);
    });
    return () => (stop(), clearTimeout(timer));
  }, [id]);
  // What the personas' servers said of failed turns, which only owners and admins may read.
  const hasFailed = session?.turns.some(({ error_code }) => error_code);
  const { data: errors = [] } = useData(async (signal) => {
    if (!manages.value || !hasFailed) return [];
    return (await get(`/workspaces/${workspace.value.id}/turn-errors`, { session_id: id, limit: 200 }, signal)).items;
  }, [id, hasFailed, session?.turns.length]);

  if (!session) {
    return (
      <section class="view page">
        <Back />
        {failure ? <Failed failure={failure} retry={reload} /> : <Loading />}
      </section>
    );
  }
  return (
    <section class="view page session">
      <header class="tools">
        <Back />
        <h1 dir="auto">{session.subject || nameOfContact(session.contact)}</h1>
        <span class={`status ${session.status}`}>{t(`status.${session.status}`)}</span>
        <Actions session={session} reload={reload} />
      </header>
      {failure && <Failed failure={failure} retry={reload} />}
      <div class="columns">
        <Transcript session={session} setData={setData} />
        <aside aria-label={t("session.facts")}>
          <Facts session={session} />
          <section>
            <h2>{t("tags.title")}</h2>
            <Tags path={`/chat-sessions/${id}`} tags={session.tags ?? []} />
          </section>
          <Work session={session} />
          <Turns turns={session.turns} errors={errors} />
          <Timeline entries={session.timeline} />
        </aside>
      </div>
    </section>
  );
}

// To the list as it was, with its filters.
function Back() {
  const filters = Object.fromEntries(new URLSearchParams(location.search));
  return <Link href={to("/sessions", filters)} class="back"><Icon name="back" /> {t("sessions.title")}</Link>;
}
