// Personas: a form for each kind, secrets, the breaker, and a message to try one out.

import { t } from "../language.js";
import { useChoices } from "../parts/choices.js";
import { Time } from "../parts/time.jsx";
import { manages, owns } from "../workspace.js";
import { Section } from "./section.jsx";
import { Generated, Given } from "./secret.jsx";
import { Trial } from "./trial.jsx";
import { Yes } from "./yes.jsx";

const KINDS = ["demo", "openai", "n8n"];
const AUTHS = ["bearer", "basic", "none"];

const choice = (name, values) => values.map((each) => [each, t(`settings.${name}.${each}`)]);

// The settings of each kind (docs/personas.md). How the secret is sent may also be a header's name, which is an object.
const CONFIG = {
  demo: [{ name: "config.delay_ms", type: "number" }],
  openai: [
    { name: "config.base_url" },
    { name: "config.model", required: true, empty: undefined },
    { name: "config.system_prompt", type: "area", rows: 5 },
    { name: "config.temperature", type: "number" },
    { name: "config.max_completion_tokens", type: "number" },
    { name: "config.max_tokens", type: "number" },
    { name: "config.history_characters", type: "number" },
    { name: "config.memory_characters", type: "number" },
    { name: "config.send_user", type: "checkbox", initial: true },
    { name: "config.include_usage", type: "checkbox", initial: true },
    { name: "config.begins_thinking", type: "checkbox" },
    { name: "config.alternate", type: "checkbox" },
    { name: "config.extra", type: "json" },
  ],
  n8n: [
    { name: "config.url", required: true },
    { name: "config.mode", type: "select", options: () => choice("mode", ["sync", "async", "poll"]), initial: "sync" },
    { name: "config.poll_url", when: (values) => values["config.mode"] === "poll" },
    { name: "config.poll_seconds", type: "number", when: (values) => values["config.mode"] === "poll" },
  ],
};
const CALLS = [
  {
    name: "config.auth",
    type: "select",
    options: () => [["", t("settings.auth.usual")], ...choice("auth", AUTHS), ["header", t("settings.auth.header")]],
    show: (auth) => (typeof auth === "object" ? "header" : (auth ?? "")),
  },
  { name: "config.auth.header", when: (values) => values["config.auth"] === "header" },
  { name: "config.connect_seconds", type: "number" },
  { name: "config.first_byte_seconds", type: "number" },
  { name: "config.idle_seconds", type: "number" },
];

function configOf(kind) {
  return [...CONFIG[kind], ...(kind === "demo" ? [] : CALLS)].map((field) => ({
    ...field,
    options: field.options?.(),
    when: (values) => (values.kind ?? kind) === kind && (!field.when || field.when(values)),
  }));
}

function fieldsOf(persona, personas) {
  const kinds = persona ? [persona.kind].filter((kind) => kind in CONFIG) : KINDS;
  const own = manages.value ? kinds.flatMap(configOf) : [];
  const given = persona ? own : distinct(own);
  return [
    { name: "name", required: true, empty: "" },
    !persona && { name: "kind", type: "select", options: choice("kind", KINDS), initial: "demo" },
    ...given,
    ...(persona ? common(persona, personas) : []),
    { name: "enabled", type: "checkbox", initial: true },
  ].filter(Boolean);
}

// A field that two kinds share is one, asked for both.
function distinct(fields) {
  const found = new Map();
  for (const field of fields) {
    const before = found.get(field.name);
    found.set(field.name, before ? { ...field, when: (values) => before.when(values) || field.when(values) } : field);
  }
  return [...found.values()];
}

const common = ({ id }, personas) => [
  { name: "picture", type: "picture" },
  { name: "session_policy", type: "select", options: choice("session_policy", ["per_conversation", "per_message"]) },
  { name: "turn_policy", type: "select", options: choice("turn_policy", ["refuse", "interrupt"]) },
  { name: "time_limit_seconds", type: "number" },
  { name: "history_limit", type: "number" },
  { name: "collect_seconds", type: "number" },
  {
    name: "fallback_persona_id",
    type: "select",
    options: [["", "–"], ...personas.filter(([other]) => other !== id)],
    empty: null,
  },
  { name: "breaker_failures", type: "number" },
  { name: "breaker_seconds", type: "number" },
  { name: "memory_model", type: "select", options: choice("memory_model", ["per_contact", "shared"]) },
  { name: "recall_limit", type: "number" },
  { name: "remember_turns", type: "checkbox" },
];

export function Personas({ id }) {
  const personas = useChoices("personas");
  return (
    <Section
      name="personas"
      path="/personas"
      id={id}
      fields={(persona) => fieldsOf(persona, personas)}
      mayDelete={owns.value}
      columns={["name", "kind", "breaker", "enabled"]}
      row={(persona, link) => [
        link,
        t(`settings.kind.${persona.kind}`),
        <Breaker state={persona.breaker} />,
        <Yes is={persona.enabled} />,
      ]}
    >
      {(persona, changed) => (
        <>
          <section class="part" aria-label={t("settings.field.breaker")}>
            <h3>{t("settings.field.breaker")}</h3>
            <p>
              <Breaker state={persona.breaker} />
            </p>
            <p class="note">
              {t("settings.breaker.about", { failures: persona.breaker.failures, refused: persona.breaker.refused })}{" "}
              <Time value={persona.breaker.opened_at} />
            </p>
          </section>
          {manages.value && persona.kind !== "demo" && (
            <Given
              path={`/personas/${persona.id}/secret`}
              label={t("settings.persona_secret")}
              isSet={persona.has_secret}
              changed={changed}
              mayRemove
            />
          )}
          {manages.value && persona.kind === "n8n" && (
            <Generated
              path={`/personas/${persona.id}/callback-secret`}
              label={t("settings.callback_secret")}
              isSet={persona.has_callback_secret}
              changed={changed}
            />
          )}
          <Trial persona={persona} changed={changed} />
        </>
      )}
    </Section>
  );
}

const TONES = { closed: "active", open: "failed", half_open: "paused" };

function Breaker({ state: { state } }) {
  return <span class={`status ${TONES[state]}`}>{t(`settings.breaker.${state}`)}</span>;
}
