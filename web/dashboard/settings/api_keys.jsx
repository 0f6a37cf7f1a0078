// The API keys of machines: a key is shown once, when it is made.

import { useState } from "preact/hooks";
import { Link } from "wouter-preact";

import { call } from "../api.js";
import { usePages } from "../data.js";
import { day, t } from "../language.js";
import { Confirm } from "../parts/dialog.jsx";
import { Time } from "../parts/time.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { to } from "../place.js";
import { manages, workspace } from "../workspace.js";
import { Form } from "./form.jsx";
import { Once } from "./secret.jsx";
import { Listed, Title } from "./section.jsx";

const ROLES = ["agent", "admin", "ingest"];

export function ApiKeys({ id }) {
  const path = `/workspaces/${workspace.value.id}/api-keys`;
  const pages = usePages(path, { limit: 100 });
  const [made, setMade] = useState(null);
  const [revoked, setRevoked] = useState(null);

  async function create({ expires_at, ...body }) {
    const key = await call("POST", path, { body: { ...body, ...(expires_at && { expires_at: `${expires_at}T23:59:59Z` }) } });
    setMade(key);
    pages.reload();
  }

  async function revoke() {
    try {
      await call("DELETE", `${path}/${revoked.id}`);
      say(t("settings.key.revoked"));
      if (made?.id === revoked.id) setMade(null);
      pages.reload();
    } catch (failure) {
      complain(failure);
    }
    setRevoked(null);
  }

  if (id === "new" && manages.value) {
    return (
      <>
        <Title name="api-keys">
          <Link href={to("/settings/api-keys")}>{t("action.back")}</Link>
        </Title>
        {made ? (
          <Once secret={made.secret} label={made.name} />
        ) : (
          <Form fields={fields()} submit={create} action={t("settings.create")} label={t("settings.create")} />
        )}
      </>
    );
  }
  return (
    <>
      <Title name="api-keys">
        {manages.value && (
          <Link class="button" href={to("/settings/api-keys/new")}>
            {t("settings.new")}
          </Link>
        )}
      </Title>
      <p class="note">{t("settings.about.api-keys")}</p>
      <Listed
        pages={pages}
        label={t("settings.api-keys")}
        columns={["name", "role", "prefix", "used", "expires_at", manages.value && ""].filter((each) => each !== false)}
        row={(key) => [
          key.name,
          roleOf(key.role),
          <code>{key.prefix}</code>,
          <Time value={key.last_used_at} />,
          key.expires_at && day(key.expires_at),
          ...(manages.value
            ? [
                key.revoked_at ? (
                  t("settings.key.is_revoked")
                ) : (
                  <button type="button" onClick={() => setRevoked(key)}>
                    {t("settings.key.revoke")}
                  </button>
                ),
              ]
            : []),
        ]}
      />
      {revoked && (
        <Confirm
          title={t("settings.key.title", { name: revoked.name })}
          action={t("settings.key.revoke")}
          run={revoke}
          onClose={() => setRevoked(null)}
        >
          <p>{t("settings.key.lead")}</p>
        </Confirm>
      )}
    </>
  );
}

const roleOf = (role) => (role === "ingest" ? t("settings.role.ingest") : t(`role.${role}`));

const fields = () => [
  { name: "name", required: true, empty: "" },
  { name: "role", type: "select", options: ROLES.map((role) => [role, roleOf(role)]), initial: "agent" },
  { name: "expires_at", type: "date" },
];
