// The part of an unfinished Markdown text that can be shown: what may still become something else is left out, and what is
// open is closed. So the text that is shown only grows.

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
// A line that is, so far, nothing but the beginning of a heading, list item, quotation, rule, fence or table.
const BEGINNING = /^[\s>]*(?:[-+*=_#|:`~][-+*=_#|:`~\s]*|\d{1,9}[.)]?)?$/;
const DELIMITERS = /^\s*\|?(\s*:?-+:?\s*\|)*\s*:?-+:?\s*\|?\s*$/;
const EMPTY_ITEM = /^\s*(?:[-+*]|\d{1,9}[.)])\s+(?:\[[ xX]?\]?\s*)?$/;
// A line whose emphasis does not go on from the line before.
const START = /^\s*(?:[-+*]\s|\d{1,9}[.)]\s|#{1,6}\s|\|)/;

export function settled(text) {
  const lines = text.split("\n");
  let fence = null;
  for (const line of lines.slice(0, -1)) {
    const [, marks] = FENCE.exec(line) ?? [];
    if (!marks) continue;
    if (!fence) fence = marks;
    else if (marks.startsWith(fence) && line.trim() === marks) fence = null;
  }
  if (fence) {
    // The end of a block of code may be coming.
    if (/^ {0,3}(`+|~+)$/.test(lines.at(-1))) lines.pop();
    return lines.join("\n");
  }
  if (BEGINNING.test(lines.at(-1)) || EMPTY_ITEM.test(lines.at(-1))) lines.pop();
  withoutTableHead(lines);
  if (FENCE.test(lines.at(-1) ?? "")) return lines.join("\n");
  // Emphasis, code and links end with their paragraph.
  let start = lines.length - 1;
  while (start > 0 && !START.test(lines[start]) && lines[start - 1].trim() && !FENCE.test(lines[start - 1])) start -= 1;
  const paragraph = lines.splice(start).join("\n");
  return [...lines, closed(paragraph)].join("\n");
}

// A line with cells is the head of a table only if the next line has its delimiters.
function withoutTableHead(lines) {
  let head = lines.length;
  while (head > 0 && lines[head - 1].trimStart().startsWith("|")) head -= 1;
  const rows = lines.slice(head);
  const isUnfinished = rows.length === 1 || (rows.length === 2 && DELIMITERS.test(rows[1]) && cells(rows[0]) !== cells(rows[1]));
  if (isUnfinished) lines.splice(head);
}

function cells(row) {
  return row.trim().replace(/^\||\|$/g, "").split("|").length;
}

// A link whose address is unfinished, with at most one pair of parentheses in it; a text in brackets that may become a link; an
// unfinished entity or escape.
const UNFINISHED_LINK = /!?\[([^[\]]*)\]\((?:[^()\s]|\([^()\s]*\))*(?:\([^()\s]*)?(?:\s[^()]*)?$/;
const UNFINISHED_TEXT = /!?\[([^[\]]*)\]?$/;
const UNFINISHED_CHARACTER = /(?:&#?\w{0,7}|!|\\)$/;

// The paragraph without unfinished links and with everything closed that is open. Code comes first: nothing in it is markup.
function closed(paragraph) {
  const runs = [...masked(paragraph).matchAll(/`+/g)];
  for (let i = 0; i < runs.length; i += 1) {
    const { 0: marks, index } = runs[i];
    const end = runs.findIndex((run, place) => place > i && run[0] === marks);
    if (end > 0) {
      i = end;
      continue;
    }
    // Marks at the end may be a part of the ones that close.
    const code = paragraph.slice(index + marks.length).replace(/`+$/, "");
    return code.trim() ? `${closedMarks(paragraph.slice(0, index))}${marks}${code}${marks}` : closed(paragraph.slice(0, index).trimEnd());
  }
  return closedMarks(paragraph.replace(UNFINISHED_LINK, "$1").replace(UNFINISHED_TEXT, "$1").replace(UNFINISHED_CHARACTER, ""));
}

// Emphasis that is open is closed; marks at the end may be the first half of others.
function closedMarks(paragraph) {
  const open = [];
  const hidden = masked(paragraph).replace(/(`+)[^`](?:.*?[^`])?\1(?!`)/gs, (code) => "x".repeat(code.length));
  let end = paragraph.length;
  for (const { 0: marks, index } of hidden.matchAll(/\*+|_+|~~|~$/g)) {
    const before = hidden[index - 1] ?? " ";
    const after = hidden[index + marks.length];
    const canClose = /\S/.test(before) && open.length > 0 && open.at(-1)[0] === marks[0];
    if (after === undefined) {
      if (canClose && open.at(-1) === marks) open.pop();
      else end = index;
    } else if (canClose && !(marks[0] === "_" && /\w/.test(after))) {
      closeMarks(open, marks);
    } else if (/\S/.test(after) && !(marks[0] === "_" && /\w/.test(before))) {
      open.push(marks);
    }
  }
  const text = paragraph.slice(0, end);
  return open.length ? text.trimEnd() + open.reverse().join("") : text;
}

function closeMarks(open, marks) {
  const last = open.pop();
  if (last.length > marks.length) open.push(last.slice(marks.length));
  else if (last.length < marks.length && open.at(-1)?.[0] === marks[0]) closeMarks(open, marks.slice(last.length));
}

// The text with escaped characters hidden, in the same places.
function masked(text) {
  return text.replace(/\\[^\n]/g, "xx");
}
