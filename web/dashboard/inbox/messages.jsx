// The messages of a conversation and the answer under way. Older ones are loaded on scrolling up.

import { useLayoutEffect, useRef, useState } from "preact/hooks";

import { call } from "../api.js";
import { day, t, time } from "../language.js";
import { Markdown } from "../parts/markdown.jsx";
import { Empty, explain } from "../parts/states.jsx";
import { complain } from "../parts/toasts.jsx";
import { authorOf } from "../workspace.js";
import { failureName, personName } from "./names.js";

const NEAR = 120;

export function Messages({ conversation }) {
  const { session, messages, sending, running, draft, turns, cursor, older, isLoadingOlder, olderFailure } = conversation;
  const log = useRef();
  const seen = useRef({});
  const first = messages[0]?.id;

  // New messages come into view if the end was; older ones do not move what is being read. What was scrolled since the last
  // layout counts already: its event comes only with the next frame.
  useLayoutEffect(() => {
    const { scrollTop, scrollHeight, clientHeight } = log.current;
    const { first: earlier, height, room } = seen.current;
    // What shrank meanwhile, or got more room, has moved without being scrolled.
    const isAtEnd = Math.min(height, scrollHeight) - scrollTop - Math.max(room, clientHeight) < NEAR;
    if (height === undefined || isAtEnd) log.current.scrollTop = scrollHeight;
    else if (earlier !== first) log.current.scrollTop += scrollHeight - height;
    seen.current = { first, height: scrollHeight, room: clientHeight };
  });

  function onScroll({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) {
    Object.assign(seen.current, { height: scrollHeight, room: clientHeight });
    if (scrollTop < NEAR && cursor) older();
  }

  const all = [...messages, ...sending.map((each) => ({ ...each, isSending: true }))];
  const lastOf = new Map(messages.map(({ turn_id, id }) => [turn_id, id]));
  return (
    <div class="messages" ref={log} role="log" aria-label={t("inbox.messages")} tabIndex={0} onScroll={onScroll}>
      {cursor && (
        <button type="button" class="plain" disabled={isLoadingOlder} onClick={older}>
          {olderFailure ? `${explain(olderFailure)} ${t("action.retry")}` : t("inbox.older")}
        </button>
      )}
      {all.length === 0 && !running && <Empty>{t("inbox.no_message")}</Empty>}
      {all.map((message, place) => {
        const date = day(message.created_at);
        const turn = turns[message.turn_id];
        return (
          <div key={message.id}>
            {(place === 0 || day(all[place - 1].created_at) !== date) && <p class="day"><span>{date}</span></p>}
            <Message message={message} session={session} />
            {turn && lastOf.get(message.turn_id) === message.id && <Ending turn={turn} message={message} />}
          </div>
        );
      })}
      {running && <Draft turn={running} text={draft} session={session} />}
    </div>
  );
}

function sender({ role, speaker, user_id }, session) {
  if (speaker) return speaker;
  if (role === "persona") return session.persona?.name ?? t("inbox.persona");
  return role === "member" ? (authorOf(user_id) ?? t("inbox.team")) : personName(session);
}

function Message({ message, session }) {
  const { role, text, created_at, partial, deliveries = [], attachments = [], isSending } = message;
  return (
    <article class={`message ${role}${isSending ? " sending" : ""}`}>
      <header>
        <strong>{sender(message, session)}</strong> <time dateTime={created_at}>{time(created_at)}</time>
      </header>
      <Markdown text={text} />
      {attachments.map(({ name, kind, media_type }, place) => <p key={place} class="meta">{name ?? kind} {media_type}</p>)}
      {(isSending || partial || deliveries.length > 0) && (
        <p class="meta">
          {isSending && t("inbox.sending")} {partial && t("inbox.partial")} <Delivery parts={deliveries} />
        </p>
      )}
    </article>
  );
}

const WORST = ["failed", "unknown", "sending", "sent", "delivered", "read"];

// The state of a message on its channel: that of the part that got least far.
function Delivery({ parts }) {
  const state = WORST.find((each) => parts.some(({ status }) => status === each));
  if (!state) return null;
  const error = parts.find(({ status }) => status === state).error;
  return <span class={`delivery ${state}`} title={error}>{t(`inbox.delivery.${state}`)}</span>;
}

// Why the message has no whole answer, in plain words.
function Ending({ turn: { status, error_code }, message: { role } }) {
  if (status === "cancelled" && role !== "persona") return <p class="note">{t("inbox.cancelled")}</p>;
  if (status !== "failed" && status !== "timeout") return null;
  return <p class="note failure">{t("inbox.failed", { reason: failureName(error_code) })}</p>;
}

function Draft({ turn, text, session }) {
  const [isStopping, setStopping] = useState(false);

  async function stop() {
    setStopping(true);
    await call("POST", `/turns/${turn}/cancel`).catch(complain);
    setStopping(false);
  }

  return (
    <article class="message persona draft" aria-live="off" aria-busy="true">
      <header>
        <strong>{sender({ role: "persona" }, session)}</strong> <span>{t("inbox.answering")}</span>
        <button type="button" disabled={isStopping} onClick={stop}>{t("inbox.stop")}</button>
      </header>
      {text && <Markdown text={text} isGrowing />}
    </article>
  );
}
