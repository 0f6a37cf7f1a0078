import { render } from "preact";

import { App } from "./app.jsx";
import { loadLanguage } from "./language.js";
import "uplot/dist/uPlot.min.css";
import "./main.css";
// The styles of the views too: esbuild loads none of code that is loaded later.
import "./analytics/style.css";
import "./contacts/contacts.css";
import "./inbox/inbox.css";
import "./sessions/sessions.css";
import "./settings/style.css";

await loadLanguage();
render(<App />, document.body);
