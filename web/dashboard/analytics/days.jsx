// The charts over the days: sessions, and response times.

import { day, language, number, span, t } from "../language.js";
import { Card } from "./card.jsx";
import { Chart } from "./chart.jsx";
import { daysOf } from "./period.js";

export function Days({ now, then, period, earlier }) {
  return (
    <div class="cards">
      <Day name="sessions" of={(row) => row?.sessions ?? 0} show={number} sum {...{ now, then, period, earlier }} />
      <Day name="response" of={(row) => row?.response_p50_ms} also={(row) => row?.response_p95_ms} show={span} {...{ now, then, period, earlier }} />
    </div>
  );
}

// `also` is a second figure of the same days.
function Day({ name, of, also, show, sum = false, now, then, period, earlier }) {
  const days = daysOf(period);
  const values = valuesOf(now, days, of);
  const otherValues = also && valuesOf(now, days, also);
  const earlierValues = then && valuesOf(then, daysOf(earlier), of);
  const title = t(`analytics.by_day.${name}`);
  const columns = [
    { name: t("analytics.day"), show: (value) => day(value) },
    { name: t(`analytics.column.${name}_day`), show },
    also && { name: t(`analytics.figure.p95`), show },
    { name: t("analytics.column.before"), show },
  ].filter(Boolean);
  const rows = days.map((each, place) => [each, values[place], ...(also ? [otherValues[place]] : []), earlierValues?.[place]]);
  const isEmpty = values.every((value) => !value) && !earlierValues?.some(Boolean);
  const label = also ? t("analytics.figure.p50") : t("analytics.this_period");
  const series = [{ label, values: values.map(orNull), colour: "--accent" }];
  if (also) series.push({ label: t("analytics.figure.p95"), values: otherValues.map(orNull), colour: "--warn" });
  if (earlierValues) {
    const values = earlierValues.map(orNull);
    series.push({ label: t("analytics.period_before"), values, colour: "--muted", isDashed: true });
  }
  return (
    <Card name={`${name}-by-day`} title={title} about={t(`analytics.about.by_day.${name}`)} columns={columns}
          rows={isEmpty ? [] : rows} summary={summary({ title, days, values, show, sum })}>
      <Chart labels={days.map(short)} series={series} show={show} isCount={sum} />
    </Card>
  );
}

function valuesOf(data, days, of) {
  const known = new Map(data.by_day.map((row) => [row.day, row]));
  return days.map((each) => of(known.get(each)));
}

const orNull = (value) => value ?? null;

function short(value) {
  return new Intl.DateTimeFormat(language.value, { day: "numeric", month: "short", timeZone: "UTC" }).format(new Date(value));
}

// The chart in words: how much in all, and the days with the most and the least.
function summary({ title, days, values, show, sum }) {
  const known = days.map((each, place) => [each, values[place]]).filter(([, value]) => value !== undefined);
  if (known.length === 0) return title;
  const ordered = known.toSorted((one, other) => one[1] - other[1]);
  const tell = ([each, value]) => ({ day: day(each), value: show(value) });
  const [least, most] = [tell(ordered[0]), tell(ordered.at(-1))];
  const parts = [title, sum && t("analytics.in_all", { value: show(known.reduce((all, [, value]) => all + value, 0)) }),
    t("analytics.most", most), t("analytics.least", least)];
  return parts.filter(Boolean).join(". ");
}
