// Where a member writes an answer. What is typed stays on the device until the server has it.

import { useRef, useState } from "preact/hooks";

import { user } from "../account.js";
import { t } from "../language.js";
import { Icon } from "../parts/icon.jsx";
import { Markdown } from "../parts/markdown.jsx";
import { explain } from "../parts/states.jsx";
import { nameOf } from "../workspace.js";
import { draftOf, keepText, putBack } from "./drafts.js";
import { Templates } from "./templates.jsx";

const LIVE = ["active", "paused"];

export function Composer({ session, act, send, tellTyping }) {
  const { conversation_id: thread, status, taken_over, taken_over_by } = session;
  const [text, setText] = useState(() => draftOf(thread));
  const [problem, setProblem] = useState(null);
  const [isTaking, setTaking] = useState(false);
  const [isPreview, setPreview] = useState(false);
  const [isChoosing, setChoosing] = useState(false);
  const field = useRef();
  const isMine = taken_over && taken_over_by === user.value.id;

  if (!LIVE.includes(status)) return <Closed text={text}>{t("inbox.has_ended")}</Closed>;
  if (taken_over && taken_over_by && !isMine) {
    return <Closed text={text}>{t("inbox.other_answers", { member: nameOf(taken_over_by) ?? t("inbox.team") })}</Closed>;
  }

  function type(typed) {
    setText(typed);
    keepText(thread, typed);
    tellTyping.current(typed !== "");
  }

  async function submit(event) {
    event?.preventDefault();
    const said = text.trim();
    if (!said || isTaking) return;
    setProblem(null);
    setPreview(false);
    try {
      if (!isMine) {
        setTaking(true);
        await act("takeover");
      }
    } catch (refusal) {
      return setProblem(refusal);
    } finally {
      setTaking(false);
    }
    setText("");
    tellTyping.current(false);
    field.current?.focus();
    try {
      await send(said);
    } catch (refusal) {
      setProblem(refusal);
      setText((typed) => putBack(thread, said, typed));
      field.current?.focus();
    }
    return undefined;
  }

  function onKeyDown(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
    if (event.key !== "/" || text) return;
    event.preventDefault();
    setChoosing(true);
  }

  function insert(template) {
    setChoosing(false);
    setPreview(false);
    type(text ? `${text}\n\n${template}` : template);
    // The dialog gives the focus back to what had it before.
    setTimeout(() => field.current?.focus());
  }

  return (
    <>
      <form class="composer" onSubmit={submit}>
        {!isMine && <p class="hint">{t("inbox.persona_answers", { persona: session.persona?.name ?? t("inbox.persona") })}</p>}
        {problem && <p class="failure" role="alert">{t("inbox.not_sent")} {explain(problem)}</p>}
        {isPreview ? (
          <div class="preview"><Markdown text={text} /></div>
        ) : (
          <textarea ref={field} rows={2} dir="auto" maxLength={16_000} aria-label={t("inbox.answer")} placeholder={t("inbox.placeholder")}
                    value={text} onInput={({ target }) => type(target.value)} onKeyDown={onKeyDown} />
        )}
        <footer>
          <button type="button" class="plain" aria-pressed={isPreview} disabled={!text.trim()} onClick={() => setPreview(!isPreview)}>
            {t("inbox.preview")}
          </button>
          <button type="button" class="plain" onClick={() => setChoosing(true)}>{t("inbox.templates")}</button>
          <span class="hint keys-hint">{t("inbox.keys_hint")}</span>
          <button class="primary" disabled={!text.trim() || isTaking}>
            <Icon name="send" /> {isMine ? t("inbox.send") : t("inbox.take_over_and_send")}
          </button>
        </footer>
      </form>
      {isChoosing && <Templates onChoose={insert} onClose={() => setChoosing(false)} />}
    </>
  );
}

// Why no answer can be written; one that was being written is still there to be copied.
function Closed({ text, children }) {
  return (
    <div class="composer closed">
      <p>{children}</p>
      {text.trim() && <p class="unsent" dir="auto"><strong>{t("inbox.unsent")}</strong> {text}</p>}
    </div>
  );
}
