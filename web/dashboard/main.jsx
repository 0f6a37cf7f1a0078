import { render } from "preact";

import { App } from "./app.jsx";
import { loadLanguage } from "./language.js";
import "./main.css";
// The styles of the views too: those of a part that is loaded later would not be.
import "./contacts/contacts.css";
import "./sessions/sessions.css";

await loadLanguage();
render(<App />, document.body);
