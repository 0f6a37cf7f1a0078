// A user without a workspace, and the invitations that would change that.

import { useState } from "preact/hooks";

import { user } from "./account.js";
import { call, Failure, get } from "./api.js";
import { useData } from "./data.js";
import { t } from "./language.js";
import { Failed, Loading } from "./parts/states.jsx";
import { SignOut } from "./sign_in.jsx";
import { loadWorkspaces } from "./workspace.js";

export function Welcome({ isUnreachable = false }) {
  const { data, failure, isLoading, reload } = useData((signal) => get("/invitations", {}, signal), []);
  const [problem, setProblem] = useState(null);

  async function accept(id) {
    try {
      await call("POST", `/invitations/${id}/accept`);
      await loadWorkspaces();
    } catch (refusal) {
      setProblem(refusal);
    }
  }

  if (isLoading && !data) return <Loading />;
  if (failure || isUnreachable) {
    const retry = () => (isUnreachable ? loadWorkspaces().catch(reload) : reload());
    return <main class="center"><Failed failure={failure ?? new Failure(0)} retry={retry} /></main>;
  }
  return (
    <main class="center">
      <div class="card">
        <h1>{t("welcome.title")}</h1>
        <p>{t("welcome.signed_in", { email: user.value.email })}</p>
        {data.items.length === 0 && <p>{t("welcome.ask")}</p>}
        {data.items.map(({ id, workspace_name, role }) => (
          <p key={id}>
            {t("welcome.invited", { workspace: workspace_name, role: t(`role.${role}`) })}{" "}
            <button type="button" class="primary" onClick={() => accept(id)}>{t("welcome.accept")}</button>
          </p>
        ))}
        {problem && <Failed failure={problem} />}
        <SignOut />
      </div>
    </main>
  );
}
