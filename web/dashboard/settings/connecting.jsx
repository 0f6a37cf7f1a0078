// Connecting a channel at its provider, and a test message through it.

import { useState } from "preact/hooks";

import { call } from "../api.js";
import { config } from "../config.js";
import { t } from "../language.js";
import { Form } from "./form.jsx";
import { Yes } from "./yes.jsx";

// `connected(answer)` is told what there is to enter at the provider.
export function Connecting({ channel, connected }) {
  const [told, setTold] = useState(null);

  async function connect(body) {
    setTold(null);
    const answer = await call("POST", `/channels/${channel.id}/connect`, { body: { ...body, url: config.api_url } });
    setTold(answer);
    connected(answer);
  }

  return (
    <section class="part" aria-label={t("settings.connect")}>
      <h3>{t("settings.connect")}</h3>
      <p class="note">{t("settings.connect.about")}</p>
      <Form
        fields={channel.kind === "whatsapp" ? [{ name: "account_id" }] : []}
        submit={connect}
        action={t("settings.connect")}
        label={t("settings.connect")}
      />
      <div role="status">
        {told && (
          <>
            <p>{t("settings.connected", { name: told.name })}</p>
            <ul class="steps">
              {told.done.map((step) => (
                <li key={step}>
                  <Yes is /> {t(`settings.done.${step}`)}
                </li>
              ))}
              {told.left.map((step) => (
                <li key={step}>
                  <Yes is={false} /> {t(`settings.left.${step}`)}
                </li>
              ))}
            </ul>
          </>
        )}
      </div>
    </section>
  );
}

export function TestMessage({ channel }) {
  const [told, setTold] = useState(null);

  async function send(body) {
    setTold(null);
    setTold(await call("POST", `/channels/${channel.id}/test`, { body: { to: body.to.trim() } }));
  }

  return (
    <section class="part" aria-label={t("settings.channel_test")}>
      <h3>{t("settings.channel_test")}</h3>
      <p class="note">{t("settings.channel_test.about")}</p>
      <Form
        fields={[{ name: "to", required: true, empty: "", hint: t(`settings.hint.to.${channel.kind}`) }]}
        submit={send}
        action={t("settings.channel_test")}
        label={t("settings.channel_test")}
      />
      <p role="status" class={told && told.outcome !== "sent" ? "failure" : ""}>
        {told && t(`settings.channel_test.${told.outcome}`, { detail: told.detail })}
      </p>
    </section>
  );
}
