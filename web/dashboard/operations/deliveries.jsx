// Deliveries of events to a subscription: what was sent, what was answered, and sending it again.

import { useState } from "preact/hooks";

import { call } from "../api.js";
import { span, t } from "../language.js";
import { Dialog } from "../parts/dialog.jsx";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { Json } from "./json.jsx";

const TONES = { succeeded: "active", failed: "failed", pending: "paused" };

export function Deliveries({ pages }) {
  const [shown, setShown] = useState(null);

  async function replay({ id }) {
    try {
      const { status } = await call("POST", `/event-deliveries/${id}/replay`);
      say(t(`operations.replayed.${status}`));
    } catch (failure) {
      complain(failure);
    }
    pages.reload();
  }

  return (
    <>
      {pages.failure && <Failed failure={pages.failure} retry={pages.reload} />}
      {!pages.items && !pages.failure && <Loading />}
      {pages.items?.length === 0 && <Empty>{t("operations.none.deliveries")}</Empty>}
      {pages.items?.length > 0 && (
        <div class="table start" tabIndex={0} role="group" aria-label={t("operations.deliveries")}>
          <table>
            <thead>
              <tr>
                {["event", "state", "attempts", "answer", "created", "actions"].map((each) => (
                  <th key={each} scope="col">
                    {t(`operations.${each}`)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {pages.items.map((one) => (
                <tr key={one.id}>
                  <td>
                    <code>{one.type}</code>
                  </td>
                  <td>
                    <span class={`status ${TONES[one.status]}`}>{t(`operations.delivery.${one.status}`)}</span>
                  </td>
                  <td>{one.attempts}</td>
                  <td>
                    {one.response_status ?? one.error ?? "–"} {one.duration_ms !== undefined && `(${span(one.duration_ms)})`}
                  </td>
                  <td>
                    <Time value={one.created_at} />
                  </td>
                  <td>
                    <span class="buttons">
                      <button type="button" onClick={() => setShown(one)}>
                        {t("operations.show")}
                      </button>
                      <button type="button" onClick={() => replay(one)}>
                        {t("operations.replay")}
                      </button>
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
        <Dialog title={shown.type} onClose={() => setShown(null)} class="board">
          <Json label={t("operations.body")} value={{ type: shown.type, timestamp: shown.occurred_at, data: shown.data }} />
          {shown.response_excerpt && <Json label={t("operations.answer")} value={shown.response_excerpt} />}
          {shown.error && <p class="failure">{shown.error}</p>}
        </Dialog>
      )}
    </>
  );
}
