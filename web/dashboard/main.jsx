import { render } from "preact";

import { App } from "./app.jsx";
import { loadLanguage } from "./language.js";
import "./main.css";

await loadLanguage();
render(<App />, document.body);
