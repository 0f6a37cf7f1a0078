// How people and channels are called.

import { has, t } from "../language.js";

// The person of a session: the contact, or the signed-in user without one.
export const personName = ({ contact, user_id }) =>
  contact?.name ?? contact?.email ?? (contact || !user_id ? t("contact.unnamed") : t("inbox.user"));

const CHANNELS = { whatsapp: "WhatsApp", telegram: "Telegram", discord: "Discord", omi: "Omi" };

export const channelName = (channel) => CHANNELS[channel] ?? (has(`inbox.channel.${channel}`) ? t(`inbox.channel.${channel}`) : channel);

// A failure of an answer in plain words.
export const failureName = (code) => t(has(`failure.${code}`) ? `failure.${code}` : "failure.other");

const KINDS = { ...CHANNELS };
export const identityKind = (kind) => KINDS[kind] ?? t(`inbox.identity.${kind}`);
