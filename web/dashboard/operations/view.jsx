// Work in the background: jobs, what providers deliver and what is delivered to others, and whether all of it is well.

import { Halves } from "../settings/halves.jsx";
import { Health } from "./health.jsx";
import { Incoming } from "./incoming.jsx";
import { Jobs } from "./jobs.jsx";
import { Outgoing } from "./outgoing.jsx";

const SECTIONS = [
  { name: "jobs", view: Jobs },
  { name: "incoming", view: Incoming },
  { name: "outgoing", view: Outgoing },
  { name: "health", view: Health },
];

export default function View() {
  return <Halves name="operations" sections={SECTIONS} />;
}
