// Templates: what a new session begins with, and what members insert in an answer.

import { useChoices } from "../parts/choices.js";
import { Section } from "./section.jsx";

export function SessionTemplates({ id }) {
  const personas = useChoices("personas");
  const fields = (template) => [
    { name: "name", required: true, empty: "" },
    { name: "persona_id", type: "select", options: [["", "–"], ...personas], empty: template ? null : undefined },
    { name: "workflow", empty: template ? null : undefined },
    { name: "workflow_step", empty: template ? null : undefined },
    { name: "first_messages", type: "lines" },
    { name: "metadata", type: "json" },
  ];
  return (
    <Section
      name="session-templates"
      path="/session-templates"
      id={id}
      fields={fields}
      columns={["name", "persona_id", "workflow"]}
      row={(template, link) => [link, new Map(personas).get(template.persona_id), template.workflow]}
    />
  );
}

export function AnswerTemplates({ id }) {
  const fields = (template) => [
    { name: "name", required: true, empty: "" },
    { name: "shortcut", empty: template ? null : undefined },
    { name: "text", type: "area", rows: 6, required: true, empty: "" },
  ];
  return (
    <Section
      name="answer-templates"
      path="/answer-templates"
      id={id}
      isListed
      fields={fields}
      columns={["name", "shortcut"]}
      row={({ shortcut }, link) => [link, shortcut && `/${shortcut}`]}
    />
  );
}
