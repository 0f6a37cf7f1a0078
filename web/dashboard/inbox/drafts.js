// What a member has typed, by conversation, on this device: no reload and no outage loses it.
//
// Kept is {text, sent: [{id, text, after, isBack}]}: the field's text, and the messages whose receipt is not confirmed, each with the
// last message before it, and whether its text is back in the field. Such a message is sent again with its id, so that the server
// stores it once.

import { readDraft, writeDraft } from "../drafts.jsx";

function read(conversation) {
  const { text = "", sent = [] } = readDraft(conversation);
  return { text, sent: [sent].flat() };
}

const write = (conversation, { text, sent }) => writeDraft(conversation, { text: text || undefined, sent: sent.length ? sent : undefined });

const joined = (...texts) => texts.filter(Boolean).join("\n\n");

// The text to begin with: also that of messages whose receipt was never confirmed.
export function draftOf(conversation) {
  const { text, sent } = read(conversation);
  const lost = sent.filter(({ isBack }) => !isBack);
  return lost.reduceRight((typed, each) => putBack(conversation, each.text, typed), text);
}

export const keepText = (conversation, text) => write(conversation, { ...read(conversation), text });

// Put the text of a message that was not sent before what was typed since, but after those that were sent before it; unless it is
// back already. Returns the field's text.
export function putBack(conversation, said, typed) {
  const { sent } = read(conversation);
  const place = sent.findIndex(({ text, isBack }) => text === said && !isBack);
  if (place < 0 && sent.some(({ text }) => text === said)) return typed;
  const earlier = joined(...sent.slice(0, Math.max(place, 0)).map(({ text, isBack }) => isBack && text));
  const text = typed.startsWith(earlier) ? joined(earlier, said, typed.slice(earlier.length).trimStart()) : joined(said, typed);
  write(conversation, { text, sent: sent.map((each, at) => (at === place ? { ...each, isBack: true } : each)) });
  return text;
}

// The id for a message that is about to be sent.
export function beginSending(conversation, text, after = "") {
  const { sent } = read(conversation);
  const before = sent.find((each) => each.isBack && each.text === text);
  const one = before ? { ...before, isBack: false } : { id: crypto.randomUUID(), text, after };
  write(conversation, { text: "", sent: [...sent.filter(({ isBack }) => !isBack), one] });
  return one.id;
}

// Forget messages that the server has, though their responses were lost. Ids of messages are in their order.
export const settle = (conversation, messages) =>
  forget(conversation, (each) => messages.some(({ role, id, text }) => role === "member" && text === each.text && id > each.after));

export const endSending = (conversation, id) => forget(conversation, (each) => each.id === id);

function forget(conversation, isStored) {
  const { text, sent } = read(conversation);
  const stored = sent.filter(isStored);
  if (!stored.length) return;
  const isBack = stored.some((each) => each.isBack && each.text === text);
  write(conversation, { text: isBack ? "" : text, sent: sent.filter((each) => !stored.includes(each)) });
}
