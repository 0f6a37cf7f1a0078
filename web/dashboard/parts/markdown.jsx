// A text in markdown, as the embedded chat shows it.

import { useLayoutEffect, useRef } from "preact/hooks";

import { showMarkdown } from "../../widget/markdown.js";

export function Markdown({ text, isGrowing = false }) {
  const element = useRef();
  useLayoutEffect(() => showMarkdown(element.current, text, isGrowing), [text, isGrowing]);
  return <div class="markdown" ref={element} dir="auto" />;
}
