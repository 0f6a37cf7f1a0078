// The days that the address asks for, and as many before them. Days are those of UTC, as the statistics count them.

const DAY_MS = 86_400_000;
const DAY = /^\d{4}-\d\d-\d\d$/;
const MOST_DAYS = 366;

export const RANGES = [7, 30, 90];
const USUAL = 30;

const isoDay = (milliseconds) => new Date(milliseconds).toISOString().slice(0, 10);
const start = (day) => Date.parse(`${day}T00:00:00Z`);

// {from, to, count, range} of the filters `days`, or `from` and `to`; `range` is one of RANGES, or "custom".
export function periodOf({ days, from, to }, now = Date.now()) {
  if (DAY.test(from) && DAY.test(to) && start(from) <= start(to)) {
    const count = Math.min((start(to) - start(from)) / DAY_MS + 1, MOST_DAYS);
    return { from: isoDay(start(to) - (count - 1) * DAY_MS), to, count, range: "custom" };
  }
  const range = RANGES.find((each) => String(each) === days) ?? USUAL;
  return { from: isoDay(now - (range - 1) * DAY_MS), to: isoDay(now), count: range, range };
}

export function before({ from, count }) {
  const last = start(from) - DAY_MS;
  return { from: isoDay(last - (count - 1) * DAY_MS), to: isoDay(last), count };
}

// All days of a period.
export const daysOf = ({ from, count }) => Array.from({ length: count }, (_, place) => isoDay(start(from) + place * DAY_MS));
