// What the filters offer, and the query of the route for them.

import { workspace } from "../workspace.js";

export const STATUSES = ["active", "paused", "completed", "failed", "timeout", "cancelled", "archived"];
export const CHANNELS = ["web", "telegram", "whatsapp", "discord", "omi", "avinode"];
// Those of the bar; the others are behind "More filters".
export const COMMON = ["text", "status", "persona_id", "space_id", "assigned"];
export const RARE = [
  "email", "contact_id", "user_id", "channel", "workflow", "step", "tag", "external_id", "has_quote", "taken_over", "created_after",
  "created_before", "active_after", "active_before",
];

// The query of the route for the filters of the address, in which `assigned` is a member's id, "none" or "any".
export function queryOf(filters) {
  const query = { workspace_id: workspace.value.id };
  for (const name of [...COMMON, ...RARE]) if (filters[name]) query[name] = filters[name];
  delete query.assigned;
  const { assigned } = filters;
  if (assigned === "none" || assigned === "any") query.unassigned = assigned === "none";
  else if (assigned) query.assigned_user_id = assigned;
  return query;
}
