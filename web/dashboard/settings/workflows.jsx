// Workflows, each drawn as a graph of its steps, and the transitions of the workspace's own.

import { call } from "../api.js";
import { usePages } from "../data.js";
import { t } from "../language.js";
import { Empty, Failed, Loading } from "../parts/states.jsx";
import { complain, say } from "../parts/toasts.jsx";
import { manages, workspace } from "../workspace.js";
import { Form } from "./form.jsx";
import { layout } from "./graph.js";
import { Title } from "./section.jsx";

export function Workflows() {
  const path = `/workspaces/${workspace.value.id}/workflow-transitions`;
  const pages = usePages(path, { limit: 200 });
  const names = [...new Set((pages.items ?? []).map(({ workflow }) => workflow))];

  async function add(body) {
    await call("POST", path, { body });
    say(t("settings.saved"));
    pages.reload();
  }

  async function remove({ id }) {
    try {
      await call("DELETE", `${path}/${id}`);
    } catch (failure) {
      complain(failure);
    }
    pages.reload();
  }

  return (
    <>
      <Title name="workflows" />
      <p class="note">{t("settings.about.workflows")}</p>
      {pages.failure && <Failed failure={pages.failure} retry={pages.reload} />}
      {!pages.items && !pages.failure && <Loading />}
      {pages.items?.length === 0 && <Empty>{t("settings.none")}</Empty>}
      {names.map((name) => (
        <Workflow key={name} name={name} transitions={pages.items.filter(({ workflow }) => workflow === name)} remove={remove} />
      ))}
      {pages.hasMore && (
        <button type="button" onClick={pages.more}>
          {t("settings.more")}
        </button>
      )}
      {manages.value && (
        <section class="part" aria-label={t("settings.transition.add")}>
          <h3>{t("settings.transition.add")}</h3>
          <Form
            isRepeated
            fields={[
              { name: "workflow", required: true, empty: "" },
              { name: "from_step" },
              { name: "to_step", required: true, empty: "" },
            ]}
            submit={add}
            action={t("settings.create")}
            label={t("settings.transition.add")}
          />
        </section>
      )}
    </>
  );
}

function Workflow({ name, transitions, remove }) {
  const own = transitions.filter(({ built_in }) => !built_in);
  const words = transitions.map(({ from_step, to_step }) => `${from_step ?? t("settings.start")} → ${to_step}`).join(", ");
  return (
    <section class="part" aria-label={name}>
      <h3>
        <code>{name}</code>
      </h3>
      <div class="graph" dir="ltr" tabIndex={0} role="group" aria-label={t("settings.graph", { name })}>
        <Graph transitions={transitions} label={words} />
      </div>
      {manages.value && own.length > 0 && (
        <ul class="transitions">
          {own.map((each) => (
            <li key={each.id}>
              <code dir="ltr">
                {each.from_step ?? t("settings.start")} → {each.to_step}
              </code>
              <button
                type="button"
                class="plain"
                aria-label={t("settings.transition.remove", { from: each.from_step ?? t("settings.start"), to: each.to_step })}
                onClick={() => remove(each)}
              >
                {t("action.delete")}
              </button>
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Graph({ transitions, label }) {
  const { width, height, steps, arrows } = layout(transitions);
  return (
    <svg viewBox={`0 0 ${width} ${height}`} width={width} height={height} role="img" aria-label={label} direction="ltr">
      {arrows.map(({ key, path, head, isBack }) => (
        <g key={key} class={`arrow ${isBack ? "back" : ""}`}>
          <path d={path} />
          <path class="head" d={head} />
        </g>
      ))}
      {steps.map(({ name, x, y, w, h, isFirst }) => (
        <g key={name} class={`step ${isFirst ? "first" : ""}`}>
          <rect x={x} y={y} width={w} height={h} rx="7" />
          <text x={x + w / 2} y={y + h / 2} text-anchor="middle" dominant-baseline="central">
            {name}
          </text>
        </g>
      ))}
    </svg>
  );
}
