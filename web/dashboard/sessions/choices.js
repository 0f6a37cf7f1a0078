// What the filters offer: the workspace's personas and spaces by name.

import { get } from "../api.js";
import { useData } from "../data.js";
import { workspace } from "../workspace.js";

export const STATUSES = ["active", "paused", "completed", "failed", "timeout", "cancelled", "archived"];
export const CHANNELS = ["web", "telegram", "whatsapp", "discord", "omi", "avinode"];
// Those of the bar; the others are behind "More filters".
export const COMMON = ["text", "status", "persona_id", "space_id", "assigned"];
export const RARE = [
  "email", "contact_id", "user_id", "channel", "workflow", "step", "tag", "external_id", "has_quote", "taken_over", "created_after",
  "created_before", "active_after", "active_before",
];

export function useChoices() {
  const { id } = workspace.value;
  const { data } = useData(async (signal) => {
    const lists = ["personas", "spaces"].map((name) => get(`/workspaces/${id}/${name}`, { limit: 200 }, signal));
    const [personas, spaces] = await Promise.all(lists);
    return { personas: personas.items, spaces: spaces.items };
  }, [id]);
  return data ?? { personas: [], spaces: [] };
}

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
