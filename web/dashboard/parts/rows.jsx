// A long list of which only the visible rows are elements.

import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "@tanstack/virtual-core";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

const HEAD = 36;

// `items` as rows of `height` pixels, by `row(item, place)`; `more` is called near the end. Rows are `role="row"` of a grid that
// has `label` as its name and `head` as its first row.
export function Rows({ items, height, row, more, label, head, selected = -1 }) {
  const element = useRef();
  const [, draw] = useState(0);
  const [virtual] = useState(() => new Virtualizer(options()));

  function options() {
    return {
      count: items.length,
      estimateSize: () => height,
      getScrollElement: () => element.current,
      overscan: 8,
      // The head stays above the rows.
      scrollPaddingEnd: head ? HEAD : 0,
      scrollToFn: elementScroll,
      observeElementRect,
      observeElementOffset,
      onChange: () => draw((count) => count + 1),
    };
  }

  virtual.setOptions(options());
  useLayoutEffect(() => virtual._didMount(), []);
  useLayoutEffect(() => virtual._willUpdate());
  const shown = virtual.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && last >= items.length - 10) more();
  }, [last, items.length, more]);
  useEffect(() => {
    if (selected >= 0) virtual.scrollToIndex(selected);
  }, [selected]);
  return (
    <div class="rows" ref={element} role="grid" aria-label={label} aria-rowcount={items.length + (head ? 1 : 0)} tabIndex={0}>
      {head && <div class="row head" role="row" aria-rowindex={1}>{head}</div>}
      <div role="rowgroup" style={{ height: `${virtual.getTotalSize()}px`, position: "relative" }}>
        {shown.map(({ index, start }) => (
          <div key={items[index].id} class="row" role="row" aria-rowindex={index + (head ? 2 : 1)}
               aria-selected={index === selected} style={{ height: `${height}px`, transform: `translateY(${start}px)` }}>
            {row(items[index], index)}
          </div>
        ))}
      </div>
    </div>
  );
}
