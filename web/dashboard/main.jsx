import { render } from "preact";

import { App } from "./app.jsx";
import { loadLanguage } from "./language.js";
import "./main.css";
// esbuild loads no styles of code that is loaded later.
import "./inbox/inbox.css";

await loadLanguage();
render(<App />, document.body);
