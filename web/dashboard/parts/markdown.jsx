// A text in markdown, as the embedded chat shows it.

import { useLayoutEffect, useMemo, useRef } from "preact/hooks";

import { showMarkdown } from "../../widget/markdown.js";

export function Markdown({ text, isGrowing = false }) {
  const element = useRef();
  useLayoutEffect(() => showMarkdown(element.current, text, isGrowing), [text, isGrowing]);
  return <div class="markdown" ref={element} dir="auto" />;
}

// The words of a text in markdown, on one line.
export function Words({ text }) {
  return <bdi>{useMemo(() => wordsOf(text), [text])}</bdi>;
}

function wordsOf(text) {
  const element = document.createElement("div");
  showMarkdown(element, text);
  for (const block of element.querySelectorAll("p, h3, li, pre, th, td, br")) block.after(" ");
  return element.textContent.replace(/\s+/g, " ").trim();
}
