// The settings, each section a page of its own: #/settings/spaces, #/settings/spaces/new, #/settings/spaces/ID.

import { manages } from "../workspace.js";
import { ApiKeys } from "./api_keys.jsx";
import { Channels } from "./channels.jsx";
import { Halves } from "./halves.jsx";
import { Members } from "./members.jsx";
import { Personas } from "./personas.jsx";
import { Spaces } from "./spaces.jsx";
import { Subscriptions } from "./subscriptions.jsx";
import { AnswerTemplates, SessionTemplates } from "./templates.jsx";
import { Workflows } from "./workflows.jsx";
import { Workspace } from "./workspace.jsx";

// Agents are refused what the workspace connects to; the rest they read.
const SECTIONS = [
  { name: "spaces", view: Spaces },
  { name: "personas", view: Personas },
  { name: "channels", view: Channels },
  { name: "api-keys", view: ApiKeys },
  { name: "event-subscriptions", view: Subscriptions, isManaged: true },
  { name: "members", view: Members },
  { name: "workspace", view: Workspace },
  { name: "answer-templates", view: AnswerTemplates },
  { name: "session-templates", view: SessionTemplates },
  { name: "workflows", view: Workflows },
];

export default function View() {
  return <Halves name="settings" sections={SECTIONS.filter(({ isManaged }) => !isManaged || manages.value)} />;
}
