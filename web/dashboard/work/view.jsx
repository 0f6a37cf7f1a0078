import { t } from "../language.js";

export default function View() {
  return <section class="view"><h1>{t("nav.work")}</h1></section>;
}
