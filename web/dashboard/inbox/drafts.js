// What a member has typed, by conversation, on this device: no reload and no outage loses it.
//
// Kept is {text, sent?: {id, text, after}}: the field's text, and a message whose receipt is not confirmed, with the last message
// before it. Such a message is sent again with its id, so that the server stores it once.

import { readDraft as read, writeDraft } from "../drafts.jsx";

const write = (conversation, { text, sent }) => writeDraft(conversation, { text: text || undefined, sent });

// The text to begin with: also that of a message whose receipt was never confirmed.
export function draftOf(conversation) {
  const { text = "", sent } = read(conversation);
  return text || sent?.text || "";
}

export const keepText = (conversation, text) => write(conversation, { ...read(conversation), text });

// The id for a message that is about to be sent.
export function beginSending(conversation, text, after = "") {
  const { sent: before } = read(conversation);
  const sent = before?.text === text ? before : { id: crypto.randomUUID(), text, after };
  write(conversation, { text: "", sent });
  return sent.id;
}

// Forget a message that the server has, though its response was lost. Ids of messages are in their order.
export function settle(conversation, messages) {
  const { sent, text } = read(conversation);
  const isHere = ({ role, id, text: said }) => role === "member" && said === sent.text && id > sent.after;
  if (sent && messages.some(isHere)) write(conversation, { text: text === sent.text ? "" : text });
}

export function endSending(conversation, id) {
  const { text, sent } = read(conversation);
  write(conversation, { text, sent: sent?.id === id ? undefined : sent });
}
