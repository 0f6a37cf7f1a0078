// The workspace: its limits, the networks that its personas may call, and how long what is kept.

import { useState } from "preact/hooks";

import { call, get } from "../api.js";
import { useData } from "../data.js";
import { day, number, t } from "../language.js";
import { Failed, Loading } from "../parts/states.jsx";
import { Time } from "../parts/time.jsx";
import { say } from "../parts/toasts.jsx";
import { manages, workspace } from "../workspace.js";
import { Form } from "./form.jsx";
import { Title } from "./section.jsx";
import { bodyOf } from "./values.js";

const LIMITS = ["contact", "user", "space", "address"];
const KEPT = ["messages", "raw_events", "events", "audit", "addresses", "memory_history"];

const settings = () => [
  { name: "name", required: true, empty: "" },
  { name: "session_timeout_hours", type: "number", empty: null },
  { name: "archive_after_days", type: "number" },
  {
    name: "archive_statuses",
    type: "many",
    options: ["completed", "failed", "timeout", "cancelled"].map((status) => [status, t(`status.${status}`)]),
  },
  { name: "archive_retention", type: "select", options: ["keep", "drop"].map((each) => [each, t(`settings.archive.${each}`)]) },
  ...LIMITS.map((each) => ({ name: `messages_per_minute_by_${each}`, type: "number" })),
];

export function Workspace() {
  const { id } = workspace.value;
  const path = `/workspaces/${id}`;
  const one = useData((signal) => get(path, {}, signal), [id]);

  async function submit(body) {
    const changed = await call("PATCH", path, { body });
    one.setData(() => changed);
    say(t("settings.saved"));
  }

  if (one.failure) return <Failed failure={one.failure} retry={one.reload} />;
  if (!one.data) return <Loading />;
  const networks = one.data.allowed_networks;
  return (
    <>
      <Title name="workspace" />
      <Form fields={settings()} object={one.data} submit={submit} isReadOnly={!manages.value} label={t("settings.workspace")} />
      {networks && (
        <section class="part" aria-label={t("settings.networks")}>
          <h3>{t("settings.networks")}</h3>
          <p class="note">{t("settings.networks.about")}</p>
          {networks.length ? (
            <ul>
              {networks.map((each) => (
                <li key={each}>
                  <code>{each}</code>
                </li>
              ))}
            </ul>
          ) : (
            <p>{t("settings.networks.none")}</p>
          )}
        </section>
      )}
      <Retention path={`${path}/retention`} />
    </>
  );
}

const kept = () => KEPT.map((name) => ({ name: `${name}_days`, type: "number", empty: null }));

function Retention({ path }) {
  const one = useData((signal) => get(path, {}, signal), [path]);
  const [typed, setTyped] = useState(null);
  const preview = useData(
    (signal) => typed && manages.value && call("POST", `${path}/preview`, { body: bodyOf(kept(), typed), signal }),
    [typed],
  );

  async function submit(body) {
    const changed = await call("PUT", path, { body });
    one.setData(() => changed);
    say(t("settings.saved"));
  }

  if (one.failure) return <Failed failure={one.failure} retry={one.reload} />;
  if (!one.data) return <Loading />;
  const shown = Object.fromEntries(KEPT.map((name) => [`${name}_days`, String(one.data[`${name}_days`] ?? "")]));
  const places = Object.entries(preview.data?.places ?? {}).filter(([, { rows }]) => rows > 0);
  return (
    <section class="part" aria-label={t("settings.retention")}>
      <h3>{t("settings.retention")}</h3>
      <p class="note">
        {t("settings.retention.about")}{" "}
        {one.data.last_run && (
          <>
            {t("settings.retention.last")} <Time value={one.data.last_run.started_at} />
          </>
        )}
      </p>
      <Form
        fields={kept()}
        object={one.data}
        submit={submit}
        isReadOnly={!manages.value}
        onInput={setTyped}
        label={t("settings.retention")}
      />
      {manages.value && (
        <p class="buttons">
          <button type="button" onClick={() => setTyped({ ...(typed ?? shown) })}>
            {t("settings.retention.preview")}
          </button>
        </p>
      )}
      <div role="status">
        {preview.failure && <Failed failure={preview.failure} />}
        {preview.data &&
          (places.length === 0 ? (
            <p>{t("settings.retention.nothing")}</p>
          ) : (
            <ul>
              {places.map(([place, { rows, oldest }]) => (
                <li key={place}>
                  <code>{place}</code>: {number(rows)} {oldest && `(${day(oldest)} …)`}
                </li>
              ))}
            </ul>
          ))}
      </div>
    </section>
  );
}
