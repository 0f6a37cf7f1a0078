// The figures of a period, each with its change and one line that says what it counts.

import { number, percent, span, t } from "../language.js";

const count = (value) => number(value);

// What is better: more (1), less (-1) or neither (0).
const FIGURES = [
  { name: "active_now", of: (data) => data.active_now, show: count, isNow: true },
  { name: "sessions", of: (data) => data.sessions.total, show: count, better: 1 },
  { name: "success", of: (data) => data.sessions.success_rate, show: percent, better: 1, isShare: true },
  { name: "turns", of: (data) => data.turns.total, show: count, better: 1 },
  { name: "failed", of: failed, show: count, better: -1 },
  { name: "p50", of: (data) => data.response_ms.p50, show: span, better: -1 },
  { name: "p95", of: (data) => data.response_ms.p95, show: span, better: -1 },
  { name: "first_token", of: (data) => data.first_token_ms.p50, show: span, better: -1 },
];

function failed({ turns }) {
  return Object.values(turns.failures).reduce((sum, each) => sum + each, 0);
}

export function Figures({ now, then }) {
  return (
    <dl class="figures">
      {FIGURES.map((figure) => {
        const value = figure.of(now);
        return (
          <div key={figure.name} class="figure" data-figure={figure.name}>
            <dt>{t(`analytics.figure.${figure.name}`)}</dt>
            <dd class="value">
              <span>{value === undefined ? "–" : figure.show(value)}</span>
              {figure.isNow && <span class="live">{t("analytics.live")}</span>}
              {!figure.isNow && <Change figure={figure} now={value} then={then && figure.of(then)} />}
            </dd>
            <dd class="note">{t(`analytics.about.${figure.name}`)}</dd>
          </div>
        );
      })}
    </dl>
  );
}

// The change since the period before, as a share of it; of a share the difference in points.
function Change({ figure, now, then }) {
  if (now === undefined || then === undefined) return null;
  const change = figure.isShare ? now - then : then === 0 ? null : now / then - 1;
  if (change === null) return <span class="change">{now === 0 ? "±0" : t("analytics.new")}</span>;
  const direction = Math.abs(change) < 0.0005 ? 0 : Math.sign(change);
  const kind = direction * figure.better > 0 ? "better" : direction * figure.better < 0 ? "worse" : "";
  const told = figure.isShare
    ? t("analytics.points", { value: signed(change * 100) })
    : number(change, { style: "percent", maximumFractionDigits: 0, signDisplay: "exceptZero" });
  return <span class={`change ${kind}`} title={t("analytics.before", { value: figure.show(then) })}>{told}</span>;
}

const signed = (value) => number(value, { maximumFractionDigits: 1, signDisplay: "exceptZero" });
