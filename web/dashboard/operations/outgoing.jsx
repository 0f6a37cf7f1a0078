// Outgoing deliveries, of one event subscription after the other.

import { get } from "../api.js";
import { useData, usePages } from "../data.js";
import { t } from "../language.js";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { useFilters } from "../place.js";
import { workspace } from "../workspace.js";
import { Deliveries } from "./deliveries.jsx";

export function Outgoing() {
  const path = `/workspaces/${workspace.value.id}/event-subscriptions`;
  const { data, failure, reload } = useData((signal) => get(path, { limit: 200 }, signal), [path]);
  const [filters, change] = useFilters();
  const chosen = data?.items.find(({ id }) => id === filters.subscription) ?? data?.items[0];
  return (
    <>
      <header class="tools">
        <h2>{t("operations.outgoing")}</h2>
        {chosen && (
          <search>
            <label>
              {t("operations.subscription")}
              <select value={chosen.id} onChange={({ target }) => change({ subscription: target.value })}>
                {data.items.map(({ id, url }) => (
                  <option key={id} value={id} selected={id === chosen.id}>
                    {url}
                  </option>
                ))}
              </select>
            </label>
            <label>
              {t("operations.state")}
              <select value={filters.delivery ?? ""} onChange={({ target }) => change({ delivery: target.value })}>
                <option value="">{t("operations.state.all")}</option>
                {["pending", "succeeded", "failed"].map((each) => (
                  <option key={each} value={each} selected={each === filters.delivery}>
                    {t(`operations.delivery.${each}`)}
                  </option>
                ))}
              </select>
            </label>
          </search>
        )}
      </header>
      <p class="note">{t("operations.about.outgoing")}</p>
      {failure && <Failed failure={failure} retry={reload} />}
      {!data && !failure && <Loading />}
      {data?.items.length === 0 && <Empty>{t("operations.none.subscriptions")}</Empty>}
      {chosen && <Of key={`${chosen.id}${filters.delivery}`} subscription={chosen} status={filters.delivery} />}
    </>
  );
}

function Of({ subscription, status }) {
  const pages = usePages(`/event-subscriptions/${subscription.id}/deliveries`, { status, limit: 50 });
  return <Deliveries pages={pages} />;
}
