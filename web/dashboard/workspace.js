// The workspace that the page shows, and what the signed-in member may do in it.

import { computed, signal } from "@preact/signals";

import { user } from "./account.js";
import { getAll } from "./api.js";
import { byName } from "./language.js";

const LAST = "switchboard:workspace";

// The member's workspaces; undefined until they are known.
export const workspaces = signal();
export const workspace = signal(null);
// The workspace's members, {user_id, email, role}.
export const members = signal([]);

export const role = computed(() => members.value.find(({ user_id }) => user_id === user.value?.id)?.role ?? null);
// Owners and admins manage; agents work in their own and assigned sessions.
export const manages = computed(() => role.value === "owner" || role.value === "admin");
export const owns = computed(() => role.value === "owner");

// A member's email by the user's id.
export const nameOf = (id) => members.value.find(({ user_id }) => user_id === id)?.email ?? null;

// Load the member's workspaces and open the last one.
export async function loadWorkspaces() {
  const items = await getAll("/workspaces");
  workspaces.value = items;
  const last = localStorage.getItem(LAST);
  const chosen = items.find(({ id }) => id === last) ?? items[0];
  if (chosen) await open(chosen.id);
}

export async function open(id) {
  members.value = (await getAll(`/workspaces/${id}/members`)).sort(byName(({ email }) => email));
  workspace.value = workspaces.value.find((each) => each.id === id);
  localStorage.setItem(LAST, id);
}

// Forget all of it when another user signs in.
export function leave() {
  workspaces.value = undefined;
  workspace.value = null;
  members.value = [];
}
