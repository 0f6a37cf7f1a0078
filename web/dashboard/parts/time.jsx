// A moment: how long ago, and exactly when as its title.

import { signal } from "@preact/signals";

import { ago, dateTime } from "../language.js";

const now = signal(Date.now());
setInterval(() => (now.value = Date.now()), 30_000);

export function Time({ value }) {
  if (!value) return null;
  return <time dateTime={value} title={dateTime(value)}>{ago(value, now.value)}</time>;
}
