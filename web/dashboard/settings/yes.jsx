import { t } from "../language.js";

// Whether something is so, in a word.
export const Yes = ({ is }) => <span class={`status ${is ? "active" : ""}`}>{t(is ? "settings.yes" : "settings.no")}</span>;
