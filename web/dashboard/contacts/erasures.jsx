// The receipts of all erasures.

import { usePages } from "../data.js";
import { t } from "../language.js";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { authorOf, workspace } from "../workspace.js";
import { Back } from "./contact.jsx";
import { Receipt } from "./erase.jsx";

export function Erasures() {
  const { items, hasMore, more, failure, reload } = usePages("/erasures", { workspace_id: workspace.value.id, limit: 50 });
  return (
    <section class="view page">
      <header class="tools"><Back /><h1>{t("erasures.title")}</h1></header>
      {failure && <Failed failure={failure} retry={reload} />}
      {!items && !failure && <Loading />}
      {items?.length === 0 && <Empty>{t("erasures.none")}</Empty>}
      <ul class="cards">
        {items?.map((receipt) => (
          <li key={receipt.id}>
            <details>
              <summary><Time value={receipt.created_at} /> · {authorOf(receipt.requested_by) ?? t("erasures.operator")}</summary>
              <Receipt receipt={receipt} />
            </details>
          </li>
        ))}
      </ul>
      {hasMore && <button type="button" onClick={more}>{t("list.more")}</button>}
    </section>
  );
}
