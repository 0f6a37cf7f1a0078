// Event subscriptions: where events are sent, a test, and what became of each delivery.

import { useState } from "preact/hooks";

import { call } from "../api.js";
import { usePages } from "../data.js";
import { t } from "../language.js";
import { complain, say } from "../parts/toasts.jsx";
import { Deliveries } from "../operations/deliveries.jsx";
import { Section } from "./section.jsx";
import { Generated, Once } from "./secret.jsx";
import { Yes } from "./yes.jsx";

const TYPES = [
  "contact.registered",
  "contact.merged",
  "session.started",
  "session.completed",
  "session.timeout",
  "session.taken_over",
  "message.created",
  "workflow.step",
  "quote.received",
  "proposal.sent",
  "archive.completed",
];

export function Subscriptions({ id }) {
  const [made, setMade] = useState(null);
  const fields = () => [
    { name: "url", required: true, empty: "" },
    { name: "event_types", type: "many", options: TYPES.map((type) => [type, type]) },
    { name: "enabled", type: "checkbox", initial: true },
  ];
  // The secret is in this one response, so it is shown before the subscription itself.
  const keep = (subscription) => {
    setMade(subscription);
    return false;
  };
  return (
    <>
      {made ? (
        <section class="part" aria-label={t("settings.signing_secret")}>
          <h2>{made.url}</h2>
          <Once secret={made.secret} label={t("settings.signing_secret")} />
          <p class="buttons">
            <a class="button" href={`#/settings/event-subscriptions/${made.id}`}>
              {t("settings.go_on")}
            </a>
          </p>
        </section>
      ) : (
        <Section
          name="event-subscriptions"
          path="/event-subscriptions"
          id={id}
          fields={fields}
          made={keep}
          columns={["url", "event_types", "enabled"]}
          row={(one, link) => [link, one.event_types.length, <Yes is={one.enabled} />]}
        >
          {(one, changed) => <More subscription={one} changed={changed} />}
        </Section>
      )}
    </>
  );
}

function More({ subscription, changed }) {
  const path = `/event-subscriptions/${subscription.id}`;
  const deliveries = usePages(`${path}/deliveries`, { limit: 25 });

  async function test() {
    try {
      const { status, response_status, error } = await call("POST", `${path}/test`);
      say(t(`settings.test.${status}`, { status: response_status ?? error ?? "–" }));
      deliveries.reload();
    } catch (failure) {
      complain(failure);
    }
  }

  return (
    <>
      {subscription.disabled_reason && <p class="failure">{t(`settings.disabled.${subscription.disabled_reason}`)}</p>}
      <Generated path={`${path}/secret`} label={t("settings.signing_secret")} isSet changed={changed} mayRemove={false} />
      <section class="part" aria-label={t("settings.deliveries")}>
        <h3>{t("settings.deliveries")}</h3>
        <p class="buttons">
          <button type="button" onClick={test}>
            {t("settings.test")}
          </button>
        </p>
        <Deliveries pages={deliveries} />
      </section>
    </>
  );
}
