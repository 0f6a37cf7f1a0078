// What providers delivered, with what became of it.

import { useState } from "preact/hooks";
import { Link } from "wouter-preact";

import { call } from "../api.js";
import { usePages } from "../data.js";
import { dateTime, t } from "../language.js";
import { Dialog } from "../parts/dialog.jsx";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { to, useFilters } from "../place.js";
import { workspace } from "../workspace.js";
import { Json } from "./json.jsx";

const PROVIDERS = ["telegram", "whatsapp", "discord", "omi", "avinode", "standard", "n8n"];
const TONES = { dead: "failed", queued: "paused", succeeded: "active" };

export function Incoming() {
  const [filters, change] = useFilters();
  const pages = usePages(`/workspaces/${workspace.value.id}/webhook-deliveries`, { provider: filters.provider, limit: 50 });
  const [shown, setShown] = useState(null);

  // The jobs of a delivery that are dead, once more.
  async function replay({ jobs }) {
    try {
      for (const { id, status } of jobs) if (status === "dead") await call("POST", `/jobs/${id}/replay`);
      say(t("operations.done.replay"));
    } catch (failure) {
      complain(failure);
    }
    pages.reload();
  }

  return (
    <>
      <header class="tools">
        <h2>{t("operations.incoming")}</h2>
        <search>
          <label>
            {t("operations.provider")}
            <select value={filters.provider ?? ""} onChange={({ target }) => change({ provider: target.value })}>
              <option value="">{t("operations.state.all")}</option>
              {PROVIDERS.map((each) => (
                <option key={each} value={each} selected={each === filters.provider}>
                  {each}
                </option>
              ))}
            </select>
          </label>
          <button type="button" onClick={pages.reload}>
            {t("operations.reload")}
          </button>
        </search>
      </header>
      <p class="note">{t("operations.about.incoming")}</p>
      {pages.failure && <Failed failure={pages.failure} retry={pages.reload} />}
      {!pages.items && !pages.failure && <Loading />}
      {pages.items?.length === 0 && <Empty>{t("operations.none.deliveries")}</Empty>}
      {pages.items?.length > 0 && (
        <div class="table start" tabIndex={0} role="group" aria-label={t("operations.incoming")}>
          <table>
            <thead>
              <tr>
                {["provider", "state", "error", "received", "actions"].map((each) => (
                  <th key={each} scope="col">
                    {t(`operations.${each}`)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {pages.items.map((one) => (
                <tr key={one.id}>
                  <td>{one.provider}</td>
                  <td>
                    {one.status && <span class={`status ${TONES[one.status] ?? ""}`}>{t(`operations.state.${one.status}`)}</span>}
                  </td>
                  <td class="long">{one.error}</td>
                  <td>
                    <Time value={one.received_at} />
                  </td>
                  <td>
                    <span class="buttons">
                      <button type="button" onClick={() => setShown(one)}>
                        {t("operations.show")}
                      </button>
                      {one.status === "dead" && (
                        <button type="button" onClick={() => replay(one)}>
                          {t("operations.replay")}
                        </button>
                      )}
                    </span>
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
      {shown && (
        <Dialog title={`${shown.provider}, ${dateTime(shown.received_at)}`} onClose={() => setShown(null)} class="board">
          <p class="note">{t("operations.acknowledged")}</p>
          {shown.error && (
            <p class="failure" dir="auto">
              {shown.error}
            </p>
          )}
          <Json label={t("operations.body")} value={shown.body} />
          {shown.body_is_cut && <p class="note">{t("operations.cut")}</p>}
          <Json label={t("operations.headers")} value={shown.headers} />
          <p class="buttons">
            {shown.jobs.map(({ id, kind, status }) => (
              <Link key={id} href={to(`/operations/jobs/${id}`)}>{`${kind}: ${t(`operations.state.${status}`)}`}</Link>
            ))}
          </p>
        </Dialog>
      )}
    </>
  );
}
