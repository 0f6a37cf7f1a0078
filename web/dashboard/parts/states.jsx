// What stands in place of data: it is loading, there is none, or it could not be loaded.

import { useEffect, useState } from "preact/hooks";

import { Failure } from "../api.js";
import { has, t } from "../language.js";

// Shown only after a moment, so that what loads at once does not flicker.
export function Loading() {
  const [isLate, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 200);
    return () => clearTimeout(timer);
  }, []);
  return <p class="state" role="status">{isLate && t("state.loading")}</p>;
}

export function Empty({ children }) {
  return <p class="state">{children}</p>;
}

// The fault of a field in words: ours for its code, else the server's.
export const faultOf = ({ code, limit, message }) => (has(`fault.${code}`) ? t(`fault.${code}`, { limit }) : message);

// A failure in words: ours for its code, else the server's.
export function explain(failure) {
  if (!(failure instanceof Failure)) return t("state.broken");
  if (failure.status === 0) return t("state.unreachable");
  const name = failure.code.endsWith("_taken") ? "error.taken" : `error.${failure.code}`;
  const { errors, message, detail } = failure;
  // The name of a field is the route's, which says less than the only field that was filled.
  const faults = errors.map((each) => (errors.length > 1 ? `${each.field}: ${faultOf(each)}` : faultOf(each)));
  const said = has(name) ? [t(name)] : faults.length ? [t("state.invalid")] : [message, detail];
  return [...said, ...faults].filter(Boolean).join(" ");
}

const AGAIN_MS = 5_000;

// What an outage has kept from loading is asked for again until it comes.
export function Failed({ failure, retry }) {
  useEffect(() => {
    if (!retry || failure?.status !== 0) return undefined;
    const again = () => retry();
    const timer = setTimeout(again, AGAIN_MS);
    addEventListener("online", again);
    return () => (clearTimeout(timer), removeEventListener("online", again));
  }, [failure]);
  return (
    <p class="failure" role="alert">
      {explain(failure)} {retry && <button type="button" onClick={() => retry()}>{t("action.retry")}</button>}
    </p>
  );
}
