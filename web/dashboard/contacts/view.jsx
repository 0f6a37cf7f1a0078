// The contacts of the workspace: their list, the page of one, the conflicts and the receipts of erasures.

import { useRoute } from "wouter-preact";

import { Conflicts } from "./conflicts.jsx";
import { Contact } from "./contact.jsx";
import { Erasures } from "./erasures.jsx";
import { List } from "./list.jsx";

const PAGES = { conflicts: Conflicts, erasures: Erasures };

export default function View() {
  const [, found] = useRoute("/contacts/:id");
  if (!found) return <List />;
  const Page = PAGES[found.id];
  return Page ? <Page /> : <Contact key={found.id} id={found.id} />;
}
