import { render } from "preact";

import { App } from "./app.jsx";
import { loadLanguage } from "./language.js";
import "./main.css";
import "uplot/dist/uPlot.min.css";
import "./analytics/style.css";
import "./settings/style.css";

await loadLanguage();
render(<App />, document.body);
