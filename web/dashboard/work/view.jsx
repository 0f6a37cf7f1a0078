// Work in the background: jobs, and what is delivered to others.

import { Halves } from "../settings/halves.jsx";
import { Jobs } from "./jobs.jsx";
import { Outgoing } from "./outgoing.jsx";

const SECTIONS = [
  { name: "jobs", view: Jobs },
  { name: "outgoing", view: Outgoing },
];

export default function View() {
  return <Halves name="work" sections={SECTIONS} />;
}
