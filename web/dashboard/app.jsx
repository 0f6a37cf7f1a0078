// The frame of the page: sign-in, the views' navigation and what is shown above every view.

import { useEffect } from "preact/hooks";
import { Link, Redirect, Route, Router, Switch, useLocation } from "wouter-preact";

import { user } from "./account.js";
import { KeyList } from "./key_list.jsx";
import { useKeys } from "./keys.js";
import { t } from "./language.js";
import { connection } from "./live.js";
import { Icon } from "./parts/icon.jsx";
import { lazy } from "./parts/lazy.jsx";
import { Loading } from "./parts/states.jsx";
import { complain, Toasts } from "./parts/toasts.jsx";
import { go, to, usePlace } from "./place.js";
import { SignIn, SignOut } from "./sign_in.jsx";
import { leave, loadWorkspaces, manages, open, workspace, workspaces } from "./workspace.js";
import { Welcome } from "./welcome.jsx";

// Who may see a view is decided by the routes that it reads; here it only depends on the role what is offered.
const VIEWS = [
  { name: "inbox", key: "g i", view: lazy(() => import("./inbox/view.jsx")) },
  { name: "sessions", key: "g s", view: lazy(() => import("./sessions/view.jsx")) },
  { name: "contacts", key: "g c", view: lazy(() => import("./contacts/view.jsx")) },
  { name: "analytics", key: "g a", view: lazy(() => import("./analytics/view.jsx")) },
  { name: "operations", key: "g o", view: lazy(() => import("./operations/view.jsx")), isManaged: true },
  { name: "settings", key: "g ,", view: lazy(() => import("./settings/view.jsx")) },
];

// The code of the first view comes while it is asked who the member is; a failure is told when the view is shown.
(VIEWS.find(({ name }) => location.hash.startsWith(`#/${name}`)) ?? VIEWS[0]).view.preload().catch(() => {});

export function App() {
  const id = user.value?.id;
  useEffect(() => {
    leave();
    if (id) loadWorkspaces().catch(() => (workspaces.value = null));
  }, [id]);
  return (
    <Router hook={usePlace}>
      <Toasts />
      {user.value === undefined ? <Loading /> : user.value ? <Signed /> : <SignIn />}
    </Router>
  );
}

function Signed() {
  if (workspaces.value === undefined) return <Loading />;
  if (workspaces.value === null) return <Welcome isUnreachable />;
  if (!workspace.value) return workspaces.value.length ? <Loading /> : <Welcome />;
  return <Frame key={workspace.value.id} />;
}

function Frame() {
  const views = VIEWS.filter(({ isManaged }) => !isManaged || manages.value);
  useKeys(views.map(({ name, key }) => [key, `nav.${name}`, () => go(`/${name}`)]), [views.length]);
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={skip}>{t("nav.skip")}</a>
      <header class="bar">
        <nav aria-label={t("nav.views")}>
          {views.map(({ name }) => <Tab key={name} name={name} />)}
        </nav>
        <Account />
      </header>
      {connection.value === "offline" && <p class="offline" role="status">{t("state.offline")}</p>}
      <main id="main" tabIndex={-1}>
        <Switch>
          {views.map(({ name, view: View }) => (
            <Route key={name} path={`/${name}/*?`}>{() => <View />}</Route>
          ))}
          <Route><Redirect to={to("/inbox")} replace /></Route>
        </Switch>
      </main>
      <KeyList />
    </div>
  );
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function Tab({ name }) {
  const [path] = useLocation();
  const isCurrent = path === `/${name}` || path.startsWith(`/${name}/`);
  useEffect(() => {
    if (isCurrent) document.title = `${t(`nav.${name}`)} · Switchboard`;
  }, [isCurrent]);
  return (
    <Link href={to(`/${name}`)} class="tab" aria-current={isCurrent ? "page" : undefined}>
      <Icon name={name} />
      <span>{t(`nav.${name}`)}</span>
    </Link>
  );
}

function Account() {
  async function change({ target }) {
    try {
      await open(target.value);
    } catch (failure) {
      target.value = workspace.value.id;
      complain(failure);
    }
  }

  return (
    <div class="account">
      {workspaces.value.length > 1 ? (
        <label>
          <span class="hidden">{t("nav.workspace")}</span>
          <select value={workspace.value.id} onChange={change}>
            {workspaces.value.map(({ id, name }) => <option key={id} value={id}>{name}</option>)}
          </select>
        </label>
      ) : (
        <span class="name">{workspace.value.name}</span>
      )}
      <SignOut />
    </div>
  );
}
