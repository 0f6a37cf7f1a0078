// The figures of the workspace in a period, beside those of the period before.

import { useEffect, useRef } from "preact/hooks";

import { get } from "../api.js";
import { useData } from "../data.js";
import { day, t } from "../language.js";
import { listen } from "../live.js";
import { useChoices } from "../parts/choices.js";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { useFilters } from "../place.js";
import { workspace } from "../workspace.js";
import { Days } from "./days.jsx";
import { Figures } from "./figures.jsx";
import { Failures, Funnel, Groups } from "./groups.jsx";
import { before, periodOf, RANGES } from "./period.js";

// Changes come in bursts, and each reading counts the whole period.
const REFRESH_MS = 2_000;

export default function View() {
  const [filters, change] = useFilters();
  const period = periodOf(filters);
  const earlier = before(period);
  const { persona_id, space_id } = filters;
  const id = workspace.value.id;
  const read = ({ from, to }, signal) =>
    get("/chat-sessions/stats", { workspace_id: id, persona_id, space_id, from, to }, signal);
  const inputs = [id, period.from, period.to, persona_id, space_id];
  const now = useData((signal) => read(period, signal), inputs);
  const then = useData((signal) => read(earlier, signal), inputs);
  useRefresh(now.reload);
  const { data } = now;
  return (
    <section class="view board analytics" aria-busy={now.isLoading}>
      <header class="tools">
        <h1>{t("analytics.title")}</h1>
        <Filters filters={filters} change={change} period={period} />
      </header>
      <div class="scroll">
        {now.failure && <Failed failure={now.failure} retry={now.reload} />}
        {!data && !now.failure && <Loading />}
        {data && (
          <>
            <p class="note">
              {t("analytics.compared", {
                from: day(period.from),
                to: day(period.to),
                before_from: day(earlier.from),
                before_to: day(earlier.to),
              })}
              {data.scope === "own" && ` ${t("analytics.own")}`}
            </p>
            <Figures now={data} then={then.data} />
            {data.sessions.total === 0 && <Empty>{t("analytics.empty")}</Empty>}
            <Days now={data} then={then.data} period={period} earlier={earlier} />
            <div class="cards">
              <Funnel now={data} then={then.data} />
              <Failures now={data} then={then.data} />
              <Groups kind="persona" now={data} then={then.data} />
              <Groups kind="space" now={data} then={then.data} />
            </div>
          </>
        )}
      </div>
    </section>
  );
}

// Read again after changes of sessions, at most once in a while.
function useRefresh(reload) {
  const timer = useRef();
  useEffect(() => {
    const stop = listen(() => {
      timer.current ??= setTimeout(() => {
        timer.current = undefined;
        reload();
      }, REFRESH_MS);
    });
    return () => {
      stop();
      clearTimeout(timer.current);
      timer.current = undefined;
    };
  }, [reload]);
}

function Filters({ filters, change, period }) {
  const spaces = useChoices("spaces");
  const personas = useChoices("personas");
  const isCustom = period.range === "custom";
  const choose = (range) =>
    change(range === "custom" ? { from: period.from, to: period.to, days: "" } : { days: range, from: "", to: "" });
  const setDay =
    (name) =>
    ({ target }) =>
      target.value && change({ from: period.from, to: period.to, [name]: target.value });
  return (
    <search>
      <div class="ranges" role="group" aria-label={t("analytics.period")}>
        {RANGES.map((each) => (
          <button key={each} type="button" aria-pressed={period.range === each} onClick={() => choose(each)}>
            {t("analytics.days", { count: each })}
          </button>
        ))}
        <button type="button" aria-pressed={isCustom} onClick={() => choose("custom")}>
          {t("analytics.custom")}
        </button>
      </div>
      {isCustom && (
        <>
          <label>
            {t("analytics.from")}
            <input type="date" value={period.from} max={period.to} onChange={setDay("from")} />
          </label>
          <label>
            {t("analytics.to")}
            <input type="date" value={period.to} min={period.from} onChange={setDay("to")} />
          </label>
        </>
      )}
      <Choice name="persona" items={personas} value={filters.persona_id} set={(value) => change({ persona_id: value })} />
      <Choice name="space" items={spaces} value={filters.space_id} set={(value) => change({ space_id: value })} />
    </search>
  );
}

function Choice({ name, items, value, set }) {
  return (
    <label>
      {t(`analytics.${name}`)}
      <select value={value ?? ""} onChange={({ target }) => set(target.value)}>
        <option value="">{t("analytics.all")}</option>
        {items.map(([id, words]) => (
          <option key={id} value={id} selected={id === value}>
            {words}
          </option>
        ))}
      </select>
    </label>
  );
}
