// The words for each error: the server's titles are English, and written for developers.

const LABELS = {
  persona_unavailable: "unavailable",
  persona_unreachable: "unavailable",
  persona_timeout: "unavailable",
  persona_failed: "unavailable",
  persona_bad_answer: "unavailable",
  backend_unavailable: "unavailable",
  persona_refused: "misconfigured",
  persona_address_refused: "misconfigured",
  persona_misconfigured: "misconfigured",
  persona_not_found: "misconfigured",
  persona_input_refused: "declined",
  persona_declined: "declined",
  persona_cut_off: "interrupted",
  lease_expired: "interrupted",
  turn_interrupted: "interrupted",
  failed_by_member: "interrupted",
  stream_limit: "interrupted",
  token_expired: "interrupted",
  token_revoked: "interrupted",
  conversation_not_found: "interrupted",
  turn_not_found: "interrupted",
  persona_too_large: "tooLong",
  invalid_body: "notAccepted",
  body_too_large: "notAccepted",
  space_not_found: "closed",
  origin_not_allowed: "blocked",
  email_hmac_invalid: "notProven",
  identity_token_required: "notProven",
  identity_token_invalid: "notProven",
  identity_token_expired: "notProven",
  rate_limited: "busyLater",
  turn_in_progress: "waitingForEarlier",
};

export function labelOf(code) {
  return Object.hasOwn(LABELS, code) ? LABELS[code] : "failed";
}
