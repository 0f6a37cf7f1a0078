// The workspace's objects of a kind, such as "personas", to choose from.

import { getAll } from "../api.js";
import { useData } from "../data.js";
import { byName } from "../language.js";
import { workspace } from "../workspace.js";

// [[id, name]] by name; none until they are there, or if they cannot be read.
export function useChoices(kind) {
  const path = `/workspaces/${workspace.value.id}/${kind}`;
  const { data } = useData(async (signal) => (await getAll(path, {}, signal)).sort(byName(({ name }) => name)), [path]);
  return (data ?? []).map(({ id, name }) => [id, name]);
}
