// What was said in a session; of an archived one, also what only the archive has.

import { useState } from "preact/hooks";

import { get } from "../api.js";
import { useData } from "../data.js";
import { t } from "../language.js";
import { Markdown } from "../parts/markdown.jsx";
import { nameOfContact } from "../parts/names.js";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { complain } from "../parts/toasts.jsx";
import { authorOf } from "../workspace.js";

export function Transcript({ session, setData }) {
  return (
    <section class="transcript" aria-label={t("session.transcript")}>
      <h2>{t("session.transcript")}</h2>
      {session.archive?.messages_dropped ? <Archived session={session} /> : <Stored session={session} setData={setData} />}
    </section>
  );
}

function Stored({ session, setData }) {
  const { id, messages, messages_before: before } = session;
  const [isLoading, setLoading] = useState(false);

  async function earlier() {
    setLoading(true);
    try {
      const page = await get(`/chat-sessions/${id}`, { before });
      setData((now) => ({ ...now, messages: [...page.messages, ...now.messages], messages_before: page.messages_before }));
    } catch (failure) {
      complain(failure);
    }
    setLoading(false);
  }

  return (
    <>
      {before && <button type="button" disabled={isLoading} onClick={earlier}>{t("session.earlier")}</button>}
      <Messages messages={messages} session={session} />
    </>
  );
}

function Archived({ session }) {
  const { data, failure, reload } = useData((signal) => get(`/archive/${session.id}`, {}, signal), [session.id]);
  if (failure) return <Failed failure={failure} retry={reload} />;
  if (!data) return <Loading />;
  return (
    <>
      <p class="note">{t("session.from_archive")}</p>
      <Messages messages={data.messages} session={session} />
    </>
  );
}

function Messages({ messages, session }) {
  if (messages.length === 0) return <Empty>{t("session.silent")}</Empty>;
  const names = { contact: nameOfContact(session.contact), persona: session.persona?.name };
  const sender = ({ role, speaker, user_id }) =>
    speaker ?? (role === "member" ? (authorOf(user_id) ?? t("session.answered_by")) : (names[role] ?? role));
  return (
    <ol class="messages">
      {messages.map(({ id, role, text, user_id, speaker, partial, created_at, proof, deliveries, attachments = [] }) => (
        <li key={id} class={role}>
          <p class="note"><span dir="auto">{sender({ role, speaker, user_id })}</span> <Time value={created_at} /></p>
          <div class="bubble"><Markdown text={text} /></div>
          {attachments.map(({ name, kind }, place) => <p key={place} class="note" dir="auto">{name ?? kind}</p>)}
          <p class="note">
            {[partial && t("session.partial"), role === "contact" && proof && t(`proof.${proof}`), delivery(deliveries)]
              .filter(Boolean).join(" · ")}
          </p>
        </li>
      ))}
    </ol>
  );
}

// How far the last part of a message came on its channel.
const delivery = (parts) => (parts?.length ? t(`sent.${parts.at(-1).status}`) : "");
