// What the space adds to the settings of the page: its words, quick replies, and the persona that answers.

import ar from "./languages/ar.js";
import de from "./languages/de.js";
import en from "./languages/en.js";
import es from "./languages/es.js";
import fr from "./languages/fr.js";
import pt from "./languages/pt.js";
import tr from "./languages/tr.js";

export const LANGUAGES = { ar, de, en, es, fr, pt, tr };

const RIGHT_TO_LEFT = ["ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"];
const PATIENCE_MS = 2_000;

// The look of the space; null if it does not arrive in time, which then changes nothing but the words.
export async function fetchLook({ api, space }) {
  try {
    const init = { __proto__: null, credentials: "omit", signal: AbortSignal.timeout(PATIENCE_MS) };
    const response = await fetch(`${api}/space/${encodeURIComponent(space)}/look`, init);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

// The options with the words for the page's language: ours, then the space's, then the script tag's.
export function dressed(options, look) {
  const tag = tagOf(options.language);
  const language = tag.toLowerCase();
  const [base] = language.split("-");
  const own = member(LANGUAGES, base);
  const wordings = [look, member(look?.languages, base), language !== base && member(look?.languages, language)].filter(Boolean);
  const persona = look?.persona ?? null;
  const labels = { ...(own ?? LANGUAGES.en) };
  if (persona) Object.assign(labels, { title: persona.name, them: persona.name });
  for (const wording of wordings) Object.assign(labels, wording.labels);
  Object.assign(labels, options.labels);
  const isSpoken = own || wordings.length > 1 || Object.keys(options.labels).length;
  return {
    ...options,
    persona,
    labels,
    quickReplies: wordings.findLast((wording) => wording.quick_replies)?.quick_replies ?? [],
    language: isSpoken ? tag : "en",
    direction: RIGHT_TO_LEFT.includes(base) ? "rtl" : "",
  };
}

// The language as a valid tag, because pages have others too, such as de_DE.
function tagOf(language) {
  const tag = language.replaceAll("_", "-");
  try {
    Intl.getCanonicalLocales(tag);
    return tag;
  } catch {
    return "en";
  }
}

function member(object, name) {
  return object && Object.hasOwn(object, name) ? object[name] : null;
}
