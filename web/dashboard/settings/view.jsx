import { t } from "../language.js";

export default function View() {
  return <section class="view"><h1>{t("nav.settings")}</h1></section>;
}
