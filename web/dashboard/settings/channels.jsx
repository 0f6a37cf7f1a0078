// Channels: where a provider delivers, with what proves a delivery and the token of the provider's API.

import { useState } from "preact/hooks";

import { config } from "../config.js";
import { t } from "../language.js";
import { useChoices } from "../parts/choices.js";
import { manages } from "../workspace.js";
import { Connecting, TestMessage } from "./connecting.jsx";
import { Section } from "./section.jsx";
import { Copy, Generated, Given } from "./secret.jsx";
import { Yes } from "./yes.jsx";

const KINDS = ["telegram", "whatsapp", "discord", "omi", "avinode", "standard"];
// Names of products, which are no words.
const NAMES = {
  telegram: "Telegram",
  whatsapp: "WhatsApp",
  discord: "Discord",
  omi: "Omi",
  avinode: "Avinode",
  standard: "Standard Webhooks",
};
// The sender chooses these secrets; the others are generated here.
const GIVEN = ["whatsapp", "discord", "standard"];
const BOTS = ["telegram", "whatsapp", "discord"];

export function Channels({ id }) {
  const personas = useChoices("personas");
  const fields = (channel) =>
    [
      { name: "name", required: true, empty: "" },
      !channel && { name: "kind", type: "select", options: KINDS.map((kind) => [kind, NAMES[kind]]), initial: "telegram" },
      { name: "persona_id", type: "select", options: [["", "–"], ...personas], empty: channel ? null : undefined },
      { name: "external_id", empty: channel ? null : undefined },
      { name: "config", type: "json", rows: 4 },
      { name: "enabled", type: "checkbox", initial: true },
    ].filter(Boolean);
  return (
    <Section
      name="channels"
      path="/channels"
      id={id}
      fields={fields}
      columns={["name", "kind", "persona_id", "ready"]}
      row={(channel, link) => [
        link,
        NAMES[channel.kind],
        new Map(personas).get(channel.persona_id),
        <Yes is={isReady(channel)} />,
      ]}
    >
      {(channel, changed) => <Connection channel={channel} changed={changed} />}
    </Section>
  );
}

const isReady = ({ kind, enabled, has_verify_secret, has_token }) =>
  enabled && has_verify_secret && (has_token || !BOTS.includes(kind));

// What is left to do until messages arrive, step by step.
function Connection({ channel, changed }) {
  const [token, setToken] = useState(null);
  const { id, kind } = channel;
  const steps = [
    ["enabled", channel.enabled],
    ["verify", channel.has_verify_secret],
    ["token", channel.has_token || !BOTS.includes(kind)],
    ["answers", Boolean(channel.persona_id)],
  ];
  const secret = {
    path: `/channels/${id}/verify-secret`,
    label: t("settings.verify_secret"),
    isSet: channel.has_verify_secret,
    changed,
  };
  return (
    <>
      <section class="part" aria-label={t("settings.connection")}>
        <h3>{t("settings.connection")}</h3>
        <p class="note">{t("settings.connection.about")}</p>
        <Copy text={`${config.api_url}/webhooks/${kind}/${id}`} label={t("settings.webhook")} />
        <ul class="steps">
          {steps.map(([name, isDone]) => (
            <li key={name}>
              <Yes is={isDone} /> {t(`settings.step.${name}`)}
            </li>
          ))}
        </ul>
        {token && <Copy text={token} label={t("settings.verify_token")} />}
      </section>
      {manages.value &&
        (GIVEN.includes(kind) ? (
          <Given {...secret} told={(answer) => setToken(answer?.verify_token)} />
        ) : (
          <Generated {...secret} mayRemove={false} />
        ))}
      {manages.value && (
        <Given path={`/channels/${id}/token`} label={t("settings.token")} isSet={channel.has_token} changed={changed} />
      )}
      {manages.value && channel.has_token && BOTS.includes(kind) && (
        <>
          <Connecting
            channel={channel}
            connected={(answer) => {
              setToken(answer.verify_token);
              changed();
            }}
          />
          <TestMessage channel={channel} />
        </>
      )}
    </>
  );
}
