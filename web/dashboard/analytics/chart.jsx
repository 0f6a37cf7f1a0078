// Lines over the days of a period. uPlot draws on a canvas, with the colours of the page.

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";

const HEIGHT = 220;
// Steps of the x axis, in days.
const STEPS = [1, 2, 7, 14, 28, 56, 112];
// Steps of counts, which have no halves.
const COUNTS = [1, 2, 5].flatMap((step) => Array.from({ length: 7 }, (_, power) => step * 10 ** power)).toSorted((a, b) => a - b);
// The width of a character in the labels, at most.
const CHARACTER = 7.5;
const FONT = "12px system-ui, sans-serif";

// `series`: [{label, values, colour, isDashed?}], a value for each of `labels`, null where there is none; `show` writes a value.
export function Chart({ labels, series, show, isCount = false }) {
  const element = useRef();
  const [at, setAt] = useState(null);
  const [scheme, setScheme] = useState(0);
  const key = JSON.stringify([labels, series]);

  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const change = () => setScheme((count) => count + 1);
    dark.addEventListener("change", change);
    return () => dark.removeEventListener("change", change);
  }, []);

  useEffect(() => {
    const colour = colours(element.current);
    const axis = { stroke: colour("--muted"), font: FONT, grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const plot = new uPlot(
      {
        width: element.current.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
        scales: { x: { time: false }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
        axes: [
          {
            ...axis,
            grid: { show: false },
            incrs: STEPS,
            space: 70,
            size: 32,
            values: (_, places) => places.map((place) => labels[place] ?? ""),
          },
          {
            ...axis,
            ...(isCount && { incrs: COUNTS }),
            size: (_, told) => Math.max(40, ...(told ?? []).map((each) => each.length * CHARACTER + 14)),
            values: (_, values) => values.map((value) => show(value)),
          },
        ],
        series: [
          {},
          ...series.map(({ label, colour: name, isDashed }, place) => ({
            label,
            stroke: colour(name),
            width: isDashed ? 1.5 : 2,
            dash: isDashed ? [5, 5] : undefined,
            fill: place === 0 ? faded(colour(name)) : undefined,
            points: isDashed ? { show: false } : { size: 6, fill: colour(name) },
            spanGaps: true,
          })),
        ],
        hooks: { setCursor: [({ cursor }) => setAt(cursor.idx ?? null)] },
      },
      [labels.map((_, place) => place), ...series.map(({ values }) => values)],
      element.current,
    );
    const watcher = new ResizeObserver(() => plot.setSize({ width: element.current.clientWidth, height: HEIGHT }));
    watcher.observe(element.current);
    return () => {
      watcher.disconnect();
      plot.destroy();
    };
  }, [key, scheme]);

  return (
    <>
      <div class="chart" ref={element} dir="ltr" />
      <p class="legend">
        {at !== null && labels[at] && <strong>{labels[at]}</strong>}
        {series.map(({ label, values, colour, isDashed }) => (
          <span key={label}>
            <i class={`key ${isDashed ? "dashed" : ""}`} style={{ borderColor: `var(${colour})` }} />
            {label}{at !== null && values[at] != null && `: ${show(values[at])}`}
          </span>
        ))}
      </p>
    </>
  );
}

// What a variable's colour is now: a canvas knows neither variables nor light-dark().
function colours(element) {
  return (name) => {
    element.style.color = `var(${name})`;
    const { color } = getComputedStyle(element);
    element.style.color = "";
    return color;
  };
}

const faded = (colour) => colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.12)");
