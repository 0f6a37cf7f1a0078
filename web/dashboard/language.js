// The words of the page in the browser's language, and how it writes numbers and times.

import { signal } from "@preact/signals";

import en from "./languages/en/index.js";

// Each language is a file of its own, which only its readers load.
const OTHERS = {
  ar: () => import("./languages/ar/index.js"),
  de: () => import("./languages/de/index.js"),
  es: () => import("./languages/es/index.js"),
  fr: () => import("./languages/fr/index.js"),
  pt: () => import("./languages/pt/index.js"),
  tr: () => import("./languages/tr/index.js"),
};
const RIGHT_TO_LEFT = ["ar"];

let words = en;
let tag = "en";
let plurals = new Intl.PluralRules(tag);

// The language's tag, such as "de-AT", once its words are there.
export const language = signal(null);

// Load the words of the first of the browser's languages that the page has.
export async function loadLanguage(wanted = navigator.languages) {
  const found = wanted.find((each) => base(each) === "en" || base(each) in OTHERS) ?? "en";
  if (base(found) !== "en") {
    try {
      words = (await OTHERS[base(found)]()).default;
      tag = found;
    } catch {
      // English is better than nothing.
    }
  } else tag = found;
  plurals = new Intl.PluralRules(tag);
  document.documentElement.lang = tag;
  document.documentElement.dir = RIGHT_TO_LEFT.includes(base(tag)) ? "rtl" : "ltr";
  language.value = tag;
}

const base = (each) => each.toLowerCase().split("-")[0];

// The words of a name such as "inbox.title", with {names} replaced. Where the words depend on a number they are an object by
// the categories of Intl.PluralRules, and `count` chooses.
export function t(name, values = {}) {
  let text = words[name] ?? en[name];
  if (typeof text === "object") text = text[plurals.select(values.count)] ?? text.other;
  if (text === undefined) return name;
  return text.replace(/\{(\w+)\}/g, (whole, key) => {
    const value = values[key];
    return value === undefined ? whole : typeof value === "number" ? number(value) : value;
  });
}

// Whether the page has words of this name.
export const has = (name) => name in en;

export const number = (value, options) => new Intl.NumberFormat(tag, options).format(value);
export const percent = (share) => number(share, { style: "percent", maximumFractionDigits: 1 });
export const dateTime = (value) => new Intl.DateTimeFormat(tag, { dateStyle: "medium", timeStyle: "short" }).format(new Date(value));
export const day = (value) => new Intl.DateTimeFormat(tag, { dateStyle: "medium" }).format(new Date(value));
export const time = (value) => new Intl.DateTimeFormat(tag, { timeStyle: "short" }).format(new Date(value));

// The order of objects by a name of theirs, in which "Space 9" comes before "Space 10".
export function byName(nameOf) {
  const { compare } = new Intl.Collator(tag, { numeric: true });
  return (one, other) => compare(nameOf(one) ?? "", nameOf(other) ?? "");
}

const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["week", 604_800], ["day", 86_400], ["hour", 3_600], ["minute", 60]];

// How long ago: "5 min. ago".
export function ago(value, now = Date.now()) {
  const seconds = (new Date(value).getTime() - now) / 1000;
  const [unit, size] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? ["minute", 60];
  return new Intl.RelativeTimeFormat(tag, { numeric: "auto", style: "short" }).format(Math.trunc(seconds / size), unit);
}

// A span of milliseconds: "350 ms", "1.4 s", "2 min".
export function span(milliseconds) {
  if (milliseconds < 1_000) return number(milliseconds, { style: "unit", unit: "millisecond", maximumFractionDigits: 0 });
  const unit = milliseconds < 60_000 ? "second" : "minute";
  const size = unit === "second" ? 1_000 : 60_000;
  return number(milliseconds / size, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 1 });
}
