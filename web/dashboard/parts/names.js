// How the views name contacts and channels.

import { t } from "../language.js";

const PLATFORMS = { telegram: "Telegram", whatsapp: "WhatsApp", discord: "Discord", omi: "Omi", avinode: "Avinode" };

// A contact's name, or what stands for it.
export const nameOfContact = (contact) => contact?.name || contact?.email || t("contact.unnamed");

// A channel, or the platform of an identity.
export function nameOfPlatform(kind) {
  if (kind === "web" || kind === "email" || kind === "phone" || kind === "external") return t(`platform.${kind}`);
  return PLATFORMS[kind] ?? kind;
}
