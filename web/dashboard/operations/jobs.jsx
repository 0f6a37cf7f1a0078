// Jobs: those that need a member first, and one with what it was made of.

import { Link } from "wouter-preact";

import { call, get } from "../api.js";
import { useData, usePages } from "../data.js";
import { dateTime, t } from "../language.js";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { to, useFilters } from "../place.js";
import { workspace } from "../workspace.js";
import { Json } from "./json.jsx";

// What may be asked for: the state, or what is late.
const STATES = ["dead", "stuck", "queued", "running", "succeeded", "discarded"];
const TONES = { dead: "failed", stuck: "paused", running: "active", succeeded: "active" };
const MAY_REPLAY = ["dead", "discarded", "queued"];
const MAY_DISCARD = ["dead", "queued"];

export function Jobs({ id }) {
  return id ? <Job id={id} /> : <List />;
}

// Replay or discard, and read again.
async function act(verb, { id }, reload) {
  try {
    await call("POST", `/jobs/${id}/${verb}`);
    say(t(`operations.done.${verb}`));
  } catch (failure) {
    complain(failure);
  }
  reload();
}

function Actions({ job, reload }) {
  return (
    <span class="buttons">
      {MAY_REPLAY.includes(job.status) && (
        <button type="button" onClick={() => act("replay", job, reload)}>
          {t("operations.replay")}
        </button>
      )}
      {MAY_DISCARD.includes(job.status) && (
        <button type="button" onClick={() => act("discard", job, reload)}>
          {t("operations.discard")}
        </button>
      )}
    </span>
  );
}

const stateOf = (job) => (job.stuck ? "stuck" : job.status);
const State = ({ job }) => <span class={`status ${TONES[stateOf(job)] ?? ""}`}>{t(`operations.state.${stateOf(job)}`)}</span>;

function List() {
  const [filters, change] = useFilters();
  const state = filters.state ?? "dead";
  const asked = state === "stuck" ? { stuck: true } : { status: state === "all" ? "" : state };
  const pages = usePages("/jobs", { ...asked, kind: filters.kind, workspace_id: workspace.value.id, limit: 100 });
  return (
    <>
      <header class="tools">
        <h2>{t("operations.jobs")}</h2>
        <search>
          <label>
            {t("operations.state")}
            <select value={state} onChange={({ target }) => change({ state: target.value })}>
              {[...STATES, "all"].map((each) => (
                <option key={each} value={each} selected={each === state}>
                  {t(`operations.state.${each}`)}
                </option>
              ))}
            </select>
          </label>
          <label>
            {t("operations.kind")}
            <input defaultValue={filters.kind} onChange={({ target }) => change({ kind: target.value.trim() })} />
          </label>
          <button type="button" onClick={pages.reload}>
            {t("operations.reload")}
          </button>
        </search>
      </header>
      <p class="note">{t("operations.about.jobs")}</p>
      {pages.failure && <Failed failure={pages.failure} retry={pages.reload} />}
      {!pages.items && !pages.failure && <Loading />}
      {pages.items?.length === 0 && <Empty>{t("operations.none.jobs")}</Empty>}
      {pages.items?.length > 0 && (
        <div class="table start" tabIndex={0} role="group" aria-label={t("operations.jobs")}>
          <table>
            <thead>
              <tr>
                {["kind", "state", "attempts", "error", "created", "actions"].map((each) => (
                  <th key={each} scope="col">
                    {t(`operations.${each}`)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {pages.items.map((job) => (
                <tr key={job.id}>
                  <td>
                    <Link href={to(`/operations/jobs/${job.id}`)}>
                      <code>{job.kind}</code>
                    </Link>
                  </td>
                  <td>
                    <State job={job} />
                  </td>
                  <td>{t("operations.of", { count: job.attempts, most: job.max_attempts })}</td>
                  <td class="long">{job.last_error}</td>
                  <td>
                    <Time value={job.created_at} />
                  </td>
                  <td>
                    <Actions job={job} reload={pages.reload} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {pages.hasMore && (
        <button type="button" onClick={pages.more}>
          {t("operations.more")}
        </button>
      )}
    </>
  );
}

function Job({ id }) {
  const one = useData((signal) => get(`/jobs/${id}`, {}, signal), [id]);
  const job = one.data;
  return (
    <>
      <header class="tools">
        <h2>{t("operations.job")}</h2>
        <Link href={to("/operations/jobs")}>{t("action.back")}</Link>
      </header>
      {one.failure && <Failed failure={one.failure} retry={one.reload} />}
      {!job && !one.failure && <Loading />}
      {job && (
        <>
          <p>
            <code>{job.kind}</code> <State job={job} /> {t("operations.of", { count: job.attempts, most: job.max_attempts })}
          </p>
          <dl class="facts">
            {[
              ["created", job.created_at && dateTime(job.created_at)],
              ["next", job.next_attempt_at && dateTime(job.next_attempt_at)],
              ["finished", job.finished_at && dateTime(job.finished_at)],
              ["key", job.ordering_key],
              ["waits_for", job.waits_for],
              ["error", job.last_error],
            ]
              .filter(([, value]) => value)
              .map(([name, value]) => (
                <div key={name}>
                  <dt>{t(`operations.${name}`)}</dt>
                  <dd dir="auto">{value}</dd>
                </div>
              ))}
          </dl>
          <Actions job={job} reload={one.reload} />
          <Json label={t("operations.payload")} value={job.payload} />
          {job.event && (
            <>
              <Json label={t("operations.headers")} value={job.event.headers} />
              <Json label={t("operations.body")} value={job.event.raw_body} />
            </>
          )}
        </>
      )}
    </>
  );
}
