// What the session works on: its workflow step, the request, the operators' quotes and the proposal.

import { get } from "../api.js";
import { useData } from "../data.js";
import { dateTime, number, t } from "../language.js";
import { Part } from "./part.jsx";

export const money = ({ amount, currency }) =>
  amount === undefined || amount === null ? "" : currency ? number(amount, { style: "currency", currency }) : number(amount);

export function Trip({ session }) {
  const { id, workflow, workflow_step, request, proposal, quote_counts } = session;
  // Lists of sessions have no quotes; they are read again when their number changes.
  const { data } = useData(
    async (signal) => (await get(`/chat-sessions/${id}`, { limit: 1 }, signal)).quotes ?? [],
    [id, JSON.stringify([quote_counts, session.updated_at])],
  );
  const quotes = data ?? session.quotes ?? [];
  return (
    <>
      {workflow_step && (
        <Part title={t("inbox.workflow")}>
          <p>{workflow && `${workflow}: `}<strong>{workflow_step}</strong></p>
        </Part>
      )}
      {request && (
        <Part title={t("inbox.request")}>
          <p dir="auto">{[request.origin, request.destination].filter(Boolean).join(" → ")}</p>
          <p class="meta">
            {[request.departs_at && dateTime(request.departs_at), request.passengers && t("inbox.passengers", { count: request.passengers })]
              .filter(Boolean).join(" · ")}
          </p>
        </Part>
      )}
      {quotes.length > 0 && (
        <Part title={t("inbox.quotes")}>
          <ul>
            {quotes.map((quote) => (
              <li key={quote.id}>
                <span class="value">{quote.operator ?? quote.operator_key}</span> <strong>{money(quote)}</strong>
                <span class="meta">
                  {[quote.aircraft_type, t(`inbox.quote.${quote.status}`), quote.late && t("inbox.late")].filter(Boolean).join(" · ")}
                </span>
              </li>
            ))}
          </ul>
        </Part>
      )}
      {proposal && (
        <Part title={t("inbox.proposal")}>
          <p><strong>{proposal.title}</strong> {money(proposal)} <span class="meta">{t(`inbox.proposal.${proposal.status}`)}</span></p>
          {proposal.text && <p dir="auto">{proposal.text}</p>}
        </Part>
      )}
    </>
  );
}
