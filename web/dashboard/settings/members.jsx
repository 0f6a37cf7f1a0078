// Members with their roles, and the invitations that are open.

import { useState } from "preact/hooks";

import { call } from "../api.js";
import { user } from "../account.js";
import { usePages } from "../data.js";
import { day, t } from "../language.js";
import { Confirm } from "../parts/dialog.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { manages, open, owns, workspace } from "../workspace.js";
import { Form } from "./form.jsx";
import { Listed, Title } from "./section.jsx";

const ROLES = ["agent", "admin", "owner"];

// What the member may grant: admins manage agents only.
const grants = () => (owns.value ? ROLES : ["agent"]);
const mayChange = ({ role }) => owns.value || (manages.value && role === "agent");

export function Members() {
  const path = `/workspaces/${workspace.value.id}/members`;
  const members = usePages(path, { limit: 200 });
  const [removed, setRemoved] = useState(null);

  async function run(method, { user_id }, body) {
    try {
      await call(method, `${path}/${user_id}`, { body });
      say(t("settings.saved"));
      await open(workspace.value.id);
    } catch (failure) {
      complain(failure);
    }
    setRemoved(null);
    members.reload();
  }

  const role = (member) =>
    mayChange(member) && owns.value ? (
      <select
        aria-label={t("settings.role_of", { email: member.email ?? member.user_id })}
        value={member.role}
        onChange={({ target }) => run("PUT", member, { role: target.value })}
      >
        {ROLES.map((each) => (
          <option key={each} value={each} selected={each === member.role}>
            {t(`role.${each}`)}
          </option>
        ))}
      </select>
    ) : (
      t(`role.${member.role}`)
    );

  return (
    <>
      <Title name="members" />
      <p class="note">{t("settings.about.members")}</p>
      <Listed
        pages={members}
        label={t("settings.members")}
        columns={["email", "role", manages.value && ""].filter((each) => each !== false)}
        row={(member) => [
          member.email ?? member.user_id,
          role(member),
          ...(manages.value
            ? [
                mayChange(member) && member.user_id !== user.value.id && (
                  <button type="button" onClick={() => setRemoved(member)}>
                    {t("settings.remove")}
                  </button>
                ),
              ]
            : []),
        ]}
      />
      {manages.value && <Invitations />}
      {removed && (
        <Confirm
          title={t("settings.remove.title", { email: removed.email ?? removed.user_id })}
          action={t("settings.remove")}
          run={() => run("DELETE", removed)}
          onClose={() => setRemoved(null)}
        >
          <p>{t("settings.remove.lead")}</p>
        </Confirm>
      )}
    </>
  );
}

function Invitations() {
  const path = `/workspaces/${workspace.value.id}/invitations`;
  const pages = usePages(path, { limit: 100 });

  async function invite(body) {
    await call("POST", path, { body });
    say(t("settings.invited"));
    pages.reload();
  }

  async function withdraw({ id }) {
    try {
      await call("DELETE", `${path}/${id}`);
      say(t("settings.withdrawn"));
    } catch (failure) {
      complain(failure);
    }
    pages.reload();
  }

  const fields = [
    { name: "email", type: "email", required: true, empty: "" },
    { name: "role", type: "select", options: grants().map((role) => [role, t(`role.${role}`)]), initial: "agent" },
  ];
  return (
    <section class="part" aria-label={t("settings.invitations")}>
      <h3>{t("settings.invitations")}</h3>
      <p class="note">{t("settings.about.invitations")}</p>
      <Form isRepeated fields={fields} submit={invite} action={t("settings.invite")} label={t("settings.invite")} />
      <Listed
        pages={pages}
        label={t("settings.invitations")}
        columns={["email", "role", "expires_at", ""]}
        row={(one) => [
          one.email,
          t(`role.${one.role}`),
          day(one.expires_at),
          mayChange(one) && (
            <button type="button" onClick={() => withdraw(one)}>
              {t("settings.withdraw")}
            </button>
          ),
        ]}
      />
    </section>
  );
}
