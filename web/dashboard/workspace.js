// The workspace that the page shows, and what the signed-in member may do in it.

import { computed, signal } from "@preact/signals";

import { user } from "./account.js";
import { getAll } from "./api.js";
import { byName, t } from "./language.js";

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

// What ids that were no member's turned out to be: an API key's name, or null for one that is neither.
const others = signal(new Map());
const asked = new Set();
let reading = null;

// The name of a member (their email) or an API key by its id; null while it is not known, and for other ids.
export function nameOf(id) {
  const member = members.value.find(({ user_id }) => user_id === id);
  if (member || !id) return member ? (member.email ?? id) : null;
  if (!asked.has(id)) {
    asked.add(id);
    reading ??= readNames(workspace.value.id);
  }
  return others.value.get(id) ?? null;
}

// The same for what only members and their keys do: another id is that of a member who has left.
export const authorOf = (id) => nameOf(id) ?? (others.value.get(id) === null ? t("member.former") : null);

// A member may have joined since the page was opened, so members are read again too.
async function readNames(id) {
  try {
    const [found, keys] = await Promise.all([readMembers(id), getAll(`/workspaces/${id}/api-keys`)]);
    if (workspace.value?.id !== id) return;
    const names = new Map(keys.map((each) => [each.id, each.name]));
    members.value = found;
    others.value = new Map([...asked].map((each) => [each, names.get(each) ?? null]));
  } catch {
    // Its author stays unnamed until the page is loaded again.
  } finally {
    reading = null;
  }
}

const readMembers = async (id) => (await getAll(`/workspaces/${id}/members`)).sort(byName(({ email }) => email));

// Load the member's workspaces and open the last one.
export async function loadWorkspaces() {
  const items = await getAll("/workspaces");
  const last = localStorage.getItem(LAST);
  const chosen = items.find(({ id }) => id === last) ?? items[0];
  if (chosen) await open(chosen.id, items);
  else workspaces.value = items;
}

export async function open(id, all = workspaces.value) {
  asked.clear();
  members.value = await readMembers(id);
  workspaces.value = all;
  workspace.value = all.find((each) => each.id === id);
  localStorage.setItem(LAST, id);
}

// Forget all of it when another user signs in.
export function leave() {
  workspaces.value = undefined;
  workspace.value = null;
  members.value = [];
  others.value = new Map();
  asked.clear();
}
