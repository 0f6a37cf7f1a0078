// A view of sections: their list, and beside it the one of the address, such as #/settings/spaces/ID.

import { useEffect, useRef } from "preact/hooks";
import { Link, Redirect, Route, Switch, useLocation } from "wouter-preact";

import { t } from "../language.js";
import { to } from "../place.js";

// `name` is the view's, `sections` are [{name, view}]; a view gets the `id` of the address.
export function Halves({ name, sections }) {
  const [path] = useLocation();
  const list = useRef();
  const here = (section) => `/${name}/${section}`;
  const isShown = (section) => path === here(section) || path.startsWith(`${here(section)}/`);
  // On a phone the list is a row, in which the present section may be out of sight.
  useEffect(() => list.current.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }), [path]);
  return (
    <section class={`view board ${name}`}>
      <h1>{t(`nav.${name}`)}</h1>
      <div class="halves">
        <nav aria-label={t(`${name}.sections`)} ref={list}>
          {sections.map((section) => (
            <Link key={section.name} href={to(here(section.name))} aria-current={isShown(section.name) ? "page" : undefined}>
              {t(`${name}.${section.name}`)}
            </Link>
          ))}
        </nav>
        <div class="section">
          <Switch>
            {sections.map(({ name: section, view: Section }) => (
              <Route key={section} path={`${here(section)}/:id?`}>
                {({ id }) => <Section key={id} id={id} />}
              </Route>
            ))}
            <Route>
              <Redirect to={to(here(sections[0].name))} replace />
            </Route>
          </Switch>
        </div>
      </div>
    </section>
  );
}
