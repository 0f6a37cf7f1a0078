// The charts over names: the funnel, failures by their cause, personas and spaces.

import { has, number, percent, span, t } from "../language.js";
import { Card } from "./card.jsx";

const MOST_BARS = 10;
const STAGES = ["registered", "chatted", "answered", "proposal"];

// Bars from the left, each [name, value, what else is said of it].
function Bars({ bars, kind = "" }) {
  const most = Math.max(1, ...bars.map(([, value]) => value));
  return (
    <div class={`bars ${kind}`}>
      {bars.map(([name, value, more]) => (
        <div key={name} class="bar-row">
          <span class="bar-name">{name}</span>
          <span class="bar-track">
            <span class="bar-value" style={{ inlineSize: `${(value / most) * 100}%` }} />
          </span>
          <span class="bar-number">
            {number(value)} {more && <small>{more}</small>}
          </span>
        </div>
      ))}
    </div>
  );
}

const summaryOf = (title, bars) => `${title}. ${bars.map(([name, value]) => `${name}: ${number(value)}`).join(", ")}`;

export function Funnel({ now, then }) {
  const first = now.funnel.registered;
  const bars = STAGES.map((stage) => {
    const value = now.funnel[stage];
    return [t(`analytics.stage.${stage}`), value, first > 0 && value <= first ? percent(value / first) : ""];
  });
  const columns = [
    { name: t("analytics.stage") },
    { name: t("analytics.column.contacts"), show: number },
    { name: t("analytics.column.before"), show: number },
  ];
  const rows = STAGES.map((stage, place) => [bars[place][0], now.funnel[stage], then?.funnel[stage]]);
  const title = t("analytics.funnel");
  return (
    <Card
      name="funnel"
      title={title}
      about={t("analytics.about.funnel")}
      columns={columns}
      rows={rows}
      summary={summaryOf(title, bars)}
    >
      <Bars bars={bars} />
    </Card>
  );
}

export function Failures({ now, then }) {
  const causes = Object.entries(now.turns.failures).toSorted((one, other) => other[1] - one[1]);
  const named = (code) => (has(`analytics.cause.${code}`) ? t(`analytics.cause.${code}`) : code);
  const all = now.turns.total;
  const bars = causes.map(([code, value]) => [named(code), value, percent(value / all)]);
  const columns = [
    { name: t("analytics.cause") },
    { name: t("analytics.code") },
    { name: t("analytics.column.turns"), show: number },
    { name: t("analytics.column.before"), show: number },
  ];
  const rows = causes.map(([code, value]) => [named(code), code, value, then ? (then.turns.failures[code] ?? 0) : undefined]);
  const title = t("analytics.failures");
  return (
    <Card
      name="failures"
      title={title}
      about={t("analytics.about.failures")}
      columns={columns}
      rows={rows}
      summary={summaryOf(title, bars)}
    >
      <Bars bars={bars} kind="bad" />
    </Card>
  );
}

export function Groups({ kind, now, then }) {
  const groups = now[`by_${kind}`];
  const earlier = new Map(then?.[`by_${kind}`].map((each) => [each.id, each.sessions]));
  const columns = [
    { name: t(`analytics.${kind}`) },
    { name: t("analytics.column.sessions"), show: number },
    { name: t("analytics.column.before"), show: number },
    { name: t("analytics.figure.success"), show: percent },
    { name: t("analytics.column.turns"), show: number },
    { name: t("analytics.column.response"), show: span },
  ];
  const nameOf = ({ name, id }) => name ?? (id ? t("analytics.deleted") : t("analytics.without"));
  const rows = groups.map((each) => [
    nameOf(each),
    each.sessions,
    then ? (earlier.get(each.id) ?? 0) : undefined,
    each.success_rate,
    each.turns,
    each.response_ms,
  ]);
  const title = t(`analytics.by_${kind}`);
  const bars = groups
    .slice(0, MOST_BARS)
    .map((each) => [nameOf(each), each.sessions, each.response_ms === undefined ? "" : span(each.response_ms)]);
  return (
    <Card
      name={`by-${kind}`}
      title={title}
      about={t(`analytics.about.by_${kind}`)}
      columns={columns}
      rows={rows}
      summary={summaryOf(title, bars)}
    >
      <Bars bars={bars} />
      {groups.length > MOST_BARS && <p class="note">{t("analytics.rest", { count: groups.length - MOST_BARS })}</p>}
    </Card>
  );
}
