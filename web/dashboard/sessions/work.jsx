// What a session works on: the request, the operators' quotes and the proposal.

import { dateTime, has, number, t } from "../language.js";

// An amount of money, whatever its currency is called.
export function money(amount, currency) {
  if (amount === undefined) return "";
  try {
    return number(amount, { style: "currency", currency });
  } catch {
    return `${number(amount)} ${currency ?? ""}`;
  }
}

const verb = (status) => (has(`verb.${status}`) ? t(`verb.${status}`) : status);

export function Work({ session }) {
  const { request, quotes = [], proposal, primary_quote } = session;
  if (!request && quotes.length === 0 && !proposal) return null;
  return (
    <section>
      <h2>{t("trip.title")}</h2>
      {request && (
        <p>
          <strong dir="auto">{[request.origin, request.destination].filter(Boolean).join(" → ")}</strong>{" "}
          {request.departs_at && dateTime(request.departs_at)}{" "}
          {request.passengers !== undefined && t("trip.passengers", { count: request.passengers })}
        </p>
      )}
      {quotes.length > 0 && (
        <ul class="quotes" aria-label={t("trip.quotes")}>
          {quotes.map((quote) => (
            <li key={quote.id}>
              <div class="line"><span dir="auto">{quote.operator}</span><strong>{money(quote.amount, quote.currency)}</strong></div>
              <p class="note">
                {[verb(quote.status), quote.aircraft_type, quote.late && t("event.late"), quote.id === primary_quote?.id && t("trip.primary")]
                  .filter(Boolean).join(" · ")}
              </p>
            </li>
          ))}
        </ul>
      )}
      {proposal && (
        <article>
          <h3>{t("trip.proposal")}</h3>
          <div class="line"><span dir="auto">{proposal.title}</span><strong>{money(proposal.amount, proposal.currency)}</strong></div>
          <p class="note">{verb(proposal.status)}</p>
          {proposal.text && <p class="said" dir="auto">{proposal.text}</p>}
        </article>
      )}
    </section>
  );
}
