// The sessions of the workspace: their list, and the page of one.

import { useRoute } from "wouter-preact";

import { List } from "./list.jsx";
import { Session } from "./session.jsx";

export default function View() {
  const [, found] = useRoute("/sessions/:id");
  return found ? <Session key={found.id} id={found.id} /> : <List />;
}
