// Markdown as elements: the tokens of `marked` become nodes, so that no text is parsed as HTML. HTML in a message stays text,
// and an image becomes a link to it, because loading it would tell another host about the visitor.

import { Lexer } from "marked";

import { link, make } from "./dom.js";
import { settled } from "./settled.js";

const GRAMMAR = { gfm: true, breaks: true };
const EMPTY = ["space", "def"];
const TOO_DEEP = /^[ \t]*(?:(?:>|(?:[-+*]|\d{1,9}[.)])[ \t])[ \t]*){20}/m; // such lists and quotations attack the parser

const sources = new WeakMap(); // the source of each element of a block

// Show a Markdown text in an element. A block whose source has not changed keeps its element, so that a growing text does not
// flicker, and a selection in it stays.
export function showMarkdown(element, text, isGrowing = false) {
  const tokens = parsed(isGrowing ? settled(text) : text);
  tokens.forEach((token, place) => {
    const shown = element.children[place];
    if (shown && sources.get(shown) === token.raw) return;
    const fresh = block(token);
    sources.set(fresh, token.raw);
    if (shown) element.replaceChild(fresh, shown);
    else element.append(fresh);
  });
  while (element.children.length > tokens.length) element.removeChild(element.lastChild);
}

// The tokens of the blocks that can be seen; of a text that cannot be parsed, the text.
function parsed(text) {
  try {
    if (!TOO_DEEP.test(text)) return visible(Lexer.lex(text, GRAMMAR));
  } catch {
    // Nested too deeply for the parser's recursion.
  }
  return text ? [{ type: "escape", raw: text, text }] : [];
}

function visible(tokens) {
  return tokens.filter(({ type }) => !EMPTY.includes(type));
}

function block(token) {
  switch (token.type) {
    case "heading":
      return make("h3", {}, ...inline(token.tokens)); // below the dialog's h2, and no level is skipped
    case "code":
      return make("pre", { dir: "ltr", tabindex: "0" }, make("code", {}, token.text));
    case "blockquote":
      return make("blockquote", {}, ...blocks(token.tokens));
    case "list":
      return make(token.ordered ? "ol" : "ul", { start: token.ordered ? token.start : null }, ...token.items.map(item));
    case "table":
      return table(token);
    case "hr":
      return make("hr");
    default:
      return make("p", { dir: "auto" }, ...inline(token.tokens ?? [token]));
  }
}

function blocks(tokens) {
  return visible(tokens).map(block);
}

function item({ tokens, task, checked }) {
  const box = task ? [checked ? "☑ " : "☐ "] : [];
  const content = tokens.filter(({ type }) => type !== "checkbox");
  // The text of an item without blank lines around it is no paragraph.
  const nodes = content.flatMap((token) => (token.type === "text" ? inline(token.tokens ?? [token]) : blocks([token])));
  return make("li", { dir: "auto" }, ...box, ...nodes);
}

function table({ header, rows }) {
  const cells = (tag) => ({ align, tokens }) => make(tag, { dir: "auto", class: align }, ...inline(tokens));
  const row = (tag) => (all) => make("tr", {}, ...all.map(cells(tag)));
  const body = make("tbody", {}, ...rows.map(row("td")));
  return make("div", { class: "wide", tabindex: "0" }, make("table", {}, make("thead", {}, row("th")(header)), body));
}

const INLINE = { strong: "strong", em: "em", del: "del" };

function inline(tokens) {
  return tokens.flatMap((token) => {
    if (Object.hasOwn(INLINE, token.type)) return make(INLINE[token.type], {}, ...inline(token.tokens));
    switch (token.type) {
      case "link":
        return link(decoded(token.href), ...inline(token.tokens));
      case "image":
        return link(decoded(token.href), decoded(token.text || token.href));
      case "codespan":
        return make("code", { dir: "ltr" }, token.text);
      case "br":
        return "\n";
      case "escape":
      case "html":
        return token.text;
      default:
        return token.tokens ? inline(token.tokens) : decoded(token.text ?? token.raw);
    }
  });
}

const ENTITIES = {
  amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", ndash: "–", mdash: "—", hellip: "…", euro: "€", copy: "©", times: "×",
};

// A text with its entities as characters; marked leaves them to the HTML parser, which is not used here.
function decoded(text) {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([\da-fA-F]{1,6})|(\w{2,6}));/g, (whole, decimal, hex, name) => {
    if (name) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : whole;
    const code = decimal ? Number(decimal) : parseInt(hex, 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : "\ufffd";
  });
}
