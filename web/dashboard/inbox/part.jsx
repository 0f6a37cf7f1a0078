// The parts of the contact's pane.

import { t } from "../language.js";
import { Failed, Loading } from "../parts/states.jsx";

// A part of the pane with its heading.
export function Part({ title, children, isEmpty }) {
  return (
    <section class="part">
      <h3>{title}</h3>
      {isEmpty ? <p class="none">{t("inbox.none")}</p> : children}
    </section>
  );
}

// What a part shows while its data are not there.
export function waiting({ data, failure, reload }) {
  if (data) return null;
  return failure ? <Failed failure={failure} retry={reload} /> : <Loading />;
}
