// What the doctor finds of the workspace, and when the deployment's schedules ran.

import { Link } from "wouter-preact";

import { get } from "../api.js";
import { useData } from "../data.js";
import { has, number, t } from "../language.js";
import { Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { to } from "../place.js";
import { workspace } from "../workspace.js";

const TONES = { ok: "active", warning: "paused", failure: "failed", succeeded: "active", failed: "failed" };
const ORDER = ["failure", "warning", "ok"];
// Where what a check found is shown; of other checks only the ids are told.
const PLACES = {
  jobs_dead: "/operations/jobs/",
  jobs_waiting: "/operations/jobs/",
  sessions_stuck: "/sessions/",
  transcripts_waiting: "/sessions/",
};

const textOf = (name) => (has(`operations.check.${name}`) ? t(`operations.check.${name}`) : name);

export function Health() {
  const path = `/workspaces/${workspace.value.id}/doctor`;
  const { data, failure, reload } = useData((signal) => get(path, {}, signal), [path]);
  const checks = data?.checks.toSorted((one, other) => ORDER.indexOf(one.state) - ORDER.indexOf(other.state));
  return (
    <>
      <header class="tools">
        <h2>{t("operations.health")}</h2>
        <button type="button" onClick={reload}>
          {t("operations.reload")}
        </button>
      </header>
      <p class="note">{t("operations.about.health")}</p>
      {failure && <Failed failure={failure} retry={reload} />}
      {!data && !failure && <Loading />}
      {data && (
        <>
          <ul class="checks">
            {checks.map((check) => (
              <li key={check.name}>
                <span class={`status ${TONES[check.state]}`}>{t(`operations.health.${check.state}`)}</span>{" "}
                {`${textOf(check.name)}: ${number(check.found)}`} <Examples check={check} />
              </li>
            ))}
          </ul>
          <Schedules schedules={data.schedules} />
        </>
      )}
    </>
  );
}

function Examples({ check: { name, examples } }) {
  const place = PLACES[name];
  return examples.map((each) => (
    <span key={each} class="example">
      {place ? (
        <Link href={to(place + each)}>
          <code>{each}</code>
        </Link>
      ) : (
        <code>{each}</code>
      )}{" "}
    </span>
  ));
}

function Schedules({ schedules }) {
  return (
    <section class="part" aria-label={t("operations.schedules")}>
      <h3>{t("operations.schedules")}</h3>
      <p class="note">{t("operations.about.schedules")}</p>
      <div class="table start" tabIndex={0} role="group" aria-label={t("operations.schedules")}>
        <table>
          <thead>
            <tr>
              {["schedule", "times", "last_run", "state", "next_run"].map((each) => (
                <th key={each} scope="col">
                  {t(`operations.${each}`)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {schedules.map(({ name, schedule, active, last_run_at, last_status, next_run_at }) => (
              <tr key={name}>
                <td>
                  <code>{name}</code>
                </td>
                <td>
                  <code dir="ltr">{schedule}</code>
                </td>
                <td>{last_run_at ? <Time value={last_run_at} /> : t("operations.never")}</td>
                <td>
                  {active ? (
                    last_status && <span class={`status ${TONES[last_status] ?? ""}`}>{ran(last_status)}</span>
                  ) : (
                    <span class="status failed">{t("operations.switched_off")}</span>
                  )}
                </td>
                <td>
                  <Time value={next_run_at} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

const ran = (status) => (has(`operations.ran.${status}`) ? t(`operations.ran.${status}`) : status);
