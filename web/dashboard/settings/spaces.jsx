// Spaces: the tag of the embedded chat, its look with a preview, allowed origins and the identity secret.

import { useState } from "preact/hooks";

import { config } from "../config.js";
import { t } from "../language.js";
import { useChoices } from "../parts/choices.js";
import { manages, owns } from "../workspace.js";
import { Form } from "./form.jsx";
import { Section } from "./section.jsx";
import { Copy, Generated } from "./secret.jsx";
import { Preview } from "./preview.jsx";
import { Yes } from "./yes.jsx";

export function Spaces({ id }) {
  const personas = useChoices("personas");
  const fields = (space) =>
    [
      { name: "name", required: true, empty: "" },
      !space && {
        name: "kind",
        type: "select",
        options: [
          ["embed", t("settings.kind.embed")],
          ["landing", t("settings.kind.landing")],
        ],
        initial: "embed",
      },
      { name: "persona_id", type: "select", options: [["", "–"], ...personas], required: true },
      { name: "allowed_origins", type: "lines" },
      {
        name: "identity",
        type: "select",
        options: ["any", "token"].map((one) => [one, t(`settings.identity.${one}`)]),
        initial: "any",
      },
      space && { name: "arrivals_per_minute", type: "number" },
      space && { name: "arrivals_per_minute_by_address", type: "number" },
      { name: "enabled", type: "checkbox", initial: true },
    ].filter(Boolean);
  return (
    <Section
      name="spaces"
      path="/spaces"
      id={id}
      fields={fields}
      mayDelete={owns.value}
      columns={["name", "kind", "persona_id", "enabled"]}
      row={(space, link) => [
        link,
        t(`settings.kind.${space.kind}`),
        new Map(personas).get(space.persona_id),
        <Yes is={space.enabled} />,
      ]}
    >
      {(space, changed, submit) => (
        <>
          {space.kind === "embed" && <Tag space={space} submit={submit} personas={personas} />}
          {manages.value && (
            <Generated
              path={`/spaces/${space.id}/hmac-secret`}
              label={t("settings.hmac")}
              isSet={space.has_hmac_secret}
              changed={changed}
            />
          )}
        </>
      )}
    </Section>
  );
}

const lookFields = () => [
  { name: "look.labels.title" },
  { name: "look.labels.greeting", type: "area", rows: 2 },
  { name: "look.quick_replies", type: "lines" },
  { name: "look.languages", type: "json" },
];

// The tag's own settings, which are in no route, and the look, which the space keeps.
function Tag({ space, submit, personas }) {
  const [tag, setTag] = useState({ color: "#0b6b57", scheme: "auto", position: "end" });
  const [look, setLook] = useState({});
  const persona = new Map(personas).get(space.persona_id);
  const word = (name) => look[`look.labels.${name}`] ?? space.look.labels?.[name];
  const replies = look["look.quick_replies"]?.split("\n").filter((line) => line.trim()) ?? space.look.quick_replies ?? [];
  const options = (name, values) => ({
    name,
    type: "select",
    options: values.map((each) => [each, t(`settings.${name}.${each}`)]),
  });
  return (
    <section class="part" aria-label={t("settings.look")}>
      <h3>{t("settings.look")}</h3>
      <div class="beside">
        <div>
          <Form
            fields={lookFields()}
            object={space}
            submit={submit}
            isReadOnly={!manages.value}
            onInput={setLook}
            action={t("settings.save_look")}
            label={t("settings.look")}
          />
          <Form
            fields={[
              { name: "color", type: "color" },
              options("scheme", ["auto", "light", "dark"]),
              options("position", ["end", "start"]),
            ]}
            object={tag}
            onInput={setTag}
            isBare
            label={t("settings.tag")}
          />
        </div>
        <Preview title={word("title") || persona} greeting={word("greeting")} replies={replies} tag={tag} />
      </div>
      <h3>{t("settings.tag")}</h3>
      <p class="note">{t("settings.tag.about")}</p>
      <Copy text={tagOf(space, tag)} label={t("settings.tag")} />
    </section>
  );
}

function tagOf({ id }, { color, scheme, position }) {
  const given = {
    "data-color": color,
    "data-scheme": scheme !== "auto" && scheme,
    "data-position": position !== "end" && position,
  };
  const more = Object.entries(given)
    .filter(([, value]) => value)
    .map(([name, value]) => ` ${name}="${value}"`);
  return `<script src="${config.api_url}/widget.js" data-space="${id}"${more.join("")} async></script>`;
}
