// The open conversation with what a member can do in it, and its contact.

import { useEffect, useRef, useState } from "preact/hooks";
import { Link } from "wouter-preact";

import { call } from "../api.js";
import { t } from "../language.js";
import { Icon } from "../parts/icon.jsx";
import { Failed, Loading } from "../parts/states.jsx";
import { complain } from "../parts/toasts.jsx";
import { to } from "../place.js";
import { Actions } from "./actions.jsx";
import { Composer } from "./composer.jsx";
import { Contact } from "./contact.jsx";
import { useConversation } from "./conversation_data.js";
import { Messages } from "./messages.jsx";
import { channelName, personName } from "./names.js";
import { usePresence } from "./presence.js";
import { Present } from "./present.jsx";
import { useReading } from "./reading.js";

export function Conversation({ id, filters }) {
  const conversation = useConversation(id);
  const { session, failure, newer, reload } = conversation;
  const [isContactOpen, setContactOpen] = useState(false);
  const heading = useRef();
  const isThere = Boolean(session);
  // What was opened has the focus, so that a screen reader reads on from there.
  useEffect(() => heading.current?.focus(), [isThere]);
  const tellTyping = usePresence(session?.conversation_id);
  const last = conversation.messages.at(-1);
  // What is in the archive only cannot be marked as read.
  const isKept = !session?.archive?.messages_dropped || last?.session_id !== id;
  useReading(session?.conversation_id, isKept && last?.id);

  // Change the session at once, and undo it with an explanation if the server refuses.
  async function change(changes, request) {
    const show = (shown) => conversation.change({ kind: "session", session: shown });
    show({ ...session, ...changes });
    try {
      await request();
      await conversation.readSession();
    } catch (problem) {
      show(session);
      complain(problem);
    }
  }

  const act = async (verb, method = "POST", body = undefined) => {
    await call(method, `/chat-sessions/${id}/${verb}`, { body });
    await conversation.readSession();
  };

  if (!session) {
    return (
      <article class="conversation">
        <header><Back filters={filters} /></header>
        {failure ? <Failed failure={failure} retry={reload} /> : <Loading />}
      </article>
    );
  }
  return (
    <>
      <article class="conversation" aria-label={personName(session)}>
        <header>
          <Back filters={filters} />
          <div class="who">
            <h2 ref={heading} tabIndex={-1}>{personName(session)}</h2>
            <p>
              {channelName(session.channel)} · {session.persona?.name}
              {session.proof && <span class={`proof ${session.proof}`}>{t(`proof.${session.proof}`)}</span>}
              {session.status !== "active" && <span class={`status ${session.status}`}>{t(`status.${session.status}`)}</span>}
            </p>
          </div>
          <button type="button" class="plain about" aria-expanded={isContactOpen} onClick={() => setContactOpen(!isContactOpen)}>
            <Icon name="contacts" /> {t("inbox.contact")}
          </button>
        </header>
        <Actions session={session} change={change} act={act} />
        {failure && <Failed failure={failure} retry={reload} />}
        {newer && (
          <p class="notice">
            {t("inbox.goes_on")} <Link href={to(`/inbox/${newer}`, filters)}>{t("inbox.show_newer")}</Link>
          </p>
        )}
        <Messages conversation={conversation} />
        <Present members={conversation.present} />
        <Composer session={session} act={act} send={conversation.send} tellTyping={tellTyping} />
      </article>
      <Contact session={session} filters={filters} isOpen={isContactOpen} onClose={() => setContactOpen(false)} />
    </>
  );
}

function Back({ filters }) {
  return (
    <Link href={to("/inbox", filters)} class="back" aria-label={t("action.back")}>
      <Icon name="back" />
    </Link>
  );
}
